"""Open traces keep each event with its trace, through growth, closing and compaction."""

import random
import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings

from streams.core.columns import Operations
from streams.core.traces.arena import Arena
from streams.core.traces.opentraces import RECALL_WANTED, OpenTraces, TraceBounds, waiting_times
from streams.core.traces.progress import FUTURE_US
from streams.state.shelf import Shelf
from tests.join_cases import Event, columns_of, stage_of_alpha, trace_key
from tests.judge_cases import randoms

ROW = len(stage_of_alpha(1, 10).body())


def add(open_: OpenTraces, events: list[Event], entry: int = -1) -> list[bool]:
    """Add events, opening their traces; return which were evicted."""
    keys = [trace_key(e.trace) for e in events]
    slot = [open_.slot(k) if open_.slot(k) >= 0 else open_.open(k) for k in keys]
    bits = np.array([[1 << (e.number % 8)] for e in events], np.uint64)
    flows = np.full(len(events), entry, np.int32)
    columns = columns_of(events, Operations())
    _, evicted = open_.add(columns, np.array(slot, np.int32), bits, flows, late=True)
    return [bool(e) for e in evicted]


def bodies(open_: OpenTraces, trace: int) -> list[bytes]:
    """Return the bodies of an open trace's events, as gathered."""
    rows, _ = open_.gather(np.array([open_.slot(trace_key(trace))]))
    return list(open_.bodies(rows).packed())


def span(trace: int, number: int, at_us: int = 10) -> Event:
    return Event(**{**stage_of_alpha(trace, at_us).__dict__, "number": number})


@settings(max_examples=60)
@given(randoms)
def test_open_traces_are_a_dictionary_of_lists(rng: random.Random) -> None:
    """Whatever is added and closed, in blocks: each trace has its events in order of arrival."""
    shelf = Shelf(Path(tempfile.gettempdir())) if rng.random() < 0.5 else None
    open_ = OpenTraces(
        1,
        TraceBounds(),
        Arena(shelf, rng.choice((0, 1_000)), raw_bytes_max=rng.choice((0, 300, 1 << 20))),
    )
    model: dict[int, list[Event]] = {}
    with (
        patch("streams.state.shelf.SHELVED_BYTES_MIN", 1),
        patch("streams.core.traces.opentraces.COMPACT_MIN_ROWS", rng.choice((0, 3, 1 << 20))),
        patch("streams.core.traces.arena.SPARSE_MIN_BYTES", rng.choice((0, 1 << 20))),
        patch("streams.core.traces.arena.RAW_BUFFERS_MAX", rng.choice((2, 64))),
    ):
        for _ in range(rng.randint(1, 12)):
            block = [span(rng.randint(1, 6), rng.randint(1, 99)) for _ in range(rng.randrange(9))]
            add(open_, block)
            for event in block:
                model.setdefault(event.trace, []).append(event)
            gone = [t for t in model if rng.random() < 0.25]
            if gone:
                slots = np.array([open_.slot(trace_key(t)) for t in gone])
                rows, owner = open_.gather(slots)
                assert owner.tolist() == [i for i, t in enumerate(gone) for _ in model[t]]
                open_.close(slots, rows)
            for trace in gone:
                del model[trace]
            open_.rest()
            for trace, events in model.items():
                assert bodies(open_, trace) == [e.body() for e in events]
            assert len(open_) == len(model)
            assert open_.live_rows == sum(map(len, model.values()))
            assert open_.live_bytes == sum(len(e.body()) for v in model.values() for e in v)


def test_a_slot_used_again_knows_nothing_of_the_last_trace() -> None:
    """Masks, times, counts and the flow of the trace that was closed are gone."""
    open_ = OpenTraces(1, TraceBounds(rows_max=2))
    add(open_, [span(1, n, 500) for n in (1, 2, 3)], entry=4)
    slots = np.array([open_.slot(trace_key(1))])
    open_.close(slots, open_.gather(slots)[0])
    add(open_, [span(2, 5, 700)])
    slot = open_.slot(trace_key(2))
    assert slot == slots[0]
    found = {
        n: open_.slots[n][slot].tolist() for n in ("rows", "evicted", "entry_flow", "first_us")
    }
    assert found == {"rows": 1, "evicted": 0, "entry_flow": -1, "first_us": 700}
    assert open_.slots["mask"][slot].tolist() == [1 << 5]


