"""Alerts from outside over time: told when they begin, become worse, and end; silent on repeats.

Owns their identity and hysteresis. Invariants: the fingerprint is a function of the labels and the
place that they name; versions of a fingerprint only rise, over resolutions and restarts too; a
firing alert that nobody repeats ends, and says so.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from streams.core.alerts.finding import SEVERITIES, fingerprint, span_text
from streams.core.incidents.topology import ModuleInfo, Topology
from streams.units import HOUR_US

Alert = dict[str, Any]
"""A record in the shape of the alert schema."""

EXTERNAL: Final = "external"
"""Kind of all of them: no rule of the engine raises it, so no fingerprint has two writers."""
OVER_BOUND: Final = "external_over_bound"
UNKNOWN_RESOLVED: Final = "external_resolved_unknown"
_SEVERITY: Final = {
    "critical": "CRITICAL", "page": "CRITICAL", "fatal": "CRITICAL", "emergency": "CRITICAL",
    "error": "ERROR", "high": "ERROR", "major": "ERROR",
    "warning": "WARN", "warn": "WARN", "medium": "WARN", "minor": "WARN",
    "info": "INFO", "low": "INFO", "none": "INFO", "informational": "INFO",
}  # fmt: skip
_SUMMARIES: Final = ("summary", "description", "message", "title")
_PLAYBOOKS: Final = ("runbook_url", "playbook", "runbook")
_OWNERS: Final = ("owner", "team")
_IDS: Final = {"trace_ids": "trace_id", "record_ids": "record_id", "batch_ids": "batch_id"}


@dataclass(frozen=True, slots=True)
class ExternalSettings:
    """How labels are read, and what is remembered.

    Attributes:
        module_labels: labels that may name the module, the first that is there wins.
        modules: module by what such a label says; without an entry it is the module itself.
        severity_label: names the severity.
        severities: severity by what it says, besides the usual words; WARN for unknown ones.
        expire_us: a firing alert that was not repeated for so long ends.
        forget_us: one that ended so long ago is forgotten.
        max_alerts: bound on the alerts known.
    """

    module_labels: tuple[str, ...] = ("module", "service", "job")
    modules: Mapping[str, str] = field(default_factory=dict)
    severity_label: str = "severity"
    severities: Mapping[str, str] = field(default_factory=dict)
    expire_us: int = 24 * HOUR_US
    forget_us: int = 24 * HOUR_US
    max_alerts: int = 10_000


@dataclass(slots=True)
class _State:
    """The latest state of one alert, and until when it stands without being repeated."""

    alert: Alert
    until_us: int = 0

    @property
    def is_firing(self) -> bool:
        return bool(self.alert.get("state") == "FIRING")


class ExternalBook:
    """All alerts from outside, by fingerprint.

    Attributes:
        stream_us: the latest time at which any came.
        version_floor: the highest version of any alert forgotten.
        discarded: alerts not taken up, by reason.
    """

    def __init__(self, settings: ExternalSettings, topology: Topology) -> None:
        self.settings = settings
        self.topology = topology
        self.states: dict[str, _State] = {}
        self.stream_us = 0
        self.version_floor = 0
        self.discarded: Counter[str] = Counter()

    def update(
        self,
        source: str,
        labels: Mapping[str, str],
        annotations: Mapping[str, str],
        *,
        is_firing: bool,
        starts_us: int,
        ends_us: int,
        came_us: int,
    ) -> list[Alert]:
        """Take one alert in and return what is worth telling.

        Args:
            source: where it was raised.
            labels: its identity, by name.
            annotations: what else is said.
            is_firing: whether it fires, as far as it says; one that has ended by `ends_us` does
                not.
            starts_us: since when, as it says; 0 for unknown.
            ends_us: until when, as it says; 0 for unknown.
            came_us: when it came, by the broker.
        """
        self.stream_us = max(self.stream_us, came_us)
        told = self.fresh(source, labels, annotations, starts_us or came_us, came_us)
        state = self.states.get(told["fingerprint"])
        if not is_firing or 0 < ends_us <= came_us:
            if state is None or not state.is_firing:
                self.discarded[UNKNOWN_RESOLVED] += state is None
                return []
            ended_us = min(ends_us or came_us, came_us)
            return [self._resolve(state, ended_us, f"{source} says that it is over")]
        if state is None:
            if len(self.states) >= self.settings.max_alerts:
                self.discarded[OVER_BOUND] += 1
                return []
            state = self.states[told["fingerprint"]] = _State({"version": self.version_floor})
        state.until_us = ends_us or came_us + self.settings.expire_us
        return self._fire(state, told, came_us)

    def expire(self, now_us: int) -> list[Alert]:
        """End what was not repeated in time, and forget what ended long ago.

        Args:
            now_us: the time that has come: the clock where all is read, else `stream_us`.
        """
        out = []
        for print_ in sorted(self.states):
            state = self.states[print_]
            if state.is_firing and now_us >= state.until_us:
                out.append(self._resolve(state, state.until_us, "nobody repeated it"))
        before_us = now_us - self.settings.forget_us
        for print_, state in list(self.states.items()):
            if not state.is_firing and state.alert["last_seen"] < before_us:
                self.version_floor = max(self.version_floor, state.alert["version"])
                del self.states[print_]
        return out

    def _fire(self, state: _State, told: Alert, came_us: int) -> list[Alert]:
        known = state.alert
        if state.is_firing:
            worse = SEVERITIES.index(told["severity"]) > SEVERITIES.index(known["severity"])
            known["last_seen"] = max(known["last_seen"], came_us)
            known["count"] += 1
            if not worse:
                return []
            told["firing_since"] = known["firing_since"]
            told["count"] = known["count"]
        state.alert = {**told, "version": known["version"] + 1}
        return [dict(state.alert)]

    @staticmethod
    def _resolve(state: _State, ended_us: int, why: str) -> Alert:
        alert = state.alert
        ended_us = max(ended_us, alert["firing_since"])
        lasted = span_text(ended_us - alert["firing_since"])
        alert.update(
            version=alert["version"] + 1,
            state="RESOLVED",
            last_seen=max(alert["last_seen"], ended_us),
            explanation=f"Over after {lasted}: {why}. It said: {alert['explanation']}",
        )
        return dict(alert)

    def fresh(
        self,
        source: str,
        labels: Mapping[str, str],
        annotations: Mapping[str, str],
        starts_us: int,
        came_us: int,
    ) -> Alert:
        """Return an alert's record as if it were new; its version is 0."""
        module = self._module(labels)
        info = self.topology.modules.get(module, ModuleInfo())
        name = labels.get("alertname") or "external alert"
        component = labels.get("component", "")
        identity = "|".join(f"{k}={v}" for k, v in sorted(labels.items()))
        summary = next((annotations[k] for k in _SUMMARIES if annotations.get(k)), name)
        starts_us = min(starts_us, came_us)
        return {
            "fingerprint": fingerprint(EXTERNAL, module, component, "", "", identity),
            "version": 0,
            "kind": EXTERNAL,
            "state": "FIRING",
            "severity": self._severity(labels),
            "flow": "",
            "module": module,
            "component": component,
            "from_stage": "",
            "to_stage": "",
            "name": name,
            "firing_since": starts_us,
            "last_seen": came_us,
            "count": 1,
            "value": 1.0,
            "threshold": 0.0,
            "unit": "",
            "explanation": f"{summary} ({source}: {name})",
            **{field: [labels[k]] if labels.get(k) else [] for field, k in _IDS.items()},
            "contract_version": "",
            "rule_id": name,
            "rule_version": "",
            "owner": next((labels[k] for k in _OWNERS if labels.get(k)), info.owner),
            "playbook": next((annotations[k] for k in _PLAYBOOKS if annotations.get(k)), "")
            or info.playbook,
            "source": source,
            "labels": dict(labels),
            "fidelity_ratio": 1.0,
            "records_at_risk_per_second": 0.0,
        }

    def _module(self, labels: Mapping[str, str]) -> str:
        settings = self.settings
        said = next((labels[k] for k in settings.module_labels if labels.get(k)), "")
        known = settings.modules.get(said)
        if known is not None:
            return known
        by_name = {name.lower(): name for name in self.topology.modules}
        return by_name.get(said.lower(), said)

    def _severity(self, labels: Mapping[str, str]) -> str:
        said = labels.get(self.settings.severity_label, "")
        known = self.settings.severities.get(said) or _SEVERITY.get(said.lower())
        return known or (said if said in SEVERITIES else "WARN")

    # --- state ----------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Return the book as JSON-able data."""
        return {
            "stream_us": self.stream_us,
            "floor": self.version_floor,
            "discarded": dict(self.discarded),
            "states": [[state.alert, state.until_us] for state in self.states.values()],
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Take over what `snapshot` returned."""
        self.stream_us = int(snapshot["stream_us"])
        self.version_floor = int(snapshot["floor"])
        self.discarded = Counter(snapshot["discarded"])
        self.states = {
            alert["fingerprint"]: _State(dict(alert), int(until_us))
            for alert, until_us in snapshot["states"]
        }
