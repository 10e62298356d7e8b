"""Windows of the global stage: when they come out, who may be missing, and what they refuse."""

from typing import Any

import pytest

from streams.core.fidelity.merge import RESTART_PARTITION_BASE, MergeSettings
from streams.core.incidents.topology import Edge, Topology
from streams.engine.fidelity import FidelitySettings, FidelityTask
from streams.errors import ConfigError, StateError

SECOND = 1_000_000
MERGE = MergeSettings(
    window_us=SECOND,
    rollup_us=5 * SECOND,
    short_us=2 * SECOND,
    long_us=6 * SECOND,
    amend_us=10 * SECOND,
    wall_limit_us=3 * SECOND,
    max_windows=40,
)
TOPOLOGY = Topology(edges=(Edge("f", "a", "b"),))


def partial(
    partition: int, sequence: int, window: int, watermark: int, crossed: tuple[int, int] | None
) -> dict[str, Any]:
    """Return a partial that counts (expected, observed) on one edge; None for a mere watermark."""
    counters = dict(zip(("expected", "observed"), crossed or (), strict=False))
    scope = {
        "kind": "edge",
        "flow": "f",
        "from_stage": "a",
        "to_stage": "b",
        "module": "B",
        "counters": counters,
        "samples": [],
    }
    return {
        "window_start": window * SECOND,
        "window_us": SECOND,
        "partition": partition,
        "partitions_total": 2,
        "sequence": sequence,
        "watermark": watermark * SECOND,
        "contract_version": "1",
        "scopes": [scope] if crossed else [],
    }


def task() -> FidelityTask:
    return FidelityTask(FidelitySettings(MERGE), TOPOLOGY)


