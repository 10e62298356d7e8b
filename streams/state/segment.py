"""One segment of a join task's state: what changed between two cuts, as columns and as bytes.

A partition's state is the fold of its segments, oldest first. A segment holds the events that
came and are still open, the trace ids that closed, the entries of the closed set, and the small
rest as JSON. Bytes never exceed `PIECE_BYTES_MAX`, whatever the size of the state: a large
segment is several pieces. Which pieces make up a state is said in `streams.state.live`.

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

FORMAT: Final = 4
_READABLE: Final = (3, FORMAT)
"""Format 3 has its frames as Arrow files, format 4 as Arrow streams, at an eighth of the cost."""
_ARROW_FILE: Final = b"ARROW1"
PIECE_BYTES_MAX: Final = 900_000
_MAGIC: Final = b"SLST"
_HEADER: Final = struct.Struct(">4sHQIHHI")  # magic, format, generation, number, piece, of, crc32
_KNOWN: Final = [f"known_{name}" for name in KNOWN_NAMES]
FRAME_TARGET_BYTES: Final = 350_000
"""A frame may exceed this by one event, and an event may have 512 KiB."""


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
        is_whole: the segment is the whole state; all before it is over.
    """

    rows: SegmentRows
    removed: list[bytes]
    closed: SegmentClosed
    reopened: list[Reopened]
    scalars: dict[str, Any] = field(default_factory=dict)
    rejected: Sequence[tuple[bytes, str]] = ()
    is_whole: bool = False

    def __post_init__(self) -> None:
        """Take a copy of the scalars; by way of JSON, which is quicker than any walk."""
        object.__setattr__(self, "scalars", json.loads(json.dumps(self.scalars)))


def encode_pieces(segment: Segment, generation: int, number: int) -> list[bytes]:
    """Return the segment as pieces of at most `PIECE_BYTES_MAX` bytes each.

    Raises:
        StateError: one event alone, or the scalars, do not fit into a piece.
    """
    payloads = document_payloads(segment)
    payloads += [frame_payload("r", frame) for frame in _row_frames(segment.rows)]
    payloads += [frame_payload("c", frame) for frame in _closed_frames(segment.closed)]
    payloads += [b"d" + part for part in _cut(b"".join(segment.removed), 640_000)]
    count = len(payloads)
    return [encode_piece(p, generation, number, i, count) for i, p in enumerate(payloads)]


def encode_piece(payload: bytes, generation: int, number: int, index: int, count: int) -> bytes:
    """Return a payload behind its header.

    Raises:
        StateError: it is too large for a record of the changelog.
    """
    if len(payload) + _HEADER.size > PIECE_BYTES_MAX:
        raise StateError(
            f"a piece of state is {len(payload)} bytes, more than {PIECE_BYTES_MAX}. "
            "Operator action: lower max_event_bytes or the number of scopes counted."
        )
    crc = zlib.crc32(payload)
    return _HEADER.pack(_MAGIC, FORMAT, generation, number, index, count, crc) + payload


def scalars_segment(scalars: dict[str, Any]) -> Segment:
    """Return the segment of a task whose whole state is small and JSON-able."""
    return Segment(rows_of([]), [], closed_of([]), [], scalars, is_whole=True)


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece as read back, whose checksum was right: where it belongs, and its bytes.

    Attributes:
        generation, number: of its segment.
        index, count: which of how many; count 0 where only the manifest tells (a base).
        value: header and payload.
    """

    generation: int
    number: int
    index: int
    count: int
    value: bytes

    @property
    def payload(self) -> bytes:
        """The bytes after the header."""
        return self.value[_HEADER.size :]

    @property
    def kind(self) -> bytes:
        """What the payload is: one letter."""
        return self.value[_HEADER.size : _HEADER.size + 1]


def read_piece(value: bytes) -> Piece:
    """Check and open one piece.

    Raises:
        StateError: the bytes are damaged or of another format.
    """
    if len(value) < _HEADER.size:
        raise StateError("a state piece is cut short. Operator action: " + _REBUILD)
    magic, version, generation, number, index, count, crc = _HEADER.unpack_from(value)
    if magic != _MAGIC or zlib.crc32(memoryview(value)[_HEADER.size :]) != crc:
        raise StateError("a state piece fails its checksum. Operator action: " + _REBUILD)
    if version not in _READABLE:
        raise StateError(
            f"state has format {version}, this version reads {_READABLE[0]} to {FORMAT}. "
            "Operator action: run the version that wrote it, or start a new group."
        )
    return Piece(generation, number, index, count, value)


_REBUILD: Final = "delete the state directory; the state is rebuilt from the changelog."


@dataclass(frozen=True, slots=True)
class Document:
    """The small part of a segment; see `Segment`."""

    scalars: dict[str, Any]
    reopened: list[Reopened]
    rejected: list[tuple[bytes, str]]


def document_payloads(segment: Segment) -> list[bytes]:
    """Return the payloads of a segment's small part."""
    document = zlib.compress(_scalars(segment), 1)
    kind = b"w" if segment.is_whole else b"s"
    return [kind + part for part in _cut(document, FRAME_TARGET_BYTES)]


def is_document(payload: bytes) -> bool:
    """Return whether a payload is of the small part of a segment, or of a whole one."""
    return payload[:1] in (b"s", b"w")


