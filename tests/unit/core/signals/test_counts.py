"""Signals of one partition per window: what counts where, bounds, and state."""

import json
from typing import Any

import numpy as np
from hypothesis import strategies as st

from streams.core.signals import counts as module
from streams.core.signals.cell import Cell
from streams.core.signals.counts import SignalBounds, SignalCounts, read_row, with_earlier
from streams.core.signals.series import Series, SeriesBook
from tests.signal_cases import METRIC, SECOND, T0, columns, log, metric
from tests.tiers import tried

WINDOW = 10 * SECOND


def told(counts: SignalCounts) -> dict[tuple[int, Series], Cell]:
    """Return what is told, by window and series."""
    return {
        (partial["window_start"], series): cell
        for partial in counts.take_changed(0)
        for series, cell in map(read_row, partial["series"])
    }


def counted(*events: dict[str, Any], bounds: SignalBounds | None = None) -> SignalCounts:
    counts, book = SignalCounts(WINDOW, bounds), SeriesBook()
    counts.add_events(columns(events, book), book)
    return counts


def test_a_window_holds_count_sum_extremes_and_the_last_value() -> None:
    """Five points by hand: the last by event time, though it came first."""
    late = metric(9.0, T0 + 9 * SECOND)
    found = told(
        counted(late, metric(4.0, T0), metric(-1.0, T0 + 1), metric(2.0, T0 + 10 * SECOND))
    )
    series = Series("METRIC", "ALPHA", "parser", METRIC, "1")
    assert found == {
        (T0, series): Cell(3, 12.0, -1.0, 9.0, 9.0, T0 + 9 * SECOND),
        (T0 + WINDOW, series): Cell(1, 2.0, 2.0, 2.0, 2.0, T0 + 10 * SECOND),
    }


def test_dimensions_tell_series_apart_but_only_the_chosen_ones() -> None:
    """The queue is chosen, the job's id is not: it would make a series of every job."""
    found = told(
        counted(
            metric(1.0, dimensions={"queue": "a", "job_id": "1"}),
            metric(2.0, dimensions={"job_id": "2", "queue": "a"}),
            metric(4.0, dimensions={"queue": "b", "job_id": "1"}),
        )
    )
    by_queue = {series.dimensions: cell.points for (_, series), cell in found.items()}
    assert by_queue == {(("queue", "a"),): 2, (("queue", "b"),): 1}


def test_log_lines_count_by_template_and_severity() -> None:
    """Lines that differ in a number are one; an error is another than a warning."""
    found = told(counted(log("took 3 s"), log("took 14 s"), log("took 3 s", severity="WARN")))
    lines = {(series.name, series.severity): cell.points for (_, series), cell in found.items()}
    assert lines == {("took <*> s", "ERROR"): 2, ("took <*> s", "WARN"): 1}


def test_a_line_without_a_message_is_its_name() -> None:
    """The event's name stands for the text where there is no message."""
    ((_, series),) = told(counted(log("", name="pool exhausted", dimensions={})))
    assert (series.kind, series.name) == ("LOG", "pool exhausted")


def test_a_line_with_a_value_keeps_it() -> None:
    """A breaker's event says how many records a second it touches."""
    lines = [log("opened", value=40.0), log("opened", value=2.0, at_us=T0 + 1), log("opened")]
    (cell,) = told(counted(*lines)).values()
    assert (cell.points, cell.total, cell.high) == (3, 42.0, 40.0)


def test_points_without_a_number_are_counted_and_left_out() -> None:
    """NaN and infinity would poison every sum they touch."""
    counts = counted(metric(float("nan")), metric(float("inf")), metric(1.0))
    assert [cell.points for cell in told(counts).values()] == [1]
    assert counts.discarded == {"signal_without_value": 2}


def test_every_bound_has_a_reason() -> None:
    """More series, more windows, or too late: left out, and counted by reason."""
    bounds = SignalBounds(series_max=1, windows_max=1, retention_us=0)
    counts = counted(metric(1.0), metric(2.0, name="b"), metric(3.0, T0 + WINDOW), bounds=bounds)
    counts.expire(T0 + WINDOW)
    book = SeriesBook()
    counts.add_events(columns([metric(1.0, T0), metric(1.0, T0 + WINDOW)], book), book)
    assert dict(counts.discarded) == {
        "signal_series_limit": 1, "signal_window_limit": 1, "signal_window_expired": 1,
    }  # fmt: skip


