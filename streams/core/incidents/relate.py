"""Why two alerts are one problem, or None.

Owns the pairwise relation that all grouping rests on. Invariants: it is symmetric, and depends on
the two alerts and the topology alone, never on what arrived first. It asks for a reason: overlap
in time is none, and neither is a trace or two in common.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from streams.core.alerts.finding import (
    CLOCK_SKEW,
    CONTEXT_RESTARTED,
    DEADLINE_MISSED,
    DUPLICATE_RATE,
    ERROR_SPANS,
    FIDELITY_BURN,
    MISPARTITIONED,
    MISSING_ACKNOWLEDGMENT,
    MODULE_SILENT,
)
from streams.core.incidents.evidence import (
    overlap_by_chance,
    shared_ids,
    too_few_shared,
    violation_rate,
)
from streams.core.incidents.propagation import Component, Spot
from streams.core.incidents.sorts import CAUSE_ORDER, is_congestion, is_late
from streams.core.incidents.topology import Edge, Topology
from streams.units import MINUTE_US

Alert = Mapping[str, Any]

_SPOTS_MAX: Final = 10_000
"""Places of alerts that are remembered; they are as many as a contract's places, usually."""
_ONSET_PARTS: Final = 3
"""An effect may seem to begin before its cause by this part of the causal time: one window."""
_BLUR_PARTS: Final = 2
"""So many windows blur the beginnings of an alert of traces and one of signals: the one counts by
the start of the trace, the other by a mean over some windows."""


_OF_TRACES: Final = frozenset(CAUSE_ORDER) - {ERROR_SPANS, DEADLINE_MISSED}
"""Kinds that say that traces are broken. What a module measures of itself is none the worse for
it, and only trouble at the place itself breaks them; between each other they have rules of their
own."""
_LOSSES: Final = frozenset({FIDELITY_BURN, MISSING_ACKNOWLEDGMENT})

Signature = tuple[tuple[object, ...], int]

PINNED, EXPLAINS, SAME_PLACE, SAME_RECORDS, FOLLOWS, NEIGHBOURS = range(-1, 5)
"""Ranks of a relation, the strongest first; a pin is a person's word, or an earlier grouping."""


class Relation(NamedTuple):
    """Why two alerts are one problem.

    Attributes:
        rank: how strong the reason is.
        reason: the reason in words.
        cause: fingerprint of the one that brings the other about; "" where neither does.
        leader: fingerprint of the one that the other goes with: its cause, or the first at their
            place; "" where neither goes with the other.
    """

    rank: int
    reason: str
    cause: str = ""
    leader: str = ""


@dataclass(frozen=True, slots=True)
class RelationSettings:
    """When two alerts are one problem.

    Attributes:
        causal_us: alerts of one cause begin within this time of each other; an effect may also
            begin as long as its cause lasts.
        chance: shared ids count only when unrelated faults would share so many with at most this
            probability.
        min_shared: and when at least so many are shared.
        short_us: the short burn window, over which an alert's share was measured.
        slo_ratio: the objective where the topology names no other.
    """

    causal_us: int = MINUTE_US
    chance: float = 0.001
    min_shared: int = 3
    short_us: int = 5 * MINUTE_US
    slo_ratio: float = 0.999


