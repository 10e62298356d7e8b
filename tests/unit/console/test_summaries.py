"""What retention removes is summed up: each record once, whatever ends the console meanwhile."""

import contextlib
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.console.archive.archive import REMOVE_SECONDS, Archive
from streams.console.archive.files import HOUR_US, Segment, hour_of
from streams.console.archive.kinds import KIND
from streams.console.archive.retention import DAY_US, Hold
from streams.console.archive.rollup import roll_up
from streams.console.archive.store import Store
from streams.console.archive.summaries import (
    MISSING,
    STEPS_US,
    SUMMARIES,
    SUMMED,
    added,
    name_of,
    quantile_us,
    summarised,
)
from streams.console.archive.tiers import Keep, coarser, outlived, runs, summed_up
from streams.console.settings import load_console_settings
from streams.errors import ConfigError
from streams.runtime import topics
from tests.unit.console.at_hand import SECOND, T0_US, Clock, archive_in, message, trace, window
from tests.unit.console.test_counts import fill, rows_of

MINUTE_US, STEP_HOUR_US = STEPS_US["minute"], STEPS_US["hour"]
TIME = st.integers(-2 * HOUR_US, 3 * HOUR_US)
WORD = st.sampled_from(("", "a", "b"))


def values(kind: str, name: str, n: int) -> st.SearchStrategy[Any]:
    """Return values of a column; versions of a thing are of one row, so that parts share none."""
    one_of_one = {"event_id": str(n), "trace_id": str(n), "window_start": 7 * n * SECOND}
    if name in one_of_one:
        return st.just(one_of_one[name])
    lists = {"modules": st.lists(WORD, unique=True, max_size=2)}
    lists["dimensions"] = st.lists(st.tuples(WORD, WORD), unique_by=lambda p: p[0], max_size=2)
    if name in lists:
        return lists[name]
    type_ = KIND[kind].schema.field(name).type
    if name == "event_type":
        return st.sampled_from(("METRIC", "LOG"))
    if name in ("timestamp", "start"):
        return TIME
    whole = st.integers(0, 1 << 20)
    return WORD if type_ == pa.string() else whole.map(float) if type_ == pa.float64() else whole


@st.composite
def tables(draw: st.DrawFn, kind: str) -> list[pa.Table]:
    """Return rows of a kind in parts."""
    columns = SUMMARIES[kind].columns
    schema = pa.schema([KIND[kind].schema.field(name) for name in columns])
    rows = [
        {name: draw(values(kind, name, n)) for name in columns}
        for n in range(draw(st.integers(0, 6)))
    ]
    cut = draw(st.integers(0, len(rows)))
    return [pa.Table.from_pylist(some, schema) for some in (rows[:cut], rows[cut:])]


@pytest.mark.parametrize("kind", SUMMARIES)
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_the_summary_of_all_is_that_of_the_summaries_of_parts(
    kind: str, data: st.DataObject
) -> None:
    """By minute, by hour, and by hour from minutes."""
    parts = data.draw(tables(kind))
    whole = pa.concat_tables(parts)
    for step_us in (MINUTE_US, STEP_HOUR_US):
        minutes = [summarised(kind, part, MINUTE_US) for part in parts]
        assert added(kind, minutes, step_us).equals(summarised(kind, whole, step_us))
    for row in summarised(kind, whole, MINUTE_US).to_pylist():
        assert row["at"] % MINUTE_US == 0


def test_of_a_trace_the_last_revision_counts_and_its_missing_spans() -> None:
    """With flow, modules, edges and a histogram of durations."""
    columns = SUMMARIES["traces"].columns
    about = {"trace_id": "t", "flow": "f", "start": 61 * SECOND, "modules": ["A", "B"]}
    rows = [
        about | {"revision": 1, "status": "INCOMPLETE", "duration_us": 5, "span_count": 1,
                 "error_count": 0},
        about | {"revision": 2, "status": "COMPLETE", "duration_us": 1000, "span_count": 3,
                 "error_count": 1},
    ]  # fmt: skip
    schema = pa.schema([KIND["traces"].schema.field(name) for name in columns])
    lost = [("t", 1, "B", "a", "b"), ("t", 2, "B", "b", "c")]
    missing = pa.Table.from_pylist([dict(zip(MISSING.names, one, strict=True)) for one in lost])
    found = summarised("traces", pa.Table.from_pylist(rows, schema), MINUTE_US, missing)
    told = {(r["what"], r["module"], r["to_stage"]): r for r in found.to_pylist()}
    assert told.keys() == {
        ("trace", "", ""), ("module", "A", ""), ("module", "B", ""), ("missing", "B", "c"),
    }  # fmt: skip
    one = told["trace", "", ""]
    assert (one["at"], one["status"], one["count"], one["spans"]) == (MINUTE_US, "COMPLETE", 1, 3)
    middle = quantile_us({one["bucket"]: 1}, 0.5)
    assert middle is not None
    assert 0.95 < middle / 1000 < 1.05
    assert quantile_us({}, 0.5) is None


