"""Counts beside files: an audit answer is that of a slow search, whatever files there are."""

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.console.archive import counts as counts_module
from streams.console.archive.archive import REMOVE_SECONDS, SLACK_US, Archive
from streams.console.archive.counts import (
    COLUMNS,
    FIRST,
    MINUTE_US,
    counts_of,
    read,
    reworded,
    summed,
)
from streams.console.archive.counts import written as bytes_of
from streams.console.archive.files import HOUR_US
from streams.console.archive.kinds import KIND, KINDS
from streams.console.archive.rollup import roll_up
from streams.console.archive.tally import Tally, few, united
from streams.console.archive.tiers import Keep
from streams.console.questions import audit as audit_module
from streams.console.questions.audit import audit
from streams.console.questions.queries import Queries
from streams.console.questions.windows import windows
from streams.runtime import topics
from tests.tiers import slow_but
from tests.unit.console.at_hand import (
    HOUR_MS,
    T0_US,
    TELEMETRY,
    Clock,
    archive_in,
    batch,
    dying_at,
    event,
    message,
    trace,
)

Row = dict[str, Any]
SPREAD_US = 3 * HOUR_US
FILTERS: tuple[dict[str, list[str]], ...] = (
    {},
    {"module": ["BETA"]},
    {"event_type": ["AUDIT", "TRACE"]},
    {"severity": ["ERROR"], "component": ["parser", "delivery"]},
    {"actor": ["svc-a"]},
    {"operation": ["DELIVER"], "module": ["ALPHA"]},
    {"actor": ["nobody"]},
    {"record_id": ["rec-1"], "module": ["ALPHA"]},
)


def made(chance: random.Random, n: int) -> Row:
    """Return an event of any type and time."""
    kind = chance.choice(("metric_outside_traces", "log", "audit", "span"))
    return event(
        kind,
        event_id=f"{n:08x}-0000-4000-8000-{chance.getrandbits(48):012x}",
        span_id=f"{n + 1:016x}",
        parent_span_id="",
        timestamp=T0_US + chance.choice((chance.randrange(SPREAD_US), chance.randrange(MINUTE_US))),
        module=chance.choice(("ALPHA", "BETA")),
        component=chance.choice(("parser", "delivery", "")),
        severity=chance.choice(("INFO", "ERROR")),
        record_id=f"rec-{chance.randrange(4)}",
        actor=chance.choice(("", "svc-a")),
        operation=chance.choice(("", "DELIVER")),
        trace_id=f"{n // 3 + 1:032x}" if kind == "span" else "",
        links=[],
    )


def fill(
    archive: Archive, chance: random.Random, count: int = 45, *, is_reused: bool = False
) -> None:
    """Take events in over three hours: traces revised, events sent again, some of them at once.

    Where ids are reused, a third of the events bear the id of another one: of another time, or, a
    span of the same trace, of the same.
    """
    events = [made(chance, n) for n in range(count)]
    for one in events[1:] if is_reused else []:
        other = chance.choice(events)
        if chance.random() < 0.3 and one["event_type"] == other["event_type"]:
            one["event_id"] = other["event_id"]
        if one["event_type"] == "TRACE" and one["trace_id"] == other["trace_id"]:
            one["timestamp"] = other["timestamp"]
    offset = {topics.TRACES: 0, TELEMETRY: 0}
    spans: dict[str, list[Row]] = {}

    def take(topic: str, value: Row | bytes) -> None:
        at_ms = T0_US // 1000 + sum(offset.values()) * 3 * HOUR_MS // (3 * count)
        shown = value if isinstance(value, dict) else events[0]
        own = message(topic, offset[topic], shown, timestamp_ms=at_ms)
        archive.take(own if isinstance(value, dict) else own._replace(value=value))
        offset[topic] += 1

    for n, one in enumerate(events):
        if one["event_type"] != "TRACE":
            take(TELEMETRY, one)
        else:
            own = spans.setdefault(one["trace_id"], [])
            own.append(one)
            start = min(span["timestamp"] for span in own)
            take(topics.TRACES, trace(one["trace_id"], revision=len(own), spans=own, start=start))
        if n % 7 == 0:
            again = [e for e in events[: n + 1] if e["event_type"] != "TRACE"]
            if again:
                take(TELEMETRY, batch(chance.sample(again, min(3, len(again)))))


