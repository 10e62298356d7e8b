"""Makes losses of known truth: which spans of a whole recording a pattern takes away.

Owns the patterns. Every pattern is a mask over the rows of one batch and depends on the seed and
the batch alone, so that a run can be repeated.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from streams.core.columns import Operations, SpanBatch
from streams.core.fidelity.tree import NO_ROW, parent_rows
from streams.units import I64, Mask

RANDOM_RATIO = 0.01
LEAF_RATIO = 0.05
TAIL_TRACE_RATIO = 0.2
TAIL_SPAN_COUNT_MAX = 5
HOP_SPAN_COUNT_MIN = 20


@dataclass(frozen=True, slots=True)
class Recording:
    """A whole recording: its spans, their parents, and the names to tell them by."""

    batch: SpanBatch
    trace_id: list[str]
    module: np.ndarray
    name: np.ndarray
    parent_row: I64

    @classmethod
    def of(cls, batch: SpanBatch, trace_id: list[str], operations: Operations) -> "Recording":
        """Return the recording of a batch whose traces are whole."""
        module = np.array([operations[c].module for c in range(len(operations))], object)
        name = np.array([operations[c].name for c in range(len(operations))], object)
        parent_row, _ = parent_rows(batch.trace, batch.span_id, batch.parent_span_id)
        return cls(batch, trace_id, module[batch.operation], name[batch.operation], parent_row)


@dataclass(frozen=True, slots=True)
class Pattern:
    """One way to lose spans: the group it is summed up in, its name, and the rows it takes."""

    group: str
    name: str
    is_lost: Mask


def patterns(recording: Recording, seed: int) -> Iterator[Pattern]:
    """Yield all patterns: nothing lost, random, leaves, tails, silent services, hops."""
    rng = np.random.default_rng(seed)
    spans = len(recording.batch)
    yield Pattern("nothing", "nothing", np.zeros(spans, np.bool_))
    yield Pattern("random 1 %", "random 1 %", rng.random(spans) < RANDOM_RATIO)
    is_parent = np.zeros(spans, np.bool_)
    is_parent[recording.parent_row[recording.parent_row != NO_ROW]] = True
    yield Pattern("leaves 5 %", "leaves 5 %", ~is_parent & (rng.random(spans) < LEAF_RATIO))
    yield Pattern("tails", "tails", _tails(recording, rng))
    yield Pattern("random 10 %", "random 10 %", rng.random(spans) < 10 * RANDOM_RATIO)
    for service in sorted(set(recording.module.tolist())):
        yield Pattern("silent service", f"silent {service}", recording.module == service)
    yield from _hops(recording)


def _tails(recording: Recording, rng: np.random.Generator) -> Mask:
    """Take the last one to five spans, by start, of some traces."""
    batch = recording.batch
    size = np.bincount(batch.trace, minlength=batch.traces)
    cut = rng.integers(1, TAIL_SPAN_COUNT_MAX + 1, batch.traces)
    cut[rng.random(batch.traces) >= TAIL_TRACE_RATIO] = 0
    first = np.cumsum(size) - size
    from_end = (first + size)[batch.trace] - np.arange(len(batch))
    mask: Mask = (from_end <= cut[batch.trace]) & (from_end < size[batch.trace])
    return mask


def _hops(recording: Recording) -> Iterator[Pattern]:
    """For each edge between services: take the spans it leads to, alone or with all below."""
    parent_row = recording.parent_row
    above = np.where(parent_row == NO_ROW, "", recording.module[parent_row])
    crosses = (above != "") & (above != recording.module)
    edges = pl.DataFrame({"near": above[crosses], "far": recording.module[crosses]})
    counted = edges.group_by("near", "far").len().sort("near", "far")
    for near, far, count in counted.iter_rows():
        if count < HOP_SPAN_COUNT_MIN:
            continue
        is_far = crosses & (above == near) & (recording.module == far)
        yield Pattern("hop, far span", f"hop {near} -> {far}", is_far)
        yield Pattern("hop, subtree", f"hop {near} -> {far}, subtree", below(is_far, parent_row))


def below(chosen: Mask, parent_row: I64) -> Mask:
    """Return the chosen rows and all their descendants."""
    out = chosen.copy()
    while True:
        grown = out | (out[parent_row] & (parent_row != NO_ROW))
        if (grown == out).all():
            return out
        out = grown


def lost_frame(recording: Recording, is_lost: Mask) -> pl.DataFrame:
    """Describe the lost spans.

    Returns:
        trace_id, span_id (u64), far_module, far_name, near_module, near_name ("" for a root's),
        is_topmost (its parent is there, or it is a root) and has_child (a child is there).
    """
    rows = np.flatnonzero(is_lost)
    parent_row = recording.parent_row
    has_child = np.zeros(len(is_lost), np.bool_)
    seen = ~is_lost & (parent_row != NO_ROW)
    has_child[parent_row[seen]] = True
    above = parent_row[rows]
    is_root = above == NO_ROW
    return pl.DataFrame(
        {
            "trace_id": [recording.trace_id[t] for t in recording.batch.trace[rows].tolist()],
            "span_id": recording.batch.span_id[rows],
            "far_module": recording.module[rows].tolist(),
            "far_name": recording.name[rows].tolist(),
            "near_module": np.where(is_root, "", recording.module[above]).tolist(),
            "near_name": np.where(is_root, "", recording.name[above]).tolist(),
            "is_topmost": is_root | ~is_lost[above],
            "has_child": has_child[rows],
        },
        schema=LOST_SCHEMA,
    )


LOST_SCHEMA = {
    "trace_id": pl.String,
    "span_id": pl.UInt64,
    "far_module": pl.String,
    "far_name": pl.String,
    "near_module": pl.String,
    "near_name": pl.String,
    "is_topmost": pl.Boolean,
    "has_child": pl.Boolean,
}
