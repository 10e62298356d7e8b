"""The archive holds each record once, whatever ends it, and a look sees files and tail alike."""

import random
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from streams.console.archive.archive import Archive
from streams.console.archive.kinds import KIND
from streams.console.archive.store import Store
from streams.errors import ConfigError, StateError
from streams.runtime import topics
from tests.tiers import slow_but
from tests.unit.console.at_hand import (
    HOUR_MS,
    SECOND,
    T0_US,
    TELEMETRY,
    Clock,
    archive_in,
    event,
    incident,
    message,
    trace,
)


def offsets(archive: Archive, kind: str = "traces") -> list[int]:
    """Return the offsets of all archived records of a kind."""
    look = archive.look(kind)
    found = look.tail["offset"].to_pylist()
    if look.files:
        found += archive.dataset(look.files, KIND[kind].schema).to_table()["offset"].to_pylist()
    return sorted(found)


def test_a_file_is_written_when_it_is_due(tmp_path: Path) -> None:
    """By rows, by age, by the hour of Kafka's time; until then a look sees it all the same."""
    clock = Clock()
    archive = archive_in(tmp_path, clock, rows=3, seconds=60)
    for offset in range(4):
        archive.take(message(topics.TRACES, offset, trace()))
    assert [(s.first, s.last) for s in archive.look("traces").files] == [(0, 2)]
    clock.now += 59
    archive.write_due()
    assert len(archive.look("traces").files) == 1
    clock.now += 1
    archive.write_due()
    assert [(s.first, s.last) for s in archive.look("traces").files] == [(0, 2), (3, 3)]
    later_ms = message(topics.TRACES, 4, trace()).timestamp_ms + HOUR_MS
    archive.take(message(topics.TRACES, 4, trace()))
    archive.take(message(topics.TRACES, 5, trace(), timestamp_ms=later_ms))
    assert [s.hour for s in archive.look("traces").files] == ["2025-10-09T08"] * 3
    assert offsets(archive) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("seed", slow_but([0], range(12)))
def test_crashes_lose_and_double_nothing(tmp_path: Path, seed: int) -> None:
    """A console that dies at any moment goes on where its files end."""
    chance = random.Random(seed)
    log = [message(topics.TRACES, 2 * n, trace()) for n in range(60)]  # odd ones are markers
    clock = Clock()
    archive = archive_in(tmp_path, clock, rows=chance.randint(1, 9), seconds=10)
    at = 0
    while at < len(log):
        archive.take(log[at])
        at += 1
        clock.now += chance.random() * 3
        archive.write_due()
        if chance.random() < 0.1:
            archive.merge(T0_US + 2 * HOUR_MS * 1000)
        if chance.random() < 0.1:  # the process dies, perhaps in the midst of a file
            (tmp_path / "traces" / "x.parquet.unfinished").parent.mkdir(exist_ok=True)
            (tmp_path / "traces" / "x.parquet.unfinished").write_bytes(b"PAR1")
            # ... or between the files of two kinds
            files = sorted((tmp_path / chance.choice(["traces", "spans"])).rglob("*.parquet"))
            for file in files[-1:]:
                file.unlink()
            archive = archive_in(tmp_path, clock, rows=chance.randint(1, 9), seconds=10)
            (start,) = archive.starts({(topics.TRACES, 0): (0, 120)}).values()
            at = next((i for i, one in enumerate(log) if one.offset >= start), len(log))
    archive.write_due(all_of_it=True)
    fresh = archive_in(tmp_path)
    assert offsets(fresh) == offsets(fresh, "spans") == [one.offset for one in log]
    assert not list(tmp_path.rglob("*.unfinished"))


