"""Folds segments into one, newest first, so that what died since is never looked at twice.

Going back in time, all that came after is known: a row lives unless its trace was removed in a
later segment, an entry of the closed set unless it expired or its trace was opened again. So a
fold takes one piece after the other and holds little more than the ids of what was removed, and how
old that segment is; what lives leaves it in frames of a piece's size, the youngest first. Small
frames are looked through many at a time: a call for each was most of a restart.

Invariant: applying the fold gives the state that applying the segments one by one gives.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import polars as pl

from streams.core.fidelity.windows import with_earlier
from streams.core.signals import counts as signals
from streams.core.traces.idmap import ABSENT, TraceIdMap, first_of_each, halves
from streams.core.traces.rejected import RejectedTraces
from streams.state.segment import (
    FRAME_TARGET_BYTES,
    Document,
    Reopened,
    Segment,
    closed_of,
    document_payloads,
    frame_payload,
    is_document,
    read_document,
    read_frame,
    removed_ids,
    rows_of,
    trace_ids,
)
from streams.units import I64, U64

REJECTED_TRACES_MAX: Final = 10_000
"""As many as a task remembers; see `JoinSettings.rejected_traces_max`."""
_NUMBER_BYTES: Final = 8
_FRAMES_MAX: Final = 256
"""Frames that are looked through at once, if they are no larger than a piece together."""
_NEVER: Final = 1 << 62


class Fold:
    """The fold of the segments added so far; see the module's docstring."""

    def __init__(self) -> None:
        self._age = 0
        self._removed = _Ages()
        self._reopened_later = _Ages()
        self._scalars: dict[str, Any] | None = None
        self._reopened: dict[bytes, Reopened] = {}
        self._base_document: list[bytes] = []
        self._rejected: list[list[tuple[bytes, str]]] = []
        self._sieves = {"r": _Sieve(self._removed), "c": _Sieve(self._reopened_later)}
        self._young = {"r": _Gathered(), "c": _Gathered()}
        self._done: list[tuple[str, pl.DataFrame]] = []

    def add(self, payloads: Sequence[bytes]) -> None:
        """Take in the segment before those that were added; its payloads in order."""
        document = read_document(payloads)
        if self._scalars is None:  # the newest says what expired
            self._scalars = document.scalars
        for payload in reversed(payloads):
            self._add_frame(payload)
        self._add_document(document)
        for payload in payloads:
            self._removed.note(removed_ids(payload), self._age)
        self._age += 1

    def _add_document(self, document: Document) -> None:
        self._scalars = _with_earlier(self._scalars or document.scalars, document.scalars)
        for reopened in document.reopened:
            key = reopened[0]
            if key not in self._removed:
                self._reopened.setdefault(key, reopened)
        again = [reopened[0] for reopened in document.reopened]
        self._reopened_later.note(np.stack(halves(again), axis=1), self._age)
        self._rejected.append(document.rejected)

    def add_base_piece(self, payload: bytes) -> None:
        """Take in the next piece of a base, which is before all segments; the youngest first."""
        if is_document(payload):
            self._base_document.append(payload)
        else:
            self._add_frame(payload)

    def end_base(self) -> None:
        """Take in that the base is complete."""
        self._add_document(read_document(self._base_document[::-1]))

    def _add_frame(self, payload: bytes) -> None:
        kind = chr(payload[0])
        if kind not in self._sieves:
            return
        frame = read_frame(payload)
        if not self._sieves[kind].takes(frame):
            self._sift(kind)
        self._sieves[kind].put_before(frame, self._age)

    def _sift(self, kind: str) -> None:
        """Keep what lives of the frames that wait to be looked through."""
        frame = self._sieves[kind].sifted()
        if frame is None:
            return
        if kind == "c":
            closed_from_ms = (self._scalars or {}).get("closed_from_ms", 0)
            frame = frame.filter(pl.col("cut_ms") >= closed_from_ms)
        self._done += [(kind, whole) for whole in self._young[kind].put_before(frame)]

    def taken(self) -> list[bytes]:
        """Return the payloads that are complete and were not returned before, youngest first."""
        payloads = [frame_payload(kind, frame) for kind, frame in self._done]
        self._done = []
        return payloads

    def finished(self) -> list[bytes]:
        """Return the payloads that are left, youngest first; nothing is added after this."""
        self._finish_frames()
        return self.taken() + document_payloads(self._small())[::-1]

    def _finish_frames(self) -> None:
        for kind, young in self._young.items():
            self._sift(kind)
            self._done += [(kind, whole) for whole in young.rest()]

    def _small(self) -> Segment:
        """Return the fold without its rows and entries."""
        rejected = RejectedTraces(REJECTED_TRACES_MAX)
        for entries in reversed(self._rejected):
            rejected.add(entries)
        return Segment(
            rows_of([]),
            [],
            closed_of([]),
            list(self._reopened.values()),
            self._scalars or {},
            rejected.entries(full=True),
            is_whole=True,
        )

    def segments(self) -> list[Segment]:
        """Return the fold as segments; nothing is added after this.

        All but the rows is in the first one. The rows follow in steps, so that nobody has to decode
        all of them at once.
        """
        self._finish_frames()
        frames = {kind: [f for k, f in self._done if k == kind][::-1] for kind in ("r", "c")}
        small = self._small()
        first = Segment(
            small.rows,
            [],
            closed_of(frames["c"]),
            small.reopened,
            small.scalars,
            small.rejected,
            is_whole=True,
        )
        step = 64
        return [first] + [
            Segment(rows_of(frames["r"][i : i + step]), [], small.closed, [])
            for i in range(0, len(frames["r"]), step)
        ]


