"""What modules say about themselves every second: the contract's signals, named events, heartbeats.

Owns the turning of a model's second into events. The contract says which signals there are, the
model what they are worth; a signal that the model does not know, and a contract without signals,
get values of no meaning. Invariant: no event here has a trace id.
"""

from collections.abc import Iterator
from itertools import product
from random import Random
from typing import Final, NamedTuple

from streams.contract.model import Contract
from streams.simulate.events import new_event
from streams.simulate.layout import Layout
from streams.simulate.modules.parts import Happening, Second
from streams.simulate.render import Draft
from streams.simulate.walk import Unit
from streams.units import SECOND_US

HEARTBEAT: Final = "module_alive"
UNKNOWN_LEVEL: Final = 5.0
"""Around which a signal moves that no model knows."""
ACTOR: Final = "svc-release"
"""Who applies changes."""


class Series(NamedTuple):
    """One signal's series.

    Attributes:
        module, component, name, unit: of its events.
        dimensions: of its events.
        is_counter: whether its value is a total.
    """

    module: str
    component: str
    name: str
    unit: str
    dimensions: dict[str, str]
    is_counter: bool


class Signals:
    """All series of a contract, and what they are worth in a second."""

    def __init__(self, contract: Contract, layout: Layout) -> None:
        self._layout = layout
        names = {name.lower(): name for name in contract.modules}
        self._series: dict[tuple[str, tuple[str, ...]], Series] = {}
        for signal in contract.signals:
            values = [contract.dimensions[name] for name in signal.dimensions]
            for labels in product(*values):
                self._series[signal.name, labels] = Series(
                    names[signal.module],
                    signal.component,
                    signal.name,
                    signal.unit,
                    dict(zip(signal.dimensions, labels, strict=True)),
                    signal.type == "counter",
                )
        named = {series.module for series in self._series.values()}
        for module in [module for module in layout.topics if module not in named]:
            for component in layout.components[module]:
                name = f"pipeline.{module.lower()}.{component}.gauge.events_in_flight"
                self._series[name, ()] = Series(module, component, name, "1", {}, False)

    def render(self, unit: Unit, number: int, second: Second) -> Iterator[Draft]:
        """Yield one second of metric points and events, and every other second a line a module.

        A counter's value is its total since the start; a gauge's and a histogram's is of the
        moment, a histogram's the mean of what it saw.
        """
        rng = unit.rng
        known = {(point.name, point.labels): point.value for point in second.points}
        for key, series in self._series.items():
            value = known.get(key)
            if value is None:
                value = _meaningless(series, number, rng)
            yield self._point(unit, series, value)
        for happening in second.happenings:
            yield self._happening(unit, happening)
        if number % 2 == 0:
            for module in self._layout.topics:
                at_us = unit.born_us + rng.randrange(SECOND_US // 2)
                component = self._layout.components[module][0]
                event = new_event(rng, "LOG", module, component, HEARTBEAT, at_us, {})
                event["severity"] = "DEBUG"
                yield Draft(event, at_us, at_us)

    def _point(self, unit: Unit, series: Series, value: float) -> Draft:
        at_us = unit.born_us + unit.rng.randrange(SECOND_US // 2)
        module, component, name, named, dimensions, _ = series
        event = new_event(unit.rng, "METRIC", module, component, name, at_us, dict(dimensions))
        event["value"] = value
        event["unit"] = named
        return Draft(event, at_us, at_us)

    def _happening(self, unit: Unit, told: Happening) -> Draft:
        at_us = unit.born_us + unit.rng.randrange(SECOND_US // 2)
        event = new_event(
            unit.rng,
            told.event_type,
            told.module,
            told.component,
            told.name,
            at_us,
            dict(told.dimensions),
        )
        event["severity"] = told.severity
        event["value"] = told.value
        event["unit"] = told.unit
        event["operation"] = told.operation
        if told.event_type == "AUDIT":
            event["actor"] = ACTOR
            event["correlation_id"] = told.dimensions.get("change_id", "")
        return Draft(event, at_us, at_us)


def _meaningless(series: Series, number: int, rng: Random) -> float:
    if series.is_counter:
        return UNKNOWN_LEVEL * (number + 1)
    return round(UNKNOWN_LEVEL * rng.lognormvariate(0.0, 0.2), 6)