def rows_of(archive: Archive) -> list[Row]:
    """Return the different events that the archive holds."""
    found: dict[tuple[Any, ...], Row] = {}
    for kind in ("spans", "events"):
        look = archive.look(kind)
        files = archive.dataset(look.files, KIND[kind].schema).to_table() if look.files else None
        for table in (look.tail, *([files] if files is not None else [])):
            found |= {
                (row["timestamp"], row["event_id"], *_of(row)): row for row in table.to_pylist()
            }
    return list(found.values())


def _of(row: Row) -> tuple[str, str]:
    is_span = row["event_type"] == "TRACE"
    return (row["trace_id"], row["span_id"]) if is_span else ("", "")


def check(archive: Archive, chance: random.Random) -> None:
    """Compare answers with a slow search of all rows."""
    queries, rows = Queries(archive, 256 << 20, 1), rows_of(archive)
    for wanted in chance.sample(FILTERS, 2):
        start = chance.choice((0, T0_US - HOUR_US, T0_US + chance.randrange(SPREAD_US)))
        end = chance.choice((1 << 60, start + chance.randrange(SPREAD_US), T0_US + SPREAD_US))
        fit = [
            row
            for row in rows
            if start <= row["timestamp"] < end
            and all(row[column] in values for column, values in wanted.items())
        ]
        known = sorted((row["timestamp"], row["event_id"], *_of(row)) for row in fit)
        found: list[tuple[Any, ...]] = []
        token, limit = "", chance.choice((20, 40))
        while True:
            page = audit(queries, (start, end), wanted, limit, token)
            assert page.total_count == len(known), (wanted, start, end)
            found += [(one["timestamp"], one["event_id"], *_of(one)) for one in page.entries]
            token = page.continuation_token
            if not token:
                break
        assert found == known


