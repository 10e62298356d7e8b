"""Files become fewer and lose nothing, and an id is found wherever it lies."""

import contextlib
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.console.archive.archive import REMOVE_SECONDS, SLACK_US, Archive
from streams.console.archive.files import HOUR_US, Segment, positions
from streams.console.archive.ids import groups, places, wanted
from streams.console.archive.kinds import KIND
from streams.console.archive.lists import Lists, hour_path
from streams.console.archive.merging import MERGED_BYTES, covered, merged, merges
from streams.console.archive.store import Store
from streams.runtime import topics
from tests.tiers import slow_but
from tests.unit.console.at_hand import (
    HOUR_MS,
    T0_US,
    TELEMETRY,
    Clock,
    archive_in,
    event,
    message,
    trace,
)

SAME_SIZE = 12
OVER_US = T0_US + 2 * HOUR_US + SLACK_US
"""When the hour of what tests write is over."""


def segment(
    first: int, last: int, hour: int = 8, kind: str = "spans", partition: int = 0
) -> Segment:
    """Return a file."""
    return Segment(kind, f"2026-11-26T{hour:02d}", "t", partition, first, last)


def rows(archive: Archive, kind: str, **look: Any) -> list[str]:
    """Return all rows of a kind, sorted."""
    found = archive.look(kind, **look)
    table = found.tail
    if found.files:
        table = pa.concat_tables([table, archive.dataset(found.files, table.schema).to_table()])
    return sorted(map(repr, table.to_pylist()))


def filled(folder: Path, clock: Clock, traces: int = 30) -> Archive:
    """Return an archive with many small files of traces and events."""
    archive = archive_in(folder, clock, rows=3)
    for n in range(traces):
        one = trace(f"{n % 10:032x}", record_id=f"rec-{n % 7}", revision=n)
        archive.take(message(topics.TRACES, n, one))
        archive.take(message(TELEMETRY, n, event("log", record_id=f"rec-{n % 7}")))
    archive.write_due(all_of_it=True)
    return archive


def test_an_hour_that_is_over_becomes_one_file(tmp_path: Path) -> None:
    """Nothing is lost or doubled, in this console, in a question that reads, in the next one."""
    clock = Clock()
    archive = filled(tmp_path, clock)
    kinds = ("traces", "spans", "events")
    before = {kind: rows(archive, kind) for kind in kinds}
    held = archive.look("spans")
    assert archive.merge(T0_US) == 0 or len(held.files) >= SAME_SIZE
    assert archive.merge(OVER_US) > 0
    assert [len(archive.look(kind).files) for kind in kinds] == [1, 1, 1]
    assert {kind: rows(archive, kind) for kind in kinds} == before
    still = archive.dataset(held.files, KIND["spans"].schema).to_table()
    assert sorted(map(repr, still.to_pylist())) == before["spans"]
    assert archive.merge(OVER_US) == 0
    fresh = archive_in(tmp_path)
    assert {kind: rows(fresh, kind) for kind in kinds} == before
    assert fresh.next_offsets == archive.next_offsets


def test_what_was_merged_is_removed_later(tmp_path: Path) -> None:
    """Once no question reads it any more; with its list of ids."""
    clock = Clock()
    archive = filled(tmp_path, clock)
    archive.merge(OVER_US)
    assert len(list(tmp_path.glob("spans/*/*.parquet"))) > 1
    clock.now += REMOVE_SECONDS
    archive.merge(OVER_US)
    assert len(list(tmp_path.glob("spans/*/*.parquet"))) == 1
    assert len(list(tmp_path.glob("spans/*/*.ids"))) == 1


