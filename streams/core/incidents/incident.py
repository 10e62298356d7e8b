"""One incident: its alerts, which of them leads, and the record that tells all of it.

Owns identity, leadership and wording. Invariant: an event holds the whole incident, so the highest
version alone is enough to understand it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

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
    SEVERITIES,
)
from streams.core.incidents.relate import Relations
from streams.core.incidents.topology import ModuleInfo, Topology

ALGORITHM: Final = "1"
"""Version of the grouping; part of every id, so that another grouping never takes an id over."""

Alert = dict[str, Any]
IncidentEvent = dict[str, Any]
"""A record in the shape of schemas/incident_event.v1.avsc."""

_ALERT_FIELDS: Final = (
    "fingerprint",
    "kind",
    "state",
    "module",
    "from_stage",
    "to_stage",
    "firing_since",
    "count",
    "value",
    "threshold",
    "explanation",
)

_TITLES: Final = {
    MISPARTITIONED: "Events of {module} lie in other partitions than their traces",
    MODULE_SILENT: "Module {module} is silent",
    CONTEXT_RESTARTED: "The trace context starts anew between {from_stage} and {to_stage}",
    CLOCK_SKEW: "The clock of {module} is off, by the mean gap of {value:.0f} ms from {from_stage} "
    "to {to_stage}",
    ERROR_SPANS: "{to_stage} of {module} ends in errors",
    FIDELITY_BURN: "The trace context is lost between {from_stage} and {to_stage}",
    MISSING_ACKNOWLEDGMENT: "Acknowledgments are missing: {to_stage} does not follow {from_stage}",
    DEADLINE_MISSED: "{to_stage} of {module} misses its deadline",
    DUPLICATE_RATE: "Module {module} sends its events more than once",
}


@dataclass(slots=True)
class Member:
    """One alert of an incident, in its latest state, and why it belongs there."""

    alert: Alert
    because: str


@dataclass(slots=True)
class Incident:
    """What is known of one incident.

    Attributes:
        incident_id: see `incident_id`.
        version: of the last event; 0 before the first.
        opened_us: event time at which its first alert spoke.
        resolved_us: event time at which it was resolved; 0 while it is open.
        event_us: event time of the last event.
        severity: the worst of any alert it had.
        members: its alerts by fingerprint.
        alerts_in: alert states received.
        alerts_suppressed: of those, the ones that caused no event.
        told: version of each alert at the last event.
        told_records: largest count of an alert at the last event.
        quiet_since_us: wall time since when all alerts are resolved; 0 while one fires.
    """

    incident_id: str
    version: int = 0
    opened_us: int = 0
    resolved_us: int = 0
    event_us: int = 0
    severity: str = "INFO"
    members: dict[str, Member] = field(default_factory=dict)
    alerts_in: int = 0
    alerts_suppressed: int = 0
    told: dict[str, int] = field(default_factory=dict)
    told_records: int = 0
    quiet_since_us: int = 0

    @property
    def is_over(self) -> bool:
        """Say whether every alert of it is resolved."""
        return all(member.alert["state"] == "RESOLVED" for member in self.members.values())

    @property
    def last_seen_us(self) -> int:
        """Return the event time of the latest violation."""
        return max(int(member.alert["last_seen"]) for member in self.members.values())

    def worsen(self) -> bool:
        """Take over the worst severity of the alerts; return whether that is worse than before."""
        worst = max((m.alert["severity"] for m in self.members.values()), key=SEVERITIES.index)
        is_worse = SEVERITIES.index(worst) > SEVERITIES.index(self.severity)
        self.severity = worst if is_worse else self.severity
        return is_worse


def incident_id(alerts: Iterable[Alert]) -> str:
    """Return 32 hex digits: a function of the earliest alert, its start, and the algorithm."""
    first = min(alerts, key=lambda a: (a["firing_since"], a["fingerprint"]))
    text = f"{first['fingerprint']}|{first['firing_since']}|{ALGORITHM}"
    return blake2b(text.encode(), digest_size=16).hexdigest()


def leading(incident: Incident, relations: Relations) -> Alert:
    """Return the alert that the incident is named after.

    It is the most upstream of those that no other alert explains; when every one is explained (two
    may explain each other), the most upstream of all.
    """
    alerts = [member.alert for member in incident.members.values()]
    causes = [
        alert
        for alert in alerts
        if not any(relations.explains(other, alert) for other in alerts if other is not alert)
    ]
    return min(causes or alerts, key=relations.lead_order)


def title_of(alert: Mapping[str, Any]) -> str:
    """Say what an alert is about in plain words."""
    kind = alert["kind"]
    text = _TITLES.get(kind, kind.replace("_", " ") + " at {module}").format_map(alert)
    return f"{text} (flow {alert['flow']})" if alert["flow"] else text


def incident_event(
    incident: Incident, event: str, relations: Relations, max_ids: int, merged_into: str = ""
) -> IncidentEvent:
    """Return the record of an incident's current version.

    Args:
        incident: with `version` and `event_us` of this event.
        event: symbol of IncidentEventType.
        relations: knows causes and the topology.
        max_ids: how many trace and record ids at most.
        merged_into: the incident that takes this one over, when it does.
    """
    lead = leading(incident, relations)
    owner = relations.topology.modules.get(lead["module"], ModuleInfo())
    members = sorted(incident.members.values(), key=lambda m: relations.lead_order(m.alert))
    members.sort(key=lambda member: member.alert is not lead)
    title = title_of(lead)
    return {
        "incident_id": incident.incident_id,
        "version": incident.version,
        "event": event,
        "algorithm": ALGORITHM,
        "timestamp": incident.event_us,
        "opened_at": incident.opened_us,
        "resolved_at": incident.resolved_us,
        "title": f"Merged into incident {merged_into}: {title}" if merged_into else title,
        "severity": incident.severity,
        "module": lead["module"],
        "from_stage": lead["from_stage"],
        "to_stage": lead["to_stage"],
        "kinds": list(dict.fromkeys(member.alert["kind"] for member in members)),
        "owner": owner.owner,
        "channel": owner.channel,
        "playbook": owner.playbook,
        "alerts": [
            {name: m.alert[name] for name in _ALERT_FIELDS} | {"joined_because": m.because}
            for m in members
        ],
        "trace_ids": _first_ids(members, "trace_ids", max_ids),
        "record_ids": _first_ids(members, "record_ids", max_ids),
        "blast_radius": _blast_radius(members, relations.topology),
        "alerts_in": incident.alerts_in,
        "alerts_suppressed": incident.alerts_suppressed,
        "contract_version": lead["contract_version"],
    }


def _first_ids(members: Iterable[Member], name: str, max_ids: int) -> list[str]:
    return list(dict.fromkeys(i for member in members for i in member.alert[name]))[:max_ids]


def _blast_radius(members: list[Member], topology: Topology) -> dict[str, Any]:
    modules = {member.alert["module"] for member in members if member.alert["module"]}
    flows = {member.alert["flow"] for member in members if member.alert["flow"]}
    for member in members:
        if not member.alert["flow"]:
            flows.update(topology.flows_of(member.alert["module"]))
    below = {name for module in modules for name in topology.downstream(module)}
    return {
        "records": max(member.alert["count"] for member in members),
        "flows": sorted(flows),
        "modules": sorted(modules),
        "downstream": sorted(below - modules),
    }
