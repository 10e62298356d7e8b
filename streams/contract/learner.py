"""Learns operation rules from whole traces: what each operation calls, and in which surroundings.

Owns the statistics, not the evaluation. A rule is kept when it held under nearly all of the
parents it speaks of (`ratio_min`) and there were enough of them (`support_min`). Surroundings are
tried from none to the whole chain of ancestors, and a longer chain earns a rule only where it
promises more than the shorter ones: so that rules stay few, readable, and hold where an ancestor
was lost. The traces learned from must be whole; spans that are missing in them teach nothing.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from streams.contract.operations import (
    CallSequence,
    ChildRule,
    Nesting,
    OneOfRule,
    OperationName,
    OperationRules,
    ParentRule,
    When,
)
from streams.core.columns import Operations, SpanBatch
from streams.core.fidelity.tree import NO_ROW, chains, parent_rows
from streams.units import I64

SEQUENCE_COUNT_MAX: Final = 64
SEQUENCE_CALLS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class LearnerSettings:
    """What counts as a rule.

    Attributes:
        ratio_min: The share of parents that must agree. Losses are rare, so a rule that is wrong
            about one normal parent in a thousand already doubts more whole traces than lost spans.
        support_min: How many parents an unconditional rule needs.
        chained_support_min: The same for a rule under a chain of ancestors: there are many of
            them, so more would hold by chance.
        depth_max: The longest chain of ancestors tried.
        wait_quantile: The quantile of trace durations that becomes the wait.
        wait_floor_us: The least wait.
    """

    ratio_min: float = 0.999
    support_min: int = 20
    chained_support_min: int = 20
    depth_max: int = 8
    wait_quantile: float = 0.999
    wait_floor_us: int = 1_000_000


@dataclass(frozen=True, slots=True)
class _Context:
    """A chain of operation codes, the parent's own first, and its number of parents."""

    chain: tuple[int, ...]
    support: int


def learn_rules(
    batch: SpanBatch, operations: Operations, settings: LearnerSettings | None = None
) -> OperationRules:
    """Learn the rules of whole traces.

    Args:
        batch: The traces, sorted as `SpanBatch` says.
        operations: The names of the batch's operation codes.
        settings: What counts as a rule.

    Returns:
        The rules, parents by name; without traces no rules.
    """
    if not len(batch):
        return OperationRules()
    return _Learner(batch, operations, settings or LearnerSettings()).rules()


