"""Where and when to break the pipeline, so that each fault can be told from the others.

Owns the placing: one fault of each kind, at places of their own, one after another with quiet
between them. Invariant: two planned faults overlap in time only when they share no module, and the
begin and the end of the run stay clean.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Final

from streams.contract.model import Contract
from streams.simulate.behaviour import ENRICHMENT_SOURCES, behaviour_of
from streams.simulate.faults import (
    ACKNOWLEDGMENTS_LOST,
    CLOCK_SKEW,
    CONTEXT_DROPPED,
    CONTEXT_RESTARTED,
    DUPLICATE_STORM,
    MODULE_SILENT,
    SLOW_ENRICHMENT,
    Fault,
)
from streams.simulate.layout import Layout, StageSpec, read_layout

HEAD_S: Final = 8.0
"""Clean seconds at the start: rules need a normal to compare with."""
TAIL_S: Final = 12.0
"""Clean seconds at the end: the last traces must close and the last alerts resolve."""
LENGTH_S: Final = 4.0
SILENT_LENGTH_S: Final = 5.5
"""Silence lasts longer: it is only known as such after a while (the contract's `silent_s`)."""
GAP_S: Final = 2.5
STRETCH_MAX: Final = 1.25
SKEW_US: Final = (-320_000, -280_000)
SKEW_ROOM_US: Final = 150_000
SOURCE_DIMENSION: Final = "enrichment_source"
ORDERS_TRIED: Final = 200

_Slot = tuple[Fault, ...]
"""Faults that strike at the same time; their own times are still 0."""


def plan_faults(
    seed: int, seconds: float, contract: Contract, start_us: int = 0
) -> tuple[Fault, ...]:
    """Return faults for a run of that length, by start; all seven kinds fit from 60 seconds on.

    They lie within [8 s, seconds - 12 s) of the run, each 4 to 7 seconds long, at least 2.5
    seconds apart. When seven in a row do not fit, the duplicate storm strikes together with
    another fault, in a module that has no part in it. A shorter run gets fewer faults, one of
    under 25.5 seconds perhaps none.

    How a place is chosen (by the seed, where several fit): a clock goes wrong where the deadlines
    behind it leave room, so that the skew alone is seen; silence falls on a module with required
    stages that records enter by one hop, so that one edge shows it, and not on the entry's, whose
    loss leaves no edge to miss; context drops and restarts on two hops that share no stage. No
    two faults show on the same edge. In the seed contract this makes GAMMA's clock go wrong and
    BETA fall silent.

    Raises:
        ConfigError: the contract has no flow for records.
    """
    layout = read_layout(contract)
    rng = Random(f"{seed}/faults")
    room_s = seconds - HEAD_S - TAIL_S
    placed = list(places(layout, rng))
    rng.shuffle(placed)
    slots: list[_Slot] = [(fault,) for fault in placed]
    if _needed_s(slots) > room_s:
        slots = _paired(layout, rng, placed)
        while slots and _needed_s(slots) > room_s:
            slots.pop()
    slots = _apart(layout, rng, slots)
    faults = [fault for slot in _timed(slots, room_s) for fault in slot]
    moved = (
        replace(fault, start_us=fault.start_us + start_us, end_us=fault.end_us + start_us)
        for fault in faults
    )
    return tuple(sorted(moved, key=lambda fault: (fault.start_us, fault.kind)))


def fault_modules(layout: Layout, fault: Fault) -> frozenset[str]:
    """Return the modules at a fault's place: its own, or those at both ends of its edge."""
    if fault.edge is None:
        return frozenset((fault.where,))
    modules = layout.stage_modules()
    return frozenset(modules[stage] for stage in fault.edge)


def places(layout: Layout, rng: Random) -> Iterator[Fault]:
    """Yield one fault of each kind at its place; a kind for which there is no place is left out."""
    record = layout.record
    skewable = [hop for hop in _hops(layout) if _tolerates_skew(layout, hop[1].module)]
    skewed = rng.choice(skewable) if skewable else None
    if skewed is not None:
        yield _at(CLOCK_SKEW, _arrow(skewed), skew_us=rng.randint(*SKEW_US))

    # Silence is missed on the hop into its module: that hop must show nothing else.
    entered = [m for m in layout.topics if _is_entered_once(layout, m)]
    silent = [m for m in entered if skewed is None or m != skewed[1].module] or entered
    silenced = rng.choice(silent) if silent else None
    if silenced is not None:
        yield _at(MODULE_SILENT, silenced)

    hops = [hop for hop in _hops(layout) if hop != skewed and hop[1].module != silenced]
    pairs = [(a, b) for a in hops for b in hops if not {a[0].id, a[1].id} & {b[0].id, b[1].id}]
    if pairs:
        dropped, restarted = rng.choice(pairs)
        yield _at(CONTEXT_DROPPED, _arrow(dropped), share=0.3)
        yield _at(CONTEXT_RESTARTED, _arrow(restarted), share=0.4)

    last = [s for s in record.stages if s.acknowledges and s.when is None and s.is_required]
    if last:
        yield _at(ACKNOWLEDGMENTS_LOST, f"{last[-1].after[0]}>{last[-1].id}", share=0.5)

    sourced = [s for s in record.stages if SOURCE_DIMENSION in behaviour_of(s.id).dimensions]
    source = rng.choice(ENRICHMENT_SOURCES)
    if sourced:
        yield _at(SLOW_ENRICHMENT, sourced[0].module, dimension=SOURCE_DIMENSION, value=source)

    # Busy modules, and not the ones in whose place another fault lies anyway.
    named = {stage.module for flow in layout.flows.values() for stage in flow.stages}
    crossed = {far.module for _, far in _hops(layout)}
    noisy = [m for m in layout.topics if m in named and m not in crossed]
    if noisy:
        yield _at(DUPLICATE_STORM, rng.choice(noisy), share=0.5)


def _at(
    kind: str,
    where: str,
    share: float = 1.0,
    dimension: str = "",
    value: str = "",
    skew_us: int = 0,
) -> Fault:
    return Fault(kind, where, 0, 0, share, dimension, value, skew_us)


def _arrow(hop: tuple[StageSpec, StageSpec]) -> str:
    return f"{hop[0].id}>{hop[1].id}"


def _hops(layout: Layout) -> list[tuple[StageSpec, StageSpec]]:
    """Return the edges of the record flow between modules that every record crosses."""
    record = layout.record
    near = {stage.id: stage for stage in record.stages}
    return [
        (near[stage_id], stage)
        for stage in record.stages
        if stage.is_required and stage.when is None and not stage.acknowledges
        for stage_id in stage.after
        if near[stage_id].module != stage.module
    ]


def _is_entered_once(layout: Layout, module: str) -> bool:
    return sum(far.module == module for _, far in _hops(layout)) == 1


def _tolerates_skew(layout: Layout, module: str) -> bool:
    """Say whether a clock behind by the skew leaves the deadlines after the module alone."""
    modules = layout.stage_modules()
    leaving = (
        stage.deadline_us
        for stage in layout.record.stages
        if stage.module != module and any(modules[near] == module for near in stage.after)
    )
    least_us = -SKEW_US[0] + SKEW_ROOM_US
    return _is_entered_once(layout, module) and all(not d or d >= least_us for d in leaving)


def _paired(layout: Layout, rng: Random, placed: list[Fault]) -> list[_Slot]:
    """Put the duplicate storm beside another fault, in a module apart from the record flow."""
    storm = next((fault for fault in placed if fault.kind == DUPLICATE_STORM), None)
    on_the_way = {stage.module for stage in layout.record.stages}
    apart = [m for m in layout.topics if m not in on_the_way and _has_stage(layout, m)]
    if storm is None or not apart or len(placed) == 1:
        return [(fault,) for fault in placed]
    storm = replace(storm, where=rng.choice(apart))
    rest = [fault for fault in placed if fault.kind != DUPLICATE_STORM]
    # Not beside the silence, which lasts longer.
    partner = next((fault for fault in rest if fault.kind != MODULE_SILENT), rest[0])
    return [(fault, storm) if fault is partner else (fault,) for fault in rest]


def _has_stage(layout: Layout, module: str) -> bool:
    return any(stage.module == module for f in layout.flows.values() for stage in f.stages)


def _length_s(slot: _Slot) -> float:
    return max(SILENT_LENGTH_S if f.kind == MODULE_SILENT else LENGTH_S for f in slot)


def _needed_s(slots: list[_Slot]) -> float:
    return sum(map(_length_s, slots)) + GAP_S * max(0, len(slots) - 1)


def _apart(layout: Layout, rng: Random, slots: list[_Slot]) -> list[_Slot]:
    """Return an order in which neighbours share as few modules as can be found."""

    def shared(order: list[_Slot]) -> int:
        touched = [frozenset().union(*(fault_modules(layout, f) for f in s)) for s in order]
        return sum(len(a & b) for a, b in pairwise(touched))

    return min((rng.sample(slots, len(slots)) for _ in range(ORDERS_TRIED)), key=shared)


def _whole_ms_us(at_s: float) -> int:
    return int(at_s * 1000) * 1000


def _timed(slots: list[_Slot], room_s: float) -> Iterator[_Slot]:
    """Yield the slots with their times: half of the spare room makes faults longer, half gaps."""
    if not slots:
        return
    lengths = [_length_s(slot) for slot in slots]
    spare_s = room_s - _needed_s(slots)
    stretch = min(STRETCH_MAX, 1 + spare_s / 2 / sum(lengths))
    gap_s = (room_s - stretch * sum(lengths)) / max(1, len(slots) - 1)
    at_s = HEAD_S
    for slot, length_s in zip(slots, lengths, strict=True):
        start_us, end_us = _whole_ms_us(at_s), _whole_ms_us(at_s + stretch * length_s)
        yield tuple(replace(fault, start_us=start_us, end_us=end_us) for fault in slot)
        at_s += stretch * length_s + gap_s
