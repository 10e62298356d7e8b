"""Somebody is erased from what sums rows up, too: counts, lists of hours, summaries."""

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streams.console.archive.archive import REMOVE_SECONDS, SLACK_US, Archive
from streams.console.archive.erasing import HeldError, erase
from streams.console.archive.files import HOUR_US
from streams.console.archive.ids import groups, wanted
from streams.console.archive.kinds import KIND
from streams.console.archive.retention import DAY_US, Hold
from streams.console.archive.rollup import roll_up
from streams.console.archive.store import Store
from streams.console.archive.summaries import ALL_KINDS, SUMMED
from streams.console.archive.tail import Limits
from streams.console.archive.tiers import Keep
from streams.console.personal import Kept, as_asked
from streams.console.questions.audit import audit
from streams.console.questions.measures import metrics
from streams.console.questions.queries import Queries
from streams.core.privacy.pseudonyms import ERASED
from streams.runtime.reading import Message
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
)
from tests.unit.console.canaries import DIMENSIONS, PRIVACY, full, leaks, octets
from tests.unit.console.test_counts import SPREAD_US, fill, made
from tests.unit.console.test_erasing import PSEUDONYMS, filled

PERSON = "svc-a"
FILTERS: tuple[dict[str, list[str]], ...] = (
    {},
    {"actor": [PERSON]},
    {"actor": [ERASED]},
    {"actor": [PERSON, ERASED], "module": ["ALPHA"]},
    {"module": ["BETA"], "severity": ["ERROR"]},
)
USER = PRIVACY.pseudonyms.of(DIMENSIONS["user"])
KEEP_NONE = Keep(dict.fromkeys(("traces", "spans", "events"), 1.0), {}, {})
LATER_US = T0_US + 3 * DAY_US
EVENTS = 30


