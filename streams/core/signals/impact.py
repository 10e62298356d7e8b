"""What is at risk when a place of the pipeline stops: the records that flow through it and on.

Owns the rates of stages, and the way from a series to its place in the contract's graph.
Invariant: rates come from closed traces, so they are those of records, not of retries.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from streams.core.incidents.topology import Place, Topology
from streams.core.signals.cell import Cell
from streams.core.signals.series import Series
from streams.units import MINUTE_US, SECOND_US

KEPT_US: Final = 5 * MINUTE_US
"""Rates are of this long before: a stage that stopped a minute ago had a rate, and that is what is
at risk."""
_TARGETS: Final = ("target", "destination", "hop")
"""Dimensions that may name the module that a breaker or a signal speaks of; of a hop, `near_far`
or `near>far`, it is the far one."""
_BETWEEN: Final = re.compile(r"[_>]")


class StageRates:
    """Spans of each stage in the windows of the last minutes, by source partition."""

    def __init__(self, window_us: int) -> None:
        self.window_us = window_us
        self.newest_us = 0
        self._counts: dict[str, dict[int, dict[int, int]]] = {}

    def apply(self, partition: int, start_us: int, stages: Iterable[tuple[Series, Cell]]) -> None:
        """Take over what a partition counted in a window; it replaces what it said before."""
        for series, cell in stages:
            windows = self._counts.setdefault(series.name, {})
            windows.setdefault(start_us, {})[partition] = cell.points
            self.newest_us = max(self.newest_us, start_us)
        before_us = self.newest_us - KEPT_US
        for windows in self._counts.values():
            for old in [start_us for start_us in windows if start_us < before_us]:
                del windows[old]

    def per_second(self, place: Place) -> float:
        """Return a stage's usual rate: the median over its windows, the newest one left out.

        The newest window still fills. Windows in which the stage had nothing do not count: what a
        stop left over is no rate.
        """
        windows = self._counts.get(f"{place.flow}/{place.stage}", {})
        sums = [sum(parts.values()) for at, parts in windows.items() if at < self.newest_us]
        counts = [count for count in sums if count] or [sum(p.values()) for p in windows.values()]
        return median(counts) * SECOND_US / self.window_us if counts else 0.0

    def snapshot(self) -> dict[str, Any]:
        """Return the counts as JSON-able data."""
        return {
            "newest_us": self.newest_us,
            "stages": [
                [name, [[at, *part] for at, parts in windows.items() for part in parts.items()]]
                for name, windows in self._counts.items()
            ],
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Take over what `snapshot` returned."""
        self.newest_us = snapshot["newest_us"]
        for name, rows in snapshot["stages"]:
            windows = self._counts.setdefault(name, {})
            for at, partition, count in rows:
                windows.setdefault(at, {})[partition] = count


@dataclass(frozen=True, slots=True)
class Impact:
    """What flows through a place, and who waits for it."""

    records_per_second: float = 0.0
    flows: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pipeline:
    """The pipeline's graph, with the components of its stages.

    Attributes:
        topology: stages, edges, modules.
        components: component by stage; "" where a stage takes any.
    """

    topology: Topology = field(default_factory=Topology)
    components: Mapping[Place, str] = field(default_factory=dict)

    def places_of(self, module: str, component: str) -> tuple[Place, ...]:
        """Return the stages of a component, in the contract's order."""
        stages = self.topology.stages_of(module)
        return tuple(place for place in stages if self.components.get(place) == component)

    def place_of(self, series: Series) -> Place:
        """Return the one stage that a series speaks of; of none or several, no place."""
        places = self.places_of(series.module, series.component)
        return places[0] if len(places) == 1 else Place("", "")

    def _target_of(self, series: Series) -> str:
        """Return the module that a series speaks of: the one that it names, else its own."""
        by_name = {name.lower(): name for name in self.topology.modules}
        for key, value in series.dimensions:
            if key in _TARGETS:
                said = _BETWEEN.split(value)[-1] if key == "hop" else value
                if said.lower() in by_name:
                    return by_name[said.lower()]
        return series.module

    def impact(self, series: Series, rates: StageRates) -> Impact:
        """Return what is at risk where a series speaks of.

        That is the module that its dimensions name as the target, if it is one; else the stages of
        its component; else those of its module. Of each flow the most upstream of these stages
        counts, with its own rate, or, where that is more, that of a stage right before it: records
        that are held back never reach the stage itself.
        """
        topology = self.topology
        module = self._target_of(series)
        is_target = module != series.module
        places = () if is_target else self.places_of(module, series.component)
        first: dict[str, Place] = {}
        for place in places or topology.stages_of(module):
            known = first.get(place.flow)
            if known is None or topology.depth(*place) < topology.depth(*known):
                first[place.flow] = place
        rate = 0.0
        for place in first.values():
            near = [Place(place.flow, stage) for stage in topology.near_stages(*place)]
            rate += max(rates.per_second(one) for one in (place, *near))
        below = topology.downstream(module) | ({module} if is_target else set())
        return Impact(rate, tuple(sorted(first)), tuple(sorted(below)))
