"""The model of a contract's pipeline, at any time: which it is, and what changes are made to it.

Owns what is the same for every pipeline: faults in a component's own code, changes that people
apply (those that break something and those that do not), and the order of the seconds. A contract
without a model of its own has only these. Invariant: `at` gives the same second for the same time,
whatever was asked before.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Final, Protocol

from streams.simulate.faults import BAD_DEPLOY, CHANGE_KINDS, CONFIG_CHANGE, ERROR_BURST, Fault
from streams.simulate.layout import Layout
from streams.simulate.modules.inference import InferenceModel
from streams.simulate.modules.parts import Happening, Second
from streams.simulate.modules.seed import SeedModel
from streams.units import SECOND_US

BURST_RATIO: Final = 0.35
DEPLOY_RATIO: Final = 0.22
DEPLOY_SLOWDOWN: Final = 2.8
CHANGE_EVERY_S: Final = 25
"""In each stretch of so many seconds one change is applied that breaks nothing: most are such."""
CHANGES: Final = ("DEPLOY", "CONFIG", "FLAG")


class StepModel(Protocol):
    """Makes the seconds of one pipeline, in their order."""

    def step(self, number: int, at_us: int, faults: Sequence[Fault]) -> Second:
        """Return the next second."""


class _NoModel:
    """Of a pipeline that nobody modelled: nothing but what every pipeline has."""

    def step(self, number: int, at_us: int, faults: Sequence[Fault]) -> Second:
        """Return a second in which nothing happens."""
        del number, at_us, faults
        return Second()


class PipelineModel:
    """What the modules of a pipeline do, second by second.

    Args:
        layout: of the contract.
        seed: of load, noise and changes.
        rate: records a second that are normal.
        start_us: when second 0 begins.
        faults: those of `COMPONENT_KINDS` strike it; others are not its own.
    """

    def __init__(
        self, layout: Layout, seed: int, rate: float, start_us: int, faults: Sequence[Fault]
    ) -> None:
        self._layout = layout
        self._seed = f"{seed}/model"
        self._start_us = start_us
        self._faults = tuple(fault for fault in faults if fault.component is not None)
        known: dict[str, Callable[[str, float], StepModel]] = {
            "seed": SeedModel,
            "inference": InferenceModel,
        }
        make = known.get(layout.name)
        self._model: StepModel = make(self._seed, rate) if make else _NoModel()
        self._stage = {
            (stage.module, stage.component): stage.id
            for flow in reversed(list(layout.flows.values()))
            for stage in flow.stages
        }
        self._seconds: list[Second] = []

    def at(self, at_us: int) -> Second:
        """Return the second that holds a time; the first one for a time before the start."""
        number = max(0, (at_us - self._start_us) // SECOND_US)
        while len(self._seconds) <= number:
            self._seconds.append(self._next(len(self._seconds)))
        return self._seconds[number]

    def _next(self, number: int) -> Second:
        at_us = self._start_us + number * SECOND_US
        second = self._model.step(number, at_us, self._faults)
        for fault in self._faults:
            if fault.is_on(at_us):
                self._trouble(second, fault)
        second.happenings += self._changes(number, at_us)
        return second

    def _trouble(self, second: Second, fault: Fault) -> None:
        """Make the spans of a component with a fault of its own fail, or take longer."""
        place = fault.component
        assert place is not None  # only faults of components are kept
        stage = self._stage[place]
        if fault.kind == ERROR_BURST:
            second.fail(stage, BURST_RATIO * fault.share)
        elif fault.kind == BAD_DEPLOY:
            second.fail(stage, DEPLOY_RATIO * fault.share)
            second.slower(stage, DEPLOY_SLOWDOWN)

    def _changes(self, number: int, at_us: int) -> Iterator[Happening]:
        """Yield the changes applied in a second; a fault's own is taken back at its end."""
        for fault in self._faults:
            if fault.kind in CHANGE_KINDS and fault.component is not None:
                begins = 0 <= fault.start_us - at_us < SECOND_US
                ends = 0 <= fault.end_us - at_us < SECOND_US
                if begins or ends:
                    what = "CONFIG" if fault.kind == CONFIG_CHANGE else "DEPLOY"
                    name = f"{fault.kind}-{fault.start_us // SECOND_US}"
                    yield _change(fault.component, what, name, "2.1.0" if begins else "2.0.0")
        stretch = number // CHANGE_EVERY_S
        rng = Random(f"{self._seed}/change/{stretch}")
        if number == stretch * CHANGE_EVERY_S + rng.randrange(CHANGE_EVERY_S):
            components = sorted((m, c) for m, cs in self._layout.components.items() for c in cs)
            what, where = rng.choice(CHANGES), rng.choice(components)
            yield _change(where, what, f"routine-{number}", f"1.{number}.0")


def _change(where: tuple[str, str], what: str, name: str, version: str) -> Happening:
    named = {"change": what, "change_id": name, "version": version}
    return Happening(*where, "change_applied", "AUDIT", "INFO", named, math.nan, operation=what)
