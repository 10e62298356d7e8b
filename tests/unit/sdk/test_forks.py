"""Processes that fork, and the end of a process."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import util
from types import SimpleNamespace
from typing import Any

import pytest

from streams.sdk import forks, sender
from streams.sdk.options import Options
from tests.unit.sdk.senders import kept, made

FORK_AMID_THE_IMPORT = """
import os, signal, sys, time
from streams.sdk import Telemetry
telemetry = Telemetry("ALPHA", "parser", "127.0.0.1:1", exit_seconds_max=0)
telemetry.span("alpha.parse").end()
while "confluent_kafka" not in sys.modules:
    time.sleep(0)
child = os.fork()
if child == 0:
    signal.alarm(30)
    import confluent_kafka.serializing_producer
    os._exit(0)
os._exit(os.waitpid(child, 0)[1] != 0)
"""


def test_a_fork_amid_the_first_event_leaves_a_child_that_can_import() -> None:
    """The client is imported by a thread that a child does not have: the fork waits for that."""
    done = subprocess.run(
        [sys.executable, "-c", FORK_AMID_THE_IMPORT],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


def test_a_child_does_not_send_what_its_parent_has_begun() -> None:
    """Who forks within a span leaves it in both processes: it is the parent's, and sent once."""
    t = made()
    read, write = os.pipe()
    by_hand = t.span("alpha.by_hand")
    with t.span("alpha.serve"):
        child = os.fork()
        if child == 0:  # no assertion may leave this branch
            with t.span("alpha.child"):
                pass
    if child == 0:
        by_hand.end()
        names = [event["name"] for event in kept(t)]
        os.write(write, f"{names} {t.close()[:4]}".encode())
        os._exit(0)
    by_hand.end()
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(read, 1_000).decode() == "['alpha.child'] (3, 1, {'forked': 2}, 0)"
    assert [event["name"] for event in kept(t)] == ["alpha.serve", "alpha.by_hand"]
    t.close()
    os.close(read)
    os.close(write)


def test_all_emitters_of_a_process_end_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end waits as long as the slowest of them, and not for one after the other."""
    told: list[str] = []

    class Own:
        forked: Callable[[], None]

        def begin_close(self) -> None:
            told.append("begin")

        def close(self) -> None:
            told.append("close")

    monkeypatch.setattr(forks, "EMITTERS", {Own(), Own()})
    forks.close_all()
    assert told == ["begin", "begin", "close", "close"]


def test_no_process_forks_while_the_client_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's own locks are as those of an import: a child would find them taken for ever."""
    seen: list[bool] = []

    def producer(_settings: object) -> object:
        seen.append(forks._loading.lock._is_owned())
        raise ConnectionError("it goes no further")

    monkeypatch.setattr(sender, "Producer", producer)
    with pytest.raises(ConnectionError):
        sender.KafkaSender({}, Options(), made().emitter).is_ready()
    assert seen == [True]
    assert not forks._loading.lock._is_owned()


def test_the_client_is_loaded_whole() -> None:
    """It would import its admin part with the first answer of a broker: amid anybody's fork."""
    code = "import sys, streams.sdk.sender; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "confluent_kafka.admin" in done.stdout.split()


def test_all_emitters_of_a_child_end_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child of multiprocessing runs no `atexit`; what it runs instead closes all at once."""
    closed: list[object] = []
    monkeypatch.setattr(multiprocessing, "parent_process", object)
    monkeypatch.setattr(util, "Finalize", lambda _, close, exitpriority: closed.append(close))
    forks.at_end_of_child()
    assert closed == [forks.close_all]


def test_a_topic_that_is_not_there_is_looked_for_less_and_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An answer tells of all topics of the broker: it is dear where there are thousands."""
    now_seconds = 1_000.0
    asked_at: list[float] = []

    class Client:
        def poll(self, _seconds: float) -> None: ...

        def list_topics(self, timeout: float) -> Any:
            asked_at.append(now_seconds - 1_000)
            other = SimpleNamespace(partitions=[0], error=None)
            return SimpleNamespace(topics={"telemetry.other.v1": other})

    monkeypatch.setattr(sender, "Producer", lambda _settings: Client())
    monkeypatch.setattr(sender, "time", SimpleNamespace(monotonic=lambda: now_seconds))
    found = sender.KafkaSender({}, Options(), made().emitter)
    for _ in range(1_000):
        assert found.is_ready()
        assert found.partitions("telemetry.alpha.v1") == ("telemetry.other.v1", 1)
        now_seconds += 1
    assert asked_at == [0, 3, 8, 17, 34, 67, 132, 261, 518, 819]


def test_an_unsampled_span_is_counted_in_the_process_that_began_it() -> None:
    """Both end it; fidelity adds up what both say."""
    t = made(sample_ratio=0.0)
    span = t.span("alpha.work")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        span.end()
        counts = t.counts()
        os.write(writing, f"{counts.unsampled} {counts.unsampled_traces}".encode())
        os._exit(0)
    span.end()
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(reading, 100) == b"0 0"
    assert (t.counts().unsampled, t.counts().unsampled_traces) == (1, 1)
    os.close(reading)
    os.close(writing)
