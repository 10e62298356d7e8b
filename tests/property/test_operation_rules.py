"""Operation rules on random traces: equal to a slow oracle, and blind to how traces are batched."""

import random
from collections import Counter

import numpy as np
from hypothesis import strategies as st

from streams.contract.learner import LearnerSettings, learn_rules
from streams.contract.operations import OperationRules, compile_rules
from streams.core.columns import Operations, SpanBatch
from streams.core.fidelity.missing import CAUSES
from streams.core.fidelity.rules import evaluate
from streams.core.fidelity.slots import find_slots
from streams.core.fidelity.tree import NO_ROW, Tree, chain_hash, chains, parent_rows
from tests.rule_cases import batch_of, kept_of, slow_slots, told
from tests.tiers import tried

NAMES = ("a.in", "a.GET", "b.get", "b.SQL", "c.put", "c.SQL", "a.err")
FEW = LearnerSettings(support_min=2, chained_support_min=2, ratio_min=0.9, depth_max=3)
seeds = st.randoms(use_true_random=False)


def shape(rng: random.Random) -> str:
    """Return one random trace of up to ten spans, parents before children."""
    words = ["1/0:a.in"]
    for own in range(2, rng.randint(2, 11)):
        words.append(f"{own}/{rng.randrange(1, own)}:{rng.choice(NAMES)}")
    return " ".join(words)


def recording(rng: random.Random) -> tuple[SpanBatch, OperationRules, Operations]:
    """Return traces of a few shapes, the rules learned from them, and the names."""
    operations = Operations()
    shapes = [shape(rng) for _ in range(rng.randint(1, 4))]
    batch = batch_of([rng.choice(shapes) for _ in range(12)], operations)
    return batch, learn_rules(batch, operations, FEW), operations


def lossy(batch: SpanBatch, rng: random.Random) -> SpanBatch:
    """Return the batch without a random part of its spans."""
    ratio = rng.choice((0.0, 0.05, 0.3))
    return kept_of(batch, np.array([rng.random() >= ratio for _ in range(len(batch))], np.bool_))


@tried(rng=seeds, few=20, many=100)
def test_open_slots_equal_the_slow_oracle(rng: random.Random) -> None:
    """Chains, guards, counts and the unjudged, one span at a time, give the same slots."""
    batch, rules, operations = recording(rng)
    if rng.random() < 0.5:  # traces of other shapes, odd children among them
        batch = batch_of([shape(rng) for _ in range(6)], operations)
    batch = lossy(batch, rng)
    table = compile_rules(rules)
    parent_row, is_orphan = parent_rows(batch.trace, batch.span_id, batch.parent_span_id)
    tree = Tree(batch.trace, table.translate(batch.operation, operations), parent_row, is_orphan)
    slots = find_slots(tree, table)
    found = Counter(
        (int(batch.trace[row]), int(batch.span_id[row]), tuple(table.operations[code]))
        for row, code in zip(slots.parent.tolist(), slots.code.tolist(), strict=True)
        if code >= 0
    )
    assert found == slow_slots(batch, rules, operations)


@tried(rng=seeds, few=20, many=100)
def test_every_named_parent_is_told_once_and_no_other_id(rng: random.Random) -> None:
    """Losses whose children are there are found, all of them and nothing but them."""
    batch, rules, operations = recording(rng)
    left = lossy(batch, rng)
    missing = evaluate(left, compile_rules(rules), operations)
    present = set(zip(left.trace.tolist(), left.span_id.tolist(), strict=True))
    named = set(zip(left.trace.tolist(), left.parent_span_id.tolist(), strict=True))
    expected = sorted((t, p) for t, p in named if p and (t, p) not in present)
    by_id = [(row[0], row[1]) for row in told(missing, operations) if row[1]]
    assert sorted(by_id) == expected
    is_orphaned = missing.cause == CAUSES.index("ORPHANED")
    assert is_orphaned.tolist() == (missing.span_id != 0).tolist()


@tried(rng=seeds, whole=st.booleans(), few=10, many=50)
def test_a_trace_is_judged_alike_in_any_company(rng: random.Random, whole: bool) -> None:
    """The rows of a trace are the same alone and among others."""
    batch, rules, operations = recording(rng)
    left, table = lossy(batch, rng), compile_rules(rules)
    together = told(evaluate(left, table, operations, whole_subtrees=whole), operations)
    alone = []
    for trace in range(batch.traces):
        one = kept_of(left, left.trace == trace)
        alone += told(evaluate(one, table, operations, whole_subtrees=whole), operations)
    assert together == alone


@tried(rng=seeds, few=10, many=50)
def test_whole_subtrees_only_add_to_what_is_told(rng: random.Random) -> None:
    """Asking for more never takes back a span that an orphan names."""
    batch, rules, operations = recording(rng)
    left, table = lossy(batch, rng), compile_rules(rules)
    some = told(evaluate(left, table, operations), operations)
    more = told(evaluate(left, table, operations, whole_subtrees=True), operations)
    assert [row[:2] for row in some if row[1]] == [row[:2] for row in more if row[1]]
    assert len(more) >= len(some)


@tried(rng=seeds, few=10, many=50)
def test_rules_without_exception_find_nothing_where_they_were_learned(rng: random.Random) -> None:
    """With every parent in agreement, no whole trace is doubted."""
    batch, _, operations = recording(rng)
    strict = LearnerSettings(support_min=2, chained_support_min=2, ratio_min=1.0, depth_max=3)
    table = compile_rules(learn_rules(batch, operations, strict))
    assert told(evaluate(batch, table, operations), operations) == []


@tried(rng=seeds, few=10, many=50)
def test_a_chain_stands_for_its_operations(rng: random.Random) -> None:
    """The hash of a span's chain is that of the operations read upwards, one by one."""
    batch = lossy(recording(rng)[0], rng)
    parent_row, _ = parent_rows(batch.trace, batch.span_id, batch.parent_span_id)
    code = batch.operation.astype(np.int64)
    hashes = chains(code, parent_row, 3)
    for row in range(len(batch)):
        above = [row]
        while above[-1] != NO_ROW:
            above.append(int(parent_row[above[-1]]))
        for depth in range(4):
            chain = [int(code[r]) for r in above[:-1]][: depth + 1]
            expected = chain_hash(chain) if len(chain) == depth + 1 else 0
            assert int(hashes[depth, row]) == expected
