"""Runs rule tests: the signals task as the worker runs it, without a broker or a clock.

Owns what a test's values become, and the comparison. Invariant: the same test gives the same
result on every machine.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from streams.contract.rule_tests import ExpectedAlert, InputSeries, RuleTest
from streams.core.signals.cell import Cell, events_cell
from streams.core.signals.counts import row_of
from streams.core.signals.impact import Pipeline
from streams.core.signals.series import LOG, METRIC, STAGE, Series
from streams.core.signals.templates import template_of
from streams.engine.signals import SignalSettings, SignalsTask
from streams.units import SECOND_US

NEVER: Final = -1.0
_DIGITS: Final = 6


@dataclass(slots=True)
class Raised:
    """One alert that a test raised: its first state, and when its end was told."""

    alert: Mapping[str, Any]
    fires_s: float
    resolves_s: float = NEVER

    @property
    def rule(self) -> str:
        """Return the rule's id."""
        return str(self.alert["rule_id"])


@dataclass(frozen=True, slots=True)
class Difference:
    """One alert that was expected and not raised, raised and not expected, or otherwise.

    Attributes:
        expected: what the test says; None for an alert that nobody expected.
        raised: what came; None for none.
        fields: names of what is otherwise.
    """

    expected: ExpectedAlert | None
    raised: Raised | None
    fields: tuple[str, ...] = ()


@dataclass(slots=True)
class Result:
    """What became of one test.

    Attributes:
        name: of the test.
        raised: all alerts.
        differences: what is not as expected.
        unseen: series that none of the tested rules looks at, in words: no alert of them says
            anything, and a name that is written wrongly looks like that.
    """

    name: str
    raised: list[Raised] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Say whether all came as expected."""
        return not self.differences


def run_test(test: RuleTest, settings: SignalSettings, pipeline: Pipeline, start_us: int) -> Result:
    """Run one test from an empty state.

    Args:
        test: the test.
        settings: rules and windows as the worker would have them.
        pipeline: the contract's graph.
        start_us: time of the first value; the windows are those that it lies in.
    """
    if test.rules is not None:
        kept = tuple(rule for rule in settings.rules if rule.id in test.rules)
        settings = replace(settings, rules=kept)
    task = SignalsTask(settings, pipeline)
    window_us = settings.windows.window_us
    raised: dict[str, list[Raised]] = {}
    # The input ends; what is only missed because of that was not tested.
    end_us = start_us + _length_us(test)
    for partial in _partials(test, start_us, window_us, settings.alerts.quiet_us):
        told_s = (partial["watermark"] - start_us) / SECOND_US
        for output in task.step([partial], 0, False):
            if output.topic_kind != "alerts":
                continue
            of_alert = raised.setdefault(output.record["fingerprint"], [])
            if output.record["state"] == "RESOLVED":
                if of_alert:
                    of_alert[-1].resolves_s = told_s
            elif partial["window_start"] < end_us and (
                not of_alert or of_alert[-1].resolves_s != NEVER
            ):
                of_alert.append(Raised(output.record, told_s))
    flat = [one for of_alert in raised.values() for one in of_alert]
    flat.sort(key=lambda one: (one.fires_s, one.rule, one.alert["name"]))
    return Result(test.name, flat, _compare(test.alerts, flat), _unseen(test, settings))


def _unseen(test: RuleTest, settings: SignalSettings) -> list[str]:
    """Name the series that no rule looks at; records that pass a stage are for their impact."""
    return [
        " ".join(part for part in (given.type, given.module, given.component, given.name) if part)
        for given in test.series
        if given.type != STAGE
        and not any(rule.match.accepts(_series(given)) for rule in settings.rules)
    ]


def _partials(
    test: RuleTest, start_us: int, window_us: int, quiet_us: int
) -> Iterator[dict[str, Any]]:
    """Yield a partial for each window of the test, and for as long as alerts need to end."""
    step_us = round(test.interval_s * SECOND_US)
    cells: dict[int, dict[Series, Cell]] = {}
    for given in test.series:
        series = _series(given)
        for at, value in enumerate(given.numbers()):
            at_us = start_us + at * step_us
            if value is None or (given.type != METRIC and value <= 0):
                continue
            window = cells.setdefault(at_us // window_us * window_us, {})
            cell = _cell(given.type, value, at_us)
            window[series] = window[series].plus(cell) if series in window else cell
    first_us = start_us // window_us * window_us
    last_us = start_us + _length_us(test) + quiet_us + 2 * window_us
    for sequence, at_us in enumerate(range(first_us, last_us, window_us)):
        yield {
            "window_start": at_us,
            "window_us": window_us,
            "partition": 0,
            "partitions_total": 1,
            "sequence": sequence,
            "watermark": at_us + window_us,
            "series": [row_of(series, cell) for series, cell in cells.get(at_us, {}).items()],
        }


def _length_us(test: RuleTest) -> int:
    """Return how long the input is: as many intervals as the longest series has values."""
    values = max(len(given.numbers()) for given in test.series)
    return round((values - 1) * test.interval_s * SECOND_US) + 1


def _series(given: InputSeries) -> Series:
    name = template_of(given.name) if given.type == LOG else given.name
    severity = given.severity if given.type == LOG else ""
    component = "" if given.type == STAGE else given.component
    dimensions = tuple(sorted(given.dimensions.items()))
    return Series(given.type, given.module, component, name, given.unit, severity, dimensions)


def _cell(kind: str, value: float, at_us: int) -> Cell:
    if kind == METRIC:
        return Cell(1, value, value, value, value, at_us)
    return events_cell(round(value), at_us)


def _compare(expected: Sequence[ExpectedAlert], raised: Sequence[Raised]) -> list[Difference]:
    """Pair each expected alert with the raised one of its rule that differs least."""
    left = list(raised)
    differences: list[Difference] = []
    waiting = []
    for one in expected:  # those that are as expected first: no other may take their place
        exact = next((r for r in left if r.rule == one.rule and not _otherwise(one, r)), None)
        if exact is None:
            waiting.append(one)
        else:
            left.remove(exact)
    for one in waiting:
        ranked = [(len(_otherwise(one, r)), at) for at, r in enumerate(left) if r.rule == one.rule]
        best = left.pop(min(ranked)[1]) if ranked else None
        differences.append(Difference(one, best, _otherwise(one, best) if best else ()))
    return differences + [Difference(None, one) for one in left]


def _otherwise(expected: ExpectedAlert, raised: Raised) -> tuple[str, ...]:
    """Return the names of what differs."""
    alert = raised.alert
    names = [
        name
        for name in ("module", "component", "kind", "severity", "owner")
        if getattr(expected, name) is not None and getattr(expected, name) != alert[name]
    ]
    for name in ("value", "records_at_risk_per_second"):
        wanted = getattr(expected, name)
        if wanted is not None and f"{wanted:.{_DIGITS}g}" != f"{alert[name]:.{_DIGITS}g}":
            names.append(name)
    names += [f"labels.{k}" for k, v in expected.labels.items() if alert["labels"].get(k) != v]
    if expected.fires_s != raised.fires_s:
        names.append("fires_s")
    if expected.resolves_s is not None and expected.resolves_s != raised.resolves_s:
        names.append("resolves_s")
    return tuple(names)
