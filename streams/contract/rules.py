"""The alert rules of a contract: what is looked at, from where on it is too much, and whose it is.

Owns how rules stand in the YAML, and the way from there to `streams.core.signals.rule`. What ties a
rule to other parts of the contract (modules, playbooks, other rules) is checked in `checks.py`.
"""

from collections.abc import Mapping
from math import ceil
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from streams.contract.part import Identifier, Part, Text
from streams.core.signals.rule import (
    ABSENCE,
    ANOMALY,
    LOG_PATTERN,
    RATE,
    THRESHOLD,
    Condition,
    Match,
    SignalRule,
)
from streams.core.signals.series import LOG, METRIC
from streams.units import SECOND_US

OVER_SECONDS_MAX: Final = 3600
"""A rule's look-back is state of the signals task, one row a window and series."""
_KINDS = Literal["threshold", "rate", "absence", "anomaly", "log_pattern"]
_ALERTS = Literal[
    "circuit_open",
    "back_pressure",
    "queue_lag",
    "retry_storm",
    "schema_drift",
    "malformed_payload",
    "slo_threshold",
]
_STATS = Literal["last", "mean", "min", "max", "sum", "count", "increase", "rate"]
_OPS = Literal[">", ">=", "<", "<=", "==", "!="]
Pattern = Annotated[str, Field(min_length=1, max_length=256)]
Seconds = Annotated[float, Field(ge=0, le=OVER_SECONDS_MAX)]


class RuleMatch(Part):
    """Which series a rule looks at; patterns may hold `*` and `?`.

    Attributes:
        type: metric points, log lines, or rejected events.
        module, component: who says it; of rejected events the module and the topic.
        name: of the metric; of a log line its template; of a rejection its reason.
        severity: of log lines, the least that counts.
        dimensions: pattern by dimension.
    """

    type: Literal["METRIC", "LOG", "REJECTED"] = "METRIC"
    module: Pattern = "*"
    component: Pattern = "*"
    name: Pattern = "*"
    severity: Literal["DEBUG", "INFO", "WARN", "ERROR", "CRITICAL"] = "DEBUG"
    dimensions: dict[Text, Pattern] = Field(default_factory=dict, max_length=8)


class RuleCondition(Part):
    """From where on a value is too much: `op` and `value`, or outside a `band`.

    Attributes:
        op: how the measured value compares to `value` when it is too much.
        value: of an anomaly the score.
        band: the lowest and the highest value that are well.
    """

    op: _OPS = ">"
    value: float | None = None
    band: Annotated[tuple[float, float] | None, Field(strict=False)] = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.value is None) == (self.band is None):
            raise ValueError("give `value`, or `band: [low, high]`, and not both")
        if self.band is not None and self.band[0] >= self.band[1]:
            raise ValueError("the first number of `band` must be below the second; swap them")
        return self


class Rule(Part):
    """One alert rule.

    Attributes:
        id: its name, on every alert; never reused for another rule.
        version: rises when the rule changes.
        kind: threshold (a measured value), rate (a rise a second), absence (nothing came), anomaly
            (far from its own past), log_pattern (lines of a template).
        match: which series.
        condition: from where on the value is too much; absence has none.
        stat: what is measured; None for the usual one of the kind.
        by: labels that tell groups apart; None: each series on its own.
        over_s: how far the measure looks back; of absence how long nothing came.
        for_s: how long it must hold before the alert fires.
        min_points: points within the look-back below which nothing is judged.
        new: of log_pattern: only templates that were never seen before.
        alert: kind of the alerts, where one of the domain says more than the rule's kind.
        impact: the alert says how many records a second are at risk downstream.
        severity: of the alerts.
        owner: who answers for it; None for the module's owner.
        playbook: key into the contract's playbooks; None for the module's.
    """

    id: Identifier
    version: Text = "1"
    kind: _KINDS
    match: RuleMatch
    condition: RuleCondition | None = None
    stat: _STATS | None = None
    by: Annotated[tuple[Text, ...] | None, Field(strict=False, max_length=12)] = None
    over_s: Annotated[float, Field(gt=0, le=OVER_SECONDS_MAX)] = 60.0
    for_s: Seconds = 0.0
    min_points: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    new: bool = False
    alert: _ALERTS | None = None
    impact: bool = False
    severity: Literal["INFO", "WARN", "ERROR", "CRITICAL"] = "WARN"
    owner: Text | None = None
    playbook: Text | None = None

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        for is_wrong, text in self._misfits():
            if is_wrong:
                raise ValueError(text)
        return self

    def _misfits(self) -> list[tuple[bool, str]]:
        kind, series = self.kind, self.match.type
        is_pattern = kind == LOG_PATTERN
        needs_condition = kind in (THRESHOLD, RATE) or (is_pattern and not self.new)
        has_values = series == METRIC
        of_values = self.stat in ("last", "mean", "min", "max", "sum")
        return [
            (needs_condition and self.condition is None, f"a {kind} rule needs a `condition`"),
            (
                kind == ABSENCE and self.condition is not None,
                "absence is decided by `over_s` alone; remove `condition`",
            ),
            (is_pattern and series != LOG, "log_pattern looks at lines; set match.type to LOG"),
            (self.new and not is_pattern, "`new` is of log_pattern rules; remove it"),
            (
                of_values and not has_values,
                f"{series} has no values; use stat count, increase or rate",
            ),
            (
                kind == ANOMALY
                and self.condition is not None
                and (self.condition.band is not None or self.condition.op not in (">", ">=")),
                "an anomaly's score is too much from a value on; use op > or >= and `value`",
            ),
            (self.match.severity != "DEBUG" and series != LOG, "only LOG has a severity"),
        ]


