"""Some hundreds of simulated runs, the seeds that once failed, and bugs that must be caught."""

import pytest

from tests.sim.features import FAULTS
from tests.sim.kept import FILE, Kept, kept_cases
from tests.sim.planted import BUGS, planted
from tests.sim.run import Case, Outcome, run
from tests.sim.shell_planted import SHELL_BUGS
from tests.sim.shrink import shrunk

SEEDS = range(200)
BATCH = 40
CAUGHT_WITHIN = 100
"""Seeds within which every planted bug must be caught."""


def told(outcome: Outcome) -> str:
    """Return what to say of a failed run."""
    return f"{outcome.detail}\nrepeat it with: {outcome.case.command()}"


@pytest.mark.parametrize(
    "first",
    [
        SEEDS.start,
        *(pytest.param(n, marks=pytest.mark.slow) for n in SEEDS[BATCH::BATCH]),
    ],
)
def test_every_law_holds_on_every_seed(first: int) -> None:
    """Whatever happens to workers, disks, clocks and commits, the laws of the engine hold."""
    for seed in range(first, first + BATCH):
        outcome = run(Case(seed))
        assert not outcome.law, told(outcome)


@pytest.mark.parametrize("kept", kept_cases(FILE.read_text("utf-8")), ids=lambda k: k.why[:40])
def test_kept_seeds_stay_right(kept: Kept) -> None:
    """A run that once broke a law holds it since."""
    assert kept.why, "say why a seed is kept"
    outcome = run(kept.case)
    assert not outcome.law, told(outcome)


@pytest.mark.slow
@pytest.mark.parametrize("bug", [name for name in BUGS if name not in SHELL_BUGS])
def test_a_planted_bug_is_caught(bug: str) -> None:
    """Each planted bug breaks a law within some seeds: silence elsewhere means something."""
    with planted(bug):
        laws = (run(Case(seed)).law for seed in range(CAUGHT_WITHIN))
        assert any(laws), f"{CAUGHT_WITHIN} seeds ran as if nothing were wrong"


def test_a_seed_is_one_run() -> None:
    """The same seed gives the same schedule and the same committed bytes."""
    for seed in range(5):
        one, other = run(Case(seed)), run(Case(seed))
        assert one.lines == other.lines
        assert one.world is not None
        assert other.world is not None
        assert committed(one) == committed(other)
        assert committed(one)


def committed(outcome: Outcome) -> dict[tuple[str, int], list[object]]:
    """Return all records of a run's broker."""
    assert outcome.world is not None
    return {at: list(log.records) for at, log in outcome.world.broker.logs.items()}


def test_seeds_switch_features_on_and_off() -> None:
    """Every feature is in some runs and missing in others, so none hides what another shows."""
    drawn = [Case(seed).features() for seed in range(400)]
    for name in FAULTS:
        assert 0 < sum(name in features for features in drawn) < len(drawn), name


def test_a_failing_run_is_made_smaller() -> None:
    """A shrunk run breaks the same law with less in it, and its command names what was left out."""
    with planted("segment_short"):
        failed = next(o for seed in range(CAUGHT_WITHIN) if (o := run(Case(seed))).law)
        small = shrunk(failed)
        assert small.law == failed.law
        assert len(small.lines) < len(failed.lines)
        assert run(small.case).law == failed.law
    assert small.case.command().startswith(f"python -m tests.sim --seed {failed.case.seed}")
    assert not run(small.case).law
