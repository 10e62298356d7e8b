"""Rules over windows: what violates, since when, and what is remembered."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.signals.cell import Cell
from streams.core.signals.rule import Condition, Match, SignalRule
from streams.core.signals.series import Series
from streams.core.signals.watch import RuleWatch, Violation, WatchSettings
from tests.signal_cases import SECOND, T0, cell, rule, series

WINDOW = 10 * SECOND
WARM = WatchSettings(warm_up_us=0)


def run(
    rules: list[SignalRule],
    windows: list[dict[Series, Cell]],
    settings: WatchSettings = WARM,
    restart: bool = False,
) -> list[list[tuple[str, Series, Violation]]]:
    """Return what violates at the end of each window, the first of which starts at T0."""
    watch, out = RuleWatch(rules, settings), []
    for at, cells in enumerate(windows):
        found = watch.observe(T0 + (at + 1) * WINDOW, WINDOW, T0, cells)
        out.append([(r.id, group, violation) for r, group, violation in found])
        if restart:
            snapshot = json.loads(json.dumps(watch.snapshot()))
            watch = RuleWatch(rules, settings)
            watch.restore(snapshot)
    return out


def spoke(found: list[list[Any]]) -> list[int]:
    """Return in which windows something violates."""
    return [at for at, violations in enumerate(found) if violations]


def gauge(*values: float | None) -> list[dict[Series, Cell]]:
    """Return windows with one point of the metric each, or none."""
    return [{} if v is None else {series(): cell(v, at_us=T0 + at * WINDOW)}
            for at, v in enumerate(values)]  # fmt: skip


def test_a_threshold_holds_from_the_window_that_crosses_it() -> None:
    """Above 100 in the second and third window; since the second began."""
    found = run([rule()], gauge(50, 150, 160, 70))
    assert spoke(found) == [1, 2]
    ((_, group, first),), ((_, _, second),) = found[1], found[2]
    assert group == series()
    assert first == Violation(T0 + WINDOW, T0 + 2 * WINDOW, 1, 1, 150.0, 100.0, measured=150.0)
    assert (second.since_us, second.count, second.value) == (T0 + WINDOW, 2, 160.0)


def test_for_waits_until_the_condition_has_held_so_long() -> None:
    """20 s: a spike of one window says nothing, three windows do, dated from the first."""
    found = run([rule(for_us=20 * SECOND)], gauge(150, 50, 150, 150, 150))
    assert spoke(found) == [3, 4]
    assert found[3][0][2].since_us == T0 + 2 * WINDOW


@pytest.mark.parametrize(
    ("stat", "value"),
    [
        ("last", 6.0), ("mean", 3.0), ("min", 1.0), ("max", 6.0), ("sum", 9.0), ("count", 3.0),
        ("increase", 5.0), ("rate", 0.25),
    ],
)  # fmt: skip
def test_statistics_over_the_look_back(stat: str, value: float) -> None:
    """Points 1, 2 and 6 in two windows of 10 s, by hand."""
    windows = [{series(): cell(1.0, 2.0)}, {series(): cell(6.0, at_us=T0 + WINDOW)}]
    always = rule(stat=stat, over_us=20 * SECOND, condition=Condition(">=", -1.0))
    assert run([always], windows)[1][0][2].value == pytest.approx(value)


def test_a_counter_that_starts_anew_rose_by_what_it_shows() -> None:
    """100, 130, then 20 after a restart: 30 and 20, never minus 110."""
    always = rule(stat="increase", condition=Condition(">=", -1e9))
    found = run([always], gauge(100, 130, 20))
    assert [v[0][2].value for v in found] == [0.0, 30.0, 20.0]


def test_the_look_back_forgets() -> None:
    """A maximum over 20 s is over once its window has left the look-back."""
    found = run([rule(stat="max", over_us=20 * SECOND)], gauge(150, 1, 1, 1))
    assert spoke(found) == [0, 1]


def test_a_band_is_violated_on_both_sides() -> None:
    """Below 10 and above 20, not between."""
    band = rule(condition=Condition("outside", low=10.0, high=20.0))
    assert spoke(run([band], gauge(5, 10, 15, 20, 21))) == [0, 4]


def test_nothing_is_judged_below_the_minimum_of_points() -> None:
    """Two points are needed; one is no reason."""
    assert spoke(run([rule(min_points=2, over_us=20 * SECOND)], gauge(150, 150))) == [1]


def test_absence_is_dated_from_the_last_point() -> None:
    """Nothing for 20 s, from a series that had been there; a new point ends it."""
    gone = rule(kind="absence", over_us=20 * SECOND)
    found = run([gone], gauge(1, None, None, None, 1))
    assert spoke(found) == [2, 3]
    assert found[2][0][2].since_us == T0 + WINDOW
    assert found[3][0][2].value == 30.0


def test_groups_add_up_what_by_leaves_together() -> None:
    """Two queues of one source: together above the limit, each alone below it."""
    one, other = (series(dimensions=(("queue", q), ("source_system", "crm"))) for q in "ab")
    total = rule(stat="sum", by=("source_system",))
    ((found,),) = run([total], [{one: cell(60.0), other: cell(70.0)}])
    assert found[1] == Series("METRIC", "", "", "", dimensions=(("source_system", "crm"),))
    assert found[2].value == 130.0


def test_a_match_is_a_pattern_of_every_label() -> None:
    """Module, name and dimension must all fit; a missing dimension is ""."""
    patterns = (("module", "ALPHA"), ("name", "pipeline.*.depth"), ("queue", "a*"))
    match = Match("METRIC", patterns)
    assert match.accepts(series(dimensions=(("queue", "ab"),)))
    assert not match.accepts(series())
    assert not match.accepts(series(dimensions=(("queue", "b"),)))
    assert not match.accepts(series(module="BETA", dimensions=(("queue", "a"),)))
    assert not match.accepts(Series("LOG", "ALPHA", "parser", "x", "", "ERROR"))
    lines = Match("LOG", (("name", "[ERROR] *"),))
    assert lines.accepts(Series("LOG", "ALPHA", "parser", "[ERROR] no route", "", "ERROR"))


def test_log_patterns_count_lines_of_at_least_the_severity() -> None:
    """Three error lines of the template within the window; warnings do not count."""
    line = Series("LOG", "ALPHA", "parser", "timeout after <*>", "", "ERROR")
    pattern = rule(
        kind="log_pattern", stat="count", match=Match("LOG", (("name", "timeout*"),), "ERROR"),
        condition=Condition(">=", 3.0),
    )  # fmt: skip
    low = line._replace(severity="WARN")
    windows = [{line: cell(0, 0), low: cell(0, 0)}, {line: cell(0, 0, 0)}]
    assert spoke(run([pattern], windows)) == [1]


def test_a_template_is_new_once_and_not_at_the_start() -> None:
    """What comes in the first while is no news; what comes first after it is, for a while."""
    new = rule(kind="log_pattern", stat="count", match=Match("LOG"), is_new=True,
               condition=Condition(">=", 1.0))  # fmt: skip
    old, young = (Series("LOG", "ALPHA", "parser", n, "", "ERROR") for n in ("old", "young"))
    windows = [{old: cell(0)}] * 2 + [{old: cell(0), young: cell(0)}] * 4
    settings = WatchSettings(warm_up_us=0, new_us=2 * WINDOW)
    found = run([new], windows, settings)
    names = [[group.name for _, group, _ in at] for at in found]
    assert names == [[], [], ["young"], ["young"], [], []]


def test_bounds_refuse_and_count() -> None:
    """More groups or counters than allowed are left out, and the reason says so."""
    watch = RuleWatch([rule()], WatchSettings(max_groups=1, max_counters=1, warm_up_us=0))
    cells = {series(name): cell(500.0) for name in ("a", "b")}
    assert len(watch.observe(T0 + WINDOW, WINDOW, T0, cells)) == 1
    assert dict(watch.discarded) == {"group_over_bound": 1, "counter_over_bound": 1}


def test_what_is_quiet_for_long_is_forgotten() -> None:
    """After a day without a point a series is not missed any more, and its place is free."""
    gone = rule(kind="absence", over_us=WINDOW)
    found = run([gone], gauge(1, None, None, None), WatchSettings(warm_up_us=0, forget_us=WINDOW))
    assert spoke(found) == [1, 2]


def test_an_anomaly_rule_compares_the_score_and_tells_what_is_usual() -> None:
    """80 windows about 10, then 500: the score violates, dated and with both numbers."""
    odd = rule(kind="anomaly", stat="mean", condition=Condition(">=", 4.0))
    usual = [10.0 + at % 3 for at in range(80)]
    found = run([odd], gauge(*usual, 500.0, 11.0))
    assert spoke(found) == [80]
    violation = found[80][0][2]
    assert violation.value >= 4.0
    assert (violation.threshold, violation.measured) == (4.0, 500.0)
    assert violation.expected == pytest.approx(11.0, abs=1.0)
    assert run([odd], gauge(*usual, 500.0, 11.0), restart=True) == found


def test_baselines_have_a_bound_of_their_own() -> None:
    """The second group of an anomaly rule is not judged, and counted."""
    odd = rule(kind="anomaly", stat="mean")
    watch = RuleWatch([odd, rule()], WatchSettings(max_baselines=1, warm_up_us=0))
    watch.observe(T0 + WINDOW, WINDOW, T0, {series(n): cell(1.0) for n in ("a", "b")})
    assert dict(watch.discarded) == {"baseline_over_bound": 1}
    assert len(watch.groups) == 3


VALUES = st.lists(st.one_of(st.none(), st.integers(0, 200)), max_size=12)


@given(VALUES, st.integers(0, 3), st.integers(1, 3), st.sampled_from(["last", "max", "rate"]))
def test_restarts_change_nothing(
    values: list[int | None], for_windows: int, over_windows: int, stat: str
) -> None:
    """Restored after every window, the rules find the same."""
    one = rule(stat=stat, for_us=for_windows * WINDOW, over_us=over_windows * WINDOW)
    rules = [one, rule(id="gone", kind="absence", over_us=2 * WINDOW)]
    windows = gauge(*(None if v is None else float(v) for v in values))
    assert run(rules, windows, restart=True) == run(rules, windows)


@given(VALUES, st.integers(0, 3))
def test_thresholds_equal_a_plain_loop(values: list[int | None], for_windows: int) -> None:
    """The last value above 100, held: as a loop over the windows says."""
    expected, held = [], 0
    for at, value in enumerate(values):
        held = held + 1 if value is not None and value > 100 else 0
        if held and held * WINDOW >= for_windows * WINDOW:
            expected.append(at)
    windows = gauge(*(None if v is None else float(v) for v in values))
    assert spoke(run([rule(for_us=for_windows * WINDOW)], windows)) == expected
