"""The record that tells an incident: the whole of it, in words and figures, within bounds.

Owns leadership and wording. Invariant: an event holds the whole incident, so the highest version
alone is enough to understand it; where a bound leaves alerts out, it says how many there are.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from streams.core.causes.evidence import Cause
from streams.core.incidents.bounds import (
    ALERTS_BYTES_MAX,
    EXPLANATION_BYTES_MAX,
    IDS_BYTES_MAX,
    LABELS_BYTES_MAX,
    NAMES_BYTES_MAX,
    SENTENCE_BYTES_MAX,
    TITLE_BYTES_MAX,
    cut,
    fitting,
    fitting_labels,
    fitting_texts,
    size,
)
from streams.core.incidents.incident import Alert, Incident, IncidentEvent, Member, title_of
from streams.core.incidents.partition import Partition
from streams.core.incidents.topology import ModuleInfo, Topology

_ALERT_FIELDS: Final = (
    "fingerprint",
    "kind",
    "state",
    "severity",
    "flow",
    "module",
    "component",
    "from_stage",
    "to_stage",
    "name",
    "firing_since",
    "last_seen",
    "count",
    "value",
    "threshold",
    "unit",
    "explanation",
)
_LATER_FIELDS: Final = ("rule_id", "rule_version", "source")
RANKED_ALERTS_MAX: Final = 200
"""Of so many alerts, those that began first, the causes are ranked."""
CAUSES_MAX: Final = 10
"""So many causes an event tells, the most probable first."""

Rank = Callable[[Sequence[Alert], Partition], Sequence[Cause]]


@dataclass(frozen=True, slots=True)
class Telling:
    """One event of an incident.

    Attributes:
        event: symbol of IncidentEventType.
        reason: why it is told: see docs/incidents.md.
        merged_into: the incident that takes this one over, when it does.
    """

    event: str
    reason: str
    merged_into: str = ""


def leading(incident: Incident, partition: Partition, causes: Sequence[Cause]) -> Alert:
    """Return the alert that an incident is named after, and whose owner is asked.

    It is the most upstream of those that no other alert explains; when every one is explained (two
    may explain each other), the most upstream of all. While the place of the one that led in the
    last event is the likeliest, another one of that place alone takes the lead: what begins up the
    flow and speaks for a less likely place is not what people are to look for, nor its owner whom
    they are to ask.

    Args:
        incident: with its alerts, and the lead of its last event.
        partition: knows which alert explains which.
        causes: of the incident, the most probable first.
    """
    members, relations = incident.members, partition.relations
    free = [m.alert for p, m in members.items() if not partition.cause_of(p, members)]
    told = members.get(incident.told_cause.partition("|")[0])
    if told is not None and causes:
        place = relations.component(told.alert)
        if place == (causes[0].module, causes[0].component):
            free = [alert for alert in free if relations.component(alert) == place] or free
    return min(free or [m.alert for m in members.values()], key=relations.lead_order)


def incident_event(
    incident: Incident,
    telling: Telling,
    partition: Partition,
    rank: Rank,
    max_ids: int,
    max_alerts: int,
) -> IncidentEvent:
    """Return the record of an incident's current version.

    Args:
        incident: with `version` and `event_us` of this event.
        telling: what happened.
        partition: knows relations and the topology.
        rank: ranks the causes.
        max_ids: how many trace and record ids at most.
        max_alerts: how many alerts at most.
    """
    relations, topology = partition.relations, partition.relations.topology
    causes = ranked_causes(incident, partition, rank)
    lead = leading(incident, partition, causes)
    owner = owner_of(lead, topology)
    members = sorted(incident.members.values(), key=lambda m: relations.lead_order(m.alert))
    members.sort(key=lambda member: member.alert is not lead)
    title = title_of(lead)
    into = telling.merged_into
    return {
        "incident_id": incident.incident_id,
        "version": incident.version,
        "event": telling.event,
        "reason": telling.reason,
        "algorithm": incident.algorithm,
        "timestamp": incident.event_us,
        "opened_at": incident.opened_us,
        "resolved_at": incident.resolved_us,
        "title": cut(f"Merged into incident {into}: {title}" if into else title, TITLE_BYTES_MAX),
        "severity": incident.severity,
        "flow": lead["flow"],
        "module": lead["module"],
        "component": lead["component"],
        "from_stage": lead["from_stage"],
        "to_stage": lead["to_stage"],
        "kinds": list(dict.fromkeys(member.alert["kind"] for member in members)),
        "rule_ids": _first(dict.fromkeys(rule_of(member.alert) for member in members), max_alerts),
        "owner": owner.owner,
        "channel": owner.channel,
        "playbook": lead.get("playbook", "") or owner.playbook,
        "labels": fitting_labels(lead.get("labels", {}), LABELS_BYTES_MAX),
        "alerts": _listed(members[:max_alerts], partition, incident),
        "alert_count": len(members),
        "alerts_firing": len(incident.firing),
        "trace_ids": _first_ids(members, "trace_ids", max_ids),
        "record_ids": _first_ids(members, "record_ids", max_ids),
        "blast_radius": _blast_radius(members, topology),
        "alerts_in": incident.alerts_in,
        "alerts_suppressed": incident.alerts_suppressed,
        "suppressed": dict(sorted((incident.suppressed + incident.untold).items())),
        "causes": [_shown(cause) for cause in causes],
        "acknowledged_by": incident.acknowledged_by,
        "acknowledged_at": incident.acknowledged_us,
        "escalated": incident.is_escalated,
        "silenced": bool(incident.firing) and is_hidden(incident),
        "flapping": incident.is_flapping,
        **_command(incident.command),
        "history": [dict(entry) for entry in incident.history],
        "merged_into": into,
        "merged_from": list(incident.merged_from),
        "split_from": incident.split_from,
        "contract_version": lead["contract_version"],
    }


def ranked_causes(incident: Incident, partition: Partition, rank: Rank) -> Sequence[Cause]:
    """Return the causes that an event tells now: causes are among the alerts that began first."""
    alerts = [member.alert for member in incident.members.values()]
    alerts.sort(key=lambda alert: (alert["firing_since"], alert["fingerprint"]))
    return rank(alerts[:RANKED_ALERTS_MAX], partition)[:CAUSES_MAX]


def _shown(cause: Cause) -> dict[str, Any]:
    evidence = [cut(sentence, SENTENCE_BYTES_MAX) for sentence in cause.evidence]
    return asdict(cause) | {"name": cut(cause.name, SENTENCE_BYTES_MAX), "evidence": evidence}


def headline(record: Mapping[str, Any]) -> str:
    """Return which alert leads in an event, and its likeliest place, as one text."""
    return f"{record['alerts'][0]['fingerprint']}|{place_of(record['causes'])}"


def place_of(causes: Sequence[Mapping[str, Any]]) -> str:
    """Return the likeliest place as `headline` has it."""
    places = [f"{cause['module']}|{cause['component']}" for cause in causes[:1]]
    return "".join(places or ["|"])


def is_hidden(incident: Incident) -> bool:
    """Say whether silences hide every alert of an incident that fires."""
    return all(incident.members[print_].silenced_by for print_ in incident.firing)


def owner_of(alert: Mapping[str, Any], topology: Topology) -> ModuleInfo:
    """Return who answers for an alert: whom it names, else its module's owner."""
    info = topology.modules.get(alert["module"], ModuleInfo())
    named = alert.get("owner", "")
    return ModuleInfo(named, info.channel, info.playbook) if named else info


