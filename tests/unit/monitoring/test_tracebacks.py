"""A canary: a value of telemetry is in no line of a log, whichever way an error goes there."""

import json
import subprocess
import sys

import pytest

from streams.errors import StateError, said_of
from streams.monitoring.tracebacks import ERRORS_MAX, trace_of

CANARY = "anna.lindqvist@example.org"
HEAD = f"""
import asyncio, logging, threading
import structlog
from streams.errors import StateError
from streams.monitoring.logs import configure_logs

configure_logs("INFO")
log = structlog.get_logger()
value = "@".join({CANARY.split("@")!r})

def stumble(of=value):
    try:
        float(of)
    except ValueError as error:
        raise KeyError(of) from error

async def stumble_later():
    stumble()

async def forget():
    task = asyncio.create_task(stumble_later())
    await asyncio.sleep(0)
    del task

"""
WAYS = {
    "log.exception": "try: stumble()\nexcept KeyError: log.exception('said', task='1')",
    "logging": "try: stumble()\nexcept KeyError as e: logging.getLogger('mode').exception('%r', e)",
    "a task that nobody waits for": "import gc; asyncio.run(forget()); gc.collect()",
    "a thread": "one = threading.Thread(target=stumble); one.start(); one.join()",
    "the process": "stumble()",
    "a group": "raise ExceptionGroup('two', [KeyError(value), OSError(28, 'No space left')])",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_log_has_no_value_that_an_error_stumbled_over(way: str) -> None:
    """A log goes to places that the contract's personal fields may not go to."""
    ran = subprocess.run(
        [sys.executable, "-c", HEAD + WAYS[way]],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert CANARY not in ran.stderr
    said = json.loads(ran.stderr.splitlines()[-1])
    assert "KeyError" in said["exception"], "the kind of it is said"
    assert "line" in said["exception"] or way == "a group"


def test_the_canary_sings_without_the_rule() -> None:
    """What Python would write by itself has the value: else this test could not fail."""
    plain = HEAD.replace('configure_logs("INFO")', "")
    ran = subprocess.run(
        [sys.executable, "-c", plain + WAYS["log.exception"]],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert CANARY in ran.stdout


def test_words_that_name_places_are_said() -> None:
    """Ours, and the system's: an operator acts on them. Of others the kind has to do."""
    assert said_of(StateError("torn. Operator action: mend it.")).startswith("torn.")
    assert said_of(OSError(28, "No space left on device", "/x")) == (
        "OSError: [Errno 28] No space left on device: '/x'"
    )
    assert (
        said_of(UnicodeDecodeError("utf-8", CANARY.encode(), 0, 1, "bad")) == "UnicodeDecodeError"
    )


def test_a_circle_of_causes_has_an_end() -> None:
    """An error may be made the cause of its own cause, and a chain may be of any length."""
    one, two = ValueError(CANARY), KeyError(CANARY)
    one.__cause__, two.__cause__ = two, one
    assert trace_of(one).count("Error") == 2
    last: Exception = ValueError("0")
    for _ in range(3 * ERRORS_MAX):
        another = ValueError("n")
        another.__cause__ = last
        last = another
    assert trace_of(last).count("ValueError") == ERRORS_MAX


def test_the_place_of_ours_is_said_of_an_error_of_data() -> None:
    """Kind and line of code are what a report needs."""
    from streams.codec.eventlog import event_of

    class Odd(dict[str, object]):
        def get(self, name: str, default: object = None) -> object:
            raise ValueError(CANARY)

    full = Odd.fromkeys(("event_id", "timestamp", "module", "event_type", "name"))
    with pytest.raises(ValueError, match=CANARY) as caught:
        event_of(full, "1")
    assert said_of(caught.value).startswith("ValueError at streams/codec/eventlog.py:")
