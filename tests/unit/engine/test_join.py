"""The join by hand: small timelines in seconds, each with what a reader of the traces sees."""

from dataclasses import replace

import pytest

from streams.core.columns import Operation
from streams.core.traces.opentraces import TraceBounds
from streams.engine.effects import (
    CLOSED_BY_BOUND,
    CLOSED_BY_CLOCK,
    CLOSED_BY_CONTRACT,
    CLOSED_BY_WATERMARK,
)
from streams.engine.join_state import JoinSettings
from streams.units import HOUR_US, SECOND_US
from tests.join_cases import BEGIN_US, TOPICS, Event, World, at, three_stages, trace_key


def world(**changes: object) -> World:
    """Return a world of three stages, with the settings that ship."""
    return World(three_stages(), JoinSettings(**changes))  # type: ignore[arg-type]


def clock(seconds: float) -> int:
    """Return a wall clock time, in seconds after the start."""
    return BEGIN_US + round(seconds * SECOND_US)


def passing(seconds: float) -> list[Event]:
    """Return one event of each module that moves stream time and belongs to no trace."""
    return [
        replace(at(name, 0, seconds), is_span=False, operation=Operation(module, "gauge", "rate"))
        for name, module in zip("abcc", ("ALPHA", "BETA", "GAMMA", "DELTA"), strict=True)
    ]


def seen(of: World, trace: int = 1) -> list[tuple[str, int, frozenset[int]]]:
    """Return status, closed_by and events of each revision of a trace."""
    revisions = of.published.get(trace_key(trace), [])
    return [(r.status, r.closed_by, r.numbers) for r in revisions]


def test_a_whole_trace_closes_when_it_has_settled() -> None:
    """All stages by second 2; stream time passes 2.2 s: complete, closed by the contract."""
    w = world()
    w.feed([at("a", 1, 0), at("b", 1, 1), at("c", 1, 2)])
    w.feed(passing(2.2))
    assert seen(w) == []
    w.feed(passing(2.3))
    assert seen(w) == [("COMPLETE", CLOSED_BY_CONTRACT, frozenset({1, 2, 3}))]


def test_an_incomplete_trace_waits_its_wait_and_says_what_it_lacks() -> None:
    """Opened at 0 with a wait of 30 s: open at 30 s, incomplete at 31 s, c lost after b."""
    w = world()
    w.feed([at("a", 1, 0), at("b", 1, 1)])
    w.feed(passing(30))
    assert seen(w) == []
    w.feed(passing(31))
    assert seen(w) == [("INCOMPLETE", CLOSED_BY_WATERMARK, frozenset({1, 2}))]
    lost = Operation("GAMMA", "main", "c")
    assert w.final()[1].missing == ((0, lost, "b", "c", "NEVER_ARRIVED"),)


def test_a_late_span_gives_the_next_revision() -> None:
    """Stage c comes after the wait: revision 2 is complete and holds all three events."""
    w = world()
    w.feed([at("a", 1, 0), at("b", 1, 1), *passing(31)])
    w.feed([at("c", 1, 2, came=40)])
    assert len(seen(w)) == 1, "its events must be read back first"
    w.cut()
    assert w.recall() == 1
    w.feed()
    assert [status for status, _, _ in seen(w)] == ["INCOMPLETE", "COMPLETE"]
    assert w.task.state.accounting()["joined"] == 3


def test_a_late_repeat_gives_no_revision() -> None:
    """Stage b comes once more after the trace closed: a duplicate, and nothing is published."""
    w = world()
    w.feed([at("a", 1, 0), at("b", 1, 1), *passing(31)])
    w.feed([at("b", 1, 1, came=40)])
    assert w.task.state.reasons["after_closing"] == 1
    assert len(seen(w)) == 1
    assert w.task.state.pending_recalls() == []


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_rows_close_traces_not_chunks(size: int) -> None:
    """The same log in chunks of any size closes the trace before the same row."""
    w = world()
    log = [at("a", 1, 0), at("b", 1, 1), *passing(20), *passing(31), at("c", 1, 2, came=32)]
    for begin in range(0, len(log), size):
        w.feed(log[begin : begin + size])
    assert seen(w)[0] == ("INCOMPLETE", CLOSED_BY_WATERMARK, frozenset({1, 2}))
    w.cut()
    w.recall()
    w.feed()
    assert seen(w)[1][2] == frozenset({1, 2, 3})


