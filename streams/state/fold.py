"""Folds segments into one, newest first, so that what died since is never looked at twice.

Going back in time, all that came after is known: a row lives unless its trace was removed in a
later segment, an entry of the closed set unless it expired or its trace was opened again. So a
fold takes one piece after the other and holds no more than the ids of what was removed; what lives
leaves it in frames of a piece's size, the youngest first.

Invariant: applying the fold gives the state that applying the segments one by one gives.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

import numpy as np
import polars as pl

from streams.core.fidelity.windows import with_earlier
from streams.core.signals import counts as signals
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
    removed_in,
    rows_of,
)

REJECTED_TRACES_MAX: Final = 10_000
"""As many as a task remembers; see `JoinSettings.rejected_traces_max`."""
_NUMBER_BYTES: Final = 8


class Fold:
    """The fold of the segments added so far; see the module's docstring."""

    def __init__(self) -> None:
        self._removed: set[bytes] = set()
        self._reopened_later: set[bytes] = set()
        self._scalars: dict[str, Any] | None = None
        self._reopened: dict[bytes, Reopened] = {}
        self._base_document: list[bytes] = []
        self._rejected: list[list[tuple[bytes, str]]] = []
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
            self._removed.update(removed_in(payload))

    def _add_document(self, document: Document) -> None:
        self._scalars = _with_earlier(self._scalars or document.scalars, document.scalars)
        for reopened in document.reopened:
            key = reopened[0]
            if key not in self._removed:
                self._reopened.setdefault(key, reopened)
            self._reopened_later.add(key)
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
        if kind == "r":
            frame = _without(read_frame(payload), self._removed)
        elif kind == "c":
            frame = self._still_closed(read_frame(payload))
        else:
            return
        self._done += [(kind, whole) for whole in self._young[kind].put_before(frame)]

    def _still_closed(self, frame: pl.DataFrame) -> pl.DataFrame:
        closed_from_ms = (self._scalars or {}).get("closed_from_ms", 0)
        frame = frame.filter(pl.col("cut_ms") >= closed_from_ms)
        return _without(frame, self._reopened_later)

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


def _without(frame: pl.DataFrame, keys: Collection[bytes]) -> pl.DataFrame:
    """Return the rows of a frame whose trace is not among some."""
    if not keys:
        return frame
    is_gone = np.fromiter(map(keys.__contains__, frame["key"].to_list()), np.bool_, len(frame))
    return frame.filter(~is_gone) if is_gone.any() else frame


def _with_earlier(scalars: dict[str, Any], earlier: dict[str, Any]) -> dict[str, Any]:
    """Return the scalars of a segment after an earlier one's: only counted windows add up."""
    if "counts" not in scalars or "counts" not in earlier:
        return scalars
    out = scalars | {"counts": with_earlier(scalars["counts"], earlier["counts"])}
    if "signals" in scalars and "signals" in earlier:
        out["signals"] = signals.with_earlier(scalars["signals"], earlier["signals"])
    return out
