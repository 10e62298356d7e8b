"""Workers publish windows and, beside them, rollups of the same time: nothing counts twice."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from streams.console.archive.archive import Archive
from streams.console.archive.files import HOUR_US
from streams.console.archive.retention import DAY_US
from streams.console.archive.rollup import roll_up
from streams.console.archive.tiers import Keep
from streams.console.questions.effects import _facts
from streams.console.questions.queries import Queries
from streams.console.questions.recent import SPAN_US, summed
from streams.console.questions.windowseries import fidelity
from streams.runtime import topics
from streams.units import MINUTE_US
from tests.unit.console.at_hand import SECOND, T0_US, Clock, archive_in, message, window
from tests.unit.console.test_questions import ask_of

START_US = T0_US // HOUR_US * HOUR_US
EDGE = {name: window()[name] for name in ("kind", "flow", "from_stage", "to_stage", "module")}
BETA = {"kind": "module", "flow": "", "from_stage": "", "to_stage": "", "module": "BETA"}
Windows = list[dict[str, Any]]


def published(minutes: Sequence[int], width_us: int, rollup_us: int = MINUTE_US) -> Windows:
    """Return what a worker publishes of some minutes, each rollup after its windows.

    The module has nothing in the first half of a minute; counts differ by window.
    """
    made: Windows = []
    for scope, from_us in ((EDGE, 0), (BETA, MINUTE_US // 2)):
        of_rollups: dict[int, list[int]] = {}
        for minute in minutes:
            for at in range(from_us, MINUTE_US, width_us):
                start_us = START_US + minute * MINUTE_US + at
                observed = start_us // width_us % 7
                counts = {"expected": 7, "observed": observed, "ratio": observed / 7}
                made.append(
                    window(**scope, **counts, window_start=start_us, window_us=width_us, missing={})
                )
                sums = of_rollups.setdefault(start_us // rollup_us * rollup_us, [0, 0])
                sums[0] += 7
                sums[1] += observed
        for start_us, (expected, observed) in of_rollups.items():
            counts = {"expected": expected, "observed": observed, "ratio": observed / expected}
            about = {"window_start": start_us, "window_us": rollup_us, "missing": {}}
            made.append(window(**scope, **counts, **about))
    return sorted(made, key=lambda one: (one["window_start"] + one["window_us"], one["window_us"]))


def kept(archive: Archive, windows: Windows, revision: int = 1) -> Archive:
    """Take windows in, each by the hour that it ended in."""
    for n, one in enumerate(windows):
        at_ms = (one["window_start"] + one["window_us"]) // 1000
        record = one | {"revision": revision}
        offset = n + revision * 1_000
        archive.take(message(topics.STATS, offset, record, timestamp_ms=at_ms))
    return archive


def asked(archive: Archive, start_us: int, end_us: int) -> dict[str, Windows]:
    """Return what is told of a range, by kind of scope."""
    found = fidelity(Queries(archive, 256 << 20, 1), start_us, end_us, [], 100_000)["series"]
    return {one["kind"]: one["windows"] for one in found}


def sums(windows: Windows) -> tuple[int, int]:
    """Return how much windows expected and observed."""
    return sum(one["expected"] for one in windows), sum(one["observed"] for one in windows)


def base(windows: Windows, kind: str, width_us: int) -> Windows:
    """Return the windows of a kind of scope that are no rollups."""
    return [one for one in windows if (one["kind"], one["window_us"]) == (kind, width_us)]


@pytest.mark.parametrize("width_us", [SECOND, 10 * SECOND])
@pytest.mark.parametrize("is_reversed", [False, True])
def test_a_rollup_beside_its_windows_counts_nothing(
    tmp_path: Path, width_us: int, is_reversed: bool
) -> None:
    """Whichever came first."""
    windows = published(range(3), width_us)
    archive = kept(archive_in(tmp_path), windows[::-1] if is_reversed else windows)
    found = asked(archive, START_US, START_US + 3 * MINUTE_US)
    for kind in ("edge", "module"):
        wanted = base(windows, kind, width_us)
        assert {one["window_us"] for one in found[kind]} == {width_us}
        assert [one["window_start"] for one in found[kind]] == [
            one["window_start"] for one in wanted
        ]
        assert sums(found[kind]) == sums(wanted)


def test_a_window_and_a_rollup_of_one_start_have_revisions_of_their_own(tmp_path: Path) -> None:
    """A later revision of the rollup does not replace the window."""
    windows = published([0], 10 * SECOND)
    archive = kept(archive_in(tmp_path), windows)
    kept(archive, [one for one in windows if one["window_us"] == MINUTE_US], revision=5)
    found = asked(archive, START_US, START_US + MINUTE_US)["edge"]
    assert sums(found) == sums(base(windows, "edge", 10 * SECOND))
    assert found[0]["revision"] == 1


def test_a_range_that_cuts_a_minute_has_its_windows_alone(tmp_path: Path) -> None:
    """Of a rollup whose windows lie behind the end of the range, nothing counts."""
    windows = published(range(2), 10 * SECOND)
    archive = kept(archive_in(tmp_path), windows)
    found = asked(archive, START_US, START_US + MINUTE_US + 20 * SECOND)
    assert sums(found["module"]) == sums(base(windows, "module", 10 * SECOND)[:3])
    assert "module" not in asked(archive, START_US, START_US + 20 * SECOND)


def test_a_rollup_counts_where_its_windows_are_not_kept(tmp_path: Path) -> None:
    """An archive of rollups alone tells these."""
    windows = published(range(2), 10 * SECOND)
    rollups = base(windows, "edge", MINUTE_US)
    whole = [one for one in windows if one["window_start"] >= START_US + MINUTE_US]
    archive = kept(archive_in(tmp_path), [rollups[0], *whole])
    found = asked(archive, START_US, START_US + 2 * MINUTE_US)["edge"]
    assert [one["window_us"] for one in found] == [MINUTE_US] + [10 * SECOND] * 6
    assert sums(found) == sums(rollups)


def test_steps_add_up_the_windows_that_begin_in_them(tmp_path: Path) -> None:
    """Each window once, from the begin of the range on; burn rates are the highest."""
    windows = published(range(10), 10 * SECOND)
    for n, one in enumerate(windows):
        one["burn_rate_short"] = float("nan") if n % 5 == 0 else float(n)
    queries = Queries(kept(archive_in(tmp_path), windows), 256 << 20, 1)
    step_us, end_us = 4 * MINUTE_US, START_US + 10 * MINUTE_US
    found = fidelity(queries, START_US, end_us, [], 100, step_us)
    assert not found["is_cut"]
    for one in found["series"]:
        own = base(windows, one["kind"], 10 * SECOND)
        assert [step["window_start"] for step in one["windows"]] == [
            START_US + n * step_us for n in range(3)
        ]
        for step in one["windows"]:
            within = [w for w in own if 0 <= w["window_start"] - step["window_start"] < step_us]
            assert (step["expected"], step["observed"]) == sums(within)
            assert step["ratio"] == step["observed"] / step["expected"]
            rates = [w["burn_rate_short"] for w in within]
            assert step["burn_rate_short"] == max(one for one in rates if not math.isnan(one))
            assert (step["window_us"], step["revision"]) == (step_us, 0)


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    """An answer that has not all windows says so, and one that has just all of them does not."""
    windows = published(range(2), 10 * SECOND)
    count = sum(len(base(windows, kind, 10 * SECOND)) for kind in ("edge", "module"))
    queries = Queries(kept(archive_in(tmp_path), windows), 256 << 20, 1)
    for limit in (count - 1, count):
        found = fidelity(queries, START_US, START_US + HOUR_US, [], limit)
        assert sum(len(one["windows"]) for one in found["series"]) == limit
        assert found["is_cut"] == (limit < count)


@pytest.mark.parametrize("rollup_us", [MINUTE_US, 50 * SECOND])
def test_what_retention_sums_up_counts_once(tmp_path: Path, rollup_us: int) -> None:
    """By minute and by hour, beside windows that are still kept; sums are those of the windows."""
    width_us = 10 * SECOND
    windows = published(range(0, 300, 7), width_us, rollup_us)
    archive = kept(archive_in(tmp_path, Clock(), rows=23), windows)
    archive.write_due(all_of_it=True)
    end_us = START_US + 5 * HOUR_US

    def check(lengths: set[int]) -> None:
        found = asked(archive, START_US, end_us)
        for kind in ("edge", "module"):
            assert sums(found[kind]) == sums(base(windows, kind, width_us)), kind
            assert {one["window_us"] for one in found[kind]} == lengths

    check({width_us})
    days = {"fidelity": 1.0}
    for hour in (2, 4):
        now_us = START_US + DAY_US + hour * HOUR_US + HOUR_US // 2
        roll_up(archive, Keep(days, {}, {}), [], now_us)
        check({width_us, MINUTE_US})
    roll_up(archive, Keep(days, {"fidelity": 2.0}, {}), [], START_US + 4 * DAY_US)
    check({width_us, HOUR_US})


def test_what_is_recent_and_what_an_incident_did_count_no_rollup(tmp_path: Path) -> None:
    """The sums of the last minute, and the fidelity of modules."""
    windows = published(range(2), 10 * SECOND)
    archive = kept(archive_in(tmp_path), windows)
    queries = Queries(archive, 256 << 20, 1)
    now_us = START_US + 2 * MINUTE_US
    found = summed(queries.recent_windows(now_us, HOUR_US, SPAN_US))
    assert (found["window_us"], found["span_us"]) == (10 * SECOND, MINUTE_US)
    for scope in found["scopes"]:
        wanted = base(windows, scope["kind"], 10 * SECOND)
        wanted = [one for one in wanted if one["window_start"] >= START_US + MINUTE_US]
        assert (scope["expected"], scope["observed"]) == sums(wanted)
        assert scope["last"]["observed"] == wanted[-1]["observed"]
    part = base(windows, "module", 10 * SECOND)[:4]
    end_us = part[-1]["window_start"] + 10 * SECOND
    expected, observed = sums(part)
    ratio = _facts(queries, START_US, end_us)["BETA"]["fidelity_ratio"]
    assert ratio == pytest.approx(observed / expected)


def test_the_interface_tells_windows_once(tmp_path: Path) -> None:
    """Over HTTP, of edges."""
    windows = published(range(2), SECOND)
    archive = kept(archive_in(tmp_path), windows[::-1])
    with ask_of(archive) as ask:
        path = "/api/v1/fidelity?start=2025-01-01&end=2035-01-01&kind=edge"
        (series,) = ask(path, None).json()["series"]
    assert {one["window_us"] for one in series["windows"]} == {SECOND}
    assert sums(series["windows"]) == sums(base(windows, "edge", SECOND))
