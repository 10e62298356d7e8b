"""The closed set: a trace is in it once, by the batch that closed it last, until it expires."""

import numpy as np

from streams.core.traces.closedtraces import ClosedBatch, ClosedTraces, fold_key
from streams.core.traces.progress import NEVER


def key(name: str) -> bytes:
    """Return the trace id of a name."""
    return bytes(15) + name.encode()


def batch(closed_us: int, **events: list[int]) -> ClosedBatch:
    """Return a batch of traces by name, with the identities of their events."""
    k = len(events)
    return ClosedBatch(
        closed_us=np.full(k, closed_us),
        cut_ms=0,
        cut=0,
        trace_id=np.array([[0, ord(name)] for name in events], np.uint64),
        revision=np.ones(k, np.int64),
        is_truncated=np.zeros(k, np.bool_),
        known=np.zeros((k, 5), np.uint64),
        offset=np.cumsum([0, *map(len, events.values())]),
        events=np.array([e for v in events.values() for e in v], np.uint64),
    )


def test_a_closed_trace_knows_its_own_events_only() -> None:
    """Trace b holds event 3; event 1 is that of its neighbour in the batch."""
    closed = ClosedTraces(10)
    closed.add(batch(5, a=[1, 2], b=[3]))
    found = closed.find(key("b"))
    assert found is not None
    assert closed.holds_event(*found, 3)
    assert not closed.holds_event(*found, 1)
    assert closed.find(key("c")) is None
    high, low = np.zeros(2, np.uint64), np.array([ord("b"), ord("c")], np.uint64)
    entries = closed.entries(high, low).tolist()
    assert closed.at(entries[0]) == found
    assert entries[1] == -1


def test_a_trace_closed_again_is_in_its_last_batch() -> None:
    """Reopened, it is not closed; closed again, the first batch no longer speaks for it."""
    closed = ClosedTraces(10)
    first, second = batch(5, a=[1], b=[2]), batch(9, a=[1, 7])
    closed.add(first)
    closed.reopen(key("a"))
    assert closed.find(key("a")) is None
    closed.add(second)
    assert closed.find(key("a")) == (second, 0)
    live = [(batch is first, mine.tolist()) for batch, mine in closed.live(None)]
    assert live == [(True, [False, True]), (False, [True])]
    assert closed.expire(6) == 1
    assert closed.find(key("a")) == (second, 0)


def test_entries_go_when_their_time_is_over() -> None:
    """A batch closed at 5 is kept at 5 and gone at 6."""
    closed = ClosedTraces(10)
    closed.add(batch(5, a=[1], b=[2]))
    assert closed.expire(5) == 0
    assert (closed.expire(6), len(closed)) == (2, 0)


def test_beyond_the_bound_the_oldest_go_first_and_it_is_said_since_when() -> None:
    """Three may be remembered: the batch closed at 5 goes, and what began before 5 is unknown."""
    closed = ClosedTraces(3)
    assert closed.forgotten_us == NEVER
    closed.add(batch(5, a=[1], b=[2]))
    closed.add(batch(7, c=[3], d=[4]))
    assert (len(closed), closed.expired_early, closed.forgotten_us) == (2, 2, 5)
    assert closed.find(key("a")) is None


def test_identities_of_spans_are_exact() -> None:
    """Folding leaves a span's identity as it is, and tells annotations from each other."""
    low = np.array([7, 7, 7], np.uint64)
    folded = fold_key(np.array([0, 1, 2], np.uint64), low)
    assert folded[0] == 7
    assert len(set(folded.tolist())) == 3


def test_what_was_known_of_all_alike_is_kept_once() -> None:
    """Rows that are equal take the memory of one; rows that differ stay as they are."""
    closed = ClosedTraces(10)
    closed.add(batch(5, a=[1], b=[2], c=[3]))
    mixed = batch(6, d=[4], e=[5])
    mixed.known[1, 3] = 7
    closed.add(mixed)
    alike, differing = closed.batches()
    assert alike.known.strides[0] == 0
    assert alike.known.tolist() == [[0] * 5] * 3
    assert differing.known.tolist() == [[0] * 5, [0, 0, 0, 7, 0]]
