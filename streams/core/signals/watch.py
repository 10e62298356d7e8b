"""Rules over signal windows: which group of series violates which rule, since when, by how much.

Owns what is remembered of each group: its look-back, since when it violates, when it was last seen.
Invariants: a violation depends on the windows taken in and their order in time alone; memory is
bounded by groups, and what the bound refuses is counted.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final, NamedTuple

from streams.core.signals.baseline import Baseline
from streams.core.signals.cell import Cell
from streams.core.signals.measure import Lookback, Point, increase_of
from streams.core.signals.rule import ABSENCE, ANOMALY, LOG_PATTERN, SignalRule
from streams.core.signals.series import METRIC, Series
from streams.units import HOUR_US, MINUTE_US, SECOND_US

GROUP_BOUND: Final = "group_over_bound"
COUNTER_BOUND: Final = "counter_over_bound"
BASELINE_BOUND: Final = "baseline_over_bound"


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """Bounds and times of the rules over signals.

    Attributes:
        max_counters: bound on the metrics whose last value is known, for what they rise by.
        max_groups: bound on the groups of all rules together.
        max_baselines: bound on the groups of anomaly rules; each holds some 200 numbers.
        forget_us: a group that said nothing for so long is no longer known.
        new_us: how long a log template counts as new after it was first seen; nothing is new for as
            long after the first window, since what is rare has not come by then.
        warm_up_us: after the first window this passes before anything is missed.
    """

    max_counters: int = 10_000
    max_groups: int = 10_000
    max_baselines: int = 500
    forget_us: int = 24 * HOUR_US
    new_us: int = 10 * MINUTE_US
    warm_up_us: int = MINUTE_US


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule violated by one group at the end of a window.

    Attributes:
        since_us: since when, without a break.
        end_us: end of the window.
        count: points of the violation so far; of what is absent, windows.
        fresh: those of the latest window.
        value, threshold: what was measured, and from where on it is too much.
        measured, expected: of an anomaly the group's own value and the usual one.
    """

    since_us: int
    end_us: int
    count: int
    fresh: int
    value: float
    threshold: float
    measured: float = 0.0
    expected: float = 0.0


@dataclass(slots=True)
class Group:
    """What is remembered of one group of one rule.

    Attributes:
        first_us: start of the first window with a point.
        last_us: end of the latest window with a point.
        since_us: start of the violation that goes on; 0 for none.
        count: points of the violation so far.
        lookback: the windows that the rule looks back on.
        baseline: of an anomaly rule.
    """

    first_us: int
    last_us: int
    since_us: int = 0
    count: int = 0
    lookback: Lookback = field(default_factory=Lookback)
    baseline: Baseline | None = None


class From(NamedTuple):
    """From when on something can be missed, and from when on something can be new."""

    absence_us: int
    news_us: int


Key = tuple[int, Series]
"""A rule's place in the list of rules, and a group."""