@pytest.mark.parametrize("seed", slow_but(range(3), range(8)))
def test_a_merge_that_dies_leaves_nothing_behind(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, within and after the file that covers the others: each row is there once."""
    chance = random.Random(seed)
    archive = filled(tmp_path, Clock(), 12)
    before = rows(archive, "spans")
    steps = chance.randint(0, 12)

    def dying(step: Any) -> Any:
        def done(*given_: Any, **named: Any) -> Any:
            nonlocal steps
            steps -= 1
            if steps < 0:
                raise KeyboardInterrupt
            return step(*given_, **named)

        return done

    with monkeypatch.context() as patch:
        patch.setattr(Store, "_put", dying(Store._put))
        patch.setattr(Store, "_delete", dying(Store._delete))
        patch.setattr("streams.console.archive.archive.REMOVE_SECONDS", -1)
        with contextlib.suppress(KeyboardInterrupt):
            archive.merge(OVER_US)
    fresh = archive_in(tmp_path)
    assert rows(fresh, "spans") == before
    files = {f.relative_to(tmp_path).as_posix() for f in tmp_path.rglob("*.parquet")}
    assert files == {s.path for kind in KIND for s in fresh.look(kind).files}
    for beside in tmp_path.rglob("*.ids"):
        assert beside.with_suffix("").exists()


@given(st.lists(st.tuples(st.integers(1, MERGED_BYTES), st.integers(7, 9)), max_size=60))
def test_merges_cover_what_they_merge_and_nothing_else(given_: list[tuple[int, int]]) -> None:
    """Of one hour, one after the other, and not too large, whatever the sizes and hours."""
    sizes = {}
    for n, (size, hour) in enumerate(given_):
        sizes[segment(10 * n, 10 * n + 8, hour)] = size if n % 3 else 1 + size % 1_000
    ordered = sorted(sizes, key=lambda one: one.first)
    left = dict(sizes)
    for files in merges(sizes, SAME_SIZE, "2026-11-26T07"):
        at = ordered.index(files[0])
        assert tuple(ordered[at : at + len(files)]) == files
        assert len({one.hour for one in files}) == 1
        assert len(files) > 1
        total = sum(left.pop(one) for one in files)
        assert total <= MERGED_BYTES
        whole = merged(files)
        assert covered([*sizes, whole]) == list(files)
        left[whole] = total
    assert positions(left) == positions(sizes)
    again = merges(left, SAME_SIZE, "2026-11-26T07")
    assert not [some for some in again if some[0].hour.endswith("07")]


def test_files_of_an_hour_that_goes_on_are_merged_when_they_are_many() -> None:
    """As many of one size; and of an hour that is over, but still being filled, likewise."""
    sizes = {segment(n, n): 1_000 for n in range(SAME_SIZE * 2 - 1)}
    assert [len(some) for some in merges(sizes, SAME_SIZE, "2026-11-26T07")] == [SAME_SIZE]
    at = segment(0, 0)
    filling = {(at.at, at.hour)}
    assert [len(some) for some in merges(sizes, SAME_SIZE, "2026-11-26T08", filling)] == [SAME_SIZE]
    assert [len(some) for some in merges(sizes, SAME_SIZE, "2026-11-26T08")] == [len(sizes)]


def test_who_reads_beside_the_console_removes_nothing(tmp_path: Path) -> None:
    """What is unfinished may be about to be finished; what is covered is left out all the same."""
    archive = filled(tmp_path, Clock())
    archive.merge(OVER_US)
    (tmp_path / "spans" / "x.parquet.unfinished").write_bytes(b"PAR1")
    there = sorted(tmp_path.rglob("*.*"))
    found = [one for one in Store(str(tmp_path)).segments() if one.kind == "spans"]
    assert found == archive.look("spans").files
    assert sorted(tmp_path.rglob("*.*")) == there


def test_merged_rows_keep_their_order(tmp_path: Path) -> None:
    """As they were appended: what belongs together in time lies together."""
    archive = filled(tmp_path, Clock())
    archive.merge(OVER_US)
    files = archive.look("traces").files
    found = archive.dataset(files, KIND["traces"].schema).to_table()["offset"].to_pylist()
    assert found == sorted(found)


@pytest.mark.parametrize("is_merged", [False, True])
def test_an_id_is_found(tmp_path: Path, is_merged: bool) -> None:
    """By each column of ids, in files of all sizes and in what is in no file yet."""
    archive = filled(tmp_path, Clock())
    if is_merged:
        archive.merge(OVER_US)
    archive.take(message(topics.TRACES, 99, trace("0" * 31 + "3", record_id="rec-3")))
    for kind, column, value in (
        ("traces", "trace_id", "0" * 31 + "3"),
        ("traces", "record_ids", "rec-3"),
        ("spans", "trace_id", "0" * 31 + "3"),
        ("spans", "record_id", "rec-3"),
        ("events", "record_id", "rec-3"),
        ("events", "record_id", "nobody"),
    ):
        found = archive.look(kind, ids={column: [value]})
        assert not found.files
        all_of_it = [
            row
            for row in rows(archive, kind)
            if f"'{column}': '{value}'" in row or f"'{column}': ['{value}']" in row
        ]
        hit = [repr(row) for row in found.tail.to_pylist()]
        assert sorted(row for row in hit if row in all_of_it) == all_of_it
        assert len(hit) <= len(all_of_it) + 3  # of the tail all rows are there
        assert bool(all_of_it) == (value != "nobody")


def test_a_file_without_a_list_of_ids_is_read_whole(tmp_path: Path) -> None:
    """The list makes it quick, not right."""
    archive = filled(tmp_path, Clock())
    known = rows(archive, "spans", ids={"record_id": ["rec-2"]})
    assert known
    for n, one in enumerate(sorted(tmp_path.rglob("*.ids"))):
        if n % 3:
            one.write_bytes(one.read_bytes()[: 8 * (n % 3 - 1)])  # empty, or cut short
        else:
            one.unlink()
    assert rows(archive_in(tmp_path), "spans", ids={"record_id": ["rec-2"]}) == known


def slow_hash(column: str, id_: str) -> int:
    """Return the hash's 48 bits as `archive.ids` has to have it, whatever the version."""
    octets = id_.encode()
    mixed = int.from_bytes(column.encode()[-8:], "little") ^ len(octets)
    for at in range(0, len(octets), 8):
        mixed ^= int.from_bytes(octets[at : at + 8], "little")
        for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
            mixed = (mixed ^ mixed >> 33) * factor % 2**64
        mixed ^= mixed >> 33
    return mixed >> 16


@given(st.lists(st.text(max_size=40), min_size=1), st.sampled_from(("trace_id", "batch_ids")))
def test_the_hash_of_an_id_is_for_ever(ids: list[str], column: str) -> None:
    """Lists outlive the program that wrote them."""
    known = {slow_hash(column, id_) << 16 | n // 2 for n, id_ in enumerate(ids) if id_}
    assert places(pa.table({column: ids}), (column,), range(2, len(ids) + 2, 2)).tolist() == sorted(
        known
    )


TEXTS = st.lists(st.sampled_from(["", "a", "b", "ü", "x" * 99]), max_size=3)


@given(st.lists(TEXTS, min_size=1, max_size=30), st.integers(1, 7))
def test_lists_of_ids_leave_none_out(given_: list[list[str]], group_rows: int) -> None:
    """Each id is in the row groups that hold it, and in no other."""
    table = pa.table(
        {"one": [some[0] if some else "" for some in given_], "many": given_},
        pa.schema([("one", pa.string()), ("many", pa.list_(pa.string()))]),
    )
    list_ = places(table, ("one", "many"), range(group_rows, 99, group_rows))
    for id_ in ("a", "b", "ü", "x" * 99, "z"):
        in_one = {i // group_rows for i, some in enumerate(given_) if some[:1] == [id_]}
        in_many = {i // group_rows for i, some in enumerate(given_) if id_ in some}
        assert groups(list_, wanted({"one": [id_]})) == sorted(in_one)
        assert groups(list_, wanted({"many": [id_, "z"]})) == sorted(in_many)


HOURS = 5


def many_hours(folder: Path, clock: Clock) -> Archive:
    """Return an archive of some hours with many files each, which are not merged."""
    archive = archive_in(folder, clock, rows=1)
    for n in range(HOURS * 6):
        at_ms = T0_US // 1000 + n // 6 * HOUR_US // 1000 + n
        one = trace(f"{n:032x}", record_id=f"rec-{n % 7}")
        archive.take(message(topics.TRACES, n, one, timestamp_ms=at_ms))
    archive.write_due(all_of_it=True)
    return archive


def counted_opens(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that each list of ids that is opened is added to."""
    opened: list[str] = []
    read = Lists._read

    def noted(self: Lists, path: str) -> Any:
        opened.append(path)
        return read(self, path)

    monkeypatch.setattr(Lists, "_read", noted)
    return opened


def test_an_hour_is_looked_up_in_one_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same is found, files that it does not name included, and few lists are opened."""
    monkeypatch.setattr("streams.console.archive.archive.merges", lambda *_: [])
    clock = Clock()
    archive = many_hours(tmp_path, clock)
    known = {n: rows(archive, "spans", ids={"record_id": [f"rec-{n}"]}) for n in range(8)}
    archive.merge(OVER_US + HOURS * HOUR_US)
    assert len(list(tmp_path.glob("spans/*/hour.ids"))) == HOURS
    fresh, opened = archive_in(tmp_path), counted_opens(monkeypatch)
    assert {n: rows(fresh, "spans", ids={"record_id": [f"rec-{n}"]}) for n in range(8)} == known
    trace_id = f"{3:032x}"
    opened.clear()
    found = rows(archive_in(tmp_path), "spans", ids={"trace_id": [trace_id]})
    assert len(found) == 1
    assert len(opened) <= HOURS + 1
    late = trace(trace_id, revision=2)
    fresh.take(message(topics.TRACES, 99, late, timestamp_ms=T0_US // 1000 + 4 * HOUR_MS))
    fresh.write_due(all_of_it=True)
    assert len(rows(fresh, "spans", ids={"trace_id": [trace_id]})) == 2


def test_an_hours_list_that_is_broken_or_gone_is_done_without(tmp_path: Path) -> None:
    """And one of a file that was written anew is not believed."""
    archive = many_hours(tmp_path, Clock())
    known = rows(archive, "spans", ids={"record_id": ["rec-3"]})
    times = {
        hour: {one: (0, 1) for one in archive.look("spans").files if one.hour == hour}
        for hour in {one.hour for one in archive.look("spans").files}
    }
    for some in times.values():
        archive.store.list_hour(some)
    for n, one in enumerate(sorted(tmp_path.glob("spans/*/hour.ids"))):
        one.write_bytes(one.read_bytes()[: n * 9])
    assert rows(archive_in(tmp_path), "spans", ids={"record_id": ["rec-3"]}) == known
    for some in times.values():
        archive.store.list_hour(some)
    kind, first = KIND["spans"], archive.look("spans").files[0]
    table = archive.store.read(kind, [first])
    ids = pa.array(["renamed"] * len(table))
    place = table.schema.names.index("record_id")
    archive.store.write(kind, first, table.set_column(place, "record_id", ids).cast(kind.schema))
    assert len(rows(archive, "spans", ids={"record_id": ["renamed"]})) == len(table)
    assert len(list(tmp_path.glob("spans/*/hour.ids"))) == len(times) - 1


def test_an_hours_list_goes_with_its_files(tmp_path: Path) -> None:
    """When the last of them goes, and at a start when there is none."""
    clock = Clock()
    archive = many_hours(tmp_path, clock)
    for hour in {one.hour for one in archive.look("spans").files}:
        some = [one for one in archive.look("spans").files if one.hour == hour]
        archive.store.list_hour({one: (0, 1) for one in some})
    oldest = min(one.hour for one in archive.look("spans").files)
    archive.replace([o for o in archive.look("spans").files if o.hour == oldest], None, 0)
    clock.now += REMOVE_SECONDS
    archive.merge(0)
    assert not (tmp_path / hour_path("spans", oldest)).exists()
    assert len(list(tmp_path.glob("spans/*/hour.ids"))) == HOURS - 1
    (tmp_path / hour_path("spans", oldest)).write_bytes(b"left")
    archive_in(tmp_path)
    assert not (tmp_path / hour_path("spans", oldest)).exists()
