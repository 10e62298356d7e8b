"""The load of the cases: spans of the trace-join comparison's shape, about 124 bytes each.

A span is a pure function of (trace number, span number, seed), and a trace id can be turned back
into its number. So nothing has to be remembered: the truth about any trace is computed when it is
needed, and a billion spans cost no more memory than a block of them.

Invariant: the last span of a trace carries the last stage, so that a complete trace closes with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

STAGES: Final = 8
STAGE_MODULE: Final = (0, 0, 1, 2, 3, 3, 4, 5)
STAGE_NAME: Final = (
    b"alpha.ingest",
    b"alpha.validate",
    b"beta.transform",
    b"gamma.enrich",
    b"integration.route",
    b"integration.merge",
    b"epsilon.score",
    b"phi.publish",
)
SPANS_MAX: Final = 1024
"""Spans of a trace, at most: span numbers take ten bits of what an id is made from."""
BATCH_ROWS: Final = 50_000
"""Spans that are encoded at once."""
_HEX: Final = np.array([list(b"%02x" % i) for i in range(256)], dtype=np.uint8)
_PART: Final = 1_000_003


def mix(x: U64) -> U64:
    """Return splitmix64's finaliser of each number: a bijection that looks random."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    out: U64 = x ^ (x >> np.uint64(31))
    return out


def unmix(x: U64) -> U64:
    """Return what `mix` made these from."""
    x = (x ^ (x >> np.uint64(31)) ^ (x >> np.uint64(62))) * np.uint64(0x319642B2D24D8EC3)
    x = (x ^ (x >> np.uint64(27)) ^ (x >> np.uint64(54))) * np.uint64(0x96DE1B173F119089)
    out: U64 = x ^ (x >> np.uint64(30)) ^ (x >> np.uint64(60))
    return out


