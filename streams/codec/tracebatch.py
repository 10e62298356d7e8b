"""AssembledTrace for a batch of traces at once: numbers become bytes as columns, not one by one.

Each field of the record is a block of bytes, one row per trace, as wide as its longest value; the
rows laid side by side and read without their padding are the records. Only what is rare (missing
spans) and what is bytes already (the events) is put in trace by trace.

Invariant: equal, byte for byte, to `TraceEncoder` for each trace of the batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from streams.codec.assembled import END, MissingRow, TraceEncoder
from streams.codec.ids import as_hex
from streams.codec.varints import text, varint
from streams.core.bodies import Scattered
from streams.core.order import distinct
from streams.units import I64, U8, U64, Mask

_LONGEST: Final = 10  # bytes of an Avro long
_SPAN_ID_DIGITS: Final = 16
_HEAD, _STAGES, _RARE = range(3)
"""Sources of the bytes of traces, before those of the events."""
_Edges = tuple[I64, I64]
"""Where pieces begin and end."""


@dataclass(frozen=True, slots=True)
class StageRows:
    """Stage timings of a batch, m rows by trace.

    Attributes:
        trace: (m,) ordinal of the trace, not decreasing.
        name: (m,) index into the encoder's stage names.
        start_us, duration_us, count: (m,).
    """

    trace: I64
    name: I64
    start_us: I64
    duration_us: I64
    count: I64


@dataclass(frozen=True, slots=True)
class TraceColumns:
    """T traces, as the fields of AssembledTrace; all arrays of length T.

    Attributes:
        keys: trace ids of 16 bytes.
        flow: index into the encoder's flow names.
        status, closed_by: codes as on the wire.
        root_span_id: 0 for none.
        missing: rows of missing spans of the traces that have any, by ordinal.
        stages: stage timings.
        offset: (T + 1,) where each trace's events lie in `bodies`.
        bodies: the events' bytes, by trace.
    """

    keys: Sequence[bytes]
    revision: I64
    flow: I64
    status: U8
    closed_by: U8
    start_us: I64
    end_us: I64
    span_count: I64
    annotation_count: I64
    error_count: I64
    root_count: I64
    orphan_count: I64
    evicted_count: I64
    root_span_id: U64
    missing: Mapping[int, Sequence[MissingRow]]
    stages: StageRows
    offset: I64
    bodies: Scattered


class TraceBatchEncoder:
    """Writes batches of AssembledTrace values.

    Args:
        encoder: writes what is rare; gives header and codes.
        flow_names, stage_names: what the columns' indexes stand for.
        contract_version: stamped on every trace.
    """

    def __init__(
        self,
        encoder: TraceEncoder,
        flow_names: Sequence[str],
        stage_names: Sequence[str],
        contract_version: str,
    ) -> None:
        self._encoder = encoder
        self._header = _texts([encoder.header])
        self._flow = _texts([text(name) for name in flow_names])
        self._stage = _texts([text(name) for name in stage_names])
        self._version = _texts([text(contract_version)])

    def values(self, columns: TraceColumns) -> list[bytes]:
        """Return the T wire values, header included."""
        head, head_at = self._heads(columns)
        stages, stages_at = self._stages(columns.stages, len(columns.keys))
        rare, missing_at, count_at = self._rare(columns)
        bodies = columns.bodies if columns.bodies.is_dense else _one_source(columns.bodies)
        traces, events = len(columns.keys), len(bodies)
        # The pieces of each trace in their order: head, missing, stages, count, events, end.
        place = columns.offset[:-1] + 5 * np.arange(traces)
        source = np.empty(events + 5 * traces, np.int64)
        start, size = np.empty_like(source), np.empty_like(source)
        last = columns.offset[1:] + 5 * np.arange(traces) + 4
        is_event = np.ones(len(source), np.bool_)
        for at, which, edges in (
            (place, _HEAD, (head_at[:-1], head_at[1:])),
            (place + 1, _RARE, missing_at),
            (place + 2, _STAGES, (stages_at[:-1], stages_at[1:])),
            (place + 3, _RARE, count_at),
            (last, _RARE, (np.zeros(traces, np.int64), np.ones(traces, np.int64))),
        ):
            source[at], start[at], size[at] = which, edges[0], edges[1] - edges[0]
            is_event[at] = False
        source[is_event] = bodies.source + 3
        start[is_event], size[is_event] = bodies.start, bodies.size
        flat = Scattered((head, stages, rare, *bodies.sources), source, start, size).joined()
        ends = np.cumsum(size)[last].tolist()
        return [flat[a:b] for a, b in zip([0, *ends], ends, strict=False)]

    def _rare(self, columns: TraceColumns) -> tuple[bytes, _Edges, _Edges]:
        """Return the bytes that few traces differ in, and where each trace's lie.

        They begin with `END`. The first places are those of the missing spans, with their end; the
        second those of the end of the stages and the count of events.
        """
        pieces, at = [END], 1
        missing = np.zeros((2, len(columns.keys)), np.int64)
        missing[1] = 1
        for trace, rows in columns.missing.items():
            piece = self._encoder.missing(rows)
            missing[:, trace] = at, at + len(piece)
            pieces.append(piece)
            at += len(piece)
        counts, which = distinct(np.diff(columns.offset))
        edges = []
        for n in counts.tolist():
            piece = END + varint(n) if n else END
            edges.append((at, at + len(piece)))
            pieces.append(piece)
            at += len(piece)
        count = np.array(edges, np.int64).reshape(-1, 2)[which]
        return b"".join(pieces), (missing[0], missing[1]), (count[:, 0], count[:, 1])

    def _heads(self, columns: TraceColumns) -> tuple[bytes, I64]:
        """Return the bytes of all records up to their missing spans, and where each begins."""
        one = np.zeros(len(columns.keys), np.int64)
        octets = np.frombuffer(b"".join(columns.keys), np.uint8).reshape(-1, 16)
        small = (
            columns.revision,
            columns.status,
            columns.closed_by,
            columns.span_count,
            columns.annotation_count,
            columns.error_count,
            columns.root_count,
            columns.orphan_count,
            columns.evicted_count,
        )
        revision, status, closed_by, *counts = _alike(small)
        blocks = [
            _chosen(self._header, one),
            _full(np.full((len(one), 1), 2 * 32, np.uint8)),
            _full(as_hex(octets)),
            revision,
            _chosen(self._flow, columns.flow),
            _chosen(self._version, one),
            status,
            closed_by,
            *_alike((columns.start_us, columns.end_us)),
            _longs(columns.end_us - columns.start_us),
            *counts,
            _span_ids(columns.root_span_id),
        ]
        flat, size = _rows(blocks)
        return flat, np.concatenate([np.zeros(1, np.int64), np.cumsum(size)])

    def _stages(self, stages: StageRows, traces: int) -> tuple[bytes, I64]:
        """Return the stage blocks of all traces without their ends, and where each begins."""
        if not len(stages.trace):
            return b"", np.zeros(traces + 1, np.int64)
        begin = np.searchsorted(stages.trace, np.arange(traces + 1))
        count = np.diff(begin)
        lead, lead_size = _longs(count[stages.trace])
        is_first = np.zeros(len(stages.trace), np.bool_)
        is_first[begin[:-1][count > 0]] = True
        flat, size = _rows(
            [
                (lead, np.where(is_first, lead_size, 0)),
                _chosen(self._stage, stages.name),
                _longs(stages.start_us),
                _longs(stages.duration_us),
                _longs(stages.count),
            ]
        )
        at = np.concatenate([np.zeros(1, np.int64), np.cumsum(size)])
        return flat, at[begin]


def _one_source(bodies: Scattered) -> Scattered:
    packed = bodies.packed()
    return Scattered([packed.data], np.zeros(len(bodies), np.int64), packed.start, packed.size)


Block = tuple[U8, I64]
"""(n, width) bytes, and (n,) how many of each row count."""


def _rows(blocks: Sequence[Block]) -> tuple[bytes, I64]:
    """Return the rows of all blocks side by side, without padding, and (n,) their lengths."""
    octets = np.concatenate([block for block, _ in blocks], axis=1)
    is_there: list[Mask] = [
        np.arange(block.shape[1])[None, :] < size[:, None] for block, size in blocks
    ]
    flat = octets[np.concatenate(is_there, axis=1)].tobytes()
    return flat, np.sum([size for _, size in blocks], axis=0)


def _full(octets: U8) -> Block:
    return octets, np.full(len(octets), octets.shape[1], np.int64)


def _texts(encoded: Sequence[bytes]) -> Block:
    """Return a block with a row for each text."""
    width = max(map(len, encoded), default=0)
    padded = b"".join(one.ljust(width, b"\0") for one in encoded)
    octets = np.frombuffer(padded, np.uint8).reshape(len(encoded), width)
    return octets, np.array([len(one) for one in encoded], np.int64)


def _chosen(block: Block, index: I64) -> Block:
    octets, size = block
    return octets.take(index, axis=0), size.take(index)


def _longs(value: I64) -> Block:
    """Return whole numbers as Avro longs."""
    bits = ((value << 1) ^ (value >> 63)).view(np.uint64)
    size = np.ones(len(bits), np.int64)
    for group in range(1, _LONGEST):
        is_longer = bits >> np.uint64(7 * group) != 0
        if not is_longer.any():
            break
        size += is_longer
    width = int(size.max(initial=1))
    octets = np.empty((len(bits), width), np.uint8)
    for group in range(width):
        seven = (bits >> np.uint64(7 * group)).astype(np.uint8) & np.uint8(0x7F)
        octets[:, group] = seven | ((size > group + 1).astype(np.uint8) << np.uint8(7))
    return octets, size


def _alike(columns: Sequence[I64 | U8]) -> list[Block]:
    """Return a block for each of some columns whose numbers take about as many bytes."""
    octets, size = _longs(np.concatenate(columns).astype(np.int64, copy=False))
    n = len(columns[0])
    return [(octets[i * n : (i + 1) * n], size[i * n : (i + 1) * n]) for i in range(len(columns))]


def _span_ids(span_id: U64) -> Block:
    """Return span ids as Avro strings of 16 hex digits, "" for 0."""
    is_there = span_id != 0
    octets = np.empty((len(span_id), 1 + _SPAN_ID_DIGITS), np.uint8)
    octets[:, 0] = np.where(is_there, 2 * _SPAN_ID_DIGITS, 0)
    octets[:, 1:] = as_hex(span_id.astype(">u8").view(np.uint8).reshape(-1, 8))
    return octets, np.where(is_there, 1 + _SPAN_ID_DIGITS, 1)
