"""Turns files that are too old into summaries, and these into coarser ones.

Owns the steps: a summary is written whole, under a name that covers what it sums up, before that is
let go. Whatever ends the console in between, the next one removes what a summary covers. A record
that several files repeat counts in the last of them that goes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import Lock
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streams.codec.records import decode
from streams.console.archive.files import Segment
from streams.console.archive.kinds import KIND, SCOPE
from streams.console.archive.lists import Times
from streams.console.archive.retention import Hold, expired
from streams.console.archive.store import Store
from streams.console.archive.summaries import (
    MISSING,
    STEPS_US,
    SUMMARIES,
    SUMMED,
    SUMMED_FROM,
    added,
    summarised,
)
from streams.console.archive.tiers import TIERS, Keep, coarser, outlived, runs, summary_of
from streams.units import Mask

_BATCH_ROWS: Final = 1_000
"""Traces that are decoded at a time, for the spans that they lack."""


class Files(Protocol):
    """What of an archive is needed here; see `Archive`."""

    @property
    def store(self) -> Store:
        """Where the files are."""

    @property
    def turn(self) -> Lock:
        """Held from before a file is read until what it became is in its place."""

    def files(self) -> list[Segment]:
        """Return all files."""

    def within(self, kind: str, files: Sequence[Segment], times: Times) -> list[Segment]:
        """Return the files of a kind that hold something of a time."""

    def replace(self, old: Sequence[Segment], new: Segment | None, size_bytes: int) -> None:
        """Let files go; answers have a new one in their place from the same moment on."""


def roll_up(
    archive: Files,
    keep: Keep,
    holds: Sequence[Hold],
    now_us: int,
    is_over: Callable[[], bool] = lambda: False,
) -> int:
    """Sum up what is too old, and let it go.

    Args:
        archive: whose files they are.
        keep: how long.
        holds: what stays.
        now_us: the time of day.
        is_over: whether no further file should be begun.

    Returns:
        How many files went.

    Raises:
        OSError: the disk is full, or the bucket is away; nothing is lost.
    """
    store, files = archive.store, archive.files()
    old = frozenset(expired(files, keep.raw_days, holds, now_us))
    gone = 0
    for run in runs(files, old):
        if is_over():
            return gone
        new, size_bytes = None, 0
        with archive.turn:
            if run[0].kind in SUMMARIES:
                new = summary_of(run, run[0].kind, TIERS[0])
                size_bytes = store.write(SUMMED[new.kind], new, _of_run(archive, run))
            archive.replace(run, new, size_bytes)
        gone += len(run)
    for run in coarser(archive.files(), keep.minute_days, holds, now_us):
        if is_over():
            return gone
        kind, _ = SUMMED_FROM[run[0].kind]
        new = summary_of(run, kind, TIERS[1])
        with archive.turn:
            whole = added(kind, [store.read(SUMMED[run[0].kind], run)], STEPS_US[TIERS[1]])
            size_bytes = store.write(SUMMED[new.kind], new, whole)
            archive.replace(run, new, size_bytes)
        gone += len(run)
    if last := outlived(archive.files(), keep.hour_days, holds, now_us):
        with archive.turn:
            archive.replace(last, None, 0)
    return gone + len(last)


def _of_run(archive: Files, run: Sequence[Segment]) -> pa.Table:
    """Return the summary of files that follow one another; each is read alone."""
    kind, step_us, store = run[0].kind, STEPS_US[TIERS[0]], archive.store
    others = [one for one in archive.files() if one.kind == kind]
    parts = []
    for one in run:
        others = [other for other in others if other != one]
        rows = store.read(KIND[kind], [one], SUMMARIES[kind].columns)
        if len(rows):
            rows = rows.filter(pa.array(~_repeated(archive, kind, rows, others)))
        missing = _missing(store, one) if kind == "traces" else None
        parts.append(summarised(kind, rows, step_us, missing))
    return parts[0] if len(parts) == 1 else added(kind, parts, step_us)


def _repeated(archive: Files, kind: str, rows: pa.Table, others: Sequence[Segment]) -> Mask:
    """Return which rows count elsewhere: another file has them, or a later version of them."""
    store, at = archive.store, rows[KIND[kind].time].to_numpy()
    near = archive.within(kind, others, (int(at.min()), int(at.max()) + 1))
    if kind == "events":
        ids = {"event_id": rows["event_id"].to_pylist()}
        found = [part for _, part in store.find(KIND[kind], near, ids, ("event_id",))]
        known = pa.concat_arrays([c for part in found for c in part["event_id"].chunks] or [_NONE])
        return np.asarray(pc.is_in(rows["event_id"], value_set=known).to_numpy(), np.bool_)
    of = ("trace_id",) if kind in ("traces", "spans") else (*SCOPE, "window_start", "window_us")
    wanted = (*of, "revision")
    parts = _versions(store, kind, rows, near, wanted)
    later = pa.concat_tables([rows.select(wanted), *parts]).group_by(list(of))
    newest = later.aggregate([("revision", "max")])
    place = pa.table({"row": np.arange(len(rows)), **{n: rows[n] for n in wanted}})
    both = place.join(newest, list(of)).sort_by("row")
    return np.asarray(pc.less(both["revision"], both["revision_max"]).to_numpy(), np.bool_)


_NONE: Final = pa.array([], pa.string())


def _versions(
    store: Store, kind: str, rows: pa.Table, near: Sequence[Segment], columns: Sequence[str]
) -> Iterator[pa.Table]:
    """Yield what other files have of the same things."""
    if kind == "fidelity":
        yield store.read(KIND[kind], near, columns)
        return
    ids: Mapping[str, list[str]] = {"trace_id": pc.unique(rows["trace_id"]).to_pylist()}
    for _, found in store.find(KIND[kind], near, ids, columns):
        yield found


def _missing(store: Store, one: Segment) -> pa.Table:
    """Return the spans that the traces of a file lack."""
    found: list[tuple[str, int, str, str, str]] = []
    lacking = pc.greater(pc.list_value_length(pc.field("missing_stages")), 0)
    dataset = store.dataset([one], KIND["traces"].schema)
    for batch in dataset.to_batches(["value"], filter=lacking, batch_size=_BATCH_ROWS):
        for value in batch["value"].to_pylist():
            trace = decode(value)
            about = trace["trace_id"], trace["revision"]
            found += [
                (*about, span["module"], span["from_stage"], span["to_stage"])
                for span in trace["missing"]
            ]
    columns = list(zip(*found, strict=True)) or [()] * len(MISSING)
    return pa.Table.from_arrays(
        [pa.array(c, f.type) for c, f in zip(columns, MISSING, strict=True)], schema=MISSING
    )
