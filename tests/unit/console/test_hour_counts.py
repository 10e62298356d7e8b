"""Counts of an hour together: they tell what those of its files tell, or are not believed."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.console.archive import counts as counts_module
from streams.console.archive.archive import Archive
from streams.console.archive.counts import (
    FIRST,
    HourCounts,
    counts_of,
    read,
    read_hour,
    summed,
    together,
    written_hour,
)
from streams.console.archive.counts import written as bytes_of
from streams.console.archive.files import HOUR_US, Segment
from streams.console.archive.kinds import KIND
from streams.console.archive.store import Store
from streams.console.archive.tally import Tally
from tests.unit.console.at_hand import T0_US, archive_in, dying_at
from tests.unit.console.test_counts import ROWS, check_counts_alone, fill, table_of

END_US = T0_US + 12 * HOUR_US
COUNTED = ("spans", "events")


def listed(archive: Archive) -> None:
    """Write the lists and counts of all hours, as `merge` does once they are over."""
    for kind in COUNTED:
        files = archive.look(kind).files
        for hour in {one.hour for one in files}:
            some = [one for one in files if one.hour == hour]
            archive.store.list_hour({one: archive.store.times(KIND[kind], one) for one in some})


def told(archive: Archive) -> list[tuple[list[int], list[int], list[tuple[int, int]]]]:
    """Return what the counts of an archive tell of each kind."""
    found: list[Tally] = [archive.tally(kind, (0, END_US), {}) for kind in COUNTED]
    return [(one.minute.tolist(), one.rows.tolist(), one.untold) for one in found]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Segment]:
    """The files whose own counts were read since the list was cleared."""
    own: Callable[[Store, Segment], object] = Store.counts
    found: list[Segment] = []

    def noted(self: Store, one: Segment) -> object:
        found.append(one)
        return own(self, one)

    monkeypatch.setattr(Store, "counts", noted)
    return found


def test_hours_are_counted_by_one_file_each(tmp_path: Path, opened: list[Segment]) -> None:
    """The same is told, and no file's own counts are opened for it."""
    archive = archive_in(tmp_path, rows=7)
    fill(archive, random.Random(6), 40)
    archive.write_due(all_of_it=True)
    known = told(archive)
    listed(archive)
    opened.clear()
    fresh = archive_in(tmp_path)
    assert told(fresh) == known
    assert opened == []
    check_counts_alone(fresh)


def test_files_that_an_hour_does_not_name_are_counted_beside_it(
    tmp_path: Path, opened: list[Segment]
) -> None:
    """Of what comes late the own counts are read, and of nothing else."""
    archive = archive_in(tmp_path, rows=7)
    chance = random.Random(7)
    fill(archive, chance, 30)
    archive.write_due(all_of_it=True)
    listed(archive)
    named = {one for kind in COUNTED for one in archive.look(kind).files}
    fill(archive, chance, 30)
    archive.write_due(all_of_it=True)
    late = {one for kind in COUNTED for one in archive.look(kind).files} - named
    assert late
    opened.clear()
    fresh = archive_in(tmp_path)
    check_counts_alone(fresh)
    assert set(opened) <= late


def test_an_hour_with_a_file_that_is_gone_is_not_believed(tmp_path: Path) -> None:
    """Merged or expired: what it had cannot be taken away from a sum."""
    archive = archive_in(tmp_path, rows=7)
    fill(archive, random.Random(8), 40)
    archive.write_due(all_of_it=True)
    listed(archive)
    (gone, *_) = archive.look("events").files
    archive.replace([gone], None, 0)
    check_counts_alone(archive)


@pytest.mark.parametrize("step", range(8))
def test_an_hour_is_not_told_by_what_a_file_had_before(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ends the writing of a file anew: its hour's counts go before it changes."""
    archive = archive_in(tmp_path)
    fill(archive, random.Random(9), 20)
    archive.write_due(all_of_it=True)
    listed(archive)
    (one, *_) = archive.look("events").files
    store, kind = archive.store, KIND["events"]
    check_counts_alone(archive)
    for list_ in tmp_path.glob("events/*/hour.ids"):
        list_.unlink()  # of which nothing depends
    rows = store.read(kind, [one])
    with dying_at(monkeypatch, step):
        store.write(kind, one, rows.slice(2))
    check_counts_alone(archive_in(tmp_path))


def test_counts_of_an_hour_that_are_broken_are_done_without(tmp_path: Path) -> None:
    """And they go with the files, and with what a crash left."""
    archive = archive_in(tmp_path, rows=7)
    fill(archive, random.Random(10), 40)
    archive.write_due(all_of_it=True)
    known = told(archive)
    listed(archive)
    places = sorted(tmp_path.glob("*/*/hour.counts"))
    assert places
    for n, place in enumerate(places):
        place.write_bytes(place.read_bytes()[: n * 30])
    assert told(archive_in(tmp_path)) == known
    left = places[0].parent.parent / "hour=2020-01-01T00" / places[0].name
    left.parent.mkdir()
    left.write_bytes(b"left")
    archive_in(tmp_path)
    assert not left.exists()
    archive.store.unlist_hour("events", next(iter(archive.look("events").files)).hour)
    assert len(list(tmp_path.glob("*/*/hour.counts"))) == len(places) - 1


@given(st.lists(st.tuples(ROWS, st.sampled_from((FIRST, 4))), min_size=1, max_size=4))
def test_an_hour_comes_back_from_its_bytes(
    parts: list[tuple[list[tuple[int, str, str]], int]],
) -> None:
    """As the sum of its files and with their names; the counts of a file are no hour."""
    found = {
        f"events/{n}": counts
        for n, (rows, hour) in enumerate(parts)
        if (counts := counts_of(table_of(rows), np.full(len(rows), hour))) is not None
    }
    whole, sum_ = together(found), summed(list(found.values()))
    assert whole is not None
    assert sum_ is not None
    back = read_hour(written_hour(whole).to_pybytes())
    assert back is not None
    assert back.paths == set(found)
    assert back.counts[:2] == sum_[:2]
    assert all(np.array_equal(a, b) for a, b in zip(back.counts[2:], sum_[2:], strict=True))
    assert read_hour(bytes_of(sum_).to_pybytes()) is None
    assert read(written_hour(whole).to_pybytes()) is not None


def test_an_hour_that_would_tell_less_than_its_files_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By columns that were given up, or because none would fit; and so is one of no file."""
    one = counts_of(table_of([(0, "a", f"actor {n}") for n in range(8)]), np.full(8, FIRST))
    two = counts_of(table_of([(1, "a", f"actor {n}") for n in range(8)]), np.full(8, FIRST))
    assert one is not None
    assert two is not None
    assert isinstance(together({"one": one, "two": two}), HourCounts)
    assert together({}) is None
    monkeypatch.setattr(counts_module, "CELLS_MAX", 10)
    assert together({"one": one, "two": two}) is None
    monkeypatch.setattr(counts_module, "CELLS_MAX", 1)
    assert together({"one": one, "two": two}) is None
