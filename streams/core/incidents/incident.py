"""One incident: its alerts, what was told of it, and where it stands.

Owns identity and the counts that follow from the alerts, kept so that an alert more costs the same
whether the incident has ten or ten thousand. Invariant: the derived sets (`firing`, `audible`,
`damped`, `modules`) are functions of the members; `index` makes them anew after a restart.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

from streams.core.alerts.external import EXTERNAL
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
from streams.core.incidents.bounds import HISTORY_BYTES_MAX, cut

ALGORITHM: Final = "4"
"""Version of the grouping; part of every id, so that another grouping never takes an id over."""

Alert = dict[str, Any]
IncidentEvent = dict[str, Any]
"""A record in the shape of schemas/incident_event.v3.avsc."""

_NAME_SHOWN: Final = 200
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
    """One alert of an incident.

    Attributes:
        alert: its latest state.
        because: why it belongs there.
        spoke: version of the incident when the alert last spoke.
        silenced_by: id of the silence that hides it; "" for none.
        is_frozen: an earlier version of the grouping put it there, and there it stays.
        was_in: the incidents that it was in before they were merged, the latest last: what was
            silenced with one of them stays silenced.
    """

    alert: Alert
    because: str
    spoke: int = 0
    silenced_by: str = ""
    is_frozen: bool = False
    was_in: list[str] = field(default_factory=list)

    @property
    def is_firing(self) -> bool:
        """Say whether the alert fires."""
        return bool(self.alert["state"] == "FIRING")


@dataclass(slots=True)
class Incident:
    """What is known of one incident.

    Attributes:
        incident_id: see `incident_id`.
        founder: fingerprint of the alert that it follows when its alerts turn out to be several
            problems.
        algorithm: version of the grouping that opened it.
        version: of the last event; 0 before the first.
        opened_us: event time at which its first alert spoke.
        resolved_us: event time at which it was last told to be resolved; 0 while told to be open.
        event_us: event time of the last event.
        last_seen_us: event time of the latest violation.
        severity: the worst that it had.
        level: severity of the worst alert that it had, alone, as an index of `SEVERITIES`.
        members: its alerts by fingerprint.
        alerts_in: alert states received.
        suppressed: of those, the ones that caused no event, by reason.
        untold: the ones since the last event, by reason; one of them may cause the next.
        fired: of those received, how many said that an alert fires.
        told_severity: at the last event.
        told_records: largest count of an alert at the last event.
        told_modules: modules that the last event named: with an alert in it, or in the way of what
            goes wrong there.
        has_arrivals: an alert came from another incident since the last event.
        told_cause: lead and likeliest place at the last event, see `record.headline`.
        quiet_since_us: wall time since when all alerts are resolved; 0 while one fires.
        told_us, opened_wall_us: wall time of the last event, and of the first since it is open.
        looked_us: wall time when its cause was last looked at and was no news.
        pending: why an event is due as soon as there may be one; "" for none.
        acknowledged_by, acknowledged_us: who has taken it, and when (wall time); "" for nobody.
        is_escalated: nobody took it in time.
        is_flapping: it was told that an alert of it flaps.
        is_by_person: a person resolved it, though alerts may fire.
        command: the last command that changed it.
        history: what became of it: version, event, wall time, reason.
        merged_from, split_from: the incidents that it took over, and the one that it left.
        pins: pairs of alerts that a person put together.
        firing, audible, damped: fingerprints of alerts that fire, of those that fire and are
            neither silenced nor damped, and of those that are damped.
        modules: modules with an alert in it.
        grown: fingerprints of alerts that spoke again since the last event.
    """

    incident_id: str
    founder: str = ""
    algorithm: str = ALGORITHM
    version: int = 0
    opened_us: int = 0
    resolved_us: int = 0
    event_us: int = 0
    last_seen_us: int = 0
    severity: str = "INFO"
    level: int = 0
    members: dict[str, Member] = field(default_factory=dict)
    alerts_in: int = 0
    suppressed: Counter[str] = field(default_factory=Counter)
    untold: Counter[str] = field(default_factory=Counter)
    fired: int = 0
    told_severity: str = ""
    told_records: int = 0
    told_modules: list[str] = field(default_factory=list)
    has_arrivals: bool = False
    told_cause: str = ""
    quiet_since_us: int = 0
    told_us: int = 0
    looked_us: int = 0
    opened_wall_us: int = 0
    pending: str = ""
    acknowledged_by: str = ""
    acknowledged_us: int = 0
    is_escalated: bool = False
    is_flapping: bool = False
    is_by_person: bool = False
    command: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    merged_from: list[str] = field(default_factory=list)
    split_from: str = ""
    pins: list[list[str]] = field(default_factory=list)
    firing: set[str] = field(default_factory=set)
    audible: set[str] = field(default_factory=set)
    damped: set[str] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)
    grown: set[str] = field(default_factory=set)

    @property
    def is_over(self) -> bool:
        """Say whether every alert of it is resolved."""
        return not self.firing

    @property
    def alerts_suppressed(self) -> int:
        """Return how many alert states caused no event."""
        return self.suppressed.total() + self.untold.total()

    def put(self, member: Member, is_damped: bool) -> None:
        """Take a member in, or its next state, and keep what follows from it."""
        alert = member.alert
        print_ = alert["fingerprint"]
        self.members[print_] = member
        self.last_seen_us = max(self.last_seen_us, alert["last_seen"])
        _set(self.firing, print_, member.is_firing)
        _set(self.damped, print_, is_damped)
        is_audible = member.is_firing and not is_damped and not member.silenced_by
        _set(self.audible, print_, is_audible)
        _set(self.grown, print_, member.spoke == self.version)
        if alert["module"]:
            self.modules.add(alert["module"])

    def take_out(self, print_: str) -> Member:
        """Let a member go."""
        member = self.members.pop(print_)
        for prints in (self.firing, self.damped, self.audible, self.grown):
            prints.discard(print_)
        self.modules = {m.alert["module"] for m in self.members.values()} - {""}
        return member

    def count(self, reason: str, received: int, fired: int) -> None:
        """Count alert states that caused no event so far, and why they would not."""
        self.alerts_in += received
        self.fired += fired
        self.untold[reason] += received

    def note(self, event: str, now_us: int, text: str, max_history: int) -> None:
        """Remember what became of it; of too much the second oldest goes, never the beginning."""
        said = cut(text, HISTORY_BYTES_MAX)
        self.history.append({"version": self.version, "event": event, "at": now_us, "text": said})
        if len(self.history) > max_history:
            del self.history[1]


def _set(prints: set[str], print_: str, is_in: bool) -> None:
    if is_in:
        prints.add(print_)
    else:
        prints.discard(print_)


def incident_id(alerts: Iterable[Alert]) -> str:
    """Return 32 hex digits: a function of the earliest alert, its start, and the algorithm."""
    first = min(alerts, key=lambda a: (a["firing_since"], a["fingerprint"]))
    text = f"{first['fingerprint']}|{first['firing_since']}|{ALGORITHM}"
    return blake2b(text.encode(), digest_size=16).hexdigest()


def title_of(alert: Mapping[str, Any]) -> str:
    """Say what an alert is about in plain words.

    One of a rule of the contract names the rule; one from outside is called as it is there.
    """
    kind = alert["kind"]
    text = _TITLES[kind].format_map(alert) if kind in _TITLES else _title_of_rule(alert)
    return f"{text} (flow {alert['flow']})" if alert["flow"] else text


def _title_of_rule(alert: Mapping[str, Any]) -> str:
    rule = alert.get("rule_id", "")
    is_foreign = alert["kind"] == EXTERNAL and alert["name"]
    what = alert["name"][:_NAME_SHOWN] if is_foreign else alert["kind"].replace("_", " ")
    place = ".".join(part for part in (alert["module"], alert["component"]) if part)
    text = f"{what} at {place}" if place else what
    return text if is_foreign or not rule else f"{text}, rule {rule}"
