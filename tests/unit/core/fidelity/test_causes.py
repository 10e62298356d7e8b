"""What was known of a trace names the cause of what it lacks; the best proved one goes first."""

import numpy as np
import pytest

from streams.core.columns import Operations
from streams.core.fidelity import causes, missing
from streams.core.fidelity.causes import IN_FLIGHT, LATE, MISPARTITIONED, REJECTED, SILENT
from streams.core.fidelity.judge import judge
from streams.units import U64
from tests.judge_cases import batch_of, plan_of, span

PLAN = plan_of("abc", "ab bc")
B, C = 0b010, 0b100


def explained(known: dict[int, int], *, is_sampled: bool = True) -> list[tuple[str, str]]:
    """Return module and cause of what a trace with stage a alone lacks, given what is known."""
    operations = Operations()
    batch = batch_of([[span("a", 1, is_sampled=is_sampled)]], PLAN, operations)
    columns = np.zeros((1, len(causes.KNOWN_NAMES)), np.uint64)
    for column, mask in known.items():
        columns[0, column] = mask
    found = causes.explain(judge(batch, PLAN, operations), PLAN, operations, columns).missing
    return [
        (operations[code].module, missing.CAUSES[cause])
        for code, cause in zip(found.operation.tolist(), found.cause.tolist(), strict=True)
    ]


@pytest.mark.parametrize(
    ("known", "of_b", "of_c"),
    [
        ({}, "NEVER_ARRIVED", "NEVER_ARRIVED"),
        ({SILENT: B}, "MODULE_SILENT", "NEVER_ARRIVED"),
        ({SILENT: B | C, LATE: B}, "LATE_SOURCE", "MODULE_SILENT"),
        ({LATE: B | C, IN_FLIGHT: 1}, "IN_FLIGHT", "IN_FLIGHT"),
        ({MISPARTITIONED: C, IN_FLIGHT: 1}, "IN_FLIGHT", "MISPARTITIONED"),
        ({MISPARTITIONED: B | C, REJECTED: B, IN_FLIGHT: 1}, "REJECTED", "MISPARTITIONED"),
    ],
)
def test_the_cause_that_is_proved_best_is_named(
    known: dict[int, int], of_b: str, of_c: str
) -> None:
    """REJECTED before MISPARTITIONED before IN_FLIGHT before LATE_SOURCE before MODULE_SILENT."""
    assert explained(known) == [("B", of_b), ("C", of_c)]


def test_a_trace_that_was_sampled_out_stays_so() -> None:
    """Nothing that is known of topics explains what nobody was to send."""
    known = {SILENT: B, LATE: B, MISPARTITIONED: B, REJECTED: B, IN_FLIGHT: 1}
    assert explained(known, is_sampled=False) == [("B", "SAMPLED_OUT"), ("C", "SAMPLED_OUT")]


def test_an_unseen_parent_may_still_come() -> None:
    """A parent ends after its children, so the orphan of a trace closed early says nothing yet."""
    operations = Operations()
    spans = [span("a", 1), span("b", 2, 1), span("c", 3, 2), span("c", 4, 99)]
    batch = batch_of([spans], PLAN, operations)
    known: U64 = np.array([[0, 0, 0, 0, 1]], np.uint64)
    judgement = judge(batch, PLAN, operations)
    assert [missing.CAUSES[c] for c in judgement.missing.cause] == ["ORPHANED"]
    early = causes.explain(judgement, PLAN, operations, known)
    assert [missing.CAUSES[c] for c in early.missing.cause] == ["IN_FLIGHT"]


def test_knowing_nothing_takes_no_memory() -> None:
    """Millions of closed traces of which nothing was known share one row."""
    nothing = causes.nothing_known(1 << 40)
    assert nothing.shape == (1 << 40, 5)
    assert not nothing[[0, 5]].any()
