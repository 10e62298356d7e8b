"""One seed of the simulated shell, run and judged."""

from dataclasses import dataclass

from tests.sim import oracle
from tests.sim.laws import LawBrokenError
from tests.sim.load import make_load
from tests.sim.run import Case, Outcome
from tests.sim.shell_features import ShellFeatures, spread
from tests.sim.shell_world import ShellWorld


@dataclass(frozen=True, slots=True)
class ShellCase(Case):
    """A run of the shell, and what is left out of it."""

    def features(self) -> ShellFeatures:  # type: ignore[override]
        """Return the features of the run."""
        return ShellFeatures.draw(self.seed).without(self.without)

    def command(self) -> str:
        """Return the command that repeats the run and shows its schedule."""
        return Case.command(self) + " --shell"


def run_shell(case: Case) -> Outcome:
    """Run a case of the shell and judge it."""
    outcome = Outcome(case)
    world: ShellWorld | None = None
    try:
        features = ShellFeatures.draw(case.seed).without(case.without)
        load = make_load(case.seed, features.load, case.traces)
        load = spread(case.seed, load, features)
        world = ShellWorld(case.seed, load, features, case.skipped)
        world.run()
        judged = oracle.verdicts(load)
        oracle.check_traces(world.observer, judged)
        oracle.check_windows(world.observer, judged)
    except LawBrokenError as error:
        outcome.law, outcome.detail = str(error).partition(":")[0], str(error)
        outcome.error = error
    except Exception as error:  # whatever the shell raises breaks the law that it goes on
        outcome.law = type(error).__name__
        outcome.detail = f"{outcome.law}: {error}"
        outcome.error = error
    if world is not None:
        outcome.lines = world.lines
    return outcome