def read_document(payloads: Sequence[bytes]) -> Document:
    """Return the small part of a segment from its payloads, in order."""
    document = b"".join(p[1:] for p in payloads if is_document(p))
    small = json.loads(zlib.decompress(document))
    reopened: list[Reopened] = [(bytes.fromhex(k), *rest) for k, *rest in small["reopened"]]
    rejected = [(bytes.fromhex(key), module) for key, module in small["rejected"]]
    return Document(small["scalars"], reopened, rejected)


def removed_ids(payload: bytes) -> U64:
    """Return the trace ids that a payload removes, (n, 2): high and low half."""
    octets = payload[1:] if payload[:1] == b"d" else b""
    return np.frombuffer(octets, ">u8").astype(np.uint64).reshape(-1, 2)


def read_frame(payload: bytes) -> pl.DataFrame:
    """Return the rows, or the entries of the closed set, that a payload holds."""
    frame = io.BytesIO(memoryview(payload)[1:])
    return pl.read_ipc(frame) if payload.startswith(_ARROW_FILE, 1) else pl.read_ipc_stream(frame)


def frame_payload(kind: str, frame: pl.DataFrame) -> bytes:
    """Return rows ("r"), or entries of the closed set ("c"), as a payload."""
    out = io.BytesIO()
    frame.write_ipc_stream(out, compression="lz4")
    return kind.encode() + out.getvalue()


def _scalars(segment: Segment) -> bytes:
    reopened = [(key.hex(), *rest) for key, *rest in segment.reopened]
    rejected = [(key.hex(), module) for key, module in segment.rejected]
    small = {"scalars": segment.scalars, "reopened": reopened, "rejected": rejected}
    return json.dumps(small).encode()


def _cut(value: bytes, size: int) -> list[bytes]:
    """Cut bytes into parts; a multiple of 16 keeps trace ids whole."""
    return [value[i : i + size] for i in range(0, len(value), size)]


def _row_frames(rows: SegmentRows) -> Iterator[pl.DataFrame]:
    if not len(rows):
        return
    frame = pl.DataFrame(
        {
            "key": _keys(rows.trace_id),
            "topic": rows.topic,
            "kafka_us": rows.kafka_us,
            "is_late": rows.is_late,
            "is_recalled": rows.is_recalled,
            "body": pl.Series(list(rows.body), dtype=pl.Binary),
        }
    )
    yield from _split(frame, rows.body.size + 64)


def _closed_frames(closed: SegmentClosed) -> Iterator[pl.DataFrame]:
    if not len(closed.trace_id):
        return
    frame = pl.DataFrame(
        {
            "key": _keys(closed.trace_id),
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


def _keys(trace_id: U64) -> pl.Series:
    """Return (n, 2) trace ids as 16 bytes each."""
    octets = trace_id.astype(">u8").view("V16").ravel().tolist()
    return pl.Series(octets, dtype=pl.Binary)


def trace_ids(keys: pl.Series) -> U64:
    """Return ids of 16 bytes each as (n, 2): high and low half."""
    return np.frombuffer(b"".join(keys.to_list()), ">u8").astype(np.uint64).reshape(-1, 2)


def _split(frame: pl.DataFrame, sizes: I64) -> Iterator[pl.DataFrame]:
    """Cut a frame so that each part stays under the target even where nothing compresses."""
    part = (np.cumsum(sizes) - sizes) // FRAME_TARGET_BYTES
    starts = np.flatnonzero(np.r_[True, part[1:] != part[:-1]]).tolist()
    for start, end in zip(starts, [*starts[1:], len(frame)], strict=True):
        yield frame[start:end]


def rows_of(frames: Sequence[pl.DataFrame]) -> SegmentRows:
    """Return the rows of some frames, in order."""
    if not frames:
        none, pair = np.zeros(0, np.bool_), np.zeros((0, 2), np.uint64)
        return SegmentRows(pair, np.zeros(0, np.uint8), np.zeros(0, np.int64), none, none, NOTHING)
    frame = pl.concat(frames)
    return SegmentRows(
        trace_ids(frame["key"]),
        frame["topic"].to_numpy(),
        frame["kafka_us"].to_numpy(),
        frame["is_late"].to_numpy(),
        frame["is_recalled"].to_numpy(),
        Bodies.of(frame["body"].to_list()),
    )


def closed_of(frames: Sequence[pl.DataFrame]) -> SegmentClosed:
    """Return the entries of some frames, in order."""
    if not frames:
        none = np.zeros(0, np.int64)
        known, events = np.zeros((0, len(_KNOWN)), np.uint64), np.zeros(0, np.uint64)
        pair, flags = np.zeros((0, 2), np.uint64), np.zeros(0, np.bool_)
        return SegmentClosed(pair, none, none, none, flags, known, none, events)
    frame = pl.concat(frames)
    return SegmentClosed(
        trace_ids(frame["key"]),
        frame["revision"].to_numpy(),
        frame["closed_us"].to_numpy(),
        frame["cut_ms"].to_numpy(),
        frame["is_truncated"].to_numpy(),
        np.stack([frame[name].to_numpy() for name in _KNOWN], axis=1),
        frame["events"].bin.size().to_numpy().astype(np.int64) // 8,
        np.frombuffer(b"".join(frame["events"].to_list()), "<u8").astype(np.uint64),
    )