class _Learner:
    """One run over one batch; its tables are built once and read by each kind of rule."""

    def __init__(self, batch: SpanBatch, operations: Operations, settings: LearnerSettings) -> None:
        self._settings = settings
        self._operations = operations
        self._batch = batch
        self._code = batch.operation.astype(np.int64)
        self._parent_row, self._is_orphan = parent_rows(
            batch.trace, batch.span_id, batch.parent_span_id
        )
        self._chain_id, self._contexts = self._number_chains()
        self._pairs = self._count_children()
        # Per context: child code -> count that is promised there, by its own or a shorter chain.
        self._promised: dict[int, dict[int, int]] = {}
        self._guarded: dict[int, dict[tuple[int, int], int]] = {}
        self._children: dict[int, list[ChildRule]] = defaultdict(list)
        self._groups: dict[int, list[OneOfRule]] = defaultdict(list)

    def rules(self) -> OperationRules:
        """Return everything learned."""
        for level in range(self._settings.depth_max + 1):
            self._learn_children(level)
        self._learn_shaped()
        self._learn_groups()
        sequences = self._learn_sequences()
        support = Counter(self._code.tolist())
        parents = [
            ParentRule(
                **self._operations[code]._asdict(),
                support=support[code],
                children=tuple(self._children[code]),
                one_of=tuple(self._groups[code]),
                sequences=tuple(sequences.get(code, ())),
            )
            for code in sorted(set(self._children) | set(self._groups), key=self._name)
        ]
        is_root = (self._parent_row == NO_ROW) & ~self._is_orphan
        return OperationRules(
            traces=self._batch.traces,
            wait_us=self._wait_us(),
            roots=tuple(sorted(self._name(c) for c in set(self._code[is_root].tolist()))),
            parents=tuple(parents),
            nesting=self._nesting(),
        )

    def _name(self, code: int) -> OperationName:
        operation = self._operations[code]
        return operation.module, operation.component, operation.name

    def _number_chains(self) -> tuple[list[I64], list[_Context]]:
        """Give every chain of every depth a number; -1 where the chain is not that long."""
        hashes = chains(self._code, self._parent_row, self._settings.depth_max)
        ids: list[I64] = []
        contexts: list[_Context] = []
        for level, value in enumerate(hashes):
            rows = np.flatnonzero(value)
            _, first, inverse, count = np.unique(
                value[rows], return_index=True, return_inverse=True, return_counts=True
            )
            number = np.full(len(value), -1, np.int64)
            number[rows] = inverse + len(contexts)
            ids.append(number)
            for row, support in zip(rows[first].tolist(), count.tolist(), strict=True):
                contexts.append(_Context(self._chain_of(row, level), support))
        return ids, contexts

    def _chain_of(self, row: int, level: int) -> tuple[int, ...]:
        chain = [int(self._code[row])]
        for _ in range(level):
            row = int(self._parent_row[row])
            chain.append(int(self._code[row]))
        return tuple(chain)

    def _count_children(self) -> pl.DataFrame:
        """Return parent (row), child (code), have (how many), one row for each pair."""
        rows = np.flatnonzero(self._parent_row >= 0)
        frame = pl.DataFrame({"parent": self._parent_row[rows], "child": self._code[rows]})
        return frame.group_by("parent", "child").agg(have=pl.len().cast(pl.Int64))

    def _learn_children(self, level: int) -> None:
        """Learn the required children of all contexts of one depth, then the guarded ones."""
        context_of = pl.DataFrame({"parent": np.arange(len(self._code))}).with_columns(
            context=pl.Series(self._chain_id[level])
        )
        pairs = self._pairs.join(context_of, on="parent").filter(pl.col("context") >= 0)
        shorter = self._shorter_context(level)
        for context, children in _by_context(pairs):
            promised = dict(self._promised.get(shorter.get(context, -1), {}))
            support = self._contexts[context].support
            for child, have in sorted(children.items()):
                count, agreed = self._highest(have, support, level)
                if count > promised.get(child, 0):
                    promised[child] = count
                    self._keep(context, child, (count, agreed, support), self._when(context))
            self._promised[context] = promised
        self._learn_guarded(level, pairs, shorter)

    def _learn_guarded(self, level: int, pairs: pl.DataFrame, shorter: dict[int, int]) -> None:
        """Learn "where this child is, that one is too", for what is not promised anyhow."""
        both = pairs.join(pairs.select("parent", guard="child"), on="parent").filter(
            pl.col("guard") != pl.col("child")
        )
        guards = pairs.group_by("context", "child").agg(n=pl.len())
        support_of = {(c, g): n for c, g, n in guards.iter_rows()}
        counted = both.group_by("context", "guard", "child", "have").agg(n=pl.len())
        found: dict[tuple[int, int, int], dict[int, int]] = defaultdict(dict)
        for context, guard, child, have, number in counted.iter_rows():
            found[context, guard, child][have] = number
        for (context, guard, child), have in sorted(found.items()):
            above = self._guarded.get(shorter.get(context, -1), {})
            known = self._guarded.setdefault(context, dict(above))
            count, agreed = self._highest(have, support_of[context, guard], level)
            if count > max(known.get((guard, child), 0), self._promised[context].get(child, 0)):
                known[guard, child] = count
                when = self._when(context, self._name(guard))
                self._keep(context, child, (count, agreed, support_of[context, guard]), when)

    def _shorter_context(self, level: int) -> dict[int, int]:
        """Map each context of a depth to the one that leaves its farthest ancestor out."""
        if level == 0:
            return {}
        own, above = self._chain_id[level], self._chain_id[level - 1]
        rows = np.flatnonzero(own >= 0)
        first = rows[np.unique(own[rows], return_index=True)[1]]
        return dict(zip(own[first].tolist(), above[first].tolist(), strict=True))

    def _highest(self, have: dict[int, int], support: int, level: int) -> tuple[int, int]:
        """Return the highest count that enough parents reach, and how many do; (0, 0) for none."""
        if support < self._support_min(level):
            return 0, 0
        agreed = 0
        for count in sorted(have, reverse=True):
            agreed += have[count]
            if agreed >= self._settings.ratio_min * support:
                return count, agreed
        return 0, 0

    def _support_min(self, level: int) -> int:
        chosen = self._settings
        return chosen.chained_support_min if level else chosen.support_min

    def _when(
        self,
        context: int,
        seen: OperationName | None = None,
        calling: tuple[OperationName, ...] | None = None,
    ) -> When | None:
        under = tuple(self._name(code) for code in self._contexts[context].chain[1:])
        return When(under=under, seen=seen, calling=calling) if under or seen else None

    def _keep(
        self, context: int, child: int, found: tuple[int, int, int], when: When | None
    ) -> None:
        """Keep a rule: (count, how many parents agreed, how many there were)."""
        count, agreed, support = found
        self._children[self._contexts[context].chain[0]].append(
            ChildRule(
                **self._operations[child]._asdict(),
                count=count,
                support=support,
                ratio=agreed / support,
                when=when,
            )
        )

    def _learn_shaped(self) -> None:
        """Learn "where a child calls just these, that one is there too": how errors show.

        For what is neither promised nor goes with the child anyhow, and without ancestors: a
        code path that breaks off does so whoever called it.
        """
        rows = pl.DataFrame({"row": np.arange(len(self._code)), "seen": self._code}).with_columns(
            parent=pl.Series(self._parent_row), context=pl.Series(self._chain_id[0])
        )
        made = rows.filter(pl.col("parent") >= 0)
        calling = made.group_by("parent").agg(calling=pl.col("seen").sort())
        shaped = made.join(calling, left_on="row", right_on="parent", how="left").with_columns(
            pl.col("calling").fill_null([])
        )
        shaped = shaped.filter(pl.col("calling").list.len() <= SEQUENCE_CALLS_MAX)
        shaped = shaped.select("parent", "seen", "calling").unique()
        shaped = shaped.join(rows.select(parent="row", context="context"), on="parent")
        key = ["context", "seen", "calling"]
        support = shaped.group_by(key).agg(support=pl.len())
        both = shaped.join(self._pairs, on="parent").filter(pl.col("child") != pl.col("seen"))
        counted = both.group_by(*key, "child").agg(agreed=pl.len()).join(support, on=key)
        enough = (pl.col("support") >= self._settings.support_min) & (
            pl.col("agreed") >= self._settings.ratio_min * pl.col("support")
        )
        for context, seen, codes, child, agreed, total in (
            counted.filter(enough).sort(*key, "child").select(*key, "child", "agreed", "support")
        ).iter_rows():
            promised = self._promised[context].get(child, 0)
            if promised or self._guarded.get(context, {}).get((seen, child), 0):
                continue
            names = tuple(sorted(self._name(code) for code in codes))
            when = self._when(context, self._name(seen), names)
            self._keep(context, child, (1, agreed, total), when)

    def _learn_groups(self) -> None:
        """Learn where there is exactly one child out of several; a longer chain may narrow it."""
        total = np.bincount(self._parent_row[self._parent_row >= 0], minlength=len(self._code))
        single = np.full(len(self._code), -1, np.int64)
        rows = np.flatnonzero(self._parent_row >= 0)
        single[self._parent_row[rows]] = self._code[rows]
        single[total != 1] = -1
        narrowest: dict[int, frozenset[int]] = {}
        for level in range(self._settings.depth_max + 1):
            shorter = self._shorter_context(level)
            frame = pl.DataFrame({"context": self._chain_id[level], "child": single})
            counted = frame.filter(pl.col("context") >= 0).group_by("context", "child")
            members: dict[int, Counter[int]] = defaultdict(Counter)
            for context, child, number in counted.agg(n=pl.len()).iter_rows():
                members[context][child] = number
            for context, counts in sorted(members.items()):
                known = narrowest.get(shorter.get(context, -1))
                kept = self._keep_group(context, counts, level, known)
                if kept or known:
                    narrowest[context] = kept or known or frozenset()

    def _keep_group(
        self, context: int, counts: Counter[int], level: int, known: frozenset[int] | None
    ) -> frozenset[int] | None:
        """Keep the group of a context when it is one and says more than the shorter chain's."""
        support = self._contexts[context].support
        agreed = support - counts.pop(-1, 0)
        members = frozenset(counts)
        if (
            support < self._support_min(level)
            or agreed < self._settings.ratio_min * support
            or members == known
            or (len(members) < 2 and known is None)  # a required child says it already
        ):
            return None
        chain = self._contexts[context].chain
        ordered = sorted(counts, key=lambda code: (-counts[code], code))
        self._groups[chain[0]].append(
            OneOfRule(
                members=tuple(self._name(code) for code in ordered),
                support=support,
                ratio=agreed / support,
                when=self._when(context),
            )
        )
        return members

    def _learn_sequences(self) -> dict[int, list[CallSequence]]:
        """Learn in which order each parent calls its changing callees."""
        is_client = np.isin(self._code, sorted(self._groups))
        rows = np.flatnonzero(self._parent_row >= 0)
        callee = np.full(len(self._code), -1, np.int64)
        callee[self._parent_row[rows]] = self._code[rows]
        calls = np.flatnonzero(is_client & (self._parent_row >= 0) & (callee >= 0))
        # Rows are in the order of time, so each parent's list is too.
        made: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for row in calls.tolist():
            made[int(self._parent_row[row])].append((int(self._code[row]), int(callee[row])))
        counted: dict[int, Counter[tuple[tuple[int, int], ...]]] = defaultdict(Counter)
        for parent, sequence in made.items():
            if len(sequence) <= SEQUENCE_CALLS_MAX:
                counted[int(self._code[parent])][tuple(sequence)] += 1
        return {
            code: [
                CallSequence(
                    calls=tuple((self._name(a), self._name(b)) for a, b in sequence),
                    support=support,
                )
                for sequence, support in sorted(
                    sequences.items(), key=lambda item: (-item[1], item[0])
                )[:SEQUENCE_COUNT_MAX]
            ]
            for code, sequences in counted.items()
        }

    def _nesting(self) -> tuple[Nesting, ...]:
        rows = np.flatnonzero(self._parent_row >= 0)
        pairs = Counter(
            zip(
                self._code[self._parent_row[rows]].tolist(),
                self._code[rows].tolist(),
                strict=True,
            )
        )
        named = [(self._name(a), self._name(b), count) for (a, b), count in pairs.items()]
        return tuple(Nesting(parent=a, child=b, support=n) for a, b, n in sorted(named))

    def _wait_us(self) -> int:
        """Return the high quantile of trace durations, at least the floor."""
        frame = pl.DataFrame(
            {
                "trace": self._batch.trace,
                "start": self._batch.timestamp_us,
                "end": self._batch.timestamp_us + self._batch.duration_us,
            }
        )
        length = frame.group_by("trace").agg(us=pl.col("end").max() - pl.col("start").min())["us"]
        quantile = length.quantile(self._settings.wait_quantile, "higher")
        assert quantile is not None  # the batch has spans
        return max(self._settings.wait_floor_us, int(quantile))


def _by_context(pairs: pl.DataFrame) -> Iterator[tuple[int, dict[int, dict[int, int]]]]:
    """Yield each context with child -> (have -> number of parents), contexts increasing."""
    counted = pairs.group_by("context", "child", "have").agg(n=pl.len())
    found: dict[int, dict[int, dict[int, int]]] = defaultdict(lambda: defaultdict(dict))
    for context, child, have, number in counted.iter_rows():
        found[context][child][have] = number
    yield from sorted(found.items())
