"""Which new alerts are one problem, and which open incidents they belong to.

Invariant: the answer depends on the set of new alerts and the open incidents, not on the order in
which either is given.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from streams.core.incidents.incident import Alert, Incident
from streams.core.incidents.relate import EXPLAINS, Relation, Relations

FIRST_SIGN: Final = "it is the first sign of the problem"


@dataclass(slots=True)
class Group:
    """New alerts that are one problem, and the incidents it touches.

    Attributes:
        alerts: the new alerts, by their start.
        because: why each belongs to the group, by fingerprint.
        incidents: ids of the incidents that the group belongs to; more than one when it shows that
            they have one cause; none when it is a problem of its own.
    """

    alerts: list[Alert]
    because: dict[str, str] = field(default_factory=dict)
    incidents: list[str] = field(default_factory=list)


def group_alerts(
    alerts: Iterable[Alert], incidents: Mapping[str, Incident], relations: Relations
) -> list[Group]:
    """Group new alerts by their relations, and place each group among the open incidents.

    Alerts related to each other, directly or through others, are one group. A group goes to the
    incident with which it has the strongest relation (then the oldest). Only when one of its alerts
    explains, or is explained by, alerts of several incidents are these one problem.
    """
    ordered = sorted(alerts, key=lambda a: (a["firing_since"], a["fingerprint"]))
    return [_placed(group, incidents, relations) for group in _components(ordered, relations)]


def _components(alerts: list[Alert], relations: Relations) -> list[Group]:
    owner = list(range(len(alerts)))
    because: dict[str, str] = {}

    def root(index: int) -> int:
        while owner[index] != index:
            index = owner[index]
        return index

    for i, alert in enumerate(alerts):
        best: Relation | None = None
        for j, other in enumerate(alerts):
            relation = relations.between(alert, other) if i != j else None
            if relation is None:
                continue
            low, high = sorted((root(i), root(j)))
            owner[high] = low
            if best is None or relation.rank < best.rank:
                best = relation
        because[alert["fingerprint"]] = best.reason if best else FIRST_SIGN
    groups: dict[int, Group] = {}
    for i, alert in enumerate(alerts):
        group = groups.setdefault(root(i), Group([]))
        group.alerts.append(alert)
        group.because[alert["fingerprint"]] = because[alert["fingerprint"]]
    return list(groups.values())


def _placed(group: Group, incidents: Mapping[str, Incident], relations: Relations) -> Group:
    found: dict[str, tuple[int, str, str]] = {}
    for incident in incidents.values():
        for alert in group.alerts:
            for member in incident.members.values():
                relation = relations.between(alert, member.alert)
                if relation is None:
                    continue
                link = (relation.rank, alert["fingerprint"], relation.reason)
                found[incident.incident_id] = min(link, found.get(incident.incident_id, link))
    if not found:
        group.because[group.alerts[0]["fingerprint"]] = FIRST_SIGN
        return group
    by_strength = sorted(
        found, key=lambda i: (found[i][0], incidents[i].opened_us, incidents[i].incident_id)
    )
    explained = [i for i in by_strength if found[i][0] == EXPLAINS]
    group.incidents = explained or by_strength[:1]
    for incident_id in reversed(group.incidents):
        _, print_, reason = found[incident_id]
        group.because[print_] = reason
    return group