class RuleWatch:
    """Evaluates rules at the end of each window.

    Attributes:
        groups: what is remembered, by rule and group.
        discarded: what the bounds refused, by reason.
    """

    def __init__(self, rules: Sequence[SignalRule], settings: WatchSettings) -> None:
        self.rules = tuple(rules)
        self.settings = settings
        self.groups: dict[Key, Group] = {}
        self.discarded: Counter[str] = Counter()
        self._baselines = 0
        self._last: dict[Series, tuple[float, int]] = {}
        self._matching: dict[Series, tuple[int, ...]] = {}

    def observe(
        self, end_us: int, window_us: int, first_us: int, cells: Mapping[Series, Cell]
    ) -> list[tuple[SignalRule, Series, Violation]]:
        """Take a window in and return what violates at its end, by rule and group.

        Args:
            end_us: end of the window, event time.
            window_us: its width.
            first_us: start of the first window ever.
            cells: what came in it, by series, in their order.
        """
        start_us = end_us - window_us
        from_us = From(first_us + self.settings.warm_up_us, first_us + self.settings.new_us)
        fresh = self._points(start_us, cells)
        for key in fresh:
            if key in self.groups:
                continue
            self._add_group(key, Group(start_us, end_us))
        found = []
        for key in sorted(self.groups):
            rule, group = self.rules[key[0]], self.groups[key]
            point = fresh.get(key)
            if point is not None:
                group.last_us = end_us
            group.lookback.add(point, end_us - max(window_us, rule.over_us))
            violation = self._judge(rule, group, point, end_us, window_us, from_us)
            if violation is not None:
                found.append((rule, key[1], violation))
        self._forget(end_us)
        return found

    # --- taking a window in ---------------------------------------------------------------------

    def _add_group(self, key: Key, group: Group) -> None:
        if len(self.groups) >= self.settings.max_groups:
            self.discarded[GROUP_BOUND] += 1
            return
        if self.rules[key[0]].kind == ANOMALY:
            if self._baselines >= self.settings.max_baselines:
                self.discarded[BASELINE_BOUND] += 1
                return
            self._baselines += 1
            group.baseline = Baseline()
        self.groups[key] = group

    def _points(self, start_us: int, cells: Mapping[Series, Cell]) -> dict[Key, Point]:
        """Return the window's point of each group that has one."""
        fresh: dict[Key, Point] = {}
        for series, cell in cells.items():
            rules = self._rules_of(series)
            if not rules:
                continue
            rise = self._increase(series, cell)
            for at in rules:
                key = at, self.rules[at].group_of(series)
                known = fresh.get(key)
                if known is None:
                    fresh[key] = Point(start_us, cell, rise)
                else:
                    fresh[key] = Point(start_us, known.cell.plus(cell), known.increase + rise)
        return fresh

    def _rules_of(self, series: Series) -> tuple[int, ...]:
        known = self._matching.get(series)
        if known is None:
            known = tuple(i for i, rule in enumerate(self.rules) if rule.match.accepts(series))
            if len(self._matching) >= 4 * self.settings.max_groups:
                self._matching = {}  # only a cache
            self._matching[series] = known
        return known

    def _increase(self, series: Series, cell: Cell) -> float:
        if series.kind != METRIC:
            return float(cell.points)
        before = self._last.get(series)
        if before is None and len(self._last) >= self.settings.max_counters:
            self.discarded[COUNTER_BOUND] += 1
        else:
            self._last[series] = cell.last, cell.last_us
        return increase_of(cell, before[0] if before else None)

    def _forget(self, end_us: int) -> None:
        before_us = end_us - self.settings.forget_us
        for key in [key for key, group in self.groups.items() if group.last_us < before_us]:
            self._baselines -= self.groups.pop(key).baseline is not None
        for series in [s for s, (_, last_us) in self._last.items() if last_us < before_us]:
            del self._last[series]

    # --- judging --------------------------------------------------------------------------------

    def _judge(
        self,
        rule: SignalRule,
        group: Group,
        point: Point | None,
        end_us: int,
        window_us: int,
        from_us: From,
    ) -> Violation | None:
        measured = self._measured(rule, group, end_us, from_us.absence_us)
        value, expected = measured, 0.0
        if group.baseline is not None:
            if point is None:  # there is nothing new to judge: what was said of the last stands
                return None
            if measured is not None:
                value, expected = group.baseline.step(end_us, measured)
        if value is None or not self._is_too_much(rule, group, value, end_us, from_us.news_us):
            group.since_us, group.count = 0, 0
            return None
        assert measured is not None
        fresh = point.cell.points if point is not None else int(rule.kind == ABSENCE)
        if not group.since_us:
            # What is absent has been so since it was last seen.
            group.since_us = group.last_us if rule.kind == ABSENCE else end_us - window_us
        group.count += fresh
        if end_us - group.since_us < rule.for_us:
            return None
        threshold = rule.condition.threshold
        return Violation(
            group.since_us, end_us, group.count, fresh, value, threshold, measured, expected
        )

    @staticmethod
    def _measured(rule: SignalRule, group: Group, end_us: int, warm_us: int) -> float | None:
        """Return what the rule measures of a group; None where there is nothing to judge."""
        if rule.kind == ABSENCE:
            return (end_us - group.last_us) / SECOND_US if end_us >= warm_us else None
        if group.lookback.count() < rule.min_points:
            return None
        value = group.lookback.value(rule.stat, rule.over_us)
        return value if value is not None and isfinite(value) else None

    def _is_too_much(
        self, rule: SignalRule, group: Group, value: float, end_us: int, new_from_us: int
    ) -> bool:
        """Say whether a measured value, of an anomaly its score, violates the rule."""
        if rule.kind == ABSENCE:
            return value * SECOND_US >= rule.over_us
        if rule.kind == LOG_PATTERN and rule.is_new:
            age_us = end_us - group.first_us
            if group.first_us < new_from_us or age_us > self.settings.new_us:
                return False
        return rule.condition.holds(value)

    # --- state ----------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Return what is remembered as JSON-able data; rules are named, not numbered."""
        return {
            "discarded": dict(self.discarded),
            "last": [[*series, *seen] for series, seen in self._last.items()],
            "groups": [
                [_name(self.rules[at]), list(series), _group_row(group)]
                for (at, series), group in self.groups.items()
            ],
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Take over a snapshot; groups of rules that are no longer there are let go."""
        self.discarded = Counter(snapshot["discarded"])
        for *series, last, last_us in snapshot["last"]:
            self._last[Series.read(series)] = float(last), int(last_us)
        place = {_name(rule): at for at, rule in enumerate(self.rules)}
        for name, series, row in snapshot["groups"]:
            if name in place:
                group = self.groups[place[name], Series.read(series)] = _group_of(row)
                self._baselines += group.baseline is not None


def _name(rule: SignalRule) -> str:
    return f"{rule.id}@{rule.version}"


def _group_row(group: Group) -> list[Any]:
    times = [group.first_us, group.last_us, group.since_us, group.count]
    baseline = group.baseline.snapshot() if group.baseline is not None else None
    return [*times, group.lookback.snapshot(), baseline]


def _group_of(row: Sequence[Any]) -> Group:
    first_us, last_us, since_us, count, points, baseline = row
    known = Baseline.restore(baseline) if baseline is not None else None
    return Group(first_us, last_us, since_us, count, Lookback.restore(points), known)
