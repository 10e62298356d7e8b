"""One segment of a join task's state: what changed between two cuts, as columns and as bytes.

A partition's state is the fold of its segments, oldest first. A segment holds the events that
came and are still open, the trace ids that closed, the entries of the closed set, and the small
rest as JSON. Bytes never exceed `PIECE_BYTES_MAX`, whatever the size of the state: a large
segment is several pieces.

Invariant: `decode(encode(segment)) == segment`, up to how rows are spread over pieces.
"""

import io
import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import polars as pl

from streams.core.bodies import NOTHING, Bodies
from streams.core.fidelity.causes import KNOWN_NAMES
from streams.errors import StateError
from streams.units import I64, U8, U64, Mask

FORMAT: Final = 3
PIECE_BYTES_MAX: Final = 900_000
_MAGIC: Final = b"SLST"
_HEADER: Final = struct.Struct(">4sHQIHHI")  # magic, format, generation, number, piece, of, crc32
_KNOWN: Final = [f"known_{name}" for name in KNOWN_NAMES]
_ROWS_TARGET_BYTES: Final = 350_000
"""A part may exceed this by one event, and an event may have 512 KiB."""


@dataclass(frozen=True, slots=True)
class SegmentRows:
    """Events still open at a cut: trace id, how they came, and their bytes; all of length n.

    `trace_id` is (n, 2): high and low half.
    """

    trace_id: U64
    topic: U8
    kafka_us: I64
    is_late: Mask
    is_recalled: Mask
    body: Bodies

    def __len__(self) -> int:
        return len(self.trace_id)


@dataclass(frozen=True, slots=True)
class SegmentClosed:
    """Entries of the closed set: k traces; `events` holds the identities of all, `size` how many.

    All arrays are (k,), but for `trace_id`, (k, 2), `known`, (k, 5), and `events`, which has the
    sum of `size`.
    """

    trace_id: U64
    revision: I64
    closed_us: I64
    cut_ms: I64
    is_truncated: Mask
    known: U64
    size: I64
    events: U64


Reopened = tuple[Any, ...]
"""Trace id, then `REOPENED_COLUMNS` of the join state."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What one cut adds to the state.

    Attributes:
        rows: events that came since the last segment and are still open.
        removed: traces of earlier segments whose events are no longer open.
        closed: traces that were closed since.
        reopened: per trace that is not as its events alone say: its id, last revision, the cut
            that published it, whether it was recalled, how many events were evicted, and what
            was known when it was judged.
        scalars: positions, progress, counters: the whole of them, replacing earlier ones. Copied:
            a segment is written while its task goes on, and says what was true at the cut.
        rejected: trace and module of events rejected since, oldest first.
    """

    rows: SegmentRows
    removed: list[bytes]
    closed: SegmentClosed
    reopened: list[Reopened]
    scalars: dict[str, Any] = field(default_factory=dict)
    rejected: Sequence[tuple[bytes, str]] = ()

    def __post_init__(self) -> None:
        """Take a copy of the scalars; by way of JSON, which is quicker than any walk."""
        object.__setattr__(self, "scalars", json.loads(json.dumps(self.scalars)))


def encode_pieces(segment: Segment, generation: int, number: int) -> list[bytes]:
    """Return the segment as pieces of at most `PIECE_BYTES_MAX` bytes each.

    Raises:
        StateError: one event alone, or the scalars, do not fit into a piece.
    """
    document = zlib.compress(_scalars(segment), 1)
    payloads = [b"s" + part for part in _cut(document, _ROWS_TARGET_BYTES)]
    payloads += [b"r" + part for part in _row_parts(segment.rows)]
    payloads += [_frame("c", frame) for frame in _closed_frames(segment.closed)]
    payloads += [b"d" + part for part in _cut(b"".join(segment.removed), 640_000)]
    out = []
    for i, payload in enumerate(payloads):
        if len(payload) + _HEADER.size > PIECE_BYTES_MAX:
            raise StateError(
                f"a piece of state is {len(payload)} bytes, more than {PIECE_BYTES_MAX}. "
                "Operator action: lower max_event_bytes or the number of scopes counted."
            )
        crc = zlib.crc32(payload)
        head = _HEADER.pack(_MAGIC, FORMAT, generation, number, i, len(payloads), crc)
        out.append(head + payload)
    return out


