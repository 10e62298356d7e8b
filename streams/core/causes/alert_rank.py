"""Which place the alerts of an incident come from: each alert speaks for where its chain begins.

Owns the ranking of an incident. An alert that another one brings about speaks for that one's place,
and so on to the beginning of the chain; what lies between gets a little of it. Evidence from
metrics, traces, logs and changes decides between places that the alerts leave about equal, and
never outweighs them: an alert is a rule that people wrote. Invariants: the answer depends on the
set of alerts, their relations and the evidence, not on their order; it reads no label, and says
UNKNOWN where nothing stands out.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from math import exp2
from typing import Any, Final, NamedTuple

from streams.core.alerts.finding import SEVERITIES
from streams.core.causes.alert_evidence import evidence_kind
from streams.core.causes.evidence import CHANGE, Cause, Evidence, in_order
from streams.core.causes.parameters import PARAMETERS, CauseParameters
from streams.core.causes.strength import combined, strength
from streams.core.incidents.forest import chain, forest
from streams.core.incidents.propagation import Component
from streams.core.incidents.relate import Relation, Relations
from streams.core.incidents.topology import Topology
from streams.units import counted

Alert = Mapping[str, Any]
Links = Mapping[str, Mapping[str, Relation]]
_ON_THE_WAY: Final = 0.15
"""What an alert gives to the places between it and the beginning of its chain, and to its own."""
_UNKNOWN: Final = 1.0
"""Weight of "none of them": that of one warning alone."""
_LATE_MIN: Final = 0.25
"""A place whose trouble began long after the first counts at least so much."""
_EVIDENCE: Final = 0.5
"""What evidence gives to a place at most: half of what one warning there gives."""
_EVIDENCE_BITS: Final = 12.0
"""From so many bits on it gives that."""
_SENTENCES_MAX: Final = 6


class _Story(NamedTuple):
    """An alert, the places on its chain of causes, its own first, and whether it has a cause."""

    alert: Alert
    chain: tuple[Component, ...]
    is_effect: bool


def rank_alerts(
    alerts: Sequence[Alert],
    links: Links,
    relations: Relations,
    evidence: Iterable[Evidence] = (),
    parameters: CauseParameters = PARAMETERS,
) -> list[Cause]:
    """Return the places, the most probable first; UNKNOWN stands where it ranks.

    Args:
        alerts: of one incident, in the shape of schemas/alert.v1.avsc.
        links: relations of each alert by the other's fingerprint; others than `alerts` may be in.
        relations: knows the place of an alert.
        evidence: what is unusual now, anywhere; what no alert leads to is left out.
        parameters: the constants of the evidence.

    Returns:
        At least the UNKNOWN entry; probabilities sum to 1. A place without a component is a module.
    """
    stories = _stories(_representatives(alerts, relations), links, relations)
    weights, unknown = _weights(stories, relations.settings.causal_us)
    seen = _placed(_led_to(evidence, alerts, relations.topology), weights, relations.topology)
    for spot, items in seen.items():
        amount = _EVIDENCE * min(1.0, _bits(items, parameters) / _EVIDENCE_BITS)
        weights[spot] = weights.get(spot, 0.0) + amount

    def cause(place: int, spot: Component, share: float) -> Cause:
        items = sorted(seen.get(spot, ()), key=lambda i: (-strength(i, parameters), i.sentence))
        return _cause(place, spot, share, stories, items)

    return in_order(weights, unknown, cause, _began(stories, seen))


def _began(
    stories: Sequence[_Story], seen: Mapping[Component, Sequence[Evidence]]
) -> dict[Component, int]:
    """Return when trouble was first seen at each place: by its alerts, else by the evidence."""
    since = {spot: min(item.since_us for item in items) for spot, items in seen.items()}
    first: dict[Component, int] = {}
    for story in stories:
        spot, at_us = story.chain[0], story.alert["firing_since"]
        first[spot] = min(at_us, first.get(spot, at_us))
    return since | first


def _representatives(alerts: Iterable[Alert], relations: Relations) -> list[Alert]:
    """Return one alert of each kind at each place, the first to begin: ten series are one sign."""
    first: dict[tuple[Component, str, str], Alert] = {}
    for alert in sorted(alerts, key=lambda a: (a["firing_since"], a["fingerprint"])):
        what = alert.get("rule_id", "") or alert["to_stage"] or alert["from_stage"]
        first.setdefault((relations.component(alert), alert["kind"], what), alert)
    return list(first.values())


def _stories(alerts: Sequence[Alert], links: Links, relations: Relations) -> list[_Story]:
    by_print = {alert["fingerprint"]: alert for alert in alerts}
    since = {print_: alert["firing_since"] for print_, alert in by_print.items()}
    causes = {
        print_: [
            (link.rank, abs(since[print_] - since[other]), other)
            for other, link in links.get(print_, {}).items()
            if link.cause == other and other in by_print
        ]
        for print_ in by_print
    }
    cause = forest(causes, since).cause
    spot = {print_: relations.component(alert) for print_, alert in by_print.items()}
    return [
        _Story(alert, tuple(spot[one] for one in chain(print_, cause)), print_ in cause)
        for print_, alert in by_print.items()
    ]


def _weights(stories: Sequence[_Story], causal_us: int) -> tuple[dict[Component, float], float]:
    """Return the weight of each place and that of none of them."""
    since: dict[Component, int] = {}
    for story in stories:
        spot, at_us = story.chain[0], story.alert["firing_since"]
        since[spot] = min(at_us, since.get(spot, at_us))
    began_us = min((since[story.chain[-1]] for story in stories), default=0)
    weights: dict[Component, float] = {}
    unknown = _UNKNOWN
    for story in stories:
        root = story.chain[-1]
        late_us = since[root] - began_us
        amount = (1 + SEVERITIES.index(story.alert["severity"])) / 2
        amount *= max(_LATE_MIN, exp2(-late_us / max(1, causal_us)))
        if root[0]:
            weights[root] = weights.get(root, 0.0) + amount
        else:
            unknown += amount
        for spot in story.chain[:-1]:
            if spot[0]:
                weights[spot] = weights.get(spot, 0.0) + amount * _ON_THE_WAY
    return weights, unknown


def _led_to(
    evidence: Iterable[Evidence], alerts: Sequence[Alert], topology: Topology
) -> list[Evidence]:
    """Return the evidence of modules that alert, or that one that alerts needs."""
    related = led_to({alert["module"] for alert in alerts}, topology)
    return [item for item in evidence if item.module in related]


def led_to(alerting: Set[str], topology: Topology) -> set[str]:
    """Return the modules that alerts lead to: those that alert, and all that one of them needs."""
    named = set(alerting) - {""}
    related = set(named)
    related.update(*(topology.upstream(module) for module in named))
    for (module, _), needed in topology.propagation.needs.items():
        if module in named:
            related.update(name for name, _ in needed)
    return related


def _placed(
    evidence: Iterable[Evidence], weights: Mapping[Component, float], topology: Topology
) -> dict[Component, list[Evidence]]:
    """Return the evidence by place.

    What names no component, or one that only reports, is of its module's likeliest one.
    """
    reporters = topology.propagation.reporters
    likeliest: dict[str, Component] = {}
    for spot in sorted(weights, key=lambda spot: (-weights[spot], spot)):
        likeliest.setdefault(spot[0], spot)
    found: dict[Component, list[Evidence]] = {}
    for item in evidence:
        spot = item.module, item.component
        if not item.component or spot in reporters:
            spot = likeliest.get(item.module, spot)
        found.setdefault(spot, []).append(item)
    return {spot: found[spot] for spot in sorted(found)}


def _bits(items: Sequence[Evidence], parameters: CauseParameters) -> float:
    """Return what speaks for a place; a change counts for no more than what else is seen of it."""
    known = combined([item for item in items if item.kind != CHANGE], parameters)
    changes = combined([item for item in items if item.kind == CHANGE], parameters)
    return known + min(changes, known) / 2


def _cause(
    place: int,
    spot: Component,
    share: float,
    stories: Sequence[_Story],
    evidence: Sequence[Evidence],
) -> Cause:
    own = [s for s in stories if s.chain[0] == spot]
    own.sort(key=lambda s: (-SEVERITIES.index(s.alert["severity"]), s.alert["firing_since"]))
    told = tuple(dict.fromkeys(item.sentence for item in evidence))
    if not own:
        first = evidence[0]
        return Cause(place, *spot, first.name, first.kind, share, told[:_SENTENCES_MAX])
    lead = own[0].alert
    sentences = [s.alert.get("explanation", "") or _plain(s.alert) for s in own]
    follow = [s for s in stories if s.is_effect and s.chain[-1] == spot]
    where = sorted({".".join(s.chain[0]).rstrip(".") for s in follow})
    if where:
        kinds = counted(len(follow), "kind of alert follows", "kinds of alerts follow")
        sentences.insert(2, f"{kinds} from it, at {', '.join(where)}")
    sentences[3:3] = told  # the strongest are told, whatever other alerts say
    return Cause(
        place,
        *spot,
        lead["name"],
        evidence_kind(lead["kind"]),
        share,
        tuple(dict.fromkeys(sentences))[:_SENTENCES_MAX],
    )


def _plain(alert: Alert) -> str:
    return f"alert {alert['kind']} of {alert['module']}"
