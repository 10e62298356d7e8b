"""How trouble travels between components: to whoever needs them, down the flow, and back as a jam.

Owns the one answer to "can trouble there bring about trouble here", from what the contract says of
components and flows. Invariant: it is a plain graph, without time; a path has at most `HOPS` steps,
so that what is only distantly connected is not taken for one problem. A component may have several
stages: what comes in by one of them is not carried out by another.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, NamedTuple

Component = tuple[str, str]
"""(module, component)."""

HOPS: Final = 2
"""A component between cause and effect may be silent: nothing watches it, or not closely enough."""


class Spot(NamedTuple):
    """A component at one of its stages; without a stage, all of the component.

    Attributes:
        component: module and component.
        stage: flow and stage, or two times "".
    """

    component: Component
    stage: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Propagation:
    """The graph of components; the empty one knows nothing, and modules must do.

    Attributes:
        needs: by component those that it cannot do without: their trouble becomes its own.
        handovers: (near, far) spots with stages that follow each other in a flow.
        reporters: components that only tell of others of their module, and bring nothing about.
    """

    needs: Mapping[Component, tuple[Component, ...]] = field(default_factory=dict)
    handovers: tuple[tuple[Spot, Spot], ...] = ()
    reporters: frozenset[Component] = frozenset()

    def knows(self, component: Component) -> bool:
        """Say whether anything is known of a component."""
        return component in self._known

    def sources(self, spot: Spot) -> frozenset[Component]:
        """Return the components whose trouble can become this one's, by need or along a flow."""
        return self._remembered(self._sources, spot, self._source_steps)

    def failing(self, spot: Spot) -> frozenset[Component]:
        """Return those of the sources that fail somebody who needs them, on the way to a spot.

        From the others nothing comes but the records that they hand over.
        """
        if spot not in self._failing:
            found: set[Component] = set()
            edge = [spot]
            for _ in range(HOPS):
                found.update(n for at in edge for n in self.needs.get(at.component, ()))
                edge = [new for at in edge for new in self._source_steps(at)]
            self._failing[spot] = frozenset(found) - {spot.component}
        return self._failing[spot]

    def jams(self, spot: Spot) -> frozenset[Component]:
        """Return the components that work piles up before, here, when they do not take it."""
        return self._remembered(self._jams, spot, self._jam_steps)

    def told_of(self, module: str) -> frozenset[Component]:
        """Return all that a module's reporters may tell of: what is in it, and up the flow."""
        return self._told.get(module, frozenset())

    # --- the graph ------------------------------------------------------------------------------

    @cached_property
    def _known(self) -> frozenset[Component]:
        named = {spot.component for pair in self.handovers for spot in pair}
        return frozenset(named.union(self.reporters, self.needs, *self.needs.values()))

    @cached_property
    def _sources(self) -> dict[Spot, frozenset[Component]]:
        return {}

    @cached_property
    def _failing(self) -> dict[Spot, frozenset[Component]]:
        return {}

    @cached_property
    def _jams(self) -> dict[Spot, frozenset[Component]]:
        return {}

    @cached_property
    def _givers(self) -> dict[Spot, list[Spot]]:
        return _grouped((far, near) for near, far in self.handovers)

    @cached_property
    def _takers(self) -> dict[Spot, list[Spot]]:
        return _grouped(self.handovers)

    @cached_property
    def _stages(self) -> dict[Component, list[Spot]]:
        spots = dict.fromkeys(spot for pair in self.handovers for spot in pair)
        found: dict[Component, list[Spot]] = {}
        for spot in spots:
            found.setdefault(spot.component, []).append(spot)
        return found

    @cached_property
    def _told(self) -> dict[str, frozenset[Component]]:
        found: dict[str, frozenset[Component]] = {}
        for module in {module for module, _ in self._known}:
            inside = [spot for at in self._known if at[0] == module for spot in self._at(Spot(at))]
            reached = set(inside)
            waiting = list(inside)
            while waiting:
                new = [n for n in self._givers.get(waiting.pop(), ()) if n not in reached]
                reached.update(new)
                waiting += new
            found[module] = frozenset(spot.component for spot in reached) - self.reporters
        return found

    def _at(self, spot: Spot) -> list[Spot]:
        """Return a spot's stages: its own, or all of its component; itself where it has none."""
        return [spot] if spot.stage[1] else self._stages.get(spot.component, [spot])

    def _source_steps(self, spot: Spot) -> list[Spot]:
        needed = [Spot(component) for component in self.needs.get(spot.component, ())]
        return needed + [near for at in self._at(spot) for near in self._givers.get(at, ())]

    def _jam_steps(self, spot: Spot) -> list[Spot]:
        return [far for at in self._at(spot) for far in self._takers.get(at, ())]

    def _remembered(
        self,
        known: dict[Spot, frozenset[Component]],
        spot: Spot,
        steps: Callable[[Spot], list[Spot]],
    ) -> frozenset[Component]:
        """Return what at most `HOPS` steps reach, without the start."""
        if spot not in known:
            found: set[Spot] = {spot}
            edge = [spot]
            for _ in range(HOPS):
                edge = [new for at in edge for new in steps(at) if new not in found]
                found.update(edge)
            known[spot] = frozenset(one.component for one in found) - {spot.component}
        return known[spot]


def _grouped(pairs: Iterable[tuple[Spot, Spot]]) -> dict[Spot, list[Spot]]:
    found: dict[Spot, list[Spot]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found