def scalars_segment(scalars: dict[str, Any]) -> Segment:
    """Return the segment of a task whose whole state is small and JSON-able."""
    return Segment(_rows([]), [], _closed([]), [], scalars)


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece as read back: where it belongs, and its payload, whose checksum was right."""

    generation: int
    number: int
    index: int
    count: int
    payload: bytes


def read_piece(value: bytes) -> Piece:
    """Check and open one piece.

    Raises:
        StateError: the bytes are damaged or of another format.
    """
    if len(value) < _HEADER.size:
        raise StateError("a state piece is cut short. Operator action: " + _REBUILD)
    magic, version, generation, number, index, count, crc = _HEADER.unpack_from(value)
    payload = value[_HEADER.size :]
    if magic != _MAGIC or zlib.crc32(payload) != crc:
        raise StateError("a state piece fails its checksum. Operator action: " + _REBUILD)
    if version != FORMAT:
        raise StateError(
            f"state has format {version}, this version reads {FORMAT}. "
            "Operator action: run the version that wrote it, or start a new group."
        )
    return Piece(generation, number, index, count, payload)


_REBUILD: Final = "delete the state directory; the state is rebuilt from the changelog."


def decode_pieces(payloads: Sequence[bytes]) -> Segment:
    """Return the segment that `encode_pieces` turned into these payloads, in order."""
    document = b"".join(p[1:] for p in payloads if p[:1] == b"s")
    small = json.loads(zlib.decompress(document))
    reopened: list[Reopened] = [(bytes.fromhex(k), *rest) for k, *rest in small["reopened"]]
    removed: list[bytes] = []
    rows: list[SegmentRows] = []
    closed: list[pl.DataFrame] = []
    for payload in payloads:
        kind, rest = payload[:1], payload[1:]
        if kind == b"d":
            removed += [rest[i : i + 16] for i in range(0, len(rest), 16)]
        elif kind == b"r":
            rows.append(_read_rows(rest))
        elif kind == b"c":
            closed.append(pl.read_ipc(io.BytesIO(rest)))
    rejected = [(bytes.fromhex(key), module) for key, module in small["rejected"]]
    return Segment(_rows(rows), removed, _closed(closed), reopened, small["scalars"], rejected)


def _scalars(segment: Segment) -> bytes:
    reopened = [(key.hex(), *rest) for key, *rest in segment.reopened]
    rejected = [(key.hex(), module) for key, module in segment.rejected]
    small = {"scalars": segment.scalars, "reopened": reopened, "rejected": rejected}
    return json.dumps(small).encode()


def _frame(kind: str, frame: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.write_ipc(out, compression="lz4")
    return kind.encode() + out.getvalue()


def _cut(value: bytes, size: int) -> list[bytes]:
    """Cut bytes into parts; a multiple of 16 keeps trace ids whole."""
    return [value[i : i + size] for i in range(0, len(value), size)]


def _row_parts(rows: SegmentRows) -> Iterator[bytes]:
    """Yield rows as parts: the length of a frame of numbers, the frame, the bodies."""
    if not len(rows):
        return
    frame = pl.DataFrame(
        {
            "hi": rows.trace_id[:, 0],
            "lo": rows.trace_id[:, 1],
            "topic": rows.topic,
            "kafka_us": rows.kafka_us,
            "is_late": rows.is_late,
            "is_recalled": rows.is_recalled,
            "size": rows.body.size,
        }
    )
    at = 0
    for part in _split(frame, rows.body.size + 64):
        end = at + len(part)
        numbers = _frame("", part)
        bodies = b"".join(rows.body.take(np.arange(at, end)))
        yield len(numbers).to_bytes(4, "big") + numbers + bodies
        at = end


def _read_rows(part: bytes) -> SegmentRows:
    """Return the rows of one part; their bodies stay in it."""
    begin = 4 + int.from_bytes(part[:4], "big")
    frame = pl.read_ipc(io.BytesIO(part[4:begin]))
    size = frame["size"].to_numpy()
    return SegmentRows(
        frame.select("hi", "lo").to_numpy(),
        frame["topic"].to_numpy(),
        frame["kafka_us"].to_numpy(),
        frame["is_late"].to_numpy(),
        frame["is_recalled"].to_numpy(),
        Bodies(part, begin + np.cumsum(size) - size, size),
    )


def _closed_frames(closed: SegmentClosed) -> Iterator[pl.DataFrame]:
    if not len(closed.trace_id):
        return
    frame = pl.DataFrame(
        {
            "hi": closed.trace_id[:, 0],
            "lo": closed.trace_id[:, 1],
            "revision": closed.revision,
            "closed_us": closed.closed_us,
            "cut_ms": closed.cut_ms,
            "is_truncated": closed.is_truncated,
            **{name: closed.known[:, i] for i, name in enumerate(_KNOWN)},
            "events": pl.Series(_identities(closed), dtype=pl.Binary),
        }
    )
    yield from _split(frame, closed.size * 8 + 64)


def _identities(closed: SegmentClosed) -> list[bytes]:
    """Return each trace's identities as bytes: to polars a list of lists costs ten times more."""
    flat = closed.events.astype("<u8").tobytes()
    ends = np.cumsum(closed.size * 8).tolist()
    return [flat[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _split(frame: pl.DataFrame, sizes: I64) -> Iterator[pl.DataFrame]:
    """Cut a frame so that each part stays under the target even where nothing compresses."""
    part = (np.cumsum(sizes) - sizes) // _ROWS_TARGET_BYTES
    starts = np.flatnonzero(np.r_[True, part[1:] != part[:-1]]).tolist()
    for start, end in zip(starts, [*starts[1:], len(frame)], strict=True):
        yield frame[start:end]


def _rows(parts: list[SegmentRows]) -> SegmentRows:
    if not parts:
        none, pair = np.zeros(0, np.bool_), np.zeros((0, 2), np.uint64)
        return SegmentRows(pair, np.zeros(0, np.uint8), np.zeros(0, np.int64), none, none, NOTHING)
    return SegmentRows(
        np.concatenate([part.trace_id for part in parts]),
        np.concatenate([part.topic for part in parts]),
        np.concatenate([part.kafka_us for part in parts]),
        np.concatenate([part.is_late for part in parts]),
        np.concatenate([part.is_recalled for part in parts]),
        Bodies.concat([part.body for part in parts]),
    )


def _closed(frames: list[pl.DataFrame]) -> SegmentClosed:
    if not frames:
        none = np.zeros(0, np.int64)
        known, events = np.zeros((0, len(_KNOWN)), np.uint64), np.zeros(0, np.uint64)
        pair, flags = np.zeros((0, 2), np.uint64), np.zeros(0, np.bool_)
        return SegmentClosed(pair, none, none, none, flags, known, none, events)
    frame = pl.concat(frames)
    return SegmentClosed(
        frame.select("hi", "lo").to_numpy(),
        frame["revision"].to_numpy(),
        frame["closed_us"].to_numpy(),
        frame["cut_ms"].to_numpy(),
        frame["is_truncated"].to_numpy(),
        np.stack([frame[name].to_numpy() for name in _KNOWN], axis=1),
        frame["events"].bin.size().to_numpy().astype(np.int64) // 8,
        np.frombuffer(b"".join(frame["events"].to_list()), "<u8").astype(np.uint64),
    )
