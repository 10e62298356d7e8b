"""Makes a failing run smaller: fewer features, fewer actions, fewer traces, the same broken law."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from tests.sim.load import make_load
from tests.sim.run import Case, Outcome, run

RUNS_MAX = 150


def shrunk(failed: Outcome, try_it: Callable[[Case], Outcome] = run) -> Outcome:
    """Return the smallest failing run found that breaks the same law.

    Args:
        failed: the run that broke it.
        try_it: runs a case.
    """
    best = failed
    runs = 0

    def still(case: Case) -> bool:
        nonlocal best, runs
        runs += 1
        if runs > RUNS_MAX:
            return False
        outcome = try_it(case)
        if outcome.law != failed.law:
            return False
        best = outcome
        return True

    for name in sorted(failed.case.features().on):
        still(replace(best.case, without=best.case.without | {name}))
    actions = failed.case.features().actions
    for size in (actions // 2, 3, 1):
        for group in _groups(range(actions), size):
            if not group <= best.case.skipped:
                still(replace(best.case, skipped=best.case.skipped | group))
    events = make_load(failed.case.seed, best.case.features(), best.case.traces).events
    kept = frozenset(events)
    for trace in sorted(events):
        if len(kept) > 1 and still(replace(best.case, traces=kept - {trace})):
            kept -= {trace}
    return best


def _groups(numbers: range, size: int) -> Iterable[frozenset[int]]:
    step = max(1, size)
    return [frozenset(numbers[i : i + step]) for i in range(0, len(numbers), step)]
