"""All that the incident task knows, and the few ways in which it may change.

Owns what is told and what is only counted. Invariants: versions of an incident count from 1 without
gaps; every change of an incident, a member or anything else that is kept is marked in `dirty`, so
that a cut writes only what changed.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from streams.core.causes.casefile import CaseFile
from streams.core.causes.evidence import Evidence
from streams.core.incidents.commands import Answered, Command
from streams.core.incidents.damping import Damper
from streams.core.incidents.incident import Alert, Incident, IncidentEvent, Member
from streams.core.incidents.ledger import Ledger
from streams.core.incidents.partition import Partition
from streams.core.incidents.record import (
    Rank,
    Telling,
    headline,
    incident_event,
    owner_of,
    rule_of,
)
from streams.core.incidents.relate import Relations
from streams.core.incidents.settings import IncidentSettings
from streams.core.incidents.severity import severity_of, spread, worse
from streams.core.incidents.silences import Silence, silenced_by
from streams.core.incidents.topology import Topology

OPENED, UPDATED, ACKNOWLEDGED, RESOLVED, REOPENED, MERGED = (
    "OPENED", "UPDATED", "ACKNOWLEDGED", "RESOLVED", "REOPENED", "MERGED",
)  # fmt: skip
JOINED, REPEATED, FLAPPING, SILENCED = "joined", "repeated", "flapping", "silenced"
BY_PERSON: Final = "resolved_by_person"
"""What becomes of an alert state: why it causes no event, unless it is the one that does."""


@dataclass(slots=True)
class Waiting:
    """A new alert that waits for others before its incident opens.

    Attributes:
        alert: its latest state.
        due_us: wall time when it has waited long enough.
        seen: version, whether it fires, start and last violation of each state that came.
    """

    alert: Alert
    due_us: int
    seen: list[tuple[int, bool, int, int]] = field(default_factory=list)

    @property
    def fired(self) -> int:
        """Return how many of its states fire."""
        return sum(is_firing for _, is_firing, _, _ in self.seen)


class Gone(NamedTuple):
    """What is remembered of an incident that is forgotten or merged.

    Attributes:
        version: its last one.
        at_us: wall time when it went.
        merged_into: the incident that took it over; "" for one that was resolved, or of which an
            earlier version remembered less.
    """

    version: int
    at_us: int
    merged_into: str = ""


@dataclass(slots=True)
class Touch:
    """What happened to one incident in a step.

    Attributes:
        is_heard: an alert fired that is neither silenced nor damped.
        reason: why its next event is due; "" when nothing material happened.
    """

    is_heard: bool = False
    reason: str = ""


@dataclass
class State:
    """The state; see the module's docstring.

    Attributes:
        open, resolved: incidents by id; one that is open and has `resolved_us` set came back
            without being told.
        waiting: alerts of no incident yet, by fingerprint.
        gone: what is remembered of incidents that are forgotten or merged, by id.
        silences: those from commands, by id.
        answered: what was answered, by command id.
        evidence: what is unusual, of all incidents together.
        evidence_us: event time up to which evidence was looked for.
        stream_us: latest event time that any alert has told.
        time_us: the same, moved on by the clock while all input is read.
        now_us: wall time of the step.
        discarded: alert states and commands not taken up, by reason.
        home: the incident of each alert, by fingerprint.
        unsilenced: the orders of this step that ended silences before their time, by silence.
        touched: what happened to incidents in this step.
        events: what this step tells.
        dirty: (kind, id) of all that changed since it was last written.
    """

    settings: IncidentSettings
    topology: Topology
    rank: Rank
    open: dict[str, Incident] = field(default_factory=dict)
    resolved: dict[str, Incident] = field(default_factory=dict)
    waiting: dict[str, Waiting] = field(default_factory=dict)
    gone: dict[str, Gone] = field(default_factory=dict)
    silences: dict[str, Silence] = field(default_factory=dict)
    answered: dict[str, Answered] = field(default_factory=dict)
    evidence_us: int = 0
    stream_us: int = 0
    time_us: int = 0
    now_us: int = 0
    discarded: Counter[str] = field(default_factory=Counter)
    home: dict[str, str] = field(default_factory=dict)
    touched: dict[str, Touch] = field(default_factory=dict)
    events: list[IncidentEvent] = field(default_factory=list)
    dirty: set[tuple[str, str]] = field(default_factory=set)
    active: tuple[Silence, ...] = ()
    unsilenced: dict[str, Command] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make what belongs to the settings."""
        self.partition = Partition(Relations(self.topology, self.settings.relations))
        self.damper = Damper(self.settings.damping)
        self.ledger = Ledger(self.settings.max_ledger_days)
        self.evidence = CaseFile(self.settings.causes, EVIDENCE_MAX)

    # --- incidents and their members ------------------------------------------------------------

    def incident_of(self, print_: str) -> Incident | None:
        """Return the incident that an alert is in, open or resolved."""
        id_ = self.home.get(print_, "")
        return self.open.get(id_) or self.resolved.get(id_)

    def touch(self, incident: Incident) -> Touch:
        """Return what happened to an incident in this step, to be added to."""
        self.dirty.add(("incident", incident.incident_id))
        return self.touched.setdefault(incident.incident_id, Touch())

    def put(self, incident: Incident, member: Member) -> None:
        """Take an alert, or its next state, into an incident."""
        alert = member.alert
        print_ = alert["fingerprint"]
        owner = owner_of(alert, self.topology).owner
        ids = (incident.incident_id, *member.was_in)
        member.silenced_by = silenced_by(self.active, alert, owner, ids)
        incident.put(member, self.damper.is_damped(print_, self.time_us))
        self.home[print_] = incident.incident_id
        self.dirty.add(("member", f"{incident.incident_id}/{print_}"))
        self.dirty.add(("incident", incident.incident_id))
        if not member.silenced_by:
            incident.level = max(incident.level, severity_of(alert))
            severity = worse(incident.severity, spread(incident.level, len(incident.modules)))
            if severity != incident.severity:
                incident.severity = severity
                self.touch(incident)

    def take_out(self, incident: Incident, print_: str) -> Member:
        """Let an alert leave an incident."""
        self.dirty |= {("member", f"{incident.incident_id}/{print_}")}
        self.dirty |= {("incident", incident.incident_id)}
        if self.home.get(print_) == incident.incident_id:
            del self.home[print_]
        return incident.take_out(print_)

    def why_untold(self, incident: Incident, member: Member) -> str:
        """Return why a state of a known alert would cause no event."""
        if member.silenced_by:
            return SILENCED
        return FLAPPING if member.alert["fingerprint"] in incident.damped else REPEATED

    def count(self, incident: Incident, alert: Alert, became: str, states: int, fired: int) -> None:
        """Count states of an alert in its incident and in the ledger."""
        incident.count(became, states, fired)
        self.count_out(alert, became, states)
        self.dirty.add(("incident", incident.incident_id))

    def count_out(self, alert: Alert, became: str, states: int) -> None:
        """Count states of an alert in the ledger alone."""
        owner = owner_of(alert, self.topology).owner
        self.ledger.take(self.stream_us, rule_of(alert), owner, became, states)

    # --- evidence -------------------------------------------------------------------------------

    def take_evidence(self, evidence: Iterable[Evidence], at_us: int) -> set[str]:
        """Take what is unusual at a time in; return the modules of which anything was seen."""
        seen = list(evidence)
        self.evidence_us = max(self.evidence_us, at_us)
        self.evidence.add(seen, at_us)
        self.dirty.add(("evidence", ""))
        return {item.module for item in seen}

    def evidence_now(self) -> list[Evidence]:
        """Return the evidence with what time has left of it."""
        return self.evidence.evidence(max(self.evidence_us, self.time_us))

    # --- telling --------------------------------------------------------------------------------

    def tell(
        self,
        incident: Incident,
        event: str,
        reason: str,
        merged_into: str = "",
        at_us: int = 0,
        text: str = "",
    ) -> None:
        """Tell a new version of an incident.

        Args:
            incident: which.
            event: symbol of IncidentEventType.
            reason: why it is told: one of docs/incidents.md.
            merged_into: the incident that takes it over.
            at_us: event time of the change, where it is later than the incident's alerts.
            text: the reason as its history keeps it: with who ordered it, and why.
        """
        incident.version += 1
        incident.event_us = max(incident.event_us, incident.last_seen_us, at_us)
        incident.told_us = self.now_us
        incident.pending = ""
        incident.grown.clear()
        incident.has_arrivals = False
        self.touched.pop(incident.incident_id, None)  # an event tells the whole of it
        if event in (OPENED, REOPENED):
            incident.opened_wall_us = self.now_us
            incident.resolved_us = 0
            incident.is_by_person = incident.is_escalated = False
            incident.acknowledged_by, incident.acknowledged_us = "", 0
        if event in (OPENED, UPDATED, REOPENED):
            _settle(incident.untold)
        incident.suppressed += incident.untold
        incident.untold.clear()
        incident.told_records = max(m.alert["count"] for m in incident.members.values())
        incident.note(event, self.now_us, text or reason, self.settings.max_history)
        settings = self.settings
        telling = Telling(event, reason, merged_into)
        record = incident_event(
            incident, telling, self.partition, self.rank, settings.max_ids, settings.max_told_alerts
        )
        hiding = {member.silenced_by for member in incident.members.values()}
        hiding_now = [s.record() for s in self.active if s.silence_id in hiding]
        record["silences"] = hiding_now[:SILENCES_MAX]
        listed = min(len(incident.members), settings.max_told_alerts)
        if listed > len(record["alerts"]):
            self.discarded["told_alert_over_bound"] += listed - len(record["alerts"])
        incident.told_severity = incident.severity
        radius = record["blast_radius"]
        incident.told_modules = sorted({*incident.modules, *radius["downstream"]})
        incident.told_cause = headline(record)
        self.events.append(record)
        self.dirty.add(("incident", incident.incident_id))
        rule = rule_of(record["alerts"][0])  # the leading one
        self.ledger.tell(self.stream_us, rule, record["owner"], event)

    def close(self, incident: Incident, end_us: int, is_by_person: bool = False) -> None:
        """Move an incident to the resolved ones; its alerts relate to nothing any more."""
        del self.open[incident.incident_id]
        self.resolved[incident.incident_id] = incident
        incident.resolved_us = max(end_us, 1)
        incident.is_by_person = is_by_person
        self.partition.drop(incident.members)
        self.dirty.add(("incident", incident.incident_id))

    def forget(self, incident: Incident, merged_into: str = "") -> None:
        """Drop a resolved or merged incident; its last version stays known."""
        self.open.pop(incident.incident_id, None)
        self.resolved.pop(incident.incident_id, None)
        for print_ in incident.members:
            self.dirty.add(("member", f"{incident.incident_id}/{print_}"))
            if self.home.get(print_) == incident.incident_id:
                del self.home[print_]
        self.dirty.add(("incident", incident.incident_id))
        if incident.version:
            gone = Gone(incident.version, self.now_us, merged_into)
            self.remember(incident.incident_id, gone)

    def remember(self, incident_id: str, gone: Gone) -> None:
        """Keep what is known of an incident that is gone; of too many the oldest are dropped."""
        self.gone.pop(incident_id, None)
        self.gone[incident_id] = gone
        self.dirty.add(("gone", incident_id))
        while len(self.gone) > GONE_MAX:
            oldest = next(iter(self.gone))
            del self.gone[oldest]
            self.dirty.add(("gone", oldest))

    def restored(self, is_upgraded: bool) -> None:
        """Make what follows from the incidents anew, after a restart.

        Args:
            is_upgraded: the incidents were grouped by an earlier version; they stay as they are.
        """
        for incident in (*self.resolved.values(), *self.sorted_open()):
            incident.told_severity = incident.told_severity or incident.severity  # of before
            for print_, member in incident.members.items():
                incident.put(member, print_ in incident.damped)
                self.home[print_] = incident.incident_id
        partition = self.partition
        for incident in self.sorted_open():
            for print_, member in incident.members.items():
                member.is_frozen |= is_upgraded
                partition.put(member.alert)
                if member.is_frozen:
                    partition.frozen.add(print_)
                    partition.pin(incident.founder, print_)
            for one, other in incident.pins:
                if one in incident.members and other in incident.members:
                    partition.pin(one, other)
        partition.settle()
        for incident in self.sorted_open():
            partition.unite(incident.members, incident.incident_id)
        for waiting in self.waiting.values():
            partition.put(waiting.alert)

    def sorted_open(self) -> Iterable[Incident]:
        """Return the open incidents, the oldest first."""
        return sorted(self.open.values(), key=age)


EVIDENCE_MAX: Final = 300
"""Signs of trouble that are remembered, the strongest: they are one entry of the state."""
SILENCES_MAX: Final = 8
"""So many silences of an incident an event tells; which one hides an alert stands beside it."""
GONE_MAX: Final = 10_000
"""Incidents whose last version is remembered: one of the same id goes on from there."""


def age(incident: Incident) -> tuple[int, str]:
    """Return a key that puts older incidents first."""
    return incident.opened_us, incident.incident_id


def _settle(untold: Counter[str]) -> None:
    """Take the one state out that causes the event."""
    for reason in (JOINED, REPEATED, SILENCED, FLAPPING):
        if untold[reason] > 0:
            untold[reason] -= 1
            break
    for reason in [r for r, n in untold.items() if n <= 0]:
        del untold[reason]
