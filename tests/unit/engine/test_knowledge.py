"""What the topics tell of a trace that lacks something, and how it is taken back later."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from streams.core.traces.partitioners import PARTITIONERS, PartitionerWatch
from streams.units import SECOND_US
from tests.join_cases import (
    BEGIN_US,
    LINKS,
    OTHER,
    TOPICS,
    Event,
    World,
    at,
    columns_of,
    settings_of,
    three_stages,
    trace_key,
)

N, MINE = 4, 1


class Desk(World):
    """A world whose partition is one of four, and whose records have keys."""

    def _begin(self) -> None:
        super()._begin()
        self.task.state.partitioners = PartitionerWatch(TOPICS, MINE, N, ignored=(LINKS,))

    def take(self, events: Sequence[Event], **more: Any) -> None:
        """Take one step, with anything that `World.feed` does not pass on."""
        self.fed += len(events) + sum(more.get("rejected", {}).values())
        self.rejected += sum(more.get("rejected", {}).values())
        given = {"rejected": {}, "caught_up_us": [0] * len(TOPICS), **more}
        columns = columns_of(events, self.operations)
        effects = self.task.step(columns, {"input": self.fed}, **given)
        for batch in effects.traces:
            self._publish(batch)

    def causes(self, trace: int) -> list[str]:
        """Return module and cause of what the last revision of a trace lacks."""
        missing = self.published[trace_key(trace)][-1].missing
        return [f"{operation.module} {cause}" for _, operation, _, _, cause in missing if operation]

    def counters(self, kind: str, **names: str) -> dict[str, int]:
        """Return the counters of one scope over all windows, those that are 0 left out."""
        total: dict[str, int] = {}
        for part in self.task.state.counts.take_changed(1 << 60):
            for scope in part["scopes"]:
                if scope["kind"] == kind and all(scope[k] == v for k, v in names.items()):
                    for name, n in scope["counters"].items():
                        total[name] = total.get(name, 0) + n
        return {name: n for name, n in total.items() if n}


@pytest.fixture
def desk() -> Desk:
    return Desk(three_stages(), settings_of(window_us=10 * SECOND_US))


def later(seconds: float) -> int:
    return BEGIN_US + round(seconds * SECOND_US)


def test_a_module_that_sent_nothing_since_the_trace_began_is_silent(desk: Desk) -> None:
    """Beta's last event is older than trace 2; gamma spoke after it, so only beta is silent."""
    desk.feed([at("a", 1, 0), at("b", 1, 1), at("c", 1, 2)])
    desk.feed([at("a", 2, 3), at("c", 9, 4)])
    desk.tick(later(100))
    assert desk.causes(2) == ["BETA MODULE_SILENT", "GAMMA NEVER_ARRIVED"]


class SharedDesk(Desk):
    """A desk with a topic that carries events of any module."""

    shared = (OTHER,)


def test_a_module_that_may_speak_by_a_shared_topic_is_not_called_silent() -> None:
    """Its own topic is silent, and says nothing."""
    desk = SharedDesk(three_stages(), settings_of(window_us=10 * SECOND_US))
    desk.feed([at("a", 1, 0), at("b", 1, 1), at("c", 1, 2)])
    desk.feed([at("a", 2, 3), at("c", 9, 4)])
    desk.tick(later(100))
    assert desk.causes(2) == ["BETA NEVER_ARRIVED", "GAMMA NEVER_ARRIVED"]


def test_an_event_of_the_module_ends_its_silence_also_without_a_trace(desk: Desk) -> None:
    """Any event newer than the trace's start shows that the module was alive."""
    gauge = Event(0, 7, at("b", 1, 0).operation, later(5), kafka_us=later(5), is_span=False)
    desk.feed([at("a", 2, 3), gauge])
    desk.tick(later(100))
    assert desk.causes(2) == ["BETA NEVER_ARRIVED", "GAMMA MODULE_SILENT"]


def test_silence_counts_as_loss_and_is_taken_back_when_the_span_comes(desk: Desk) -> None:
    """Revision 2 takes back what revision 1 counted, though beta is not silent any more."""
    desk.feed([at("a", 2, 3), at("c", 2, 5, parent=0)])
    desk.tick(later(100))
    desk.cut()
    first = desk.counters("edge", from_stage="a", to_stage="b")
    assert first == {"expected": 1, "missing.MODULE_SILENT": 1}
    desk.feed([at("b", 2, 4, came=101), at("b", 8, 101)])
    desk.cut()
    desk.recall()
    desk.tick(later(200))
    second = desk.counters("edge", from_stage="a", to_stage="b")
    assert second["observed"] == 1
    assert "missing.MODULE_SILENT" not in second


def test_a_trace_closed_by_a_bound_is_in_flight_and_outside_fidelity() -> None:
    """Of two open traces, where one may be, the older closes; open again, the other one does."""
    settings = settings_of(window_us=10 * SECOND_US, open_traces_max=1)
    desk = Desk(three_stages(), settings)
    desk.feed([at("a", 1, 0), at("b", 1, 1), at("a", 2, 3)])
    assert desk.causes(1) == ["GAMMA IN_FLIGHT"]
    assert desk.counters("flow") == {"in_flight": 1}
    desk.cut()
    desk.feed([at("c", 1, 4)])
    desk.recall()
    desk.tick(later(100))
    assert desk.causes(1) == []
    assert desk.counters("flow") == {"expected": 1, "observed": 1, "in_flight": 1}


