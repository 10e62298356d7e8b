"""Some seeds of the simulated shell, and bugs of the shell that must be caught."""

import pytest

from tests.sim.planted import planted
from tests.sim.run import Outcome
from tests.sim.shell_planted import SHELL_BUGS
from tests.sim.shell_run import ShellCase, run_shell

FEW, MANY = range(8), range(8, 128)
BATCH = 30
CAUGHT_WITHIN = 30
"""Seeds within which every planted bug of the shell must be caught."""


def told(outcome: Outcome) -> str:
    """Return what to say of a failed run."""
    return f"{outcome.detail}\nrepeat it with: {outcome.case.command()}"


def test_the_shell_keeps_its_laws() -> None:
    """Whatever the broker, the group and the disks do, all is joined and nothing stands still."""
    for seed in FEW:
        outcome = run_shell(ShellCase(seed))
        assert not outcome.law, told(outcome)


@pytest.mark.slow
@pytest.mark.parametrize("first", MANY[::BATCH])
def test_the_shell_keeps_its_laws_on_many_seeds(first: int) -> None:
    """The same, on more seeds."""
    for seed in range(first, first + BATCH):
        outcome = run_shell(ShellCase(seed))
        assert not outcome.law, told(outcome)


@pytest.mark.slow
@pytest.mark.parametrize("bug", SHELL_BUGS)
def test_a_planted_bug_of_the_shell_is_caught(bug: str) -> None:
    """Each planted bug breaks a law within some seeds: silence elsewhere means something."""
    with planted(bug):
        laws = (run_shell(ShellCase(seed)).law for seed in range(CAUGHT_WITHIN))
        assert any(laws), f"{CAUGHT_WITHIN} seeds ran as if nothing were wrong"


def test_a_seed_of_the_shell_is_one_run() -> None:
    """The same seed gives the same schedule."""
    for seed in (1, 3):
        assert run_shell(ShellCase(seed)).lines == run_shell(ShellCase(seed)).lines