class Relations:
    """Answers whether two alerts are one problem, for one topology and one set of limits."""

    def __init__(self, topology: Topology, settings: RelationSettings) -> None:
        self.topology = topology
        self.settings = settings
        self._spots: dict[tuple[str, str, str, str], Spot] = {}
        self._rules: dict[str, Callable[[Alert, Alert], str]] = {
            MISPARTITIONED: self._misplacement_explains,
            MODULE_SILENT: self._silence_explains,
            CONTEXT_RESTARTED: self._restart_explains,
            CLOCK_SKEW: self._skew_explains,
            ERROR_SPANS: self._errors_explain,
        }

    def between(self, alert: Alert, other: Alert) -> Relation | None:
        """Return the strongest reason why two alerts are one problem; None without one."""
        if alert["fingerprint"] > other["fingerprint"]:
            alert, other = other, alert
        for cause, effect in ((alert, other), (other, alert)):
            if cause["kind"] not in self._rules or not self._began_within(effect, cause):
                continue
            if why := self.explains(cause, effect):
                return _caused(EXPLAINS, why, cause)
        if self._overlap(alert, other):
            if why := self._same_place(alert, other):
                return Relation(SAME_PLACE, why, leader=_first(alert, other))
            if travelled := self._travels(alert, other):
                return travelled
            if why := self._same_records(alert, other):
                return Relation(SAME_RECORDS, why)
        if not self._began_together(alert, other):
            return None
        if alert["kind"] in CAUSE_ORDER and other["kind"] in CAUSE_ORDER:
            why = self._neighbours(alert, other)
            return Relation(NEIGHBOURS, why) if why else None
        if self._is_mapped(alert) and self._is_mapped(other):
            return None  # where the components are known, their modules say less
        return self._signals(alert, other)

    # --- time -----------------------------------------------------------------------------------

    def _began_within(self, effect: Alert, cause: Alert) -> bool:
        slack_us = self.settings.causal_us
        since_us: int = effect["firing_since"]
        return bool(cause["firing_since"] - slack_us <= since_us <= _end_us(cause) + slack_us)

    def _overlap(self, alert: Alert, other: Alert) -> bool:
        return self._began_within(alert, other) or self._began_within(other, alert)

    def _began_together(self, alert: Alert, other: Alert) -> bool:
        apart_us = abs(alert["firing_since"] - other["firing_since"])
        return bool(apart_us <= self.settings.causal_us)

    # --- one cause explains the other -----------------------------------------------------------

    def explains(self, cause: Alert, effect: Alert) -> str:
        """Return how one alert's fault brings the other about, whatever the time; "" when not."""
        rule = self._rules.get(cause["kind"])
        return rule(cause, effect) if rule is not None else ""

    def _misplacement_explains(self, cause: Alert, effect: Alert) -> str:
        module: str = cause["module"]
        if effect["kind"] in _LOSSES and module in self._modules(effect):
            return f"the events of {module} lie in other partitions than the rest of their traces"
        return ""

    def _silence_explains(self, cause: Alert, effect: Alert) -> str:
        module: str = cause["module"]
        kind, stages = effect["kind"], self._modules(effect)
        if kind in _LOSSES and module in stages:
            return f"{module} is silent, so nothing crosses the edges into and out of it"
        if kind in _LOSSES and self._is_past(module, effect) and self._same_records(cause, effect):
            return f"{module} is silent upstream of it, and the same traces are missing"
        if kind == MODULE_SILENT and effect["module"] in self.topology.downstream(module):
            # Two modules may each be downstream of the other; then the earlier silence leads.
            if effect["firing_since"] >= cause["firing_since"]:
                return f"{module} is silent and {effect['module']} depends on it"
            return ""
        if kind == DEADLINE_MISSED and module in self._near_modules(effect):
            return f"{module}, which comes right before it, is silent"
        return ""

    def _restart_explains(self, cause: Alert, effect: Alert) -> str:
        if effect["kind"] not in _LOSSES or effect["flow"] != cause["flow"]:
            return ""
        near = effect["from_stage"] == cause["from_stage"]
        if near or effect["to_stage"] == cause["to_stage"]:
            return "the records that seem lost here go on under a new trace id"
        return ""

    def _skew_explains(self, cause: Alert, effect: Alert) -> str:
        module: str = cause["module"]
        if effect["kind"] == DEADLINE_MISSED and (
            effect["module"] == module or module in self._near_modules(effect)
        ):
            return f"the clock of {module} is off, so times measured against it are wrong"
        if effect["kind"] == CLOCK_SKEW and module in self._modules(effect):
            return f"it is measured against the clock of {module} too"
        return ""

    def _errors_explain(self, cause: Alert, effect: Alert) -> str:
        is_loss = effect["kind"] in _LOSSES and effect["flow"] == cause["flow"]
        if is_loss and cause["to_stage"] in (effect["from_stage"], effect["to_stage"]):
            return f"{cause['to_stage']} ends in errors, so its records do not get on"
        return ""

    # --- place and evidence ---------------------------------------------------------------------

    def _same_place(self, alert: Alert, other: Alert) -> str:
        component = alert["component"]
        if component and (alert["module"], component) == (other["module"], other["component"]):
            return f"both are about {component} of {alert['module']}"
        if not alert["to_stage"] or alert["flow"] != other["flow"]:
            return ""
        if alert["to_stage"] == other["to_stage"]:
            return f"both are about {alert['to_stage']}"
        return ""

    def _same_records(self, alert: Alert, other: Alert) -> str:
        settings = self.settings
        for name in ("trace_ids", "record_ids"):
            if not alert[name] or not other[name]:
                continue
            shared, distinct = shared_ids(alert[name], other[name])
            if shared < settings.min_shared:
                continue
            chance = overlap_by_chance(shared, distinct, *self._rates(alert, other))
            if chance <= settings.chance:
                what = name.removesuffix("_ids") + "s"
                return (
                    f"{shared} of {distinct} sampled {what} are the same, which happens to "
                    f"unrelated faults with probability {chance:.1g}"
                )
        return ""

    def _neighbours(self, alert: Alert, other: Alert) -> str:
        kinds = {alert["kind"], other["kind"]}
        if kinds <= _LOSSES and alert["flow"] == other["flow"]:
            return self._neighbour_losses(alert, other)
        if len(kinds) > 1:
            return ""
        kind = alert["kind"]
        if kind in (CLOCK_SKEW, DEADLINE_MISSED) and alert["module"] == other["module"]:
            return f"the same began in {alert['module']} at the same time"
        if kind == ERROR_SPANS and self._are_adjacent(alert, other):
            return "errors began at the stage next to it at the same time"
        is_next = self.topology.are_neighbours(alert["module"], other["module"])
        if kind == DUPLICATE_RATE and is_next:
            return "duplicates began in the module next to it at the same time"
        return ""

    # --- from component to component -------------------------------------------------------------

    def component(self, alert: Alert) -> Component:
        """Return the component that an alert is about; its name is "" where it names none."""
        return self._spot(alert).component

    def _spot(self, alert: Alert) -> Spot:
        key = alert["flow"], alert["to_stage"], alert["module"], alert["component"]
        spot = self._spots.get(key)
        if spot is None:
            flow, stage, module, component = key
            of_stage = component or self.topology.component_of(flow, stage)
            spot = Spot((module, of_stage), (flow, stage) if stage else ("", ""))
            if len(self._spots) < _SPOTS_MAX:
                self._spots[key] = spot
        return spot

    def _is_mapped(self, alert: Alert) -> bool:
        return self.topology.propagation.knows(self._spot(alert).component)

    def _travels(self, alert: Alert, other: Alert) -> Relation | None:
        """Relate an alert to one at a component that brings it about, for as long as that lasts.

        Of two that can bring each other about, the one that began first did; where they began
        together, what the other needs is the cause, then what work piles up before.
        """
        if not (self._is_mapped(alert) and self._is_mapped(other)):
            return None
        pairs = sorted(((alert, other), (other, alert)), key=lambda p: p[0]["firing_since"])
        slack_us = self._blur_us(alert, other)
        if pairs[1][0]["firing_since"] - pairs[0][0]["firing_since"] <= slack_us:
            pairs.sort(key=lambda pair: (not self._needs(*pair), not self._jams(*pair)))
        else:
            del pairs[1]
        for cause, effect in pairs:
            if self._began_within(effect, cause) and (why := self._way(cause, effect)):
                return _caused(FOLLOWS, why, cause)
        return None

    def _way(self, cause: Alert, effect: Alert) -> str:
        """Return how trouble at one alert's component gets to the other's; "" when it does not."""
        known = self.topology.propagation
        first, then = self.component(cause), self.component(effect)
        place, here = ".".join(first), ".".join(then)
        if first in known.reporters:
            return ""
        if cause["kind"] in _OF_TRACES:
            return ""
        if effect["kind"] in _OF_TRACES and first not in self._ends(effect):
            return ""
        if then in known.reporters and first in known.told_of(then[0]):
            return f"{here} only tells of trouble, which {place} has"
        if first in known.sources(self._spot(effect)) and self._gets_there(cause, effect):
            return f"trouble at {place} gets to {here}, which takes from it or needs it"
        return f"work piles up before {place}, back to {here}" if self._jams(cause, effect) else ""

    def _gets_there(self, cause: Alert, effect: Alert) -> bool:
        """Say whether trouble can have come from a source as this trouble, by this time.

        What a component needs may fail it in any way and at any time. Where records are all that
        comes, they come at once; and records that come late make late, not wrong.
        """
        if self._hit_others(cause, effect):
            return False
        if self.component(cause) in self.topology.propagation.failing(self._spot(effect)):
            return True
        if is_late(cause):
            return is_late(effect)
        return self._began_together(cause, effect)

    def _hit_others(self, cause: Alert, effect: Alert) -> bool:
        """Say whether samples prove that two alerts hit different traces.

        What one brings about hits traces that it hit. Samples are of the first windows, so they
        can be compared where both began within one.
        """
        settings = self.settings
        apart_us = abs(cause["firing_since"] - effect["firing_since"])
        if not (cause["trace_ids"] and effect["trace_ids"]):
            return False
        if apart_us > settings.causal_us // _ONSET_PARTS:
            return False
        rates = self._rates(cause, effect)
        shared = shared_ids(cause["trace_ids"], effect["trace_ids"])
        return max(rates) < 1 and too_few_shared(*shared, *rates) <= settings.chance

    def _rates(self, *alerts: Alert) -> list[float]:
        ratio, short_us = self.settings.slo_ratio, self.settings.short_us
        return [violation_rate(alert, self.topology, ratio, short_us) for alert in alerts]

    def _blur_us(self, alert: Alert, other: Alert) -> int:
        """Return within which time two beginnings cannot be told apart."""
        is_mixed = (alert["kind"] in CAUSE_ORDER) != (other["kind"] in CAUSE_ORDER)
        return self.settings.causal_us * (_BLUR_PARTS if is_mixed else 1) // _ONSET_PARTS

    def _ends(self, alert: Alert) -> set[Component]:
        """Return the components at both ends of an alert's edge."""
        stages = (alert["from_stage"], alert["to_stage"])
        modules, known = self.topology.module_of, self.topology.component_of
        return {(modules(alert["flow"], s), known(alert["flow"], s)) for s in stages if s}

    def _needs(self, cause: Alert, effect: Alert) -> bool:
        needed = self.topology.propagation.needs.get(self.component(effect), ())
        return self.component(cause) in needed

    def _jams(self, cause: Alert, effect: Alert) -> bool:
        jams = self.topology.propagation.jams(self._spot(effect))
        # What waits for the next stage is late at its own.
        may_be = is_congestion(effect["kind"]) or effect["kind"] == DEADLINE_MISSED
        return may_be and self.component(cause) in jams

    def _signals(self, alert: Alert, other: Alert) -> Relation | None:
        """Relate alerts that began together, one of them of a kind without rules of its own.

        Trouble travels from a module to those that need it, and back only as congestion.
        """
        module, beside = alert["module"], other["module"]
        if not module and not beside:
            if alert["name"] and (alert["kind"], alert["name"]) == (other["kind"], other["name"]):
                return Relation(NEIGHBOURS, f"{alert['name']} began elsewhere at the same time")
            return None
        if module == beside:
            return Relation(NEIGHBOURS, f"both began in {module} at the same time")
        for cause, effect in sorted(
            ((alert, other), (other, alert)), key=lambda pair: pair[0]["firing_since"]
        ):
            if why := self._follows(cause, effect):
                return _caused(FOLLOWS, why, cause)
        return None

    def _follows(self, cause: Alert, effect: Alert) -> str:
        late_us = effect["firing_since"] - cause["firing_since"]
        if late_us < -(self.settings.causal_us // _ONSET_PARTS):
            return ""
        first, then = cause["module"], effect["module"]
        if cause["kind"] in _OF_TRACES:
            return ""
        if effect["kind"] in _OF_TRACES and first not in self._modules(effect):
            return ""
        if is_congestion(effect["kind"]):
            if self.topology.needs(first, then):
                return f"{first}, which takes from {then}, was in trouble first: it backs up"
            return ""
        if self.topology.needs(then, first):
            return f"it began in {first}, which {then} needs, and then here"
        return ""

    def _neighbour_losses(self, alert: Alert, other: Alert) -> str:
        stages = {alert["from_stage"], alert["to_stage"]}
        if stages & {other["from_stage"], other["to_stage"]}:
            return "losses began on the edge next to it at the same time"
        edges = [Edge(a["flow"], a["from_stage"], a["to_stage"]) for a in (alert, other)]
        if alert["module"] == other["module"] and all(map(self.topology.is_hop, edges)):
            return f"losses began on another way into {alert['module']} at the same time"
        return ""

    def _are_adjacent(self, alert: Alert, other: Alert) -> bool:
        if alert["flow"] != other["flow"]:
            return False
        near, far = alert["to_stage"], other["to_stage"]
        after = self.topology.far_stages
        return far in after(alert["flow"], near) or near in after(alert["flow"], far)

    # --- where an alert sits --------------------------------------------------------------------

    def _modules(self, alert: Alert) -> set[str]:
        """Return the modules at both ends of an alert's edge, or its one module."""
        flow = alert["flow"]
        near = self.topology.module_of(flow, alert["from_stage"]) if alert["from_stage"] else ""
        return {name for name in (near, alert["module"]) if name}

    def _near_modules(self, alert: Alert) -> set[str]:
        flow = alert["flow"]
        near = self.topology.near_stages(flow, alert["to_stage"])
        return {self.topology.module_of(flow, stage) for stage in near}

    def _is_past(self, module: str, alert: Alert) -> bool:
        flow, far = alert["flow"], alert["to_stage"]
        return any(
            self.topology.is_before(flow, place.stage, far)
            for place in self.topology.stages_of(module)
            if place.flow == flow
        )

    def signature(self, alert: Alert) -> Signature:
        """Return all of an alert's state that its relations depend on, and until when it lasts."""
        ids = (*alert["trace_ids"], *alert["record_ids"])
        rate = (alert["value"], alert["last_seen"]) if ids else ()
        return (alert["firing_since"], alert["state"], rate, ids), _end_us(alert)

    def keys(self, alert: Alert) -> list[tuple[str, ...]]:
        """Return what an alert is found by: two that are one problem share a key, or records."""
        topology, flow, kind = self.topology, alert["flow"], alert["kind"]
        stages = {stage for stage in (alert["from_stage"], alert["to_stage"]) if stage}
        keys: set[tuple[str, ...]] = {("stage", flow, stage) for stage in stages}
        modules = self._modules(alert)
        if alert["to_stage"]:
            modules |= self._near_modules(alert)
        keys |= {("module", module) for module in modules if module}
        if kind in (MODULE_SILENT, DUPLICATE_RATE) or not alert["module"]:
            keys.add(("kind", kind, "" if alert["module"] else alert["name"]))
        if kind == ERROR_SPANS:
            far = alert["to_stage"]
            keys |= {("edge", flow, near, far) for near in topology.near_stages(flow, far)}
            keys |= {("edge", flow, far, after) for after in topology.far_stages(flow, far)}
        module = alert["module"]
        if self._is_mapped(alert):
            at, spot, known = self.component(alert), self._spot(alert), topology.propagation
            told = known.told_of(module) if at in known.reporters else frozenset()
            near = {at, *known.sources(spot), *known.jams(spot), *told}
            keys |= {("component", *component) for component in near}
        if module:
            pairs = (tuple(sorted((module, beside))) for beside in topology.neighbours(module))
            keys |= {("hop", *pair) for pair in pairs}
        return sorted(keys)

    def depth(self, alert: Alert) -> int:
        """Return how far down the pipeline an alert sits; 0 is an entry."""
        if alert["to_stage"]:
            return self.topology.depth(alert["flow"], alert["to_stage"])
        return self.topology.module_depth(alert["module"])

    def lead_order(self, alert: Alert) -> tuple[int, int, int, str]:
        """Return a key that puts the most upstream alert first, then the likelier cause."""
        kind = alert["kind"]
        cause = CAUSE_ORDER.index(kind) if kind in CAUSE_ORDER else len(CAUSE_ORDER)
        return self.depth(alert), cause, alert["firing_since"], alert["fingerprint"]


def _caused(rank: int, reason: str, cause: Alert) -> Relation:
    return Relation(rank, reason, cause["fingerprint"], cause["fingerprint"])


def _first(alert: Alert, other: Alert) -> str:
    """Return which of two alerts began first; "" when they began at once."""
    if alert["firing_since"] == other["firing_since"]:
        return ""
    return str(min(alert, other, key=lambda a: a["firing_since"])["fingerprint"])


def _end_us(alert: Alert) -> int:
    """Return until when an alert has violated, as far as it has told.

    One that goes on speaks again when its count has doubled, that is before its age has: what it
    did not say by then, it no longer does. Twice the age is taken in eighths of its power of two,
    so that a state more of an alert seldom changes what it is related to.
    """
    last_us: int = alert["last_seen"]
    since_us: int = alert["firing_since"]
    age_us = last_us - since_us
    if alert["state"] != "FIRING" or age_us <= 0:
        return last_us
    step = max(0, (2 * age_us).bit_length() - 4)
    return since_us + (-(-2 * age_us >> step) << step)
