"""A violated rule as a finding: place, numbers, and one plain sentence with all of them."""

from typing import Final

from streams.core.alerts.finding import Finding, span_text, time_text
from streams.core.fidelity.rolling import Scope
from streams.core.incidents.topology import ModuleInfo
from streams.core.signals.impact import Impact, Pipeline
from streams.core.signals.rule import ABSENCE, ANOMALY, LOG_PATTERN, SignalRule
from streams.core.signals.series import LOG, METRIC, REJECTED, Series
from streams.core.signals.watch import Violation
from streams.units import SECOND_US

_SHOWN_MAX: Final = 120
_STATS: Final = {
    "last": "is",
    "mean": "has the mean",
    "min": "has the minimum",
    "max": "has the maximum",
    "sum": "adds up to",
    "count": "came",
    "increase": "rose by",
    "rate": "runs at",
}
_ONE: Final = ("1 lines", "1 points", "1 events")
"""Counts whose unit is said in the singular."""


def finding_of(
    rule: SignalRule, series: Series, violation: Violation, pipeline: Pipeline, impact: Impact
) -> Finding:
    """Return what a rule says of a group of series at the end of a window."""
    place = pipeline.place_of(series)
    module = pipeline.topology.modules.get(series.module, ModuleInfo())
    is_absence = rule.kind == ABSENCE
    return Finding(
        kind=rule.alert_kind,
        scope=Scope("stage", place.flow, "", place.stage, series.module),
        severity=rule.severity,
        since_us=violation.since_us,
        last_us=violation.end_us,
        count=violation.count,
        fresh=violation.fresh,
        value=violation.value,
        threshold=rule.over_us / SECOND_US if is_absence else violation.threshold,
        unit="s" if is_absence else unit_of(rule, series),
        explanation=sentence_of(rule, series, violation, impact),
        component=series.component,
        subject=f"{rule.id}: {series.text}" if series.text else rule.id,
        rule_id=rule.id,
        rule_version=rule.version,
        owner=rule.owner or module.owner,
        playbook=rule.playbook or module.playbook,
        labels=labels_of(series),
        records_at_risk_per_second=impact.records_per_second if rule.has_impact else 0.0,
    )


def labels_of(series: Series) -> tuple[tuple[str, str], ...]:
    """Return what tells the series apart, as labels."""
    named = [("signal", series.name), ("unit", series.unit), ("log_severity", series.severity)]
    return tuple((k, v) for k, v in (*named, *series.dimensions) if v)


def unit_of(rule: SignalRule, series: Series) -> str:
    """Return the unit of what a rule measures."""
    if rule.kind == ANOMALY:
        return "score"
    base = series.unit if series.kind == METRIC else {LOG: "lines", REJECTED: "events"}[series.kind]
    if rule.stat == "count":
        return "points" if series.kind == METRIC else base
    return f"{base}/s" if rule.stat == "rate" else base


def sentence_of(rule: SignalRule, series: Series, violation: Violation, impact: Impact) -> str:
    """Return the rule, the value, the threshold and the window in plain words."""
    what = _what(series)
    at = time_text(violation.end_us)
    if rule.kind == ABSENCE:
        quiet = span_text(violation.end_us - violation.since_us)
        text = f"{what} came not once for the {quiet} up to {at}"
        text += f"; {span_text(rule.over_us)} is the limit"
    elif rule.kind == ANOMALY:
        text = (
            f"{what} is {violation.measured:.4g} at {at}, where {violation.expected:.4g} is usual: "
            f"score {violation.value:.3g}, and {violation.threshold:g} is the limit"
        )
    else:
        over = span_text(rule.over_us)
        unit = unit_of(rule, series)
        shown = f"{violation.value:.4g} {unit}".rstrip()
        if shown in _ONE:
            shown = shown[:-1]
        said = f"{_STATS[rule.stat]} {shown} over the {over} up to {at}"
        if rule.kind == LOG_PATTERN and rule.is_new:
            said = f"is new and {said}"
        text = f"{what} {said}, and {rule.condition.text} is the limit"
    held = f" for {span_text(violation.end_us - violation.since_us)}" if rule.for_us else ""
    text += f" (rule {rule.id}{held})."
    if rule.has_impact and impact.flows:
        below = f" on the way to {', '.join(impact.modules)}" if impact.modules else ""
        text += (
            f" {impact.records_per_second:.3g} records a second of "
            f"{', '.join(impact.flows)} flow through it{below}."
        )
    return text


def _what(series: Series) -> str:
    """Return a series in words."""
    name = series.text
    if len(name) > _SHOWN_MAX:
        name = name[: _SHOWN_MAX - 3] + "..."
    who = f"{series.module}:{series.component}".strip(":")
    if series.kind == LOG:
        return f"The {series.severity or 'log'} line '{name}' of {who}"
    if series.kind == REJECTED:
        return f"Rejected events ({name}) of {who}"
    return f"The metric {name} of {who}"
