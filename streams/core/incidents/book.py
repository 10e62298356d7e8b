"""Incidents over time: opened, updated, merged, resolved, reopened.

Owns the life of incidents and the accounting of noise. Invariants: versions of an incident count
from 1 without gaps; one step tells an incident at most once besides its end; an event is told only
for a material change: an alert joined, it became worse, or all of it grew by a magnitude.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Self

from streams.core.fidelity.merge import MergeSettings
from streams.core.incidents.grouping import Group, group_alerts
from streams.core.incidents.incident import (
    Alert,
    Incident,
    IncidentEvent,
    Member,
    incident_event,
    incident_id,
)
from streams.core.incidents.relate import Relations, RelationSettings
from streams.core.incidents.topology import Topology
from streams.units import MINUTE_US

_MAGNITUDE: Final = 10


@dataclass(frozen=True, slots=True)
class IncidentSettings:
    """How alerts become incidents, and how many are kept.

    Attributes:
        relations: when two alerts are one problem.
        quiet_us: an incident is resolved when all its alerts are and this has passed, by the event
            time of other alerts or, once all input is read, by the clock.
        reopen_us: an alert that fires again within this time of the end reopens its incident.
        max_open: bound on open incidents; a problem beyond it waits for its alerts' next states.
        max_alerts: bound on the alerts of one incident; further ones are counted only.
        max_resolved: bound on the resolved incidents kept for reopening; the oldest go.
        max_ids: bound on the trace and record ids of an event.
    """

    relations: RelationSettings = field(default_factory=RelationSettings)
    quiet_us: int = MINUTE_US
    reopen_us: int = 30 * MINUTE_US
    max_open: int = 500
    max_alerts: int = 100
    max_resolved: int = 500
    max_ids: int = 50

    @classmethod
    def matching(cls, merge: MergeSettings, quiet_us: int) -> Self:
        """Return settings in proportion to the windows that the alerts were measured over.

        Two onsets can be told apart no better than a few windows, so those of one cause count as
        together within three windows, or a fifth of the short burn window where that is more.
        """
        relations = RelationSettings(
            causal_us=max(3 * merge.window_us, merge.short_us // 5),
            short_us=merge.short_us,
            slo_ratio=merge.slo_ratio,
        )
        return cls(relations=relations, quiet_us=quiet_us, reopen_us=2 * merge.short_us)


@dataclass(slots=True)
class _Changes:
    """What happened to one incident in a step."""

    received: int = 0
    is_material: bool = False
    is_reopened: bool = False


class IncidentBook:
    """All open incidents, and the resolved ones that may still be reopened.

    Attributes:
        open, resolved: incidents by id.
        stream_us: latest event time that any alert has told.
        discarded: alert states not taken up, by reason.
    """

    def __init__(self, settings: IncidentSettings, topology: Topology) -> None:
        self.settings = settings
        self.relations = Relations(topology, settings.relations)
        self.open: dict[str, Incident] = {}
        self.resolved: dict[str, Incident] = {}
        self.stream_us = 0
        self.discarded: Counter[str] = Counter()
        self._home: dict[str, str] = {}

    def update(self, alerts: Iterable[Alert], now_us: int, caught_up: bool) -> list[IncidentEvent]:
        """Take alert states in and return what is worth telling.

        Args:
            alerts: records in the shape of schemas/alert.v1.avsc; their order does not matter.
            now_us: the wall clock, for the end of incidents only.
            caught_up: whether all alerts have been read.
        """
        changes: dict[str, _Changes] = {}
        new: dict[str, tuple[Alert, int]] = {}
        for print_, states in self._latest(alerts).items():
            alert, received = states[-1], len(states)
            self.stream_us = max(self.stream_us, alert["last_seen"])
            has_fired = any(state["state"] == "FIRING" for state in states)
            if self._update_member(alert, received, has_fired, changes):
                continue
            if has_fired:
                new[print_] = (alert, received)
            else:
                self.discarded["alert_of_no_incident"] += received
        events: list[IncidentEvent] = []
        for group in group_alerts((a for a, _ in new.values()), self.open, self.relations):
            received = sum(new[alert["fingerprint"]][1] for alert in group.alerts)
            events += self._place(group, received, changes)
        for id_ in sorted(changes, key=lambda i: (self.open[i].opened_us, i)):
            events += self._tell(self.open[id_], changes[id_])
        events += self._resolve(now_us, caught_up)
        self._forget()
        return events

    def index(self) -> None:
        """Find again which incident each alert belongs to, after a restart."""
        self._home = {
            print_: incident.incident_id
            for incidents in (self.resolved, self.open)
            for incident in incidents.values()
            for print_ in incident.members
        }

    # --- taking alerts in -----------------------------------------------------------------------

    def _latest(self, alerts: Iterable[Alert]) -> dict[str, list[Alert]]:
        """Return the states that are new, by fingerprint, in the order of their versions."""
        states: dict[str, dict[int, Alert]] = {}
        for alert in alerts:
            member = self._member(alert["fingerprint"])
            known = member.alert["version"] if member else 0
            of_alert = states.setdefault(alert["fingerprint"], {})
            if alert["version"] <= known or alert["version"] in of_alert:
                self.discarded["alert_known"] += 1
            else:
                of_alert[alert["version"]] = alert
        return {p: [s[v] for v in sorted(s)] for p, s in sorted(states.items()) if s}

    def _member(self, print_: str) -> Member | None:
        id_ = self._home.get(print_, "")
        incident = self.open.get(id_) or self.resolved.get(id_)
        return incident.members.get(print_) if incident else None

    def _update_member(
        self, alert: Alert, received: int, has_fired: bool, changes: dict[str, _Changes]
    ) -> bool:
        """Update the alert in its incident; False when it has none that it still belongs to."""
        id_ = self._home.get(alert["fingerprint"], "")
        incident = self.open.get(id_)
        if incident is None:
            incident = self.resolved.get(id_)
            if incident is None or not has_fired:
                return False
            if alert["firing_since"] - incident.resolved_us > self.settings.reopen_us:
                return False
            self._reopen(incident)
            changes[id_] = _Changes(is_reopened=True)
        incident.members[alert["fingerprint"]].alert = alert
        change = changes.setdefault(id_, _Changes())
        change.received += received
        change.is_material |= incident.worsen()
        return True

    def _reopen(self, incident: Incident) -> None:
        del self.resolved[incident.incident_id]
        self.open[incident.incident_id] = incident
        incident.resolved_us = 0
        incident.quiet_since_us = 0

    def _place(
        self, group: Group, received: int, changes: dict[str, _Changes]
    ) -> list[IncidentEvent]:
        events: list[IncidentEvent] = []
        if group.incidents:
            oldest = min(group.incidents, key=lambda i: (self.open[i].opened_us, i))
            incident = self.open[oldest]
            for id_ in sorted(set(group.incidents) - {oldest}):
                events.append(self._merge(self.open[id_], incident, changes))
        elif len(self.open) >= self.settings.max_open:
            self.discarded["incident_over_bound"] += received
            return []
        else:
            incident = Incident(incident_id(group.alerts))
            incident.opened_us = min(alert["last_seen"] for alert in group.alerts)
            self.open[incident.incident_id] = incident
        change = changes.setdefault(incident.incident_id, _Changes())
        change.received += received
        for alert in group.alerts:
            if len(incident.members) >= self.settings.max_alerts:
                self.discarded["alert_over_bound"] += 1
                continue
            print_ = alert["fingerprint"]
            incident.members[print_] = Member(alert, group.because[print_])
            self._home[print_] = incident.incident_id
            change.is_material = True
        incident.worsen()
        return events

    def _merge(
        self, incident: Incident, into: Incident, changes: dict[str, _Changes]
    ) -> IncidentEvent:
        """Move the alerts of one incident into another; return the last event of the first."""
        change = changes.pop(incident.incident_id, _Changes())
        incident.alerts_in += change.received
        incident.alerts_suppressed += change.received
        event = self._event(incident, "MERGED", incident.last_seen_us, into.incident_id)
        del self.open[incident.incident_id]
        for print_, member in incident.members.items():
            member.because = f"it came with incident {incident.incident_id}: {member.because}"
            into.members[print_] = member
            self._home[print_] = into.incident_id
        into.alerts_in += incident.alerts_in
        into.alerts_suppressed += incident.alerts_suppressed
        return event

    # --- telling --------------------------------------------------------------------------------

    def _tell(self, incident: Incident, change: _Changes) -> list[IncidentEvent]:
        is_told = change.is_reopened or change.is_material or self._has_outgrown(incident)
        incident.alerts_in += change.received
        incident.alerts_suppressed += change.received - (1 if is_told else 0)
        if not is_told:
            return []
        name = "REOPENED" if change.is_reopened else "UPDATED" if incident.version else "OPENED"
        return [self._event(incident, name, incident.last_seen_us)]

    def _has_outgrown(self, incident: Incident) -> bool:
        """Say whether every alert of an incident grew since it was told, the largest tenfold."""
        members = incident.members.items()
        if incident.is_over or not all(
            member.alert["version"] > incident.told.get(print_, 0) for print_, member in members
        ):
            return False
        largest = max(member.alert["count"] for member in incident.members.values())
        return bool(largest >= _MAGNITUDE * incident.told_records)

    def _event(
        self, incident: Incident, event: str, event_us: int, merged_into: str = ""
    ) -> IncidentEvent:
        incident.version += 1
        incident.event_us = max(incident.event_us, event_us)
        incident.told = {p: member.alert["version"] for p, member in incident.members.items()}
        incident.told_records = max(m.alert["count"] for m in incident.members.values())
        max_ids = self.settings.max_ids
        return incident_event(incident, event, self.relations, max_ids, merged_into)

    def _resolve(self, now_us: int, caught_up: bool) -> list[IncidentEvent]:
        events = []
        for incident in sorted(self.open.values(), key=lambda i: (i.opened_us, i.incident_id)):
            if not incident.is_over:
                incident.quiet_since_us = 0
                continue
            if not caught_up or not incident.quiet_since_us:
                incident.quiet_since_us = now_us  # an alert still unread may fire again
            end_us = incident.last_seen_us + self.settings.quiet_us
            waited_us = now_us - incident.quiet_since_us
            if self.stream_us < end_us and waited_us < self.settings.quiet_us:
                continue
            incident.resolved_us = end_us
            events.append(self._event(incident, "RESOLVED", end_us))
            del self.open[incident.incident_id]
            self.resolved[incident.incident_id] = incident
        return events

    def _forget(self) -> None:
        """Drop resolved incidents that nothing can reopen any more, or that are too many."""
        by_age = sorted(self.resolved.values(), key=lambda i: (i.resolved_us, i.incident_id))
        excess = max(0, len(by_age) - self.settings.max_resolved)
        self.discarded["resolved_over_bound"] += excess
        for index, incident in enumerate(by_age):
            if index < excess or self.stream_us - incident.resolved_us > self.settings.reopen_us:
                del self.resolved[incident.incident_id]
                for print_ in incident.members:
                    if self._home.get(print_) == incident.incident_id:
                        del self._home[print_]