def told(archive: Archive) -> Counter[tuple[str, ...]]:
    """Return how many events of a sort there are, those of rows and those of summaries."""
    found: Counter[tuple[str, ...]] = Counter()
    for row in rows_of(archive):
        found[row["module"], row["event_type"], row["severity"]] += 1
    for kind in ("spans", "events"):
        for tier in STEPS_US:
            name = name_of(kind, tier)
            files = archive.look(name).files
            for row in archive.dataset(files, SUMMED[name].schema).to_table().to_pylist():
                if row.get("what", "event") == "event":
                    found[row["module"], row["event_type"], row["severity"]] += row["count"]
    return found


KEEP = Keep({"spans": 1, "events": 1, "traces": 1}, {"spans": 2, "events": 2, "traces": 2}, {})


def dying(act: Callable[..., Any], steps: list[int]) -> Callable[..., Any]:
    """Return what does as told so many times, and then ends the console."""

    def done(*given_: Any, **named: Any) -> Any:
        steps[0] -= 1
        if steps[0] < 0:
            raise KeyboardInterrupt
        return act(*given_, **named)

    return done


@pytest.mark.parametrize("seed", range(3))
def test_each_event_is_summed_up_once(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before, within and after each file that is written or removed, again and again."""
    chance, clock = random.Random(seed), Clock()
    archive = archive_in(tmp_path, clock, rows=9)
    fill(archive, chance, 30)
    archive.write_due(all_of_it=True)
    known, steps = told(archive), [0]
    days = [1 + HOUR_US * n / DAY_US for n in (1, 2, 3, 6)] + [3.5]
    for day in days:
        now_us = T0_US + int(day * DAY_US)
        for _ in range(2):
            with monkeypatch.context() as patch:
                steps[0] = chance.randrange(14)
                patch.setattr(Store, "_put", dying(Store._put, steps))
                patch.setattr(Store, "_delete", dying(Store._delete, steps))
                with contextlib.suppress(KeyboardInterrupt):
                    roll_up(archive, KEEP, [], now_us)
                    clock.now += REMOVE_SECONDS
                    archive.merge(T0_US)
            assert told(archive) == known
            archive = archive_in(tmp_path, clock)
            assert told(archive) == known
        roll_up(archive, KEEP, [], now_us)
        assert told(archive) == known
    clock.now += REMOVE_SECONDS
    archive.merge(T0_US)
    kinds = Counter(one.relative_to(tmp_path).parts[0] for one in tmp_path.rglob("*.parquet"))
    assert kinds["eventsbyhour"] == 1 >= kinds["spansbyhour"]
    assert kinds["eventsbyminute"] == kinds["spansbyminute"] == 0
    assert kinds["events"] == kinds["spans"] == 1  # the position
    assert archive_in(tmp_path).next_offsets == archive.next_offsets


def test_a_revision_in_a_later_hour_takes_the_place_of_the_earlier_one(tmp_path: Path) -> None:
    """A trace counts once, in the hour that has its last revision; a window likewise."""
    archive = archive_in(tmp_path, Clock())
    hour_ms = HOUR_US // 1000
    for n, status in enumerate(("INCOMPLETE", "COMPLETE")):
        one = trace("ab" * 16, revision=n + 1, status=status)
        at_ms = T0_US // 1000 + n * hour_ms
        archive.take(message(topics.TRACES, n, one, timestamp_ms=at_ms))
        of = window(revision=n + 1, expected=10, observed=5 + n)
        archive.take(message(topics.STATS, n, of, timestamp_ms=at_ms))
    for topic, record in ((topics.TRACES, trace("cd" * 16)), (topics.STATS, window(kind="total"))):
        at_ms = T0_US // 1000 + 9 * hour_ms
        archive.take(message(topic, 2, record, timestamp_ms=at_ms))
    archive.write_due(all_of_it=True)
    days = dict.fromkeys(("traces", "spans", "fidelity"), 1.0)
    for hour in (2, 4, 8):
        roll_up(archive, Keep(days, {}, {}), [], T0_US + DAY_US + hour * HOUR_US)
    rows = {
        kind: archive.dataset(
            archive.look(name_of(kind, "minute")).files, SUMMED[name_of(kind, "minute")].schema
        ).to_table().to_pylist()
        for kind in days
    }  # fmt: skip
    traces = [row for row in rows["traces"] if row["what"] == "trace"]
    assert [(row["status"], row["count"]) for row in traces] == [("COMPLETE", 1)]
    assert [row["count"] for row in rows["spans"]] == [1]
    assert [(row["expected"], row["observed"]) for row in rows["fidelity"]] == [(10, 6)]


def file(n: int, kind: str = "spans", count: int = 1) -> Segment:
    """Return a file that begins in the nth hour of its partition."""
    return Segment(kind, hour_of(T0_US + n * HOUR_US), "t", 0, 10 * n, 10 * (n + count) - 1)


def test_what_a_summary_covers_is_known_by_its_name() -> None:
    """Rows by minutes and hours, minutes by hours; nothing beside them."""
    files = [file(n) for n in range(6)]
    minutes = [file(n, "spansbyminute") for n in range(4)]
    hours = [file(0, "spansbyhour", 3)]
    assert sorted(summed_up(files)) == []
    assert sorted(summed_up([*files, *minutes])) == files[:4]
    assert sorted(summed_up([*files, *minutes, *hours])) == [*files[:4], *minutes[:3]]
    others = [file(n, "events") for n in range(3)]
    assert summed_up([*others, *minutes]) == []


def test_runs_are_of_one_hour_and_follow_one_another() -> None:
    """What lies between two files of an hour keeps them apart: no summary may cover it."""
    a, b, c, d = (file(n)._replace(hour=hour_of(T0_US)) for n in range(4))
    assert runs([a, b, c, d], {a, b, d}) == [(a, b), (d,)]
    assert runs([a, file(1), c], {a, file(1), c}) == [(a,), (c,), (file(1),)]


def test_days_become_hours_and_go_when_all_of_them_is_old() -> None:
    """By kind; never what is held."""
    minutes = [file(n, "spansbyminute") for n in range(48)]
    day = [one for one in minutes if one.hour < "2025-10-10"]
    now_us = T0_US + 10 * DAY_US
    assert coarser(minutes, {}, [], now_us) == []
    assert coarser(minutes, {"spans": 9}, [], now_us) == [tuple(day)]
    hold = Hold("2025-10-09T12", "2025-10-09T13", {"spans"})
    assert coarser(minutes, {"spans": 9}, [hold], now_us) == []
    hours = [file(0, "spansbyhour", 16), file(16, "spansbyhour", 24)]
    assert outlived(hours, {"spans": 9}, [], now_us) == hours[:1]
    assert outlived(hours, {"spans": 9}, [hold], now_us) == []
    assert outlived(hours, {"events": 1}, [], now_us) == []


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        ({"keep_minute_days": {"spans": 3}}, "KEEP_MINUTE_DAYS"),
        ({"keep_days": {"spans": 3}, "keep_minute_days": {"spans": 3}}, "KEEP_MINUTE_DAYS"),
        ({"keep_days": {"alerts": 3}, "keep_minute_days": {"alerts": 9}}, "KEEP_MINUTE_DAYS"),
        ({"keep_days": {"spans": 3}, "keep_hour_days": {"spans": 9}}, "KEEP_HOUR_DAYS"),
    ],
)
def test_tiers_that_do_not_follow_one_another_are_refused(
    given_: dict[str, Any], says: str
) -> None:
    """Naming the setting."""
    with pytest.raises(ConfigError, match=f"SPANLOOM_CONSOLE_{says}"):
        load_console_settings(**given_)