def step(
    of: FidelityTask, *partials: dict[str, Any], now: float = 0, caught_up: bool = True
) -> list[tuple[int, int, int, int, int]]:
    """Return (start, revision, expected, observed, partitions reported) of the window rows."""
    rows = [
        o.record
        for o in of.step(partials, round(now * SECOND), caught_up)
        if o.topic_kind == "stats" and o.record["window_us"] == SECOND
    ]
    names = ("revision", "expected", "observed", "partitions_reported")
    return [(row["window_start"] // SECOND, *(row[n] for n in names)) for row in rows]


def test_a_window_waits_for_all_partitions() -> None:
    """A window comes out once every partition's watermark has passed its end, as their sum."""
    windows = task()
    assert step(windows, partial(0, 0, 3, 5, (10, 9))) == []
    assert step(windows, partial(1, 0, 3, 3, (5, 5))) == []
    assert step(windows, partial(1, 1, 0, 4, None)) == [(3, 1, 15, 14, 2)]


def test_a_later_part_replaces_and_never_adds() -> None:
    """A correction is a new revision; the same content, or an older part, is none."""
    windows = task()
    step(windows, partial(0, 0, 3, 5, (10, 9)), partial(1, 0, 3, 5, (5, 5)))
    assert step(windows, partial(0, 1, 3, 5, (10, 10))) == [(3, 2, 15, 15, 2)]
    assert step(windows, partial(0, 2, 3, 5, (10, 10))) == []
    assert step(windows, partial(0, 1, 3, 5, (99, 99))) == []
    assert windows.counters()["partial_superseded"] == 1


def test_a_watermark_empties_no_window() -> None:
    """A partial without scopes moves time only, even where it names a window with counts."""
    windows = task()
    step(windows, partial(0, 0, 3, 3, (10, 9)), partial(1, 0, 3, 5, None))
    assert step(windows, partial(0, 1, 3, 4, None)) == [(3, 1, 10, 9, 2)]


def test_the_wall_limit_publishes_with_fewer_and_says_so() -> None:
    """A window does not wait for ever: it says how many reported, and is revised by the rest."""
    windows = task()
    assert step(windows, partial(0, 0, 3, 5, (10, 9)), now=100) == []
    assert step(windows, now=102.9) == []
    assert step(windows, now=103) == [(3, 1, 10, 9, 1)]
    assert step(windows, partial(1, 0, 3, 6, (5, 5)), now=110) == [(3, 2, 15, 14, 2)]


def test_our_own_lag_is_no_silent_partition() -> None:
    """While input waits to be read the wall limit does not run."""
    windows = task()
    step(windows, partial(0, 0, 3, 5, (10, 9)), now=100)
    assert step(windows, now=200, caught_up=False) == []
    assert step(windows, now=202) == []
    assert step(windows, now=203) == [(3, 1, 10, 9, 1)]


def test_restarts_count_but_promise_no_time() -> None:
    """A fragment task's partial adds its counter and holds no window back."""
    windows = task()
    restarts = partial(RESTART_PARTITION_BASE, 0, 3, 0, (0, 0))
    restarts["scopes"][0]["counters"] = {"restarted": 2}
    step(windows, partial(0, 0, 3, 5, (10, 8)), restarts)
    outputs = windows.step([partial(1, 0, 3, 5, None)], 0, True)
    row = outputs[0].record
    assert (row["expected"], row["observed"], row["counters"]) == (10, 8, {"restarted": 2})
    assert row["partitions_total"] == 2


def test_burn_rates_follow_the_error_budget() -> None:
    """One of ten lost is 100 times what 99.9 % allows; the long window dilutes it."""
    windows = task()
    for window in range(6):
        observed = 9 if window == 5 else 10
        outputs = windows.step(
            [partial(p, window, window, window + 1, (10, observed)) for p in (0, 1)], 0, True
        )
    row = next(o.record for o in outputs if o.record["window_us"] == SECOND)
    assert row["burn_rate_short"] == pytest.approx(50)  # 2 of 40 in two windows
    assert row["burn_rate_long"] == pytest.approx(2 / 120 * 1000)
    assert row["ratio"] == pytest.approx(0.9)


def test_a_correction_sees_as_far_back_as_the_window_did() -> None:
    """The burn rate of a corrected window still counts windows that take no more corrections."""
    windows = task()
    for window in range(20):
        windows.step([partial(p, window, window, window + 1, (10, 9)) for p in (0, 1)], 0, True)
    assert min(windows.windows.windows) == 10 * SECOND
    outputs = windows.step([partial(0, 99, 10, 20, (10, 8))], 0, True)
    (row,) = [
        o.record
        for o in outputs
        if o.record["window_start"] == 10 * SECOND and o.record["window_us"] == SECOND
    ]
    assert row["revision"] == 2
    assert row["burn_rate_long"] == pytest.approx(13 / 120 * 1000)  # windows 5 to 10


def test_rollups_add_their_windows_up() -> None:
    """At its end a rollup holds the counts of all windows within."""
    windows = task()
    seen = []
    for window in range(6):
        parts = [partial(p, window, window, window + 1, (10, 9)) for p in (0, 1)]
        seen += [o.record for o in windows.step(parts, 0, True)]
    (rollup,) = [row for row in seen if row["window_us"] == 5 * SECOND]
    assert (rollup["window_start"], rollup["expected"], rollup["observed"]) == (0, 100, 90)


def test_what_cannot_be_placed_is_counted() -> None:
    """Parts of other widths, too late or too many are refused with a reason."""
    windows = task()
    step(windows, partial(0, 0, 3, 3, (1, 1)), partial(1, 0, 3, 3, (1, 1)))
    other = partial(0, 1, 3, 3, (1, 1)) | {"window_us": 7}
    step(windows, other, partial(0, 2, 30, 30, (1, 1)), partial(1, 1, 30, 30, (1, 1)))
    step(windows, partial(0, 3, 4, 30, (1, 1)))
    counted = windows.counters()
    assert counted["partial_of_other_windows"] == 1
    assert counted["partial_too_late"] == 1
    for window in range(1000, 1060):  # a clock far ahead
        step(windows, partial(0, window, window, 30, (1, 1)))
    assert len(windows.windows.windows) <= MERGE.max_windows
    assert windows.counters()["window_over_bound"] > 0
    assert step(windows, partial(0, 2000, 31, 32, (4, 4)), partial(1, 2, 31, 32, (4, 4)))


def test_a_long_gap_is_skipped() -> None:
    """After a day without traffic the next window comes out at once, and the gap is counted."""
    windows = task()
    step(windows, partial(0, 0, 3, 4, (1, 1)), partial(1, 0, 3, 4, (1, 1)))
    day = 86_400
    parts = (partial(0, 1, day, day + 1, (4, 4)), partial(1, 1, day, day + 1, (4, 4)))
    assert step(windows, *parts) == [(day, 1, 8, 8, 2)]
    assert windows.counters()["window_skipped"] == 1, "one gap, however many windows are in it"


def test_an_event_of_long_ago_is_one_gap_and_no_beginning() -> None:
    """A clock that stands at 1970 neither counts millions nor ends the warm-up before it began."""
    windows = task()
    now = 1_700_000_000
    step(windows, partial(0, 0, 1, now, (1, 1)), partial(1, 0, 1, now, (1, 1)))
    parts = (partial(0, now, now + 1, now + 2, (4, 4)), partial(1, now, now + 1, now + 2, (4, 4)))
    step(windows, *parts)
    assert windows.counters()["window_skipped"] == 1
    assert now - 2 * MERGE.max_windows < windows.windows.first_us // 1_000_000 <= now


def test_settings_that_cannot_work_are_refused() -> None:
    """Windows that do not fit into each other, and objectives without a budget, are errors."""
    with pytest.raises(ConfigError, match="rollup_us"):
        MergeSettings(window_us=7 * SECOND, rollup_us=60 * SECOND)
    with pytest.raises(ConfigError, match="slo_ratio"):
        MergeSettings(slo_ratio=1.0)
    with pytest.raises(ConfigError, match="max_windows"):
        MergeSettings(max_windows=5)


def test_state_of_another_format_or_width_is_refused() -> None:
    """Restoring what this version cannot read names the operator's way out."""
    with pytest.raises(StateError, match="Operator action"):
        FidelityTask.restore(FidelitySettings(MERGE), TOPOLOGY, {"format": 99})
    saved = task().snapshot()
    with pytest.raises(StateError, match="Operator action"):
        FidelityTask.restore(FidelitySettings(), TOPOLOGY, saved)