@pytest.mark.parametrize("is_reused", [False, True])
@pytest.mark.parametrize("seed", slow_but([2], range(3)))
def test_counts_tell_what_a_slow_search_tells(
    tmp_path: Path, seed: int, *, is_reused: bool
) -> None:
    """In files and memory, merged, expired in part, and where some files have no counts.

    A sender may give one event id to several events: they are as many entries.
    """
    chance, clock = random.Random(seed), Clock()
    archive = archive_in(tmp_path, clock, rows=chance.choice((6, 13)))
    fill(archive, chance, is_reused=is_reused)
    check(archive, chance)
    archive.merge(T0_US + 2 * HOUR_US + SLACK_US)
    check(archive, chance)
    archive.write_due(all_of_it=True)
    for beside in sorted(tmp_path.rglob("*.counts")):
        if chance.random() < 0.2 * (seed % 3):
            beside.unlink() if seed % 2 else beside.write_bytes(beside.read_bytes()[:-9])
    archive = archive_in(tmp_path, clock)
    check(archive, chance)
    clock.now += REMOVE_SECONDS
    archive.merge(T0_US + 9 * HOUR_US)
    check(archive, chance)
    day_us = 24 * HOUR_US
    keep_days = {"spans": 1.0, "traces": 9.0, "events": 1.0}
    keep = Keep(keep_days, {}, {})
    assert roll_up(archive, keep, [], T0_US + day_us + 2 * HOUR_US + HOUR_US // 3)
    check_counts_alone(archive)


def check_counts_alone(archive: Archive) -> None:
    """Compare totals, where entries cannot be shown: their traces stay longer than their spans."""
    queries = Queries(archive, 256 << 20, 1)
    for wanted in FILTERS:
        fit = [
            row
            for row in rows_of(archive)
            if all(row[column] in values for column, values in wanted.items())
        ]
        assert audit(queries, (0, 1 << 60), wanted, 5).total_count == len(fit)


def test_what_is_kept_in_memory_has_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours, files and combos are thrown away and read again; the answer is the same."""
    archive = archive_in(tmp_path, rows=7)
    fill(archive, random.Random(4), 40)
    known = len(rows_of(archive))
    bounds = ("HELD_CELLS_MAX", "SMALL_FILES_MAX", "COMBOS_MAX", "SMALL_CELLS")
    for name in bounds:
        monkeypatch.setattr(f"streams.console.archive.tally.{name}", 1)
        for _ in range(2):
            assert audit(Queries(archive, 256 << 20, 1), (0, 1 << 60), {}, 1).total_count == known
    book = archive._tallies._book
    assert len(book.hours) == 1
    assert len(book.small) <= 1


def test_what_is_counted_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of whole minutes of files no row is counted; without counts all are."""
    archive = archive_in(tmp_path, rows=7)
    fill(archive, random.Random(1))
    archive.write_due(all_of_it=True)
    read_: list[tuple[int, int]] = []
    monkeypatch.setattr(
        audit_module, "_counted", lambda queries, kind, span, where: read_.append(span) or 0
    )
    span = T0_US // MINUTE_US * MINUTE_US - HOUR_US, T0_US // MINUTE_US * MINUTE_US + 9 * HOUR_US
    known = len(rows_of(archive))
    assert audit(Queries(archive, 256 << 20, 1), span, {}, 1).total_count == known
    assert read_ == []
    for beside in tmp_path.rglob("*.counts"):
        beside.unlink()
    old = Queries(archive_in(tmp_path), 256 << 20, 1)
    assert audit(old, span, {}, 1).total_count == 0
    assert read_


@pytest.mark.parametrize("step", slow_but([1, 4], range(6)))
def test_a_file_written_again_is_not_told_by_its_old_counts(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ends the writing: the counts go before the file changes."""
    archive = archive_in(tmp_path)
    fill(archive, random.Random(3), 20)
    archive.write_due(all_of_it=True)
    (one, *_) = archive.look("events").files
    store, kind = archive.store, KIND["events"]
    check_counts_alone(archive)
    rows = store.read(kind, [one])
    with dying_at(monkeypatch, step):
        store.write(kind, one, rows.slice(2))
    check_counts_alone(archive)
    check_counts_alone(archive_in(tmp_path))


def table_of(rows: list[tuple[int, str, str]]) -> pa.Table:
    """Return rows of (minute, module, actor)."""
    columns = {name: [""] * len(rows) for name in COLUMNS}
    columns["module"], columns["actor"] = [row[1] for row in rows], [row[2] for row in rows]
    times = pa.array([row[0] * MINUTE_US + 5 for row in rows], pa.int64())
    texts = {name: pa.array(values, pa.string()) for name, values in columns.items()}
    return pa.table({"timestamp": times, **texts})


ROWS = st.lists(
    st.tuples(st.integers(-3, 3), st.sampled_from("ab"), st.sampled_from("xyz")), max_size=30
)


@given(st.lists(st.tuples(ROWS, st.sampled_from((FIRST, 4))), min_size=1, max_size=4))
def test_counts_of_parts_are_those_of_the_whole(parts: list[tuple[Any, int]]) -> None:
    """Whatever the parts; and they come back from their bytes as they were."""
    found = [counts_of(table_of(rows), np.full(len(rows), hour)) for rows, hour in parts]
    together = summed([one for one in found if one is not None])
    table = pa.concat_tables([table_of(rows) for rows, _ in parts])
    hours = np.concatenate([np.full(len(rows), hour, np.int64) for rows, hour in parts])
    whole = counts_of(table, hours)
    assert whole is not None
    assert together is not None
    back = read(bytes_of(whole).to_pybytes())
    assert back is not None
    for other in (together, back):
        assert other[:2] == whole[:2]
        assert all(np.array_equal(a, b) for a, b in zip(other[2:], whole[2:], strict=True))


@given(ROWS)
def test_texts_are_replaced_as_if_rows_had_them(rows: list[tuple[int, str, str]]) -> None:
    """What then differs by nothing is one."""
    whole = counts_of(table_of(rows), np.full(len(rows), FIRST))
    known = counts_of(
        table_of([(n, m, actor.replace("x", "z")) for n, m, actor in rows]),
        np.full(len(rows), FIRST),
    )
    assert whole is not None
    assert known is not None
    found = reworded(whole, lambda text: text.replace("x", "z"))
    assert found is not None
    assert found[:2] == known[:2]
    assert all(np.array_equal(a, b) for a, b in zip(found[2:], known[2:], strict=True))


def test_columns_are_given_up_where_cells_would_be_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last one first; and without any that fits there are no counts."""
    rows = [(0, "ab"[n % 2], f"actor {n}") for n in range(20)]
    monkeypatch.setattr(counts_module, "CELLS_MAX", 10)
    found = counts_of(table_of(rows), np.full(20, FIRST))
    assert found is not None
    assert found.columns == COLUMNS[:-1]
    assert found.rows.tolist() == [10, 10]
    monkeypatch.setattr(counts_module, "CELLS_MAX", 1)
    assert counts_of(table_of(rows), np.full(20, FIRST)) is None


@given(st.binary(max_size=40))
def test_bytes_that_are_no_counts_are_told(content: bytes) -> None:
    """As none, and so is what was cut short."""
    assert read(content) is None
    whole = counts_of(table_of([(0, "a", "x")]), np.full(1, FIRST))
    assert whole is not None
    assert read(bytes_of(whole).to_pybytes()[: len(content) - 60]) is None


SPANS = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 90)), max_size=6)