def check(archive: Archive) -> None:
    """Compare answers with a slow search of all rows, over all time and a part of it."""
    queries = Queries(archive, 256 << 20, 1)
    rows: list[dict[str, Any]] = []
    for kind in ("spans", "events"):
        look = archive.look(kind)
        rows += look.tail.to_pylist()
        if look.files:
            rows += archive.dataset(look.files, KIND[kind].schema).to_table().to_pylist()
    for start, end in ((0, 1 << 60), (T0_US + HOUR_US // 2, T0_US + SPREAD_US // 2)):
        for asked in FILTERS:
            known = {
                (row["timestamp"], row["event_id"])
                for row in rows
                if start <= row["timestamp"] < end
                and all(row[column] in some for column, some in asked.items())
            }
            page = audit(queries, (start, end), asked, 200)
            assert page.total_count == len(known), (asked, start)
            assert [one["event_id"] for one in page.entries] == [e for _, e in sorted(known)]


@pytest.mark.parametrize("seed", slow_but([0], range(2)))
def test_after_an_erasure_counts_tell_what_a_slow_search_tells(tmp_path: Path, seed: int) -> None:
    """In files and memory, merged or not; of who comes again with an event that is there, too."""
    clock = Clock()
    archive = archive_in(tmp_path, clock, rows=9)
    fill(archive, random.Random(seed), EVENTS)
    before = len(list(tmp_path.rglob("*.counts")))
    check(archive)  # and what it read of counts is remembered
    assert erase(archive, [PERSON], []).rows.keys() == {"traces", "spans", "events"}
    check(archive)
    assert len(list(tmp_path.rglob("*.counts"))) == before
    archive.merge(T0_US + 2 * HOUR_US + SLACK_US)
    archive.write_due(all_of_it=True)
    archive = archive_in(tmp_path, clock)
    check(archive)
    assert leaks(octets(tmp_path), [PERSON]) == []
    chance = random.Random(seed)
    events = [made(chance, n) for n in range(EVENTS)]
    again = batch([one for one in events if one["event_type"] != "TRACE"][:9])
    at_ms = T0_US // 1000 + 2 * HOUR_MS
    archive.take(Message(TELEMETRY, 0, archive.next_offsets[TELEMETRY, 0], at_ms, None, again))
    archive.write_due(all_of_it=True)
    check(archive)
    assert erase(archive, [PERSON], []).rows.keys() == {"events"}
    check(archive)
    check(archive_in(tmp_path, clock))
    assert leaks(octets(tmp_path), [PERSON]) == []


@pytest.mark.parametrize("step", slow_but([1, 4], range(7)))
def test_ended_at_any_step_counts_tell_of_the_rows_there_are(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each file: its counts are away while it changes. The same order does the rest."""
    archive = archive_in(tmp_path)
    for n in range(6):
        one = event("log", event_id=f"{n}", actor=PERSON, timestamp=T0_US + n * HOUR_US // 2)
        archive.take(message(TELEMETRY, n, one, timestamp_ms=T0_US // 1000 + n * HOUR_MS // 2))
    archive.write_due(all_of_it=True)
    check(archive)
    with dying_at(monkeypatch, step) as has_died:
        erase(archive, [PERSON], [])
    assert has_died()
    check(archive)
    check(archive_in(tmp_path))
    erase(archive_in(tmp_path), [PERSON], [])
    check(archive_in(tmp_path))
    assert leaks(octets(tmp_path), [PERSON]) == []


def summaries(archive: Archive) -> dict[str, list[str]]:
    """Return all rows of summaries, by kind, in order."""
    found = {}
    for kind in SUMMED:
        files = archive.look(kind).files
        rows = archive.dataset(files, ALL_KINDS[kind].schema).to_table() if files else None
        found[kind] = [] if rows is None else sorted(map(repr, rows.to_pylist()))
    return found


@pytest.mark.parametrize("minute_days", [{}, {"events": 2.0, "spans": 2.0, "traces": 2.0}])
def test_a_summary_of_who_is_erased_is_that_of_the_erased(
    tmp_path: Path, minute_days: dict[str, float]
) -> None:
    """By minute or by hour: whether somebody is erased before or after, rows are the same."""
    both = [filled(tmp_path / name) for name in ("after", "before")]
    keep = KEEP_NONE._replace(minute_days=minute_days)
    erase(both[1], [USER], [])
    for archive in both:
        archive.write_due(all_of_it=True)
        assert roll_up(archive, keep, [], LATER_US)
    tier = "hour" if minute_days else "minute"
    assert USER in repr(summaries(both[0])[f"eventsby{tier}"])
    assert f"eventsby{tier}" in erase(both[0], [USER], []).rows
    assert summaries(both[0]) == summaries(both[1])
    assert ERASED in repr(summaries(both[0]))
    assert leaks(octets(tmp_path / "after"), [USER]) == []
    assert not erase(both[0], [USER], []).files
    assert summaries(archive_in(tmp_path / "after")) == summaries(both[1])


def test_a_hold_keeps_a_summary(tmp_path: Path) -> None:
    """When nothing else has the person: by minute its hour, by hour its whole day."""
    clock = Clock()
    archive = Archive(
        Store(str(tmp_path)), Limits(), telemetry=(TELEMETRY,), clock=clock, privacy=PRIVACY
    )
    for n, user in enumerate((DIMENSIONS["user"], "somebody else", "somebody else")):
        at_us = T0_US + n * HOUR_US
        one = full("metric_outside_traces", n, dimensions={"user": user}, timestamp=at_us)
        archive.take(message(TELEMETRY, n, one, timestamp_ms=at_us // 1000))
    archive.write_due(all_of_it=True)
    assert roll_up(archive, KEEP_NONE, [], LATER_US)
    clock.now += REMOVE_SECONDS
    archive.merge(LATER_US)
    of_hour = Hold("2025-10-09T08", "2025-10-09T08", frozenset(["events"]), "case 17")
    later = of_hour._replace(first="2025-10-09T20", last="2025-10-09T21")
    others = Hold("2025-10-01T00", "2025-11-01T00", frozenset(["spans"]))
    before = summaries(archive)
    with pytest.raises(HeldError, match=r"hold 2 \(case 17\) keeps eventsbyminute of 2025-10-09T0"):
        erase(archive, [USER], [others, of_hour])
    roll_up(archive, KEEP_NONE._replace(minute_days={"events": 2.0}), [], LATER_US)
    clock.now += REMOVE_SECONDS
    archive.merge(LATER_US)
    with pytest.raises(HeldError, match="keeps eventsbyhour"):
        erase(archive, [USER], [later])
    assert before != summaries(archive)
    assert USER in repr(summaries(archive))
    assert erase(archive, [USER], [others]).rows == {"eventsbyhour": 1}
    assert leaks(octets(tmp_path), [USER]) == []


def test_a_summary_is_asked_for_by_a_plain_value(tmp_path: Path) -> None:
    """As rows are: whoever may asks for the series of somebody, until they are erased."""
    archive = filled(tmp_path)
    archive.write_due(all_of_it=True)
    assert roll_up(archive, KEEP_NONE, [], LATER_US)
    queries, dimensions = Queries(archive, 256 << 20, 1), f"user={DIMENSIONS['user']}"

    def series(kept: Kept) -> list[dict[str, Any]]:
        range_us = T0_US - DAY_US, T0_US + DAY_US
        answer = metrics(queries, *range_us, "*", dimensions, None, kept)
        assert {one["tier"] for one in answer["tiers"]} <= {"minute"}
        found: list[dict[str, Any]] = answer["series"]
        return found

    (one,) = series(PRIVACY.all_of)
    assert dict(one["dimensions"])["user"] == USER
    assert sum(point["count"] for point in one["points"]) == 1
    assert series(as_asked) == []
    erase(archive, [USER], [])
    assert series(PRIVACY.all_of) == []


def test_no_list_of_an_hour_has_who_was_erased(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even of files that are gone, and it is written anew without them."""
    monkeypatch.setattr("streams.console.archive.archive.merges", lambda *_: [])
    clock = Clock()
    archive = Archive(
        Store(str(tmp_path)),
        Limits(rows=2),
        telemetry=(TELEMETRY,),
        clock=clock,
        privacy=PRIVACY,
    )
    names = [PRIVACY.pseudonyms.of(name) for name in ("gone", "here")]
    for n in range(20):
        partition, name = (0, "gone") if n < 10 else (1, "here")
        sent = message(TELEMETRY, n, full("log", n, record_id=name))
        archive.take(sent._replace(partition=partition))
    archive.take(message(TELEMETRY, 30, full("log", 30), timestamp_ms=T0_US // 1000 + HOUR_MS))
    archive.write_due(all_of_it=True)
    hour = archive.look("events").files[0].hour

    def listed(name: str) -> bool:
        list_ = Store(str(tmp_path)).hour_list("events", hour)
        columns = {column: [name] for column in KIND["events"].ids}
        return list_ is not None and bool(groups(list_.entries, wanted(columns)))

    archive.merge(LATER_US)
    assert [listed(name) for name in names] == [True, True]
    gone = [one for one in archive.look("events").files if (one.partition, one.hour) == (0, hour)]
    archive.replace(gone, None, 0)
    clock.now += REMOVE_SECONDS
    archive.merge(LATER_US)
    assert listed(names[0])
    assert not erase(archive, names[:1], []).files
    assert not listed(names[0])
    archive.merge(LATER_US)
    assert [listed(name) for name in names] == [False, True]
    assert erase(archive, names[1:], []).files
    archive.merge(LATER_US)
    assert [listed(name) for name in names] == [False, False]
    assert listed(ERASED)


def test_summing_up_waits_for_its_turn(tmp_path: Path) -> None:
    """What is read for a summary is not erased before the summary is in its place."""
    archive = filled(tmp_path)
    archive.write_due(all_of_it=True)
    thread = threading.Thread(target=roll_up, args=(archive, KEEP_NONE, [], LATER_US))
    with archive.turn:
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        assert not any(summaries(archive).values())
    thread.join(60)
    assert any(summaries(archive).values())


def test_all_at_once_ends(tmp_path: Path) -> None:
    """Taking in, merging, summing up and erasing do not wait for each other for ever."""
    archive = filled(tmp_path)
    failed: list[BaseException] = []

    def often(act: Callable[[int], Any]) -> threading.Thread:
        def run() -> None:
            try:
                for n in range(8):
                    act(n)
            except BaseException as error:
                failed.append(error)

        return threading.Thread(target=run, daemon=True)

    def take(n: int) -> None:
        archive.take(message(TELEMETRY, 200 + n, full("log", 200 + n)))
        archive.write_due(all_of_it=True)

    def upkeep(_: int) -> None:
        roll_up(archive, KEEP_NONE, [], LATER_US)
        archive.merge(LATER_US)

    queries = Queries(archive, 256 << 20, 1)
    acts = (
        take,
        upkeep,
        lambda _: erase(archive, [*PSEUDONYMS, USER], []),
        lambda _: audit(queries, (0, 1 << 60), {"actor": PSEUDONYMS}, 5),
    )
    threads = [often(act) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    assert failed == []
    erase(archive, [*PSEUDONYMS, USER], [])
    assert leaks(octets(tmp_path), [*PSEUDONYMS, USER]) == []