class ExternalAlerts(Part):
    """How the labels of alerts from outside are read.

    Attributes:
        module_labels: labels that may name the module; the first that an alert has wins.
        modules: module by what such a label says; other values are taken as the module's name.
        severity_label: the label that names the severity.
        severities: severity by what it says, besides the usual words (page, critical, warning ...).
        expire_s: a firing alert that nobody repeated for so long ends.
    """

    module_labels: Annotated[tuple[Text, ...], Field(strict=False, min_length=1)] = (
        "module",
        "service",
        "job",
    )
    modules: dict[Text, Text] = Field(default_factory=dict)
    severity_label: Text = "severity"
    severities: dict[Text, Literal["INFO", "WARN", "ERROR", "CRITICAL"]] = Field(
        default_factory=dict
    )
    expire_s: Annotated[float, Field(gt=0, le=90 * 24 * 3600)] = 86_400.0


_USUAL_STAT: Final = {THRESHOLD: "last", RATE: "rate", ANOMALY: "mean", LOG_PATTERN: "count"}
ANOMALY_SCORE: Final = 4.0
"""Score from which on an anomaly is told where the rule names none: a value so far out comes once
in 10,000; see `baseline.py`."""


def compile_signal_rule(
    rule: Rule,
    window_us: int,
    playbooks: Mapping[str, str] | None = None,
    time_ratio: float = 1.0,
) -> SignalRule:
    """Return a rule as the engine evaluates it; look-backs are whole windows, at least one.

    Args:
        rule: as the contract has it.
        window_us: length of the windows that signals are counted in.
        playbooks: texts by key.
        time_ratio: what the rule's times are multiplied with, for demonstrations.
    """
    match = rule.match
    patterns = [(n, getattr(match, n)) for n in ("module", "component", "name")]
    patterns += sorted(match.dimensions.items())
    stat = rule.stat or _USUAL_STAT.get(rule.kind, "count")
    if match.type != METRIC and rule.stat is None and rule.kind in (THRESHOLD, ANOMALY):
        stat = "count"
    playbook = rule.playbook or ""
    return SignalRule(
        id=rule.id,
        version=rule.version,
        kind=rule.kind,
        match=Match(
            match.type,
            tuple((name, pattern) for name, pattern in patterns if pattern != "*"),
            match.severity,
        ),
        condition=_condition(rule),
        stat=stat,
        alert=rule.alert or "",
        by=rule.by,
        over_us=ceil(rule.over_s * time_ratio * SECOND_US / window_us) * window_us,
        for_us=round(rule.for_s * time_ratio * SECOND_US),
        min_points=rule.min_points,
        is_new=rule.new,
        has_impact=rule.impact,
        severity=rule.severity,
        owner=rule.owner or "",
        playbook=(playbooks or {}).get(playbook, playbook),
    )


def _condition(rule: Rule) -> Condition:
    given = rule.condition
    if given is None:
        return Condition(">=", ANOMALY_SCORE if rule.kind == ANOMALY else 1.0)
    if given.band is not None:
        return Condition("outside", low=given.band[0], high=given.band[1])
    assert given.value is not None, rule.id
    return Condition(given.op, given.value)
