"""The shape of one trace: whose child a span is, whose parent never came, whose clock differs.

Owns the tree that spans make by their ids. Invariant: the parents returned form a forest, whatever
the ids say: of spans that are each other's ancestors the first to begin becomes a root.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from streams.units import I64, Mask, TimesUs


@dataclass(frozen=True, slots=True)
class Shape:
    """The forest of n spans.

    Attributes:
        parent: (n,) row of the parent; -1 for a root and for an orphan.
        is_orphan: (n,) it names a parent that is not among the spans.
        is_looped: (n,) it was made a root because its ancestors lead back to it.
        skew_us: (n,) how much earlier it begins than its parent, 0 when it does not: clocks that
            differ, or a sender that rounds.
    """

    parent: I64
    is_orphan: Mask
    is_looped: Mask
    skew_us: I64


def spans_once(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the spans among a trace's events, each once: of one that was told twice the first."""
    found: dict[str, dict[str, Any]] = {}
    for event in events:
        if event["event_type"] == "TRACE":
            found.setdefault(event["span_id"], event)
    return list(found.values())


def shape_of(span_id: Sequence[str], parent_id: Sequence[str], start_us: TimesUs) -> Shape:
    """Return the shape of one trace.

    Args:
        span_id: (n,) ids; of repeated ones the first row is the parent of those that name it.
        parent_id: (n,) ids, "" for a root.
        start_us: (n,) starts, Unix microseconds.
    """
    count = len(span_id)
    row_of: dict[str, int] = {}
    for row, one in enumerate(span_id):
        row_of.setdefault(one, row)
    parent = [row_of.get(one, -1) if one else -1 for one in parent_id]
    is_orphan = np.array([bool(p) and p not in row_of for p in parent_id], np.bool_)
    looped = _loop_heads(parent, start_us)
    for row in looped:
        parent[row] = -1
    is_looped = np.zeros(count, np.bool_)
    is_looped[looped] = True
    parents = np.array(parent, np.int64)
    begins = start_us[parents] if count else start_us
    skew_us = np.where(parents >= 0, np.maximum(begins - start_us, 0), 0)
    return Shape(parents, is_orphan, is_looped, skew_us)


def _loop_heads(parent: Sequence[int], start_us: TimesUs) -> list[int]:
    """Return, of each loop of parents, the row that begins first; of equals the first row."""
    heads = []
    walk_of = [-1] * len(parent)
    for walk in range(len(parent)):
        row = walk
        while row >= 0 and walk_of[row] < 0:
            walk_of[row] = walk
            row = parent[row]
        if row >= 0 and walk_of[row] == walk:
            loop = [row]
            while parent[loop[-1]] != row:
                loop.append(parent[loop[-1]])
            heads.append(min(loop, key=lambda one: (int(start_us[one]), one)))
    return heads