def test_silence_is_an_answer() -> None:
    """Nothing comes any more; the topics are read to their end; 31 s later the trace closes."""
    w = world()
    w.feed([at("a", 1, 0)])
    w.tick(clock(30))
    assert seen(w) == []
    w.tick(clock(31))
    assert seen(w) == [("INCOMPLETE", CLOSED_BY_CLOCK, frozenset({1}))]


def test_a_topic_that_is_behind_holds_the_answer_back() -> None:
    """ALPHA and GAMMA are an hour ahead of BETA: the trace that lacks b waits for BETA."""
    w = world()
    w.feed([at("a", 1, 0), at("c", 1, 2)])
    ahead = [e for e in passing(3600) if e.operation.module != "BETA"]
    hour = clock(3600)
    w.feed(ahead, [hour, 0, hour, hour, hour])
    assert seen(w) == []
    w.feed([at("b", 1, 1, came=3601)], [hour, 0, hour, hour, hour])
    w.tick(clock(3602))
    assert [status for status, _, _ in seen(w)] == ["COMPLETE"]


def test_topics_far_ahead_of_one_behind_are_held() -> None:
    """BETA is behind at second 1; topics more than twice the wait (60 s) ahead are not fetched."""
    w = world()
    w.feed([at("a", 1, 0), at("b", 1, 1)])
    assert w.feed([e for e in passing(61) if e.topic != 1]).held_topics == []
    assert w.feed([e for e in passing(70) if e.topic in (0, 2)]).held_topics == [0, 2]
    assert w.feed([e for e in passing(70) if e.topic == 1]).held_topics == []


def test_a_clock_from_the_future_moves_nobody() -> None:
    """One event of the year 2100 neither closes the others' traces nor stays open for ever."""
    w = world()
    ahead_us = 75 * 365 * 24 * HOUR_US
    wrong = replace(at("a", 2, 1), at_us=BEGIN_US + ahead_us)
    w.feed([at("a", 1, 0), wrong, at("b", 1, 1), at("c", 1, 2)])
    w.feed(passing(2))
    assert seen(w, 1) == seen(w, 2) == []
    w.feed(passing(3))
    assert [status for status, _, _ in seen(w, 1)] == ["COMPLETE"]
    w.feed(passing(400))
    assert [status for status, _, _ in seen(w, 2)] == ["INCOMPLETE"]


def test_a_span_thirty_days_old_is_counted_late() -> None:
    """Its trace is unknown and older than anything that could still be amended."""
    w = world()
    w.feed(passing(30 * 86_400))
    w.feed([at("a", 1, 0, came=30 * 86_400)])
    assert w.task.state.accounting()["late"] == 1
    assert seen(w) == []


@pytest.mark.parametrize("size", [1, 1000])
def test_the_retention_ends_at_a_row_too(size: int) -> None:
    """Closed traces are amended for 10 minutes of stream time, however the stream is cut."""
    w = world()
    log = [at("a", 1, 0), at("a", 2, 0), *passing(31)]
    log += [*passing(500), at("b", 1, 1, came=500), *passing(700), at("b", 2, 1, came=700)]
    for begin in range(0, len(log), size):
        w.feed(log[begin : begin + size])
    w.cut()
    w.recall()
    w.feed()
    assert [numbers for _, _, numbers in seen(w, 1)] == [frozenset({1}), frozenset({1, 2})]
    assert [numbers for _, _, numbers in seen(w, 2)] == [frozenset({1})]
    assert w.task.state.reasons["after_closed_retention"] == 1


def test_a_trace_is_cut_at_its_bounds_and_says_so() -> None:
    """Of four events two fit: TRUNCATED, two evicted; what comes later is evicted as well."""
    w = world(bounds=TraceBounds(rows_max=2))
    extra = [replace(at("c", 1, 2), number=n) for n in (7, 8)]
    w.feed([at("a", 1, 0), at("b", 1, 1), *extra, *passing(31)])
    assert (w.final()[1].status, w.final()[1].evicted) == ("TRUNCATED", 2)
    w.feed([at("c", 1, 2, came=40)])
    assert w.task.state.accounting()["evicted"] == 3


