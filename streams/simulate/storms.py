"""Plans of storms: which faults strike in one run, so that what is found can be counted.

Owns the length and the rate of a run and when in it a fault strikes. Invariant: same contract,
kind and seed, same plan; a plan's faults lie between a clean head and a clean tail.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from random import Random
from typing import Final

from streams.contract.model import Contract
from streams.simulate.behaviour import (
    ACK_PATTERNS,
    ENRICHMENT_SOURCES,
    FEATURE_SETS,
    SOURCE_SYSTEMS,
)
from streams.simulate.blame import blame, causes_of, stage_component
from streams.simulate.faults import (
    BACK_PRESSURE,
    BAD_DEPLOY,
    BREAKER_OPEN,
    BUFFER_FULL,
    CACHE_STALE,
    CONFIG_CHANGE,
    DEAD_LETTER_GROWTH,
    DESTINATION_DOWN,
    ERROR_BURST,
    FEATURE_DRIFT,
    MALFORMED_SOURCE,
    QUEUE_BACKLOG,
    RETRY_STORM,
    SCHEMA_DRIFT,
    SLOW_DEPENDENCY,
    WRONG_MODEL_VERSION,
    Fault,
)
from streams.simulate.layout import Layout, read_layout
from streams.simulate.plan import places
from streams.units import SECOND_US

HEAD_S: Final = 20.0
"""Clean seconds before the first fault: what is normal must be known before it is broken."""
LENGTH_S: Final = (10.0, 16.0)
"""How long a fault lasts, shortest and longest."""
TAIL_S: Final = 16.0
"""Clean seconds after the last fault."""
LASTING_S: Final = (60.0, 120.0)
"""How long one lasts that nobody mends at once: ten to twenty minutes of a worker's windows."""
LASTING: Final = 4
"""How many kinds of fault last in each seed; the next seed goes on with others."""
FLAPPING_LENGTH_S: Final = 24.0
FLAP_S: Final = (2.0, 4.0)
"""How long a flapping fault is on and then off, in whole seconds."""
DOUBLES: Final = {"apart": 2, "crossing": 2, "nested": 1}
"""How many storms of two faults a seed, by how they stand to each other."""
RECORDS_PER_SECOND: Final = 20.0
QUIET_SECONDS: Final = 600.0
"""Length of a run without a fault."""


@dataclass(frozen=True, slots=True)
class _Where:
    """Where a kind of fault may strike: components, and the values of one dimension."""

    components: tuple[str, ...]
    dimension: str = ""
    values: tuple[str, ...] = ("",)


_PLACES: Final[dict[str, dict[str, _Where]]] = {
    "seed": {
        SLOW_DEPENDENCY: _Where(("BETA.enrichment",), "enrichment_source", ENRICHMENT_SOURCES),
        ERROR_BURST: _Where(("BETA.mapping", "BETA.transform", "GAMMA.rendering")),
        MALFORMED_SOURCE: _Where(("ALPHA.parser",), "source_system", SOURCE_SYSTEMS),
        SCHEMA_DRIFT: _Where(("ALPHA.validation",), "source_system", SOURCE_SYSTEMS),
        QUEUE_BACKLOG: _Where(("PHI.executor",)),
        RETRY_STORM: _Where(("PHI.recovery",)),
        CACHE_STALE: _Where(("EPSILON.cache",)),
        BREAKER_OPEN: _Where(("INTEGRATION.circuit_breaker",), "hop", ("beta_gamma",)),
        BACK_PRESSURE: _Where(("GAMMA.rendering",)),
        BUFFER_FULL: _Where(("ALPHA.buffer",)),
        DESTINATION_DOWN: _Where(("GAMMA.delivery",), "destination", tuple(ACK_PATTERNS)),
        DEAD_LETTER_GROWTH: _Where(("GAMMA.dead_letter_queue",)),
        BAD_DEPLOY: _Where(
            ("BETA.mapping", "BETA.transform", "BETA.quality", "GAMMA.routing", "PHI.executor")
        ),
        CONFIG_CHANGE: _Where(("ALPHA.connection",)),
    },
    "inference": {
        CACHE_STALE: _Where(("FEATURES.store",)),
        WRONG_MODEL_VERSION: _Where(("MODEL.registry",)),
        FEATURE_DRIFT: _Where(("FEATURES.transform",), "feature_set", FEATURE_SETS),
        SLOW_DEPENDENCY: _Where(("FEATURES.store",), "feature_set", FEATURE_SETS),
        ERROR_BURST: _Where(("SCORING.scorer",)),
        BAD_DEPLOY: _Where(("SCORING.scorer", "FEATURES.transform")),
    },
}


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
        for fault in sorted(all_places(layout, rng), key=lambda f: f.kind):
            length_s = rng.uniform(*LENGTH_S)
            placed = _at(fault, start_us, HEAD_S + rng.uniform(0, 2), length_s)
            seconds = (placed.end_us - start_us) / SECOND_US + TAIL_S
            yield _storm(contract, fault.kind, seed, seconds, (placed,))


