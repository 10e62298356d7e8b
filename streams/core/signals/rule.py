"""Rules over signals as values: which series, what is measured, from where on it is too much.

Owns the vocabulary that a contract's rules are compiled into. Invariant: a rule is whole in
itself: two equal rules find the same in the same windows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import eq, ge, gt, le, lt, ne
from typing import Final

from streams.core.columns import SEVERITIES
from streams.core.patterns import fits
from streams.core.signals.series import LOG, METRIC, Series
from streams.units import SECOND_US

THRESHOLD, RATE, ABSENCE, ANOMALY, LOG_PATTERN = (
    "threshold", "rate", "absence", "anomaly", "log_pattern"
)  # fmt: skip
RULE_KINDS: Final = (THRESHOLD, RATE, ABSENCE, ANOMALY, LOG_PATTERN)

ALERT_OF_KIND: Final = {
    THRESHOLD: "metric_threshold",
    RATE: "metric_rate",
    ABSENCE: "signal_absent",
    ANOMALY: "metric_anomaly",
    LOG_PATTERN: "log_pattern",
}
"""Kind of alert that a rule of a kind raises where it names no other."""
DOMAIN_ALERTS: Final = (
    "circuit_open",
    "back_pressure",
    "queue_lag",
    "retry_storm",
    "schema_drift",
    "malformed_payload",
    "slo_threshold",
)
"""Kinds of alert that a rule may raise instead, by what they mean for a pipeline."""

STATS: Final = ("last", "mean", "min", "max", "sum", "count", "increase", "rate")
"""What is measured over the look-back of a rule. `increase` and `rate` are of a counter that only
rises, starting anew at 0 included; of series without values they are of the number of events."""
OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">": gt, ">=": ge, "<": lt, "<=": le, "==": eq, "!=": ne,
}  # fmt: skip
LABELS: Final = ("module", "component", "name", "unit", "severity")
"""Fields of a series that a rule may match and group by, besides its dimensions."""


@dataclass(frozen=True, slots=True)
class Match:
    """Which series a rule looks at; every pattern may hold `*` and `?`.

    Attributes:
        kind: METRIC, LOG or REJECTED.
        patterns: (label or dimension, pattern); a series without the dimension has "" there.
        severity_min: of log lines, the least severity.
    """

    kind: str = METRIC
    patterns: tuple[tuple[str, str], ...] = ()
    severity_min: str = "DEBUG"

    def accepts(self, series: Series) -> bool:
        """Say whether a series is looked at."""
        if series.kind != self.kind:
            return False
        if series.kind == LOG:
            least = SEVERITIES.index(self.severity_min)
            if SEVERITIES.index(series.severity) < least:
                return False
        return all(fits(series.label(name), pattern) for name, pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class Condition:
    """When a value is too much: `value op limit`, or outside the band [low, high].

    Attributes:
        op: one of `OPERATORS`, or "outside".
        limit: what the value is compared with.
        low, high: the band, for "outside".
    """

    op: str = ">"
    limit: float = 0.0
    low: float = 0.0
    high: float = 0.0

    def holds(self, value: float) -> bool:
        """Say whether a value is too much."""
        if self.op == "outside":
            return not self.low <= value <= self.high
        return OPERATORS[self.op](value, self.limit)

    @property
    def threshold(self) -> float:
        """Return the number that an alert shows as its threshold."""
        return self.high if self.op == "outside" else self.limit

    @property
    def text(self) -> str:
        """Write the condition as people read it."""
        if self.op == "outside":
            return f"outside {self.low:g} to {self.high:g}"
        return f"{self.op} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class SignalRule:
    """One rule.

    Attributes:
        id, version: names of the rule, on every alert of it.
        kind: one of `RULE_KINDS`.
        match: which series.
        condition: when the measured value is too much; of ANOMALY the score, of ABSENCE unused.
        stat: what is measured, one of `STATS`.
        alert: kind of the alerts.
        by: labels and dimensions that tell groups apart; None: each series is a group.
        over_us: how far the measure looks back; of ABSENCE how long nothing came.
        for_us: how long the condition must hold before the alert fires.
        min_points: points in the look-back below which nothing is judged.
        is_new: of LOG_PATTERN: the template was never seen before.
        has_impact: the alert says how many records a second are at risk downstream.
        severity, owner, playbook: of the alert; owner and playbook "" for the module's.
    """

    id: str
    version: str
    kind: str
    match: Match
    condition: Condition = Condition()
    stat: str = "last"
    alert: str = ""
    by: tuple[str, ...] | None = None
    over_us: int = 60 * SECOND_US
    for_us: int = 0
    min_points: int = 1
    is_new: bool = False
    has_impact: bool = False
    severity: str = "WARN"
    owner: str = ""
    playbook: str = ""

    @property
    def alert_kind(self) -> str:
        """Return the kind of this rule's alerts."""
        return self.alert or ALERT_OF_KIND[self.kind]

    def group_of(self, series: Series) -> Series:
        """Return the group that a series counts for: the series with what `by` leaves of it."""
        if self.by is None:
            return series
        kept = {name: getattr(series, name) if name in self.by else "" for name in LABELS}
        dimensions = tuple((k, v) for k, v in series.dimensions if k in self.by)
        return Series(series.kind, **kept, dimensions=dimensions)
