"""What a rule says: this place violates, since then, by this much, and these records show it.

Owns the identity of an alert, its fingerprint. Invariant: a finding is a function of the merged
windows alone; what was said before is the alert book's business.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final

from streams.core.fidelity.merge import Sample
from streams.core.fidelity.rolling import Scope
from streams.units import HOUR_US, MINUTE_US, SECOND_US

SEVERITIES: Final = ("INFO", "WARN", "ERROR", "CRITICAL")

FIDELITY_BURN: Final = "fidelity_burn"
MISSING_ACKNOWLEDGMENT: Final = "missing_acknowledgment"
ERROR_SPANS: Final = "error_spans"
DEADLINE_MISSED: Final = "deadline_missed"
MODULE_SILENT: Final = "module_silent"
DUPLICATE_RATE: Final = "duplicate_rate"
CLOCK_SKEW: Final = "clock_skew"
CONTEXT_RESTARTED: Final = "context_restarted"
MISPARTITIONED: Final = "mispartitioned"


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule violated at one place, as of the end of the latest window.

    Attributes:
        kind: the rule.
        scope: the place.
        severity: one of `SEVERITIES`.
        since_us: start of the first violating window of this episode.
        last_us: end of the last violating window of this episode.
        count: violations of the episode so far, in the window that the rule looks at.
        fresh: violations in the latest window alone.
        value, threshold, unit: what was measured and from where on it violates.
        explanation: the rule, the value, the threshold and the window in one plain sentence.
        samples: records that show it.
        component: of the module, where the rule looks at one.
        subject: tells places of one scope apart; "" where the scope alone does.
        rule_id, rule_version, owner, playbook: of the rule; `ownership.py` has the engine's own.
        labels: (key, value) that the alert carries.
        fidelity_ratio: weight of its trace evidence, 0 to 1.
        records_at_risk_per_second: what flows downstream of it, where it may stop that.
    """

    kind: str
    scope: Scope
    severity: str
    since_us: int
    last_us: int
    count: int
    fresh: int
    value: float
    threshold: float
    unit: str
    explanation: str
    samples: tuple[Sample, ...] = ()
    component: str = ""
    subject: str = ""
    rule_id: str = ""
    rule_version: str = ""
    owner: str = ""
    playbook: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    fidelity_ratio: float = 1.0
    records_at_risk_per_second: float = 0.0

    @property
    def name(self) -> str:
        """Return what tells this place from others of its kind, fit for reading."""
        if self.subject:
            return self.subject
        scope = self.scope
        if scope.kind == "module":
            return scope.module
        stages = ">".join(stage for stage in (scope.from_stage, scope.to_stage) if stage)
        return f"{scope.flow}/{stages}" if scope.flow else stages

    @property
    def fingerprint(self) -> str:
        """Return the identity of the alert that this finding belongs to."""
        scope = self.scope
        stages = (scope.from_stage, scope.to_stage)
        return fingerprint(self.kind, scope.module, self.component, *stages, self.name)


def fingerprint(
    kind: str, module: str, component: str, from_stage: str, to_stage: str, name: str
) -> str:
    """Return 32 hex digits that are equal exactly when all six parts are.

    They are the BLAKE2b-128 of the parts joined by "|"; a "|" or backslash within a part is
    escaped by a backslash, so that no two sets of parts read alike.
    """
    parts = (kind, module, component, from_stage, to_stage, name)
    text = "|".join(part.replace("\\", "\\\\").replace("|", "\\|") for part in parts)
    return blake2b(text.encode(), digest_size=16).hexdigest()


def span_text(duration_us: int) -> str:
    """Write a stretch of time as people say it: "90 s", "5 min", "1 h"."""
    for unit_us, unit in ((HOUR_US, "h"), (MINUTE_US, "min"), (SECOND_US, "s")):
        if duration_us >= unit_us and duration_us % unit_us == 0:
            return f"{duration_us // unit_us} {unit}"
    return f"{duration_us / SECOND_US:.3g} s"


def time_text(time_us: int) -> str:
    """Write an event time as ISO 8601, UTC, to the second."""
    return datetime.fromtimestamp(time_us // SECOND_US, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
