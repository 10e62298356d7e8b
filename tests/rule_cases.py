"""Traces written as text, and a slow oracle for open slots: for the tests of operation rules."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from streams.contract.operations import OperationRules
from streams.core.columns import Operation, Operations, SpanBatch
from streams.core.fidelity.missing import CAUSES, NO_OPERATION, MissingColumns
from streams.core.fidelity.rule_table import RARE_RATIO
from streams.units import Mask

STEP_US = 10


def name_of(text: str) -> tuple[str, str, str]:
    """Return the operation that a word stands for: `shop.GET` is GET of module shop."""
    module, _, name = text.rpartition(".")
    return (module or "M", "service", name)


def batch_of(traces: Sequence[str], operations: Operations) -> SpanBatch:
    """Read traces, one span a word: `id/parent:operation`, parent 0 for a root, in time order.

    The k-th word starts at k steps; a span lasts until its last descendant has begun, and a step.
    """
    rows = []
    for ordinal, text in enumerate(traces):
        spans = []
        for position, word in enumerate(text.split()):
            ids, _, operation = word.partition(":")
            own, parent = (int(part) for part in ids.split("/"))
            spans.append([own, parent, position, position + 1, operation])
        parent_of = {span[0]: span for span in spans}
        for span in reversed(spans):
            above = parent_of.get(span[1])
            if above is not None:
                above[3] = max(above[3], span[3])
        for own, parent, start, end, operation in spans:
            code = operations.code(Operation(*name_of(operation)))
            rows.append((ordinal, own, parent, start * STEP_US, (end - start) * STEP_US, code))
    columns = list(zip(*rows, strict=True)) or [()] * 6
    count = len(rows)
    return SpanBatch(
        trace=np.array(columns[0], np.int32),
        traces=len(traces),
        span_id=np.array(columns[1], np.uint64),
        parent_span_id=np.array(columns[2], np.uint64),
        timestamp_us=np.array(columns[3], np.int64),
        duration_us=np.array(columns[4], np.int64),
        operation=np.array(columns[5], np.int32),
        status=np.zeros(count, np.uint8),
        trace_flags=np.ones(count, np.uint8),
        topic=np.zeros(count, np.uint8),
        is_late=np.zeros(count, np.bool_),
        stage_bits=np.zeros((count, 1), np.uint64),
    )


def kept_of(batch: SpanBatch, kept: Mask) -> SpanBatch:
    """Return the batch without the rows that are not kept; traces keep their ordinals."""
    fields = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
    of_rows = {n: v[kept] for n, v in fields.items() if n not in ("traces", "is_unsampled")}
    return dataclasses.replace(batch, **of_rows)


def without(batch: SpanBatch, *span_ids: int) -> SpanBatch:
    """Return the batch without the spans of these ids."""
    return kept_of(batch, ~np.isin(batch.span_id, np.array(span_ids, np.uint64)))


def told(missing: MissingColumns, operations: Operations) -> list[tuple[int, int, str, str, str]]:
    """Return (trace, span id, near label, far operation's label, cause) of each row."""
    return [
        (
            int(missing.trace[i]),
            int(missing.span_id[i]),
            missing.labels[missing.from_label[i]],
            "" if code == NO_OPERATION else f"{operations[code].module}:{operations[code].name}",
            CAUSES[missing.cause[i]],
        )
        for i, code in enumerate(missing.operation.tolist())
    ]


def slow_slots(
    batch: SpanBatch, rules: OperationRules, operations: Operations
) -> Counter[tuple[int, int, tuple[str, str, str]]]:
    """Count the open slots one span at a time: (trace, parent's id, lacking operation) -> times.

    Groups are left out. Written from the rules' meaning, without sharing code with the engine.
    """
    name = [tuple(operations[c]) for c in batch.operation.tolist()]
    row = {(t, s): i for i, (t, s) in enumerate(zip(batch.trace, batch.span_id, strict=True))}
    above = [row.get((t, p)) for t, p in zip(batch.trace, batch.parent_span_id, strict=True)]
    children: dict[int, list[int]] = defaultdict(list)
    for i, parent in enumerate(above):
        if parent is not None and parent != i:
            children[parent].append(i)
    rule_of = {(p.module, p.component, p.name): p for p in rules.parents}
    pairs = {(n.parent, n.child): n.support for n in rules.nesting}
    out: Counter[tuple[int, int, tuple[str, str, str]]] = Counter()
    for i in range(len(name)):
        chain, at = [], above[i]
        while at is not None and len(chain) < len(name):
            chain.append(name[at])
            at = above[at]
        parent_rule = rule_of.get(name[i])
        if parent_rule is None or _beside_odd(i, above, name, children, rule_of, pairs):
            continue
        have = Counter(name[c] for c in children[i])
        lacking: dict[tuple[str, str, str], int] = {}
        for rule in parent_rule.children:
            under = rule.when.under if rule.when else ()
            seen = rule.when.seen if rule.when else None
            calling = rule.when.calling if rule.when else None
            beside = [
                c
                for c in children[i]
                if name[c] == seen
                and (calling is None or Counter(name[g] for g in children[c]) == Counter(calling))
            ]
            if tuple(chain[: len(under)]) != under or (seen is not None and not beside):
                continue
            child = (rule.module, rule.component, rule.name)
            lacking[child] = max(lacking.get(child, 0), rule.count - have[child])
        for child, count in lacking.items():
            if count > 0:
                out[int(batch.trace[i]), int(batch.span_id[i]), child] = count
    return out


def _beside_odd(i, above, name, children, rule_of, pairs):  # type: ignore[no-untyped-def]
    """Say whether a sibling is out of the ordinary below the parent."""
    parent = above[i]
    if parent is None or name[parent] not in rule_of:
        return False
    support = rule_of[name[parent]].support
    return any(
        pairs.get((name[parent], name[c]), 0) < max(RARE_RATIO * support, 1e-9)
        for c in children[parent]
        if c != i
    )