def test_a_full_disk_keeps_the_tail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written stays in memory, is seen, and is written once when there is room."""
    archive = archive_in(tmp_path, rows=2)
    for offset in range(2):
        archive.take(message(topics.TRACES, offset, trace()))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", full)
        with pytest.raises(OSError, match="No space"):
            archive.take(message(topics.TRACES, 2, trace()))
    assert offsets(archive) == [0, 1]
    archive.take(message(topics.TRACES, 2, trace()))
    assert offsets(archive) == [0, 1, 2]
    assert [(s.first, s.last) for s in archive.look("traces").files] == [(0, 1)]


def test_unreadable_records_are_counted_and_passed_over(tmp_path: Path) -> None:
    """Garbage in a derived topic stops nothing; its offset counts as read."""
    archive = archive_in(tmp_path)
    archive.take(message(topics.TRACES, 0, trace(), value=b"garbage"))
    archive.take(message(topics.TRACES, 1, trace()))
    assert archive.unreadable[topics.TRACES] == 1
    assert offsets(archive) == [1]
    assert archive.next_offsets == {(topics.TRACES, 0): 2}
    foreign = message(topics.INCIDENTS, 0, incident()).value
    archive.take(message(topics.TRACES, 2, trace(), value=foreign))
    archive.take(message(topics.TRACES, 3, trace(), value=None))
    assert archive.unreadable[topics.TRACES] == 3
    assert archive.next_offsets == {(topics.TRACES, 0): 4}


def test_what_is_of_no_kind_is_not_read_again(tmp_path: Path) -> None:
    """A topic of spans alone gives no row of `events`; a file without rows says how far it was."""
    clock = Clock()
    archive = archive_in(tmp_path, clock, seconds=60)
    for offset in range(3):
        archive.take(message(TELEMETRY, offset, event("span")))
    clock.now += 1_000
    archive.write_due()
    assert archive.look("events").files == []
    archive.write_due(all_of_it=True)
    assert [(s.first, s.last) for s in archive.look("events").files] == [(0, 2)]
    assert archive_in(tmp_path).starts({(TELEMETRY, 0): (0, 9)}) == {(TELEMETRY, 0): 3}
    archive.take(message(TELEMETRY, 3, event("log")))
    assert offsets(archive, "events") == [3]


def test_clocks_that_differ_make_no_files(tmp_path: Path) -> None:
    """Senders whose clocks lie on two sides of an hour take turns: that closes one file."""
    archive = archive_in(tmp_path)
    for offset in range(20):
        at_ms = message(TELEMETRY, 0, event("log")).timestamp_ms + offset % 2 * HOUR_MS
        archive.take(message(TELEMETRY, offset, event("log"), timestamp_ms=at_ms))
    assert len(archive.look("events").files) == 1
    assert offsets(archive, "events") == list(range(20))


def test_a_topic_made_anew_is_told(tmp_path: Path) -> None:
    """An archive ahead of its topic would miss what comes: it is refused, with what to do."""
    archive = archive_in(tmp_path, rows=1)
    for offset in range(3):
        archive.take(message(topics.TRACES, offset, trace()))
    with pytest.raises(StateError, match=r"made anew.*Operator action"):
        archive_in(tmp_path).starts({(topics.TRACES, 0): (0, 1)})


def test_a_place_that_is_none_is_refused() -> None:
    """A wrong URL ends the start, naming the setting."""
    with pytest.raises(ConfigError, match="SPANLOOM_CONSOLE_ARCHIVE"):
        Store("gopher://x/y")


def test_files_are_left_out_by_the_time_of_their_rows(tmp_path: Path) -> None:
    """Not by when they were appended: a recording of last year is found where it belongs."""
    archive = archive_in(tmp_path, rows=2)
    year_us = 365 * 24 * 3_600 * SECOND
    for n in range(8):
        start = T0_US + n * SECOND - (year_us if n % 4 < 2 else 0)
        archive.take(message(topics.TRACES, n, trace(f"{n:032x}", start=start)))

    def found(begin: int, end: int) -> list[tuple[int, int]]:
        files = archive.look("traces", (T0_US + begin * SECOND, T0_US + end * SECOND)).files
        return [(one.first, one.last) for one in files]

    assert found(0, 10) == [(2, 3)]
    assert found(0, 2) == []
    assert found(3, 4) == [(2, 3)]
    back = -year_us // SECOND
    assert found(back, back + 10) == [(0, 1), (4, 5)]
    assert found(back + 5, back + 6) == [(4, 5)]
    fresh = archive_in(tmp_path)
    assert [s.first for s in fresh.look("traces", (T0_US - year_us, T0_US)).files] == [0, 4]


def test_files_older_than_a_column_are_found_all_the_same(tmp_path: Path) -> None:
    """An archive of before has neither the column nor a list of ids; what it lacks is null."""
    archive = archive_in(tmp_path, rows=2)
    for n in range(4):
        archive.take(message(topics.TRACES, n, trace(f"{n:032x}")))
    archive.write_due(all_of_it=True)
    for file in tmp_path.glob("traces/*/*.parquet"):
        table = pyarrow.parquet.read_table(file).drop_columns(["linked_trace_ids"])
        pyarrow.parquet.write_table(table, file)
        file.with_name(f"{file.name}.ids").unlink()
    fresh = archive_in(tmp_path)
    found = fresh.look("traces", ids={"trace_id": [f"{1:032x}"]}).tail
    assert found["offset"].to_pylist() == [1]
    assert found["linked_trace_ids"].to_pylist() == [None]
    assert len(fresh.look("traces", ids={"linked_trace_ids": ["a" * 32]}).tail) == 0