@dataclass(frozen=True)
class Load:
    """What is sent; a span is named by its trace's number and its place in it, both from 0.

    Attributes:
        seed: decides ids, disorder, what is missing and what comes twice.
        base_us: event time of trace 0.
        traces: how many.
        first: number of the first one.
        spans: per trace; those before the last are spread over the stages before the last.
        traces_per_s: started per second of event time.
        life_us: mean event time between the first and the last span of a trace; times
            `traces_per_s` that is how many are open at once.
        disorder_us: a span arrives up to so long after its time.
        miss_ratio: of the traces lack one span (with 8 spans a trace only).
        twice_ratio: of the spans come twice, the second up to a second later.
        part: places that are sent, from and up to; the others wait for another feed.
    """

    seed: int
    base_us: int
    traces: int
    first: int = 0
    spans: int = STAGES
    traces_per_s: float = 1000.0
    life_us: int = 2_000_000
    disorder_us: int = 100_000
    miss_ratio: float = 0.005
    twice_ratio: float = 0.002
    part: tuple[int, int] = (0, SPANS_MAX)

    def __post_init__(self) -> None:
        if not STAGES <= self.spans <= SPANS_MAX:
            raise ValueError(f"a trace has {STAGES} to {SPANS_MAX} spans, not {self.spans}")
        if self.spans != STAGES and (self.miss_ratio or self.disorder_us):
            raise ValueError("spans are missing or disordered only where a stage has one span")

    @property
    def step_us(self) -> int:
        """Return the mean event time between two spans of a trace."""
        return max(1, self.life_us // (self.spans - 1))

    @property
    def seconds(self) -> float:
        """Return the time from the first trace's start to the last one's last arrival, at most."""
        rest_us = self.step_us * self.spans + self.disorder_us
        return self.traces / self.traces_per_s + rest_us / 1e6


class Rows(NamedTuple):
    """Spans to send, in the order of arrival; all (n,)."""

    number: U64
    place: I64
    arrival_us: I64
    is_again: Bools


class Batch(NamedTuple):
    """Encoded spans in the order of arrival; body i is `buffer[start[i]:end[i]]`."""

    buffer: bytes
    start: I64
    end: I64
    timestamp_ms: I64
    arrival_us: I64
    number: I64
    is_again: Bools


# --- what a trace is made of


def _salt(load: Load, what: int) -> np.uint64:
    return np.uint64((load.seed * 0x9E3779B97F4A7C15 + what * _PART) % (1 << 64))


def trace_ids(load: Load, number: U64) -> U64:
    """Return the ids of traces, (n, 2): high and low half."""
    low = mix(number + _salt(load, 1))
    return np.stack([mix(low ^ _salt(load, 2)), low], axis=1)


def numbers_of(load: Load, ids: U64) -> tuple[I64, Bools]:
    """Return the numbers of trace ids, (n, 2), and which ids this load can have made."""
    number = unmix(ids[:, 1]) - _salt(load, 1)
    is_ours = (mix(ids[:, 1] ^ _salt(load, 2)) == ids[:, 0]) & (
        number - np.uint64(load.first) < np.uint64(load.traces)
    )
    return number.astype(np.int64), is_ours


def span_ids(load: Load, number: U64, index: I64) -> U64:
    """Return the ids of spans; (n,)."""
    return mix(number * np.uint64(SPANS_MAX) + index.astype(np.uint64) + _salt(load, 3))


def missing_stage(load: Load, number: U64) -> I64:
    """Return the stage that each trace lacks, -1 for none; (n,)."""
    chance = mix(number + _salt(load, 4))
    is_missing = (chance >> np.uint64(16)) % np.uint64(100_000) < load.miss_ratio * 100_000
    return np.where(is_missing, (chance % np.uint64(STAGES)).astype(np.int64), -1)


def _fate(load: Load, number: U64, index: I64, what: int) -> U64:
    return mix(number * np.uint64(SPANS_MAX) + index.astype(np.uint64) + _salt(load, what))


def start_us(load: Load, number: U64) -> I64:
    """Return when each trace starts, in event time; (n,)."""
    return load.base_us + (number.astype(np.float64) * (1e6 / load.traces_per_s)).astype(np.int64)


def timestamps_us(load: Load, number: U64, index: I64) -> I64:
    """Return the event time of each span; (n,)."""
    step = load.step_us
    jitter = (_fate(load, number, index, 5) % np.uint64(step)).astype(np.int64)
    return start_us(load, number) + index * step + jitter


def stage_of(load: Load, index: I64) -> I64:
    """Return the stage of each span; (n,)."""
    return index * (STAGES - 1) // (load.spans - 1)


def parent_of(load: Load) -> I64:
    """Return the parent of each span of a trace: the first of the stage before; (spans,).

    The first span is the root, without parent, and the parent of its stage's others.
    """
    stage = stage_of(load, np.arange(load.spans))
    first = np.searchsorted(stage, np.arange(STAGES))
    return np.where(stage > 0, first[np.maximum(stage - 1, 0)], 0)


# --- in the order of arrival


def rows(load: Load) -> Iterator[Rows]:
    """Yield all spans, by arrival, at most `BATCH_ROWS` at a time."""
    open_at_once = int(load.traces_per_s * load.life_us / 1e6)
    # Spans that outlive their block wait, sorted anew with each block: few blocks a life, then.
    size = max(1, BATCH_ROWS // load.spans, open_at_once // 4)
    last = load.first + load.traces
    waiting = _arrivals(load, load.first, load.first)
    for first in range(load.first, last, size):
        following = min(first + size, last)
        new = _arrivals(load, first, following)
        both = Rows._make(np.concatenate(pair) for pair in zip(waiting, new, strict=True))
        order = np.argsort(both.arrival_us, kind="stable")
        both = Rows._make(column[order] for column in both)
        edge = np.uint64(following)
        ready = (
            int(np.searchsorted(both.arrival_us, start_us(load, np.array([edge]))[0]))
            if following < last
            else len(order)
        )
        for at in range(0, ready, BATCH_ROWS):
            yield Rows._make(column[at : min(at + BATCH_ROWS, ready)] for column in both)
        waiting = Rows._make(column[ready:] for column in both)


def _arrivals(load: Load, first: int, following: int) -> Rows:
    """Return the spans of some traces, those that come twice included, in no order."""
    low, high = load.part[0], min(load.part[1], load.spans)
    number = np.repeat(np.arange(first, following, dtype=np.uint64), high - low)
    index = np.tile(np.arange(low, high), following - first)
    kept = missing_stage(load, number) != index
    number, index = number[kept], index[kept]
    fate = _fate(load, number, index, 6)
    arrival = timestamps_us(load, number, index)
    if load.disorder_us:
        arrival = arrival + (fate % np.uint64(load.disorder_us)).astype(np.int64)
    again = (fate >> np.uint64(24)) % np.uint64(100_000) < load.twice_ratio * 100_000
    later = arrival[again] + ((fate[again] >> np.uint64(41)) % np.uint64(1_000_000)).astype(
        np.int64
    )
    return Rows(
        np.concatenate([number, number[again]]),
        np.concatenate([index, index[again]]),
        np.concatenate([arrival, later]),
        np.r_[np.zeros(len(number), np.bool_), np.ones(int(again.sum()), np.bool_)],
    )


# --- as bytes


def encode(load: Load, given: Rows) -> Batch:
    """Return the spans as raw Avro (`benchmarks/span.avsc`), no header."""
    number, index = given.number, given.place
    stage = stage_of(load, index)
    fate = _fate(load, number, index, 7)
    is_metric = fate & np.uint64(3) == 0
    at = timestamps_us(load, number, index)
    n = len(number)
    start, length = np.zeros(n, np.int64), np.zeros(n, np.int64)
    pieces: list[bytes] = []
    position = 0
    # The spans of one kind have one width: a stage's, metrics or not, roots or not.
    kind = (stage * 2 + is_metric) * 2 + (index == 0)
    for one in np.unique(kind).tolist():
        chosen = np.flatnonzero(kind == one)
        table = _bodies(load, number[chosen], index[chosen], one // 4, at[chosen], fate[chosen])
        width = table.shape[1]
        start[chosen] = position + np.arange(len(chosen)) * width
        length[chosen] = width
        pieces.append(table.tobytes())
        position += table.size
    return Batch(
        b"".join(pieces),
        start,
        start + length,
        at // 1000,
        given.arrival_us,
        number.astype(np.int64),
        given.is_again,
    )


def bodies_of(load: Load, number: int) -> list[bytes]:
    """Return the bodies of all spans of one trace that are sent, whatever their part."""
    at = np.full(load.spans, number, np.uint64)
    index = np.arange(load.spans)
    kept = missing_stage(load, at) != index
    at, index = at[kept], index[kept]
    batch = encode(load, Rows(at, index, index, np.zeros(len(index), np.bool_)))
    spans = zip(batch.start.tolist(), batch.end.tolist(), strict=True)
    return [batch.buffer[p:q] for p, q in spans]


def _bodies(load: Load, number: U64, index: I64, stage: int, at: I64, fate: U64) -> U8:
    """Return the bodies of spans of one stage, all metrics or none, all roots or none.

    Returns:
        (n, width), each row a body.
    """
    n = len(number)
    plain = number.astype(np.int64)
    parts = [_const(n, b"\x40"), _hex(trace_ids(load, number)), _const(n, b"\x20")]
    parts += [_hex(span_ids(load, number, index))]
    if index[0] == 0:
        parts += [_const(n, b"\x00")]
    else:
        parent = parent_of(load)[index]
        parts += [_const(n, b"\x02\x20"), _hex(span_ids(load, number, parent))]
    duration = 8_192 + (fate >> np.uint64(8)) % np.uint64(990_000)  # always three bytes
    severity = np.array([0, 2, 2, 2, 4, 2, 0, 2], np.uint8)[
        ((fate >> np.uint64(2)) & np.uint64(7)).astype(np.int64)
    ]
    event_type = (fate & np.uint64(3)).astype(np.uint8)
    parts += [
        _varint(at.astype(np.uint64) << np.uint64(1), 8),
        _varint(duration << np.uint64(1), 3),
        _const(n, bytes([STAGE_MODULE[stage] << 1, stage << 1])),
        (event_type << np.uint8(1)).reshape(-1, 1),
        severity.reshape(-1, 1),
        _const(n, bytes([len(STAGE_NAME[stage]) << 1]) + STAGE_NAME[stage]),
    ]
    if event_type[0] == 0:
        value = 100.0 + (fate >> np.uint64(40)).astype(np.float64) % 977.0
        parts += [_const(n, b"\x02"), value.view(np.uint8).reshape(n, 8)]
    else:
        parts += [_const(n, b"\x00")]
    parts += [_const(n, b"\x02\x1crec-"), _digits(plain, 10)]
    parts += (
        [_const(n, b"\x02\x12b-"), _digits(plain // 100, 7)] if stage >= 2 else [_const(n, b"\x00")]
    )
    return np.concatenate(parts, axis=1)


def _hex(ids: U64) -> U8:
    octets = np.ascontiguousarray(ids.astype(">u8")).view(np.uint8).reshape(len(ids), -1)
    return _HEX[octets].reshape(len(ids), octets.shape[1] * 2)


def _digits(x: I64, n: int) -> U8:
    out = np.empty((len(x), n), np.uint8)
    for i in range(n - 1, -1, -1):
        out[:, i] = 48 + x % 10
        x = x // 10
    return out


def _varint(z: U64, n: int) -> U8:
    """Return unsigned LEB128 of exactly n bytes; the caller guarantees that width."""
    out = np.empty((len(z), n), np.uint8)
    for i in range(n):
        septet = ((z >> np.uint64(7 * i)) & np.uint64(0x7F)).astype(np.uint8)
        out[:, i] = septet | (0x80 if i < n - 1 else 0)
    assert not (z >> np.uint64(7 * n)).any()
    assert (z >> np.uint64(7 * (n - 1))).all()
    return out


def _const(n: int, b: bytes) -> U8:
    return np.broadcast_to(np.frombuffer(b, np.uint8), (n, len(b)))