def test_the_oldest_trace_closes_early_when_there_are_too_many() -> None:
    """Two may be open: the third closes the one that began first, which is amended later."""
    w = world(open_traces_max=2)
    w.feed([at("a", 2, 1), at("a", 1, 0), at("a", 3, 2)])
    assert seen(w, 1) == [("INCOMPLETE", CLOSED_BY_BOUND, frozenset({1}))]
    assert w.task.state.reasons["open_traces_max"] == 1
    w.feed([at("b", 1, 1)])
    w.cut()
    w.recall()
    w.feed(passing(31))
    assert seen(w, 1)[-1][2] == frozenset({1, 2})


def test_a_trace_forgotten_early_is_never_begun_again() -> None:
    """Two closed traces may be remembered: a span of an older one is late, not a second trace."""
    w = world(closed_max=2)
    for trace in range(1, 6):
        w.feed([at("a", trace, 100 * trace)])
        w.tick(clock(100 * trace + 40))
    assert len(w.task.state.closed) == 2
    w.feed([at("b", 1, 101, came=550)])
    w.finish(clock(1000))
    assert len(seen(w, 1)) == 1
    assert w.task.state.reasons["closed_max"] == 1


def test_events_without_a_trace_are_counted_and_join_nothing() -> None:
    """Gauges without a trace id are untraced; rejected records are accepted all the same."""
    w = world()
    w.feed(passing(1), rejected=3)
    accounts = w.task.state.accounting()
    assert (accounts["accepted"], accounts["untraced"], accounts["rejected"]) == (7, 4, 3)
    assert len(TOPICS) == 5


def test_windows_count_a_repeat_the_same_before_and_after_closing() -> None:
    """The copy of a span counts in its window whether its trace was still open when it came."""
    early, late = world(), world()
    whole = [at("a", 1, 0), at("b", 1, 1), at("c", 1, 2)]
    early.feed([*whole, at("b", 1, 1)])
    early.feed(passing(2.3))
    late.feed(whole)
    late.feed(passing(2.3))
    late.feed([at("b", 1, 1)])
    assert early.task.state.reasons["while_open"] == 1
    assert late.task.state.reasons["after_closing"] == 1
    found, wanted = late.windows(), early.windows()
    assert found == wanted
    modules = {name[-1]: counters for name, counters in found.items() if name[1] == "module"}
    assert modules["BETA"]["duplicate"] == 1


def test_what_is_told_of_a_trace_that_is_not_sampled_is_no_broken_trace() -> None:
    """An audit entry alone, and one beside a failed span: both sampled out, in later revisions too.

    The same without the sampled bit missing is what it was: a trace whose spans are lost.
    """
    w = world()
    unsampled = {"is_sampled": False}
    w.feed([at("a", 1, 0, is_span=False, **unsampled)])
    w.feed([at("a", 2, 0, is_span=False, **unsampled), at("c", 2, 1, is_error=True, **unsampled)])
    w.feed([at("a", 3, 0, is_span=False)])
    w.feed(passing(40))
    assert [seen(w, trace)[-1][0] for trace in (1, 2, 3)] == ["INCOMPLETE", "INCOMPLETE", "BROKEN"]
    totals = [c for name, c in w.windows().items() if name[1] == "total"]
    assert sum(c.get("sampled_out", 0) for c in totals) == 2
    assert sum(c.get("broken", 0) for c in totals) == 1
    w.feed([at("b", 1, 1, is_span=False, came=41, **unsampled)])
    w.finish(clock(1000))
    assert [status for status, *_ in seen(w, 1)] == ["INCOMPLETE", "INCOMPLETE"]
    totals = [c for name, c in w.windows().items() if name[1] == "total"]
    assert sum(c.get("sampled_out", 0) for c in totals) == 2
    assert sum(c.get("broken", 0) for c in totals) == 1
