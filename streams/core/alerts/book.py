"""Alerts over time: from findings to states that fire, grow and are resolved.

Owns the hysteresis. Invariants: an alert speaks when it begins, when it changes materially (its
count doubled since it last spoke, or new violations make it more severe) and when it ends, and is
silent else; versions of a fingerprint only rise, over resolutions and restarts too.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from streams.core.alerts.finding import SEVERITIES, Finding, span_text
from streams.core.alerts.settings import RuleSettings

Alert = dict[str, Any]
"""A record in the shape of schemas/alert.v1.avsc."""

_ID_FIELDS: Final = ("trace_ids", "record_ids", "batch_ids")


@dataclass(slots=True)
class AlertState:
    """The latest state of one alert, and the count with which it last spoke."""

    alert: Alert
    told_count: int = 0

    @property
    def is_firing(self) -> bool:
        """Say whether the alert fires."""
        return bool(self.alert["state"] == "FIRING")


class AlertBook:
    """All alerts known, by fingerprint.

    Attributes:
        states: the alerts that fire, and those resolved less than `forget_us` ago.
        contract_version: the latest one seen.
        version_floor: the highest version of any alert forgotten; a new one starts above it.
        discarded: findings not taken up, by reason.
    """

    def __init__(self, settings: RuleSettings) -> None:
        self.settings = settings
        self.states: dict[str, AlertState] = {}
        self.version_floor = 0
        self.contract_version = ""
        self.discarded: Counter[str] = Counter()

    def update(
        self, end_us: int, findings: Iterable[Finding], contract_version: str
    ) -> list[Alert]:
        """Return the alert states that are worth telling at the end of a window.

        Args:
            end_us: end of the window, event time.
            findings: all that violates at that time, at most one a fingerprint.
            contract_version: stamped on what changes; "" when the window was empty.
        """
        contract_version = self.contract_version = contract_version or self.contract_version
        told: list[Alert] = []
        found: set[str] = set()
        for finding in findings:
            print_ = finding.fingerprint
            found.add(print_)
            state = self.states.get(print_)
            if state is not None and state.is_firing:
                alert = self._grow(state, finding, contract_version)
            else:
                alert = self._fire(state, print_, finding, contract_version)
            if alert is not None:
                told.append(alert)
        for print_ in sorted(self.states):
            state = self.states[print_]
            quiet_us = end_us - state.alert["last_seen"]
            if state.is_firing and print_ not in found and quiet_us >= self.settings.quiet_us:
                told.append(self._resolve(state))
        self._forget(end_us)
        return told

    def _fire(
        self, state: AlertState | None, print_: str, finding: Finding, contract_version: str
    ) -> Alert | None:
        if state is None:
            if len(self.states) >= self.settings.max_alerts:
                self.discarded["alert_over_bound"] += 1
                return None
            state = self.states[print_] = AlertState({"version": self.version_floor})
        scope = finding.scope
        state.alert = {
            "fingerprint": print_,
            "version": state.alert["version"] + 1,
            "kind": finding.kind,
            "state": "FIRING",
            "severity": finding.severity,
            "flow": scope.flow,
            "module": scope.module,
            "component": finding.component,
            "from_stage": scope.from_stage,
            "to_stage": scope.to_stage,
            "name": finding.name,
            "firing_since": finding.since_us,
            "last_seen": finding.last_us,
            "count": finding.count,
            "value": finding.value,
            "threshold": finding.threshold,
            "unit": finding.unit,
            "explanation": finding.explanation,
            **{name: [] for name in _ID_FIELDS},
            "contract_version": contract_version,
            "rule_id": finding.rule_id,
            "rule_version": finding.rule_version,
            "owner": finding.owner,
            "playbook": finding.playbook,
            "source": "",
            "labels": dict(finding.labels),
            "fidelity_ratio": finding.fidelity_ratio,
            "records_at_risk_per_second": finding.records_at_risk_per_second,
        }
        self._add_samples(state, finding)
        return _tell(state)

    def _grow(self, state: AlertState, finding: Finding, contract_version: str) -> Alert | None:
        alert = state.alert
        is_worse = SEVERITIES.index(finding.severity) > SEVERITIES.index(alert["severity"])
        is_worse &= _goes_on(alert, finding)
        alert["last_seen"] = max(alert["last_seen"], finding.last_us)
        # What came too late for its own window is in the episode's count only.
        alert["count"] = max(alert["count"] + finding.fresh, finding.count)
        self._add_samples(state, finding)
        if not is_worse and alert["count"] < 2 * state.told_count:
            return None
        # Value and sentence stay those last told, so that a state never mixes two times.
        alert["severity"] = finding.severity if is_worse else alert["severity"]
        alert.update(
            version=alert["version"] + 1,
            value=finding.value,
            threshold=finding.threshold,
            explanation=finding.explanation,
            contract_version=contract_version,
            # An alert of a state from before rules had names takes the names over here.
            rule_id=finding.rule_id,
            rule_version=finding.rule_version,
            owner=finding.owner,
            playbook=finding.playbook,
            fidelity_ratio=finding.fidelity_ratio,
            records_at_risk_per_second=max(
                finding.records_at_risk_per_second, alert.get("records_at_risk_per_second", 0.0)
            ),
        )
        return _tell(state)

    def _resolve(self, state: AlertState) -> Alert:
        alert = state.alert
        lasted_us = alert["last_seen"] - alert["firing_since"]
        alert.update(
            version=alert["version"] + 1,
            state="RESOLVED",
            explanation=(
                f"Not seen for {span_text(self.settings.quiet_us)} after {span_text(lasted_us)} "
                f"with {alert['count']} violations. It said: {alert['explanation']}"
            ),
        )
        return _tell(state)

    def _add_samples(self, state: AlertState, finding: Finding) -> None:
        for name in _ID_FIELDS:
            ids = [getattr(sample, name.removesuffix("s")) for sample in finding.samples]
            merged = dict.fromkeys((*state.alert[name], *(i for i in ids if i)))
            state.alert[name] = list(merged)[: self.settings.max_samples]

    def _forget(self, end_us: int) -> None:
        forget_us = end_us - self.settings.forget_us
        for print_, state in list(self.states.items()):
            if not state.is_firing and state.alert["last_seen"] < forget_us:
                self.version_floor = max(self.version_floor, state.alert["version"])
                del self.states[print_]

    # --- state ----------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Return the whole book, JSON-able."""
        return {
            "floor": self.version_floor,
            "contract_version": self.contract_version,
            "states": [[dict(s.alert), s.told_count] for s in self.states.values()],
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Take over what `snapshot` returned."""
        self.version_floor = int(snapshot["floor"])
        self.contract_version = str(snapshot["contract_version"])
        self.states = {
            alert["fingerprint"]: AlertState(dict(alert), told)
            for alert, told in snapshot["states"]
        }


def _goes_on(alert: Alert, finding: Finding) -> bool:
    """Say whether an alert was violated since it was last seen, or more often than was known.

    A share over a look-back rises without that, too, when what was good before the fault leaves it.
    """
    is_later = finding.last_us > alert["last_seen"]
    return is_later or finding.fresh > 0 or finding.count > alert["count"]


def _tell(state: AlertState) -> Alert:
    state.told_count = state.alert["count"]
    return {**state.alert, **{name: list(state.alert[name]) for name in _ID_FIELDS}}
