"""One seed, run and judged: the schedule with its faults, and a plain one beside it.

The plain schedule reads the same input at once, on one worker, without faults: whatever the other
schedule did, both must say the same in the end.
"""

from dataclasses import dataclass, field, replace

from tests.sim import oracle
from tests.sim.features import Features
from tests.sim.laws import LawBrokenError
from tests.sim.load import make_load
from tests.sim.world import World

OF_THE_INPUT = frozenset({"late", "twice", "poison", "backlog", "holes", "global_stage"})
"""Features that the plain schedule shares: they are the input's, or the shape of the group."""


@dataclass(frozen=True, slots=True)
class Case:
    """A run, and what is left out of it; all of it is named on the command line.

    Attributes:
        without: features switched off.
        skipped: numbers of the actions left out.
        traces: the only traces of the input; None for all.
    """

    seed: int
    without: frozenset[str] = frozenset()
    skipped: frozenset[int] = frozenset()
    traces: frozenset[int] | None = None

    def features(self) -> Features:
        """Return the features of the run."""
        return Features.draw(self.seed).without(self.without)

    def command(self) -> str:
        """Return the command that repeats the run and shows its schedule."""
        words = [f"python -m tests.sim --seed {self.seed}"]
        if self.without:
            words.append("--without " + ",".join(sorted(self.without)))
        if self.skipped:
            words.append("--skip " + ",".join(map(str, sorted(self.skipped))))
        if self.traces is not None:
            words.append("--traces " + ",".join(map(str, sorted(self.traces))))
        return " ".join(words)


@dataclass
class Outcome:
    """What became of a run.

    Attributes:
        law: the law that was broken, "" for none; an error of the engine is named by its type.
        detail: with the facts.
        lines: the schedule.
        error: what was raised.
    """

    case: Case
    law: str = ""
    detail: str = ""
    lines: list[str] = field(default_factory=list)
    error: BaseException | None = None
    world: World | None = None


def run(case: Case) -> Outcome:
    """Run a case and judge it."""
    outcome = Outcome(case)
    try:
        _run(case, outcome)
    except LawBrokenError as error:
        outcome.law, outcome.detail = str(error).partition(":")[0], str(error)
        outcome.error = error
    except Exception as error:  # whatever the engine raises breaks the law that it goes on
        outcome.law = type(error).__name__
        outcome.detail = f"{outcome.law}: {error}"
        outcome.error = error
    if outcome.world is not None:
        outcome.lines = outcome.world.lines
    return outcome


def _run(case: Case, outcome: Outcome) -> None:
    features = case.features()
    load = make_load(case.seed, features, case.traces)
    world = outcome.world = World(case.seed, load, features, case.skipped)
    world.run()
    if features.forgets:
        return
    judged = oracle.verdicts(load)
    oracle.check_traces(world.observer, judged)
    if features.closes_early:
        return  # what was closed early is not in the windows' ratios
    oracle.check_windows(world.observer, judged)
    if "global_stage" not in features:
        return
    oracle.check_statistics(world.observer, judged)
    plain = World(case.seed, load, plain_schedule(features))
    plain.run()
    oracle.compare_schedules(world.observer, plain.observer)


def plain_schedule(features: Features) -> Features:
    """Return the features of the schedule without faults and without haste."""
    return replace(features, workers=1, actions=0, on=features.on & OF_THE_INPUT)
