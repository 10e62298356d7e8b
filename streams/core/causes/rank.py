"""Which place is most likely at fault, given all evidence and who needs whom.

Owns the one ranking. A place's strength is what speaks for it locally (its own resources and time,
and changes as far as something else is seen of it) and its symptoms (errors, slowness, missing
steps), less the symptoms that trouble in something it needs explains; part of what is explained is
credited there. Invariant: the answer depends on the set of alerts and evidence, not on their order.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from streams.core.causes.alert_evidence import alert_evidence
from streams.core.causes.evidence import CHANGE, KINDS, Cause, Evidence, in_order
from streams.core.causes.metric_kinds import ERRORS, LATENCY, SUCCESS, metric_kind
from streams.core.causes.parameters import PARAMETERS, CauseParameters
from streams.core.causes.senders import laid_on_senders
from streams.core.causes.strength import (
    LOCAL_SOURCES,
    by_module,
    combined,
    source_of,
    strength,
)
from streams.core.incidents.topology import Topology

_SENTENCES_MAX: Final = 5
_FAILURES: Final = frozenset({ERRORS, SUCCESS})


def rank(
    alerts: Sequence[Mapping[str, Any]],
    evidence: Iterable[Evidence],
    topology: Topology,
    parameters: CauseParameters = PARAMETERS,
) -> list[Cause]:
    """Return the candidates, the most probable first; UNKNOWN stands where it ranks.

    Args:
        alerts: of one incident, in the shape of schemas/alert.v1.avsc; may be empty.
        evidence: all that was found in the time of the incident; may be empty.
        topology: who needs whom; an unknown module needs nobody.
        parameters: the constants.

    Returns:
        At least the UNKNOWN entry; probabilities sum to 1.
    """
    found = _of_the_alerts(laid_on_senders(evidence, topology), alerts)
    seen = [*found, *alert_evidence(alerts, topology)]
    places = by_module(seen)
    strengths = _strengths(places, topology, parameters)
    _discount_unrelated(strengths, {a["module"] for a in alerts if a["module"]}, topology)
    weights = {m: 2 ** (s / parameters.temperature_bits) for m, s in strengths.items()}
    none = 2 ** (parameters.unknown_bits / parameters.temperature_bits)

    def cause(place: int, module: str, share: float) -> Cause:
        return _cause(place, module, places[module], share, parameters)

    since = {module: min(item.since_us for item in items) for module, items in places.items()}
    return in_order(weights, none, cause, since)


def _strengths(
    places: Mapping[str, Sequence[Evidence]], topology: Topology, parameters: CauseParameters
) -> dict[str, float]:
    local: dict[str, float] = {}
    symptom: dict[str, float] = {}
    since: dict[str, int] = {}
    for module, items in places.items():
        own = [i for i in items if source_of(i) in LOCAL_SOURCES]
        without_changes = [i for i in items if i.kind != CHANGE]
        known = combined(without_changes, parameters)
        changes = combined([i for i in items if i.kind == CHANGE], parameters)
        local[module] = combined([i for i in own if i.kind != CHANGE], parameters)
        symptom[module] = max(0.0, known - local[module])
        local[module] += min(changes, known) / 2
        since[module] = min(i.since_us for i in items)
    total = {m: local[m] + symptom[m] for m in places}
    result = dict(local)
    for module in sorted(places):
        needs = [
            u
            for u in sorted(topology.upstream(module))
            if u in places and since[u] <= since[module] + parameters.onset_slack_us
        ]
        share = max((min(1.0, total[u] / (symptom[module] + 1e-9)) for u in needs), default=0.0)
        result[module] += symptom[module] * (1 - parameters.explained_ratio * share)
        credit = parameters.credit_ratio * symptom[module]
        for u in needs:
            result[u] += credit * min(1.0, total[u] / (symptom[module] + 1e-9)) / len(needs)
    return result


def _of_the_alerts(
    evidence: Iterable[Evidence], alerts: Iterable[Mapping[str, Any]]
) -> list[Evidence]:
    """Halve slowness where only failures alert, and failures where only slowness does."""
    alerting = {metric_kind(alert.get("name", "")).signal for alert in alerts}
    slow, wrong = LATENCY in alerting, bool(alerting & _FAILURES)
    if slow == wrong:
        return list(evidence)
    other = _FAILURES if slow else {LATENCY}
    return [
        replace(item, weight=item.weight / 2) if source_of(item) in other else item
        for item in evidence
    ]


def _discount_unrelated(
    strengths: dict[str, float], alerting: set[str], topology: Topology
) -> None:
    """Halve the places that no alert leads to: neither alerting nor needed by one that does."""
    if not alerting:
        return
    related = alerting.union(*(topology.upstream(module) for module in alerting))
    for module in strengths:
        if module not in related:
            strengths[module] /= 2


def _cause(
    place: int,
    module: str,
    items: Sequence[Evidence],
    probability: float,
    parameters: CauseParameters,
) -> Cause:
    ordered = sorted(
        items, key=lambda i: (-strength(i, parameters), KINDS.index(i.kind), i.name, i.sentence)
    )
    first = ordered[0]
    sentences = tuple(dict.fromkeys(i.sentence for i in ordered))[:_SENTENCES_MAX]
    return Cause(place, module, first.component, first.name, first.kind, probability, sentences)
