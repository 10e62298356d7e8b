"""The seeds that are kept: runs that once failed, each with the reason it is there."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from tests.sim.features import FAULTS
from tests.sim.run import Case
from tests.sim.shell_features import SHELL_FAULTS

FILE = Path(__file__).with_name("seeds.txt")


@dataclass(frozen=True, slots=True)
class Kept:
    """A kept run and why it is kept."""

    case: Case
    why: str


def add_case_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a run and what is left out of it."""
    parser.add_argument("--seed", type=int, default=0, help="the run, or the first of many")
    parser.add_argument("--without", default="", help="features switched off, by name")
    parser.add_argument("--skip", default="", help="numbers of the actions left out")
    parser.add_argument("--traces", default="", help="the only traces of the input")


def case_of(options: argparse.Namespace) -> Case:
    """Return the run that the options name."""
    without = frozenset(filter(None, options.without.split(",")))
    if unknown := without - FAULTS.keys() - SHELL_FAULTS.keys():
        raise SystemExit(f"--without {','.join(sorted(unknown))}: features are {', '.join(FAULTS)}")
    return Case(
        options.seed,
        without,
        _numbers(options.skip),
        _numbers(options.traces) if options.traces else None,
    )


def _numbers(text: str) -> frozenset[int]:
    return frozenset(int(number) for number in text.split(",") if number)


def kept_cases(text: str) -> list[Kept]:
    """Return the kept runs of a text: on each line the options of a run, then # and why."""
    parser = argparse.ArgumentParser()
    add_case_options(parser)
    out = []
    for line in text.splitlines():
        options, _, why = line.partition("#")
        if options.strip():
            out.append(Kept(case_of(parser.parse_args(options.split())), why.strip()))
    return out
