"""Small segments for the tests of the state: each says its number."""

import random
from collections.abc import Sequence

import numpy as np

from streams.core.bodies import Bodies
from streams.core.traces.idmap import halves, key_bytes
from streams.state.live import LiveSegments
from streams.state.segment import (
    Segment,
    SegmentClosed,
    SegmentRows,
    encode_pieces,
    scalars_segment,
)
from streams.units import U64

NOTHING = scalars_segment({})


def delta(number: int) -> Segment:
    """Return a segment that adds only its number."""
    return Segment(NOTHING.rows, [], NOTHING.closed, [], {"n": number})


def pieces(generation: int, number: int) -> list[bytes]:
    """Return the pieces of a segment that adds only its number."""
    return encode_pieces(delta(number), generation, number)


def number_of(live: LiveSegments) -> object:
    """Return the number that the newest segment said."""
    return live.segments()[0].scalars["n"]


def ids_of(keys: Sequence[bytes]) -> U64:
    """Return trace ids of 16 bytes as the columns have them."""
    return np.stack(halves(list(keys)), axis=1)


def keys_of(trace_id: U64) -> list[bytes]:
    """Return trace ids as 16 bytes each."""
    return key_bytes(trace_id[:, 0], trace_id[:, 1])


def with_events(
    number: int, opened: Sequence[bytes] = (), removed: Sequence[bytes] = (), size_bytes: int = 100
) -> Segment:
    """Return a segment that brings one event of each of some traces, and removes others."""
    n = len(opened)
    none = np.zeros(n, np.bool_)
    bodies = [random.Random(number * 1_000 + i).randbytes(size_bytes) for i in range(n)]
    rows = SegmentRows(
        ids_of(opened),
        np.zeros(n, np.uint8),
        np.full(n, number, np.int64),
        none,
        none,
        Bodies.of(bodies),
    )
    return Segment(rows, list(removed), NOTHING.closed, [], {"n": number})


def with_closed(number: int, keys: Sequence[bytes], closed_from_ms: int = 0) -> Segment:
    """Return a segment that closes some traces at cut `number`."""
    n = len(keys)
    at = np.full(n, number, np.int64)
    closed = SegmentClosed(
        ids_of(keys),
        np.ones(n, np.int64),
        at,
        at,
        np.zeros(n, np.bool_),
        np.zeros((n, 5), np.uint64),
        np.ones(n, np.int64),
        np.arange(n).astype(np.uint64),
    )
    scalars = {"n": number, "closed_from_ms": closed_from_ms}
    return Segment(NOTHING.rows, [], closed, [], scalars)