def rule_of(alert: Mapping[str, Any]) -> str:
    """Return the rule that an alert comes from: its id, else its kind."""
    return alert.get("rule_id", "") or str(alert["kind"])


def _listed(
    members: Sequence[Member], partition: Partition, incident: Incident
) -> list[dict[str, Any]]:
    """Return the leading alerts, as many as fit; the first one always."""
    told = [_told(member, partition, incident) for member in members]
    room = ALERTS_BYTES_MAX - _size(told[0])
    return told[:1] + fitting(told[1:], _size, room)


def _size(told: Mapping[str, Any]) -> int:
    return sum(size(value) for value in told.values() if isinstance(value, str))


def _told(member: Member, partition: Partition, incident: Incident) -> dict[str, Any]:
    alert = member.alert
    return (
        {name: alert[name] for name in _ALERT_FIELDS}
        | {name: alert.get(name, "") for name in _LATER_FIELDS}
        | {
            "explanation": cut(alert["explanation"], EXPLANATION_BYTES_MAX),
            "joined_because": member.because,
            "silenced_by": member.silenced_by,
            "caused_by": partition.cause_of(alert["fingerprint"], incident.members),
        }
    )


def _command(command: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "command": command.get("command", ""),
        "command_id": command.get("command_id", ""),
        "command_actor": command.get("actor", ""),
        "command_reason": command.get("reason", ""),
        "command_at": command.get("at_us", 0),
    }


def _first_ids(members: Sequence[Member], name: str, max_ids: int) -> list[str]:
    found: dict[str, None] = {}
    for member in members:
        found.update(dict.fromkeys(member.alert[name]))
        if len(found) >= max_ids:
            break
    return _first(found, max_ids)


def _first(texts: Iterable[str], max_texts: int) -> list[str]:
    return fitting_texts(list(texts)[:max_texts], IDS_BYTES_MAX)


def _blast_radius(members: Sequence[Member], topology: Topology) -> dict[str, Any]:
    modules = {member.alert["module"] for member in members} - {""}
    flows = {member.alert["flow"] for member in members} - {""}
    for module in {m.alert["module"] for m in members if not m.alert["flow"]}:
        flows.update(topology.flows_of(module))
    below = {name for module in modules for name in topology.downstream(module)}
    return {
        "records": max(member.alert["count"] for member in members),
        "flows": fitting_texts(sorted(flows), NAMES_BYTES_MAX),
        "modules": fitting_texts(sorted(modules), NAMES_BYTES_MAX),
        "downstream": fitting_texts(sorted(below - modules), NAMES_BYTES_MAX),
    }