def test_series_beyond_the_book_are_counted() -> None:
    """A book that is full gives no code; its points are counted as left out."""
    counts, book = SignalCounts(WINDOW), SeriesBook(limit=1)
    counts.add_events(columns([metric(1.0), metric(1.0, name="b")], book), book)
    assert len(book) == 1
    assert counts.discarded == {"signal_series_max": 1}


def test_only_what_changed_is_told_and_always_whole() -> None:
    """A second point of a series tells the series' whole window again, and no other series."""
    counts, book = SignalCounts(WINDOW), SeriesBook()
    counts.add_events(columns([metric(1.0), metric(5.0, name="b")], book), book)
    assert len(told(counts)) == 2
    assert not counts.has_changed()
    counts.add_events(columns([metric(2.0, T0 + 1)], book), book)
    ((_, series),) = (found := told(counts))
    assert (series.name, found[T0, series].points, found[T0, series].total) == (METRIC, 2, 3.0)


def test_large_windows_are_told_in_several_records(monkeypatch: Any) -> None:
    """No record grows beyond what a broker takes."""
    monkeypatch.setattr(module, "SERIES_PER_PARTIAL", 2)
    counts = counted(*(metric(1.0, name=f"m{n}") for n in range(5)))
    assert [len(partial["series"]) for partial in counts.take_changed(7)] == [2, 2, 1]


def test_rejected_events_are_series_of_their_reason() -> None:
    """By module, topic and reason, in the window in which they came."""
    counts = SignalCounts(WINDOW)
    origin = ("ALPHA", "telemetry.alpha.v1", "invalid_avro")
    counts.add_rejected([origin, origin], np.array([T0, T0 + 5]))
    assert told(counts) == {
        (T0, Series("REJECTED", *origin)): Cell(2, 0.0, 0.0, 0.0, 0.0, T0 + 5),
    }


POINTS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(-50, 50), st.integers(0, 39)),
    max_size=25,
)


def made(points: list[tuple[str, int, int]]) -> list[dict[str, Any]]:
    return [metric(float(v), T0 + at * SECOND, name=name) for name, v, at in points]


@tried(POINTS, st.data(), few=25, many=100)
def test_cuts_of_the_stream_change_nothing(
    points: list[tuple[str, int, int]], data: st.DataObject
) -> None:
    """In chunks, in another order and over restarts from partial snapshots: the same cells."""
    events = made(points)
    whole, book = SignalCounts(WINDOW), SeriesBook()
    if events:
        whole.add_events(columns(events, book), book)
    shuffled = data.draw(st.permutations(events))
    parts, folded = SignalCounts(WINDOW), SignalCounts(WINDOW).snapshot(full=True)
    while shuffled:
        size = data.draw(st.integers(1, len(shuffled)))
        parts.add_events(columns(shuffled[:size], book), book)
        shuffled = shuffled[size:]
        cut = json.loads(json.dumps(parts.snapshot(full=False)))
        folded = with_earlier(cut, folded)
        if data.draw(st.booleans()):
            parts = SignalCounts(WINDOW)
            parts.restore(folded)
    assert told(parts) == told(whole)


def test_a_restored_snapshot_tells_what_was_not_told_yet_and_no_more() -> None:
    """What was told before the crash is not told again without a change."""
    counts = counted(metric(1.0))
    fresh = SignalCounts(WINDOW)
    fresh.restore(json.loads(json.dumps(counts.snapshot(full=True))))
    assert len(told(fresh)) == 1
    counts.take_changed(0)
    again = SignalCounts(WINDOW)
    again.restore(json.loads(json.dumps(counts.snapshot(full=True))))
    assert told(again) == {}


def test_windows_of_another_width_are_not_taken_over() -> None:
    """After a change of the setting the windows begin anew."""
    counts = counted(metric(1.0))
    other = SignalCounts(5 * SECOND)
    other.restore(counts.snapshot(full=True))
    assert len(other) == 0
    assert with_earlier(other.snapshot(full=True), counts.snapshot(full=True))["windows"] == []
