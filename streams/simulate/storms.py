"""Plans of storms: which faults strike in one run, so that what is found can be counted.

Owns the length and the rate of a run and when in it a fault strikes. Invariant: same contract,
kind and seed, same plan; a plan's faults lie between a clean head and a clean tail.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from streams.contract.model import Contract
from streams.simulate.faults import Fault
from streams.simulate.layout import read_layout
from streams.simulate.plan import places
from streams.units import SECOND_US

HEAD_S: Final = 20.0
"""Clean seconds before the first fault: what is normal must be known before it is broken."""
LENGTH_S: Final = (8.0, 12.0)
"""How long a fault lasts, shortest and longest."""
TAIL_S: Final = 16.0
"""Clean seconds after the last fault."""
RECORDS_PER_SECOND: Final = 20.0
QUIET_SECONDS: Final = 600.0
"""Length of a run without a fault."""


@dataclass(frozen=True, slots=True)
class Storm:
    """One run of the pipeline and what goes wrong in it.

    Attributes:
        id: names contract, kind and seed.
        kind: the kind of its fault, kinds joined by "+", or "none".
        contract: the shipped contract's name.
        seed: of the simulation.
        seconds: how long it lasts.
        records_per_second: how many records are born.
        faults: what goes wrong; times are seconds of Unix time in microseconds.
    """

    id: str
    kind: str
    contract: str
    seed: int
    seconds: float
    records_per_second: float
    faults: tuple[Fault, ...]


def single_storms(contract: Contract, seeds: Sequence[int], start_us: int) -> Iterator[Storm]:
    """Yield a storm of each kind that has a place in the contract, for each seed."""
    layout = read_layout(contract)
    for seed in seeds:
        rng = Random(f"{seed}/storm")
        for fault in sorted(places(layout, rng), key=lambda f: f.kind):
            length_s = rng.uniform(*LENGTH_S)
            placed = _at(fault, start_us, HEAD_S + rng.uniform(0, 2), length_s)
            seconds = (placed.end_us - start_us) / SECOND_US + TAIL_S
            yield _storm(contract, fault.kind, seed, seconds, (placed,))


def quiet_storm(contract: Contract, seed: int, seconds: float = QUIET_SECONDS) -> Storm:
    """Return a run in which nothing goes wrong."""
    return _storm(contract, "none", seed, seconds, ())


def _storm(
    contract: Contract, kind: str, seed: int, seconds: float, faults: tuple[Fault, ...]
) -> Storm:
    name = f"{contract.name}/{kind}/{seed}"
    return Storm(name, kind, contract.name, seed, seconds, RECORDS_PER_SECOND, faults)


def _at(fault: Fault, start_us: int, begin_s: float, length_s: float) -> Fault:
    begin_us = start_us + round(begin_s * 1000) * 1000
    return replace(fault, start_us=begin_us, end_us=begin_us + round(length_s * 1000) * 1000)