def test_what_was_known_is_that_of_the_trace_and_goes_with_it() -> None:
    """Of a trace that was judged before; nothing of the others, nor of the slot's next trace."""
    open_ = OpenTraces(1, TraceBounds())
    known = np.array([1, 0, 0, 4, 0], np.uint64)
    old = open_.open(trace_key(1), revision=1, cut_ms=5, known=known)
    new = open_.open(trace_key(2))
    assert open_.known(np.array([new, old])).tolist() == [[0] * 5, known.tolist()]
    open_.know(new, known)
    open_.know(new, np.zeros(5, np.uint64))
    assert not open_.known(np.array([new])).any()
    open_.close(np.array([old]), np.zeros(0, np.int64))
    assert open_.open(trace_key(3)) == old
    assert not open_.known(np.array([old])).any()


def test_rows_beyond_a_bound_are_evicted_in_order_of_arrival() -> None:
    """Three rows fit; of a block of two the first is kept, and the other trace is not touched."""
    open_ = OpenTraces(1, TraceBounds(rows_max=3))
    assert add(open_, [span(1, 1), span(1, 2)]) == [False, False]
    assert add(open_, [span(1, 3), span(2, 1), span(1, 4)]) == [False, False, True]
    assert open_.slots["evicted"][open_.slot(trace_key(1))] == 1


def test_what_is_packed_is_counted_by_its_bound() -> None:
    """Two chunks are beyond the bytes of one: the older one is packed, and nothing is lost."""
    open_ = OpenTraces(1, TraceBounds(), Arena(raw_bytes_max=ROW))
    for n in (1, 2, 3):
        add(open_, [span(1, n)])
    assert open_.bounds_met == {"open_raw_bytes_max": 2, "open_raw_buffers": 0}
    assert bodies(open_, 1) == [span(1, n).body() for n in (1, 2, 3)]
    with patch("streams.core.traces.arena.RAW_BUFFERS_MAX", 2):
        roomy = OpenTraces(1, TraceBounds())
        for n in (1, 2, 3):
            add(roomy, [span(1, n)])
    assert roomy.bounds_met == {"open_raw_bytes_max": 0, "open_raw_buffers": 1}


def test_bytes_are_bounded_too_and_the_first_event_always_fits() -> None:
    """Bound of two and a half events: two fit; with a bound of one byte one does."""
    open_ = OpenTraces(1, TraceBounds(bytes_max=2 * ROW + ROW // 2))
    assert add(open_, [span(1, n) for n in (1, 2, 3)]) == [False, False, True]
    tiny = OpenTraces(1, TraceBounds(bytes_max=1))
    assert add(tiny, [span(1, 1), span(1, 2)]) == [False, True]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_earliest_root_names_the_flow_whenever_it_comes(order: tuple[int, ...]) -> None:
    """Roots at 30, 20, 10 that enter flows 0, 1, 2: flow 2, in one block or in three."""
    roots = [(span(1, 7, 30), 0), (span(1, 8, 20), 1), (span(1, 9, 10), 2)]
    open_ = OpenTraces(1, TraceBounds())
    for i in order:
        add(open_, [roots[i][0]], entry=roots[i][1])
    assert open_.slots["entry_flow"][open_.slot(trace_key(1))] == 2


def test_a_reopened_trace_waits_for_its_events_and_its_new_ones_are_late() -> None:
    """What comes after a revision is late; a trace's first events are not."""
    open_ = OpenTraces(1, TraceBounds())
    slot = open_.open(trace_key(1), revision=3, cut_ms=77)
    add(open_, [span(1, 1), span(2, 1)])
    assert open_.slots["recall"][slot] == RECALL_WANTED
    assert open_.rows["is_late"][: open_.rows.used].tolist() == [True, False]


def test_a_wrong_clock_counts_as_its_record_and_a_bit_more() -> None:
    """An event time beyond the record's by more than five minutes is held to those five minutes."""
    events = columns_of([span(1, 1, 10), span(1, 2, 10)], Operations())
    events.timestamp_us[1] = 1 << 60
    assert waiting_times(events, np.array([0, 1])).tolist() == [10, 10 + FUTURE_US]
