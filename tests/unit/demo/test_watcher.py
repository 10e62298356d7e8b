"""The watcher: of everything that comes in revisions, the highest is kept, whatever the order."""

import random
from typing import Any

import pytest

from streams.core.traces.links import CONTEXT_RESTARTED
from streams.demo.watcher import Watcher
from streams.runtime import topics

WINDOW_US = 1_000_000


@pytest.fixture
def watcher() -> Watcher:
    """Return a watcher that nothing has been read by."""
    return Watcher("127.0.0.1:1", WINDOW_US)


def trace(trace_id: str, revision: int, status: str, *spans: str) -> tuple[str, dict[str, Any]]:
    """Return a record of the traces topic; `spans` are names."""
    named = [{"name": name} for name in spans]
    record = {"trace_id": trace_id, "revision": revision, "status": status, "spans": named}
    return topics.TRACES, record


def edge(start: int, revision: int, counts: tuple[int, int], **changes: Any) -> tuple[str, Any]:
    """Return a record of the statistics topic: an edge's (expected, observed)."""
    row = {
        "window_us": WINDOW_US, "window_start": start * WINDOW_US, "kind": "edge", "flow": "f",
        "from_stage": "a", "to_stage": "b", "module": "B", "revision": revision,
        "expected": counts[0], "observed": counts[1],
    }  # fmt: skip
    return topics.STATS, {**row, **changes}


def incident(incident_id: str, version: int, opened_at: int) -> tuple[str, dict[str, Any]]:
    """Return a record of the incidents topic."""
    record = {"incident_id": incident_id, "version": version, "opened_at": opened_at}
    return topics.INCIDENTS, record


def shown(watcher: Watcher, records: list[tuple[str, Any]]) -> Watcher:
    """Let a watcher read records."""
    for topic, record in records:
        watcher._take(topic, record)
    return watcher


@pytest.mark.parametrize("seed", range(4))
def test_the_highest_revision_is_kept(watcher: Watcher, seed: int) -> None:
    """Traces, windows and incidents are as their last revision says, read in any order, twice."""
    records = [
        trace("t1", 1, "INCOMPLETE"),
        trace("t1", 2, "BROKEN", CONTEXT_RESTARTED),
        trace("t1", 10, "COMPLETE"),
        trace("t2", 1, "COMPLETE"),
        trace("t2", 2, "COMPLETE", "a", CONTEXT_RESTARTED),
        edge(0, 1, (10, 5)),
        edge(0, 2, (10, 9)),
        edge(0, 10, (10, 10)),
        edge(1, 1, (4, 3)),
        incident("i2", 1, 7),
        incident("i2", 2, 7),
        incident("i1", 1, 9),
    ] * 2
    random.Random(seed).shuffle(records)
    shown(watcher, records)
    assert watcher.statuses() == {"COMPLETE": 2}
    assert watcher.linked() == 1, "a link that was taken back is none"
    assert watcher.edges() == {("f", "a", "b"): (14, 13)}
    assert [(i["incident_id"], i["version"]) for i in watcher.incidents()] == [("i2", 2), ("i1", 1)]


def test_scopes_are_told_apart(watcher: Watcher) -> None:
    """An edge is its flow and both its ends; other kinds and other windows are not added to it."""
    shown(
        watcher,
        [
            edge(0, 1, (1, 1)),
            edge(0, 1, (2, 2), to_stage="c"),
            edge(0, 1, (4, 4), flow="g"),
            edge(0, 1, (8, 8), kind="stage"),
            edge(0, 1, (16, 16), window_us=60 * WINDOW_US),
        ],
    )
    assert watcher.edges() == {
        ("f", "a", "b"): (1, 1),
        ("f", "a", "c"): (2, 2),
        ("g", "a", "b"): (4, 4),
    }
    assert len(watcher.rows("stage")) == 1


def test_earlier_windows_can_be_left_out(watcher: Watcher) -> None:
    """From a time on, only windows that start there or later count."""
    shown(watcher, [edge(0, 1, (1, 0)), edge(1, 1, (2, 2)), edge(2, 1, (4, 4))])
    assert watcher.edges(since_us=WINDOW_US) == {("f", "a", "b"): (6, 6)}


def test_alerts_are_counted_and_news_are_incidents_in_their_order(watcher: Watcher) -> None:
    """Every alert state counts; an incident's version that is not new is no news."""
    shown(watcher, [(topics.ALERTS, {}), (topics.ALERTS, {}), incident("i", 1, 1)])
    shown(watcher, [incident("i", 3, 1), incident("i", 2, 1), incident("i", 3, 1)])
    assert watcher.alerts == 2
    assert [record["version"] for record in watcher.news] == [1, 3]