def test_a_rejected_span_is_the_cause_of_what_its_trace_lacks(desk: Desk) -> None:
    """Beta's span of trace 2 is in the dead letters; trace 3 lost its own on the way."""
    desk.take(
        [at("a", 2, 3), at("a", 3, 3), at("b", 7, 9), at("c", 7, 9)],
        rejected={"invalid_span_id": 1},
        rejected_us=np.array([later(3)]),
        rejected_traces=[(trace_key(2), "BETA")],
    )
    desk.cut()
    desk.restart()
    desk.tick(later(100))
    assert desk.causes(2) == ["BETA REJECTED", "GAMMA NEVER_ARRIVED"]
    assert desk.causes(3) == ["BETA NEVER_ARRIVED", "GAMMA NEVER_ARRIVED"]


def test_rejected_traces_beyond_the_bound_are_counted() -> None:
    """One trace is remembered, the older one is not, and the reason is told."""
    desk = Desk(three_stages(), settings_of(rejected_traces_max=1))
    desk.take([], rejected_traces=[(trace_key(1), "BETA"), (trace_key(2), "BETA")])
    assert desk.task.state.reasons == {"rejected_traces_max": 1}


def test_rejected_events_count_where_they_came_however_the_stream_is_cut(desk: Desk) -> None:
    """Three records of two windows count in these, in one chunk or in three."""
    other = Desk(three_stages(), settings_of(window_us=10 * SECOND_US))
    came = [later(1), later(2), later(14)]
    desk.take([at("a", 1, 90)], rejected={"bad": 3}, rejected_us=np.array(came))
    other.take([at("a", 1, 90)])
    for at_us in came:
        other.take([], rejected={"bad": 1}, rejected_us=np.array([at_us]))
    assert desk.windows() == other.windows()
    counted = {name[0]: n["rejected"] for name, n in desk_windows(other).items() if "rejected" in n}
    start_us = later(0) // (10 * SECOND_US) * 10 * SECOND_US
    assert sum(counted.values()) == 3
    assert set(counted) <= {start_us, start_us + 10 * SECOND_US, start_us + 20 * SECOND_US}


def desk_windows(desk: Desk) -> dict[tuple[Any, ...], dict[str, int]]:
    """Return all windows again; what is taken once is not taken as changed twice."""
    snapshot = desk.task.state.counts.snapshot()
    return {
        (start_us, *scope): counters
        for start_us, _, scopes in snapshot["windows"]
        for scope, counters, _ in scopes
    }


def key_of(events: Sequence[Event]) -> Callable[[int], bytes]:
    return lambda row: trace_key(events[row].trace).hex().encode()


def placed(name: str) -> list[int]:
    """Return 60 traces whose key a partitioner puts into the partition that is read."""
    place = PARTITIONERS[name]
    found = [t for t in range(1, 1_000) if place(trace_key(t).hex().encode(), N) == MINE]
    return found[:60]


def test_a_topic_by_another_partitioner_is_the_cause_of_torn_traces(desk: Desk) -> None:
    """Alpha and gamma by murmur2, beta by CRC32: each half of a torn trace blames beta's topic."""
    mine, strays = placed("murmur2"), placed("crc32")
    events = [at(name, trace, 1) for trace in mine for name in "ac"]
    events += [at("b", trace, 1) for trace in strays]
    desk.take(events, key_of=key_of(events))
    desk.cut()
    desk.restart()
    desk.tick(later(100))
    torn = next(t for t in mine if t not in strays)
    stray = next(t for t in strays if t not in mine)
    assert desk.causes(torn) == ["BETA MISPARTITIONED"]
    assert desk.causes(stray) == ["ALPHA MISPARTITIONED", "GAMMA MISPARTITIONED"]
    both = set(mine) & set(strays)
    assert desk.counters("edge", from_stage="a", to_stage="b") == {
        "expected": 60,
        "missing.MISPARTITIONED": 60 - len(both),
        **({"observed": len(both), "gap_count": len(both)} if both else {}),
    }


def test_events_in_other_partitions_than_their_traces_are_counted_by_module(desk: Desk) -> None:
    """The counter names what was found and what was expected; five traces prove it."""
    events = [at(name, trace, 1) for trace in placed("murmur2") for name in "ac"]
    events += [at("b", trace, 1) for trace in placed("crc32")]
    desk.take(events, key_of=key_of(events))
    scopes = [s for p in desk.task.state.counts.take_changed(0) for s in p["scopes"]]
    (beta,) = [s for s in scopes if s["module"] == "BETA" and s["kind"] == "module"]
    name = "mispartitioned.crc32.murmur2"
    assert beta["counters"] == {"events": 60, "spans": 60, name: 60}
    smallest = sorted(trace_key(t).hex() for t in placed("crc32"))[:5]
    assert [(s["counter"], s["trace_id"]) for s in beta["samples"]] == [(name, t) for t in smallest]
    assert all(s["record_id"] == f"r{int(s['trace_id'], 16) % 2**64}" for s in beta["samples"])
    others = [s for s in scopes if s["kind"] == "module" and s["module"] != "BETA"]
    assert not any(name in s["counters"] for s in others)


def test_without_keys_nothing_is_said_about_partitions(desk: Desk) -> None:
    """A shell that hands over no keys, as when it replays, finds no topic wrong."""
    desk.take([at("a", trace, 1) for trace in placed("crc32")])
    assert desk.task.state.partitioners.misplaced() == {}