class _Ages:
    """How old the youngest segment is that says something of a trace, by trace.

    Of all traces that came and went since the last base there are hundreds of thousands: as
    columns they take a third of what a dictionary takes, and nothing of the heap.
    """

    def __init__(self) -> None:
        self._number_of = TraceIdMap()
        self._ages: list[int] = []
        self._first: list[int] = []
        """Traces are numbered as they are noted: of each age the first number."""

    def note(self, ids: U64, age: int) -> None:
        """Take in traces, (n, 2), of a segment no younger than those before."""
        hi, lo = ids[:, 0], ids[:, 1]
        new = self._number_of.find(hi, lo) == ABSENT
        new &= first_of_each(hi, lo) == np.arange(len(ids))
        self._ages.append(age)
        self._first.append(len(self))
        self._number_of.put(hi[new], lo[new], len(self) + np.arange(int(new.sum())))

    def __contains__(self, key: bytes) -> bool:
        return self._number_of.find_one(key) != ABSENT

    def __len__(self) -> int:
        return len(self._number_of)

    def of(self, ids: U64) -> I64:
        """Return the age of each trace, later than all for those that nothing is said of; (n,)."""
        number = self._number_of.find(ids[:, 0], ids[:, 1])
        noted = np.searchsorted(self._first, number, side="right") - 1
        return np.where(number == ABSENT, _NEVER, np.array(self._ages, np.int64)[noted])


class _Sieve:
    """Frames as they were read, until there are enough of them to be looked through.

    Args:
        gone: how old the youngest segment is after which nothing older of a trace lives, by id.
    """

    def __init__(self, gone: _Ages) -> None:
        self._gone = gone
        self._frames: list[tuple[int, pl.DataFrame]] = []
        self._size_bytes = 0

    def takes(self, frame: pl.DataFrame) -> bool:
        """Return whether a frame is looked through with those that are there."""
        is_small = self._size_bytes + frame.estimated_size() <= FRAME_TARGET_BYTES
        return is_small and len(self._frames) < _FRAMES_MAX

    def put_before(self, frame: pl.DataFrame, age: int) -> None:
        """Add a frame that is before the others."""
        self._frames.append((age, frame))
        self._size_bytes += int(frame.estimated_size())

    def sifted(self) -> pl.DataFrame | None:
        """Return the rows of all frames that live, None without frames, and begin anew."""
        frames, self._frames, self._size_bytes = self._frames[::-1], [], 0
        if not frames:
            return None
        frame = pl.concat([frame for _, frame in frames])
        if not self._gone:
            return frame
        age = np.repeat([age for age, _ in frames], [len(frame) for _, frame in frames])
        is_gone = self._gone.of(trace_ids(frame["key"])) < age
        return frame.filter(~is_gone) if is_gone.any() else frame


class _Gathered:
    """Small frames until they are a large one."""

    def __init__(self) -> None:
        self._frames: list[pl.DataFrame] = []
        self._size_bytes = 0

    def put_before(self, frame: pl.DataFrame) -> list[pl.DataFrame]:
        """Put a frame before those gathered; return those if they and it are too large together."""
        if not len(frame):
            return []
        size_bytes = _size_bytes(frame)
        whole = self.rest() if self._size_bytes + size_bytes > FRAME_TARGET_BYTES else []
        self._frames.append(frame)
        self._size_bytes += size_bytes
        return whole

    def rest(self) -> list[pl.DataFrame]:
        """Return what is gathered as one frame, none if there is nothing, and begin anew."""
        frames, self._frames, self._size_bytes = self._frames[::-1], [], 0
        return [pl.concat(frames)] if frames else []


def _size_bytes(frame: pl.DataFrame) -> int:
    """Return how large a frame is at most where nothing compresses."""
    fixed = len(frame) * _NUMBER_BYTES * len(frame.columns)
    texts = [frame[n].bin.size().sum() for n, kind in frame.schema.items() if kind == pl.Binary]
    return fixed + int(sum(texts))


def _with_earlier(scalars: dict[str, Any], earlier: dict[str, Any]) -> dict[str, Any]:
    """Return the scalars of a segment after an earlier one's: only counted windows add up."""
    if "counts" not in scalars or "counts" not in earlier:
        return scalars
    out = scalars | {"counts": with_earlier(scalars["counts"], earlier["counts"])}
    if "signals" in scalars and "signals" in earlier:
        out["signals"] = signals.with_earlier(scalars["signals"], earlier["signals"])
    return out