@given(st.lists(st.integers(0, 400), unique=True), SPANS, SPANS, st.integers(1, 30))
def test_windows_hold_all_there_is(minutes: list[int], a: Any, b: Any, count: int) -> None:
    """In order, apart from each other, each with the kinds that it has something of."""
    limits = (0, 400 * MINUTE_US)
    tallies = {}
    for kind, some in (("spans", a), ("events", b)):
        spans = united(((x * MINUTE_US, (x + y) * MINUTE_US) for x, y in some), limits)
        told = sorted(m for m in minutes if not any(x <= m * MINUTE_US < y for x, y in spans))
        tallies[kind] = Tally(np.array(told, np.int64), np.full(len(told), 3), spans)
    found = list(windows(tallies, count))
    assert all(x.end <= y.begin for x, y in pairwise(found))
    for kind, tally in tallies.items():
        held = united(((w.begin, w.end) for w in found if kind in w.kinds), (0, 1 << 60))
        pieces = [(m * MINUTE_US, (m + 1) * MINUTE_US) for m in tally.minute.tolist()]
        for begin, end in (*pieces, *tally.untold):
            assert any(x <= begin and end <= y for x, y in held)


@given(SPANS, st.integers(1, 4))
def test_few_spans_hold_what_many_held(given_: Any, most: int) -> None:
    """And no more of them than so many."""
    spans = united(((x, x + y) for x, y in given_), (0, 1 << 60))
    found = few(spans, most)
    assert len(found) <= most
    assert all(any(x <= a and b <= y for x, y in found) for a, b in spans)
    assert len(spans) > most or found == spans


def test_only_kinds_of_events_are_counted(tmp_path: Path) -> None:
    """And a list goes with its file."""
    clock = Clock()
    archive = archive_in(tmp_path, clock, rows=4)
    fill(archive, random.Random(2), 20)
    archive.write_due(all_of_it=True)
    counted = {one.relative_to(tmp_path).parts[0] for one in tmp_path.rglob("*.counts")}
    assert counted == {"spans", "events"} < {kind.name for kind in KINDS}
    archive.merge(T0_US + 9 * HOUR_US)
    clock.now += REMOVE_SECONDS
    archive.merge(T0_US + 9 * HOUR_US)
    for beside in tmp_path.rglob("*.counts"):
        assert beside.with_suffix("").exists()
