"""Whatever bytes lie in the topic of commands, their answers can be written down."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.codec.records import decode, encode
from streams.core.incidents.commands import read_command
from streams.core.incidents.settings import IncidentSettings
from streams.core.incidents.topology import Topology
from streams.engine.incidents import IncidentTask
from tests.synthetic_pipeline import INCIDENTS, TOPOLOGY
from tests.unit.core.incidents.alerts import alert

HALF = "\ud800"
"""Half of a surrogate pair: JSON can spell it, UTF-8 cannot."""
DAY_US = 24 * 3_600_000_000
WHOLE = {"actor": "kim", "reason": "r", "command_id": "c", "incident_id": "i"}
TEXTS = st.text(st.sampled_from(["a", "\u00e9", " ", HALF]), max_size=4)
FIELDS = st.sampled_from(
    ["actor", "reason", "command_id", "incident_id", "into", "silence_id", "fault", "matcher"]
)


def answer(order: dict[str, Any]) -> dict[str, Any]:
    """Return the audit entry of an order, through its bytes, and write the state that it leaves."""
    task = IncidentTask(IncidentSettings(), Topology())
    (output,) = task.step([read_command(json.dumps(order).encode())], DAY_US, True)
    task.changes()
    entry: dict[str, Any] = decode(encode("telemetry_event", output.record))
    return entry


@pytest.mark.parametrize(
    ("order", "word"),
    [
        ({"command": HALF}, "no such command"),
        ({"command": "ack", **WHOLE, "reason": HALF}, "reason is no valid Unicode"),
        ({"command": "ack", **WHOLE, "command_id": f"c{HALF}"}, "command_id is no valid Unicode"),
        ({"command": "ack", **WHOLE, "fault": HALF}, "unknown field 'fault'"),
        ({"command": "ack", **WHOLE, HALF: "x"}, "unknown field"),
        (
            {"command": "silence", **WHOLE, "until_us": 2 * DAY_US, "matcher": {"module": HALF}},
            "matcher is no valid Unicode",
        ),
        (
            {"command": "silence", **WHOLE, "until_us": 2 * DAY_US, "matcher": {HALF: "x"}},
            "matcher knows no field",
        ),
        (
            {"command": "silence", **WHOLE, "until_us": 2 * DAY_US}
            | {"matcher": {f"labels.{n}": "x" for n in range(65)}},
            "matcher names 65 fields, 64 at most",
        ),
        (
            {"command": "silence", **WHOLE, "until_us": 2 * DAY_US}
            | {"matcher": {"module": "x" * 1_025}},
            "matcher.module is longer than 1024 characters",
        ),
    ],
)
def test_what_cannot_be_written_is_refused(order: dict[str, Any], word: str) -> None:
    """One such order would stop the task for good: it is read again after each restart."""
    said = answer(order)
    assert said["dimensions"]["outcome"] == "refused"
    assert word in said["dimensions"]["refused"]


@given(st.dictionaries(FIELDS | TEXTS, TEXTS | st.dictionaries(FIELDS | TEXTS, TEXTS, max_size=2)))
def test_every_order_has_an_answer_that_can_be_written(order: dict[str, Any]) -> None:
    """Of any JSON object, with any command and a time that a silence may end at."""
    for command in ("ack", "silence", "unsilence", order.get("actor", "")):
        answer({**WHOLE, "until_us": 2 * DAY_US, **order, "command": command})


def test_what_a_refusal_quotes_is_bounded() -> None:
    """An answer is one record, whatever the length of what was ordered."""
    long = "x" * 1_000_000
    for order in (
        {"command": long},
        {"command": "ack", long: 1},
        {"command": "ack", "fault": long},
    ):
        assert len(answer(order)["dimensions"]["refused"]) < 1_000
    silence = {"command": "silence", **WHOLE, "until_us": 2 * DAY_US, "matcher": {long: "x"}}
    assert len(answer(silence)["dimensions"]["refused"]) < 1_000


def test_the_entry_of_a_merge_names_both_incidents() -> None:
    """The one that took over, and the one that ended."""
    task = IncidentTask(INCIDENTS, TOPOLOGY)
    alerts = [alert("duplicate_rate", "ALPHA", 10), alert("odd_kind", "GAMMA", 10)]
    events = task.step(alerts, 100 * 1_000_000, True)
    one, other = (e.record["incident_id"] for e in events if e.topic_kind == "incidents")
    order = {"command": "merge", **WHOLE, "incident_id": one, "into": other}
    said = next(
        o for o in task.step([order], 101 * 1_000_000, True) if o.topic_kind == "audit"
    ).record
    assert said["dimensions"]["incident_id"] == other
    assert said["dimensions"]["merged_incident_id"] == one


@pytest.mark.parametrize(
    ("ordered_us", "found_us"),
    [(DAY_US, DAY_US), (DAY_US - 60_000_000, DAY_US - 60_000_000), (1, DAY_US), (1 << 61, DAY_US)],
)
def test_nobody_puts_an_entry_out_of_sight(ordered_us: int, found_us: int) -> None:
    """A time that is far off is told beside it: whoever asks for today's orders finds it."""
    said = answer({"command": "ack", **WHOLE, "at_us": ordered_us})
    assert said["timestamp"] == found_us
    assert said["dimensions"]["ordered_at_us"] == str(ordered_us)