def lasting_storms(contract: Contract, seeds: Sequence[int], start_us: int) -> Iterator[Storm]:
    """Yield for each seed storms of some kinds that last, so that the seeds reach every kind.

    Each second of one costs as much as of any other storm: not every kind in every seed.
    """
    layout = read_layout(contract)
    for seed in seeds:
        rng = Random(f"{seed}/lasting")
        faults = sorted(all_places(layout, rng), key=lambda f: f.kind)
        for turn in range(min(LASTING, len(faults))):
            fault = faults[(seed * LASTING + turn) % len(faults)]
            placed = _at(fault, start_us, HEAD_S + rng.uniform(0, 2), rng.uniform(*LASTING_S))
            seconds = (placed.end_us - start_us) / SECOND_US + TAIL_S
            yield _storm(contract, f"lasting {fault.kind}", seed, seconds, (placed,))


def flapping_storms(contract: Contract, seeds: Sequence[int], start_us: int) -> Iterator[Storm]:
    """Yield a storm of each kind of fault of a component that comes and goes, for each seed."""
    layout = read_layout(contract)
    for seed in seeds:
        rng = Random(f"{seed}/flapping")
        faults = [fault for fault in all_places(layout, rng) if fault.component is not None]
        for fault in sorted(faults, key=lambda f: f.kind):
            flap_us = round(rng.uniform(*FLAP_S)) * SECOND_US
            placed = _at(fault, start_us, HEAD_S + rng.uniform(0, 2), FLAPPING_LENGTH_S)
            seconds = (placed.end_us - start_us) / SECOND_US + TAIL_S
            flaps = replace(placed, flap_us=flap_us)
            yield _storm(contract, f"flapping {fault.kind}", seed, seconds, (flaps,))


def double_storms(contract: Contract, seeds: Sequence[int], start_us: int) -> Iterator[Storm]:
    """Yield for each seed storms of two faults, about as many of each relation as there are.

    Their kind tells how they stand to each other: "two apart" share no component that both reach
    (a coincidence: they are two problems, whatever the time), "two crossing" share some but
    neither's cause is reached by the other, "two nested" are the rest: one lies in the other's way.
    Of a nested pair nobody could say that they are two, so it is only counted who is named.
    """
    layout = read_layout(contract)
    for seed in seeds:
        rng = Random(f"{seed}/double")
        faults = sorted(all_places(layout, rng), key=lambda f: f.kind)
        pairs = [(a, b) for a, b in combinations(faults, 2) if not _collide(layout, a, b)]
        rng.shuffle(pairs)
        wanted = dict(DOUBLES)
        for pair in pairs:
            begin_s, apart_s = HEAD_S + rng.uniform(0, 2), rng.uniform(0, 6)
            first, second = rng.sample(pair, 2)
            placed = (
                _at(first, start_us, begin_s, rng.uniform(*LENGTH_S)),
                _at(second, start_us, begin_s + apart_s, rng.uniform(*LENGTH_S)),
            )
            relation = _relation(layout, placed)
            if wanted[relation]:
                wanted[relation] -= 1
                end_us = max(fault.end_us for fault in placed)
                seconds = (end_us - start_us) / SECOND_US + TAIL_S
                kind = f"two {relation}"
                storm = _storm(contract, kind, seed, seconds, placed)
                yield replace(storm, id=f"{storm.id}/{first.kind}+{second.kind}")
            if not any(wanted.values()):
                break


def _collide(layout: Layout, one: Fault, other: Fault) -> bool:
    """Say whether two faults strike the same place, so that nobody could tell them apart."""
    return bool(causes_of(layout, one) & causes_of(layout, other))


def _relation(layout: Layout, faults: tuple[Fault, Fault]) -> str:
    one, other = (blame(layout, fault) for fault in faults)
    if one.causes & other.reached.keys() or other.causes & one.reached.keys():
        return "nested"
    if one.reached.keys() & other.reached.keys():
        return "crossing"
    # Neighbours of the flow are not apart: an edge between them shows both.
    edges = [
        {stage_component(layout, "", near), stage_component(layout, "", far)}
        for flow in layout.flows.values()
        for near, far in flow.edges
    ]
    touching = any(edge & one.reached.keys() and edge & other.reached.keys() for edge in edges)
    return "crossing" if touching else "apart"


def all_places(layout: Layout, rng: Random) -> Iterator[Fault]:
    """Yield one fault of every kind that has a place in the contract; their times are still 0."""
    by_kind: dict[str, list[Fault]] = {}
    for fault in component_faults(layout):
        by_kind.setdefault(fault.kind, []).append(fault)
    for faults in by_kind.values():
        yield rng.choice(faults)
    yield from places(layout, rng)


def component_faults(layout: Layout) -> Iterator[Fault]:
    """Yield every kind of fault of a component at all its places; their times are still 0."""
    for kind, where in _PLACES.get(layout.name, {}).items():
        for component, value in product(where.components, where.values):
            yield Fault(kind, component, 0, 0, dimension=where.dimension, value=value)


def quiet_storm(contract: Contract, seed: int) -> Storm:
    """Return a run in which nothing goes wrong."""
    return _storm(contract, "none", seed, QUIET_SECONDS, ())


def _storm(
    contract: Contract, kind: str, seed: int, seconds: float, faults: tuple[Fault, ...]
) -> Storm:
    name = f"{contract.name}/{kind}/{seed}"
    return Storm(name, kind, contract.name, seed, seconds, RECORDS_PER_SECOND, faults)


def _at(fault: Fault, start_us: int, begin_s: float, length_s: float) -> Fault:
    begin_us = start_us + round(begin_s * 1000) * 1000
    return replace(fault, start_us=begin_us, end_us=begin_us + round(length_s * 1000) * 1000)
