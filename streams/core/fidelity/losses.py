"""Which spans are missing, and on which edge each was lost.

Owns the rule of the losing edge and the naming of unseen parents. Invariant: a lost stage is
reported once; the unseen parent that is this stage lends it its span id instead of a second row.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from streams.core.columns import Operations, SpanBatch
from streams.core.fidelity import missing
from streams.core.fidelity.missing import MissingColumns
from streams.core.fidelity.outcomes import NO_ROW, FlowView
from streams.core.fidelity.structure import UNSEEN_PARENT, Structure
from streams.units import I32, I64, U64, Mask

_FAR: Final = 1 << 30
_NOBODY: Final = -1


@dataclass(frozen=True, slots=True)
class UnseenParents:
    """The u distinct parents that spans name and nobody saw, by trace, then first child.

    Attributes:
        trace: (u,) ordinal of the trace.
        span_id: (u,) the id the children name.
        child_code: (u,) stage code of the first child, -1 for none.
        child_label: (u,) label of the first child by its operation.
        parent: (o,) for each orphan, its parent as an index into the u rows.
        orphan_code: (o,) for each orphan, its stage code, -1 for none.
    """

    trace: I32
    span_id: U64
    child_code: I32
    child_label: I32
    parent: I64
    orphan_code: I32

    def __len__(self) -> int:
        return len(self.trace)

    def of_traces(self, is_mine: Mask) -> "UnseenParents":
        """Return those of the traces that `is_mine` (T,) marks."""
        keep = is_mine[self.trace]
        place = np.cumsum(keep) - 1
        pairs = keep[self.parent]
        return UnseenParents(
            self.trace[keep],
            self.span_id[keep],
            self.child_code[keep],
            self.child_label[keep],
            place[self.parent[pairs]],
            self.orphan_code[pairs],
        )


def operation_label(operations: Operations, code: int) -> str:
    """Return the label of an operation that is no stage: `module:name`."""
    operation = operations[code]
    return f"{operation.module}:{operation.name}"


def unseen_parents(
    batch: SpanBatch,
    structure: Structure,
    stage_code: I32,
    operations: Operations,
    labels: tuple[str, ...],
) -> tuple[UnseenParents, tuple[str, ...]]:
    """Return the distinct unseen parents, and `labels` grown by those of their children."""
    orphan = np.flatnonzero(structure.parent_row == UNSEEN_PARENT)
    ids, rank = np.unique(batch.parent_span_id[orphan], return_inverse=True)
    key = batch.trace[orphan].astype(np.int64) * max(1, len(ids)) + rank
    _, first, parent = np.unique(key, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    child = orphan[first[order]]
    index = {label: i for i, label in reversed(list(enumerate(labels)))}
    codes, which = np.unique(batch.operation[child], return_inverse=True)
    label = [index.setdefault(operation_label(operations, c), len(index)) for c in codes.tolist()]
    found = UnseenParents(
        trace=batch.trace[child],
        span_id=batch.parent_span_id[child],
        child_code=stage_code[child],
        child_label=np.array(label, np.int32)[which],
        parent=place[parent],
        orphan_code=stage_code[orphan],
    )
    return found, labels + tuple(index)[len(labels) :]


def losing_edges(view: FlowView, rows: I64) -> tuple[I64, I64]:
    """Return where each stage's path lost its context.

    The near end is the nearest ancestor that was seen, by hops; of equally near ones the latest
    in topological order, and of paths to the same one that through the latest predecessor.
    Stages on the way that the trace does not require are stepped over.

    Args:
        view: k traces of one flow and its S stages.
        rows: (r,) rows of the view to look at.

    Returns:
        near: (r, S) position of the last stage with context before the stage, -1 for none;
        first: (r, S) position of the first lacking stage from there to the stage, -1 for none.
    """
    is_seen = view.count[rows] > 0
    is_lacking = view.is_lacking[rows]
    hops = np.full(is_seen.shape, _FAR, np.int64)
    near = np.full(is_seen.shape, _NOBODY, np.int64)
    first = np.full(is_seen.shape, _NOBODY, np.int64)
    for stage, before in enumerate(view.tables.predecessors):
        for one in before:
            seen = is_seen[:, one]
            one_hops = np.where(seen, 1, np.minimum(hops[:, one] + 1, _FAR))
            one_near = np.where(seen, one, near[:, one])
            is_better = (one_hops < hops[:, stage]) | (
                (one_hops == hops[:, stage]) & (one_near >= near[:, stage])
            )
            hops[is_better, stage] = one_hops[is_better]
            near[is_better, stage] = one_near[is_better]
            first[is_better, stage] = np.where(seen, _NOBODY, first[:, one])[is_better]
        own = np.where(is_lacking[:, stage], stage, _NOBODY)
        first[:, stage] = np.where(first[:, stage] == _NOBODY, own, first[:, stage])
    return near, first


def flow_losses(
    view: FlowView, parents: UnseenParents, stage_operation: I32, labels: tuple[str, ...]
) -> tuple[MissingColumns, I32]:
    """Return what the traces of one flow lack.

    Each unseen parent goes to the latest lacking stage that comes just before one of its
    children; a stage takes the id of the first parent that goes to it. The parents left over have
    a row of their own, cause ORPHANED.

    Args:
        view: the k traces of the flow.
        parents: the unseen parents of these traces.
        stage_operation: (C,) operation code of each stage code.
        labels: the labels to point to; the plan's come first.

    Returns:
        The missing rows, lacking stages by trace and stage, then unseen parents; and (k, S) the
        row of each lacking stage, -1 for none.
    """
    row_of = np.full(view.count.shape, NO_ROW, np.int32)
    parent_at = np.searchsorted(view.trace, parents.trace)
    is_needed: Mask = np.asarray(view.is_lacking.any(axis=1))
    is_needed[parent_at] = True
    rows = np.flatnonzero(is_needed)
    if not len(rows):
        return missing.empty(labels), row_of
    near, first = losing_edges(view, rows)
    label = np.append(view.tables.label, np.int32(missing.NO_LABEL))  # position -1: no label
    place = np.cumsum(is_needed) - 1
    at, stage = np.nonzero(view.is_lacking)
    row_of[at, stage] = np.arange(len(at))
    span_id, is_left = _named_by_children(view, parents, parent_at, row_of, len(at))
    of_stages = MissingColumns(
        trace=view.trace[at].astype(np.int32),
        span_id=span_id,
        operation=stage_operation[view.tables.flow.stage_code[stage]],
        from_label=label[near[place[at], stage]],
        to_label=label[first[place[at], stage]],
        cause=np.full(len(at), missing.NEVER_ARRIVED, np.uint8),
        labels=labels,
    )
    rest = np.flatnonzero(is_left)
    position = np.append(view.tables.position, _NOBODY)[parents.child_code[rest]]
    child_near = near[place[parent_at[rest]], position]
    return missing.concat(
        [
            of_stages,
            _orphaned(
                parents,
                rest,
                np.where(position == _NOBODY, missing.NO_LABEL, label[child_near]),
                np.where(position == _NOBODY, parents.child_label[rest], label[position]),
                labels,
            ),
        ]
    ), row_of


def _named_by_children(
    view: FlowView, parents: UnseenParents, parent_at: I64, row_of: I32, stages: int
) -> tuple[U64, Mask]:
    """Return the span id of each lacking stage, 0 for none, and (u,) which parents are left."""
    span_id = np.zeros(stages, np.uint64)
    is_left = np.ones(len(parents), np.bool_)
    if not stages or not len(parents):
        return span_id, is_left
    position = np.append(view.tables.position, _NOBODY)[parents.orphan_code]
    chosen = np.full(len(parents), _NOBODY, np.int64)
    for near, far in zip(view.tables.near.tolist(), view.tables.far.tolist(), strict=True):
        is_hit = (position == far) & view.is_lacking[parent_at[parents.parent], near]
        np.maximum.at(chosen, parents.parent[is_hit], near)
    claim = np.flatnonzero(chosen != _NOBODY)
    target = row_of[parent_at[claim], chosen[claim]]
    _, winner = np.unique(target, return_index=True)
    span_id[target[winner]] = parents.span_id[claim[winner]]
    is_left[claim[winner]] = False
    return span_id, is_left


def loose_losses(parents: UnseenParents, labels: tuple[str, ...]) -> MissingColumns:
    """Return the unseen parents of traces without a flow: only the child's end is known."""
    rows = np.arange(len(parents))
    return _orphaned(parents, rows, np.zeros(len(rows), np.int32), parents.child_label, labels)


def _orphaned(
    parents: UnseenParents, rows: I64, from_label: I32, to_label: I32, labels: tuple[str, ...]
) -> MissingColumns:
    return MissingColumns(
        trace=parents.trace[rows],
        span_id=parents.span_id[rows],
        operation=np.full(len(rows), missing.NO_OPERATION, np.int32),
        from_label=np.asarray(from_label, np.int32),
        to_label=np.asarray(to_label, np.int32),
        cause=np.full(len(rows), missing.ORPHANED, np.uint8),
        labels=labels,
    )
