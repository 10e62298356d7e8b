"""Holds incidents against planted faults: which belong to which, and what was wrong about them.

Pure. An alert is *claimed* by a fault when it began while the fault could be felt and stands at a
component that the fault reaches; an alert of an edge stands at both of its ends. From that alone:

- a fault is *missed* when no incident holds an alert that it claims;
- an incident is *false* when no fault claims any of its alerts;
- it is *over-merged* when it holds alerts of two faults, each claimed by the one and not the other;
- a fault is *split* by each incident beyond the first that holds alerts which it alone claims.

The truth comes from the plan; nothing here looks at an incident's title, kind or explanation.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from streams.simulate.blame import Blame, Component, stage_component
from streams.simulate.layout import Layout
from streams.units import SECOND_US

EARLY_US: Final = 2 * SECOND_US
"""Windows count by the start of a trace, which may lie before the fault that hit its tail."""
FELT_US: Final = 12 * SECOND_US
"""How long after its end a fault can still be felt: queues drain, breakers close, waits end."""
ANY: Final = ""
"""Component of an alert that speaks of its module as a whole."""

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """One incident: its last version, and when versions were written.

    Attributes:
        incident: the highest version, in the shape of IncidentEvent.
        first_us: when its first event was written, by the simulated clock.
        events: how many events it had.
        ranked: the components named as its cause, the likeliest first, as MODULE.component; a
            module alone where no component is named.
    """

    incident: Record
    first_us: int
    events: int
    ranked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """How one run was told.

    Attributes:
        incidents: per fault the incidents that it claims, first the one that is most its own: with
            the most alerts that it alone claims; of equals the first told.
        false: incidents that no fault claims.
        over_merged: incidents that hold two faults.
        split: incidents too many.
    """

    incidents: tuple[tuple[Told, ...], ...]
    false: tuple[Told, ...]
    over_merged: tuple[Told, ...]
    split: int


def score(layout: Layout, blames: Sequence[Blame], told: Iterable[Told]) -> Score:
    """Return what belongs to what."""
    mine: list[list[tuple[int, Told]]] = [[] for _ in blames]
    alone = [0] * len(blames)
    false, over_merged = [], []
    for one in sorted(told, key=lambda t: (t.first_us, t.incident["incident_id"])):
        claims = [
            {n for n, b in enumerate(blames) if claimed(layout, b, alert)}
            for alert in one.incident["alerts"]
        ]
        of = set().union(*claims)
        only = Counter(next(iter(c)) for c in claims if len(c) == 1)
        for number in of:
            mine[number].append((-only[number], one))
        for number in only:
            alone[number] += 1
        if not of:
            false.append(one)
        if len(only) > 1:
            over_merged.append(one)
    return Score(
        tuple(tuple(t for _, t in sorted(of, key=lambda pair: pair[0])) for of in mine),
        tuple(false),
        tuple(over_merged),
        sum(max(0, count - 1) for count in alone),
    )


def claimed(layout: Layout, blame: Blame, alert: Record) -> bool:
    """Say whether a fault can have brought an alert about, by time and place."""
    since_us = int(alert["firing_since"])
    if not blame.since_us - EARLY_US <= since_us < blame.until_us + FELT_US:
        return False
    return any(_reaches(blame, place) for place in places_of(layout, alert))


def _reaches(blame: Blame, place: Component) -> bool:
    if place[1] == ANY:
        return any(module == place[0] for module, _ in blame.reached)
    return place in blame.reached


def places_of(layout: Layout, alert: Record) -> set[Component]:
    """Return the components at which an alert stands; (module, "") for a module as a whole."""
    flow = alert.get("flow", "")
    ends = {stage_component(layout, flow, alert[s]) for s in ("from_stage", "to_stage") if alert[s]}
    found = {end for end in ends if end is not None}
    return found or {(alert["module"], alert.get("component", ""))}


def ranked_causes(layout: Layout, incident: Record) -> tuple[str, ...]:
    """Return the causes that an incident names, the likeliest first, each once.

    An incident that ranks none is read as naming its alerts in their order: the leading one first.
    """
    causes = incident.get("causes") or []
    named = [
        (c["module"], c.get("component", ""))
        for c in sorted(causes, key=lambda c: c["rank"])
        if c["kind"] != "UNKNOWN"
    ]
    if "causes" not in incident:
        for alert in incident["alerts"]:
            far = alert["to_stage"] and stage_component(layout, "", alert["to_stage"])
            named.append(far or (alert["module"], ""))
    return tuple(dict.fromkeys(f"{m}.{c}".rstrip(".") for m, c in named if m))


def hits(blame: Blame, name: str) -> bool:
    """Say whether a named component is the fault's cause.

    A module alone is right only where the whole module is to blame.
    """
    module, _, component = name.partition(".")
    if component:
        return (module, component) in blame.causes
    return blame.is_module and any(module == m for m, _ in blame.causes)


def rank_of(blame: Blame, ranked: Sequence[str]) -> int:
    """Return the place of the first right name, from 1; 0 when none is right."""
    return next((i for i, name in enumerate(ranked, 1) if hits(blame, name)), 0)
