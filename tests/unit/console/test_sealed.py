"""Files are written beside those who take records in: in order, each once, and never unheard of."""

import random
import threading
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from streams.console.archive.archive import Archive
from streams.console.archive.changes import Changed
from streams.console.archive.files import At, Segment
from streams.console.archive.kinds import KIND, Kind
from streams.console.archive.sealed import Sealed
from streams.console.archive.store import Store
from streams.console.archive.tail import Limits, Tail, shares
from streams.runtime import topics
from tests.tiers import slow_but
from tests.unit.console.at_hand import archive_in, message, trace

WAIT_SECONDS = 30


class Gate:
    """Lets a store write when it is told to, or has it fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.tries = 0
        self.begun = threading.Event()
        self.error: OSError | None = None
        write: Callable[..., int] = Store.write

        def gated(*args: Any) -> int:
            self.tries += 1
            self.begun.set()
            assert self.open.wait(WAIT_SECONDS)
            if self.error is not None:
                raise self.error
            return write(*args)

        monkeypatch.setattr(Store, "write", gated)


def offsets(archive: Archive) -> list[int]:
    look = archive.look("traces")
    found: list[int] = look.tail["offset"].to_pylist()
    if look.files:
        found += archive.dataset(look.files, KIND["traces"].schema).to_table()["offset"].to_pylist()
    return sorted(found)


def take(archive: Archive, *numbers: int) -> None:
    for offset in numbers:
        archive.take(message(topics.TRACES, offset, trace()))


def test_records_are_taken_while_a_file_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who takes them in does not wait, and a look sees what waits, once."""
    gate = Gate(monkeypatch)
    archive = archive_in(tmp_path, rows=2)
    with archive.writing_beside():
        take(archive, 0, 1, 2, 3, 4)
        assert gate.begun.wait(WAIT_SECONDS)
        assert not archive.look("traces").files
        assert offsets(archive) == [0, 1, 2, 3, 4]
        assert archive.counts()["traces"]["tail_records"] == 5
        gate.open.set()
        archive.write_due(all_of_it=True)
        assert [(s.first, s.last) for s in archive.look("traces").files] == [(0, 1), (2, 3), (4, 4)]
        assert offsets(archive) == [0, 1, 2, 3, 4]
    assert offsets(archive_in(tmp_path)) == [0, 1, 2, 3, 4]


def test_a_full_disk_is_told_to_who_takes_and_tried_again_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each failure is raised once for each time that it is asked; nothing is lost, all in order."""
    gate = Gate(monkeypatch)
    gate.open.set()
    gate.error = OSError(28, "No space left on device")
    archive = archive_in(tmp_path, rows=2)
    with archive.writing_beside():
        take(archive, 0, 1)
        with pytest.raises(OSError, match="No space"):
            archive.write_due(all_of_it=True)
        tries = gate.tries
        for again in range(1, 4):
            with pytest.raises(OSError, match="No space"):
                take(archive, 2)
            assert gate.tries == tries + again, "nothing is tried that nobody asked for"
        gate.error = None
        take(archive, 2, 3)
        archive.write_due(all_of_it=True)
    assert offsets(archive) == [0, 1, 2, 3]
    assert archive.next_offsets == {(topics.TRACES, 0): 4}
    assert archive_in(tmp_path).next_offsets == {(topics.TRACES, 0): 4}


def test_what_waits_is_changed_and_kept_from_merging_as_a_tail_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Erasing that left it out would see its pseudonyms written a moment later."""
    gate = Gate(monkeypatch)
    gate.open.set()
    gate.error = OSError(28, "No space left on device")
    archive = archive_in(tmp_path, rows=2)
    take(archive, 0, 1)
    with pytest.raises(OSError, match="No space"):
        archive.write_due(all_of_it=True)
    gate.error = None
    seen = []

    def change(one: Segment, kind: Kind, table: pa.Table) -> Changed | None:
        seen.append((one.kind, one.first, one.last, len(table)))
        if kind.name != "traces":
            return None
        names = table.schema.get_field_index("trace_id")
        other = table.set_column(names, table.schema.field(names), pa.array(["ef" * 16] * 2))
        return Changed(other, str)

    archive.visit_tails(change)
    assert sorted(seen) == [("spans", 0, 1, 2), ("traces", 0, 1, 2)]
    archive.settle()
    files = archive.look("traces").files
    assert [(one.first, one.last) for one in files] == [(0, 1)]
    held = archive.dataset(files, KIND["traces"].schema).to_table()
    assert held["trace_id"].to_pylist() == ["ef" * 16] * 2


def test_a_thread_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed in an earlier block is written by whoever settles, and forgotten by the next."""
    gate = Gate(monkeypatch)
    gate.open.set()
    gate.error = OSError(28, "No space left on device")
    archive = archive_in(tmp_path, rows=2)
    with archive.writing_beside():
        take(archive, 0)
        with pytest.raises(OSError, match="No space"):
            archive.write_due(all_of_it=True)
    gate.error = None
    archive.settle()
    with archive.writing_beside():
        take(archive, 1)
        archive.write_due(all_of_it=True)
    assert [(one.first, one.last) for one in archive.look("traces").files] == [(0, 0), (1, 1)]


def test_what_no_one_foresaw_is_raised_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that ends unheard would leave who takes records waiting for ever."""

    def broken(*_: object) -> int:
        raise BaseException("a library's panic")

    monkeypatch.setattr(Store, "write", broken)
    archive = archive_in(tmp_path, rows=1)
    with archive.writing_beside():
        take(archive, 0)
        with pytest.raises(BaseException, match="panic"):
            archive.write_due(all_of_it=True)
        with pytest.raises(BaseException, match="panic"):
            archive.settle()


def test_little_waits() -> None:
    """Beyond the bound who takes records waits until there is room."""
    lock = threading.Lock()
    room = threading.Semaphore(0)
    written: list[At] = []

    def write(at: At, _: Tail) -> None:
        assert room.acquire(timeout=WAIT_SECONDS)
        with lock:
            written.append(at)
            sealed.drop_first()

    sealed = Sealed(lock, write, bytes_max=25)
    with sealed.beside():
        with lock:
            sealed.put(("traces", "t", 0), tail(size_bytes=30))
        sealed.settle()  # one alone is no reason to wait, however large
        for n in (1, 2):
            with lock:
                sealed.put(("traces", "t", n), tail(size_bytes=10))
        waiter = threading.Thread(target=sealed.settle, daemon=True)
        waiter.start()
        waiter.join(0.05)
        assert waiter.is_alive(), "50 bytes wait, 25 may"
        room.release()
        waiter.join(WAIT_SECONDS)
        assert not waiter.is_alive()
        assert len(written) == 1
        room.release(2)
        sealed.settle(all_of_it=True)
    assert written == [("traces", "t", n) for n in range(3)]
    with lock:
        sealed.put(("traces", "t", 3), tail(size_bytes=10))
    room.release()
    sealed.settle()
    assert len(written) == 4, "without a thread who settles writes"


def tail(size_bytes: int) -> Tail:
    return Tail(KIND["traces"], 0, 1, "2026-11-26T08", float("inf"), rows=1, size_bytes=size_bytes)


@pytest.mark.parametrize("seed", slow_but([0], range(12)))
def test_failures_and_ends_lose_and_double_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Several partitions, a disk that fails now and then, consoles that end with what waits."""
    chance = random.Random(seed)
    write: Callable[..., int] = Store.write

    def failing(*args: Any) -> int:
        if chance.random() < 0.2:
            raise OSError(28, "No space left on device")
        return write(*args)

    monkeypatch.setattr(Store, "write", failing)
    logs = {
        p: [message(topics.TRACES, n, trace(), partition=p) for n in range(40)] for p in range(3)
    }
    for _ in range(4):
        archive = archive_in(tmp_path, rows=chance.randint(2, 6))
        starts = archive.starts({(topics.TRACES, p): (0, 40) for p in logs})
        with archive.writing_beside():
            left = [m for p, log in logs.items() for m in log[starts[topics.TRACES, p] :]]
            left.sort(key=lambda m: m.offset)
            for one in left[: chance.randint(20, 60)]:
                until_done(partial(archive.take, one))
                if chance.random() < 0.05:
                    archive.merge(0)
    archive = archive_in(tmp_path, rows=5)
    starts = archive.starts({(topics.TRACES, p): (0, 40) for p in logs})
    with archive.writing_beside():
        for p, log in logs.items():
            for one in log[starts[topics.TRACES, p] :]:
                until_done(partial(archive.take, one))
        until_done(partial(archive.write_due, all_of_it=True))
    assert offsets(archive_in(tmp_path)) == sorted([*range(40)] * 3)


def until_done(what: Callable[[], None]) -> None:
    for _ in range(1_000):
        try:
            what()
            return
        except OSError:
            continue
    raise AssertionError("never done")


def test_files_of_partitions_that_grow_alike_are_not_due_together() -> None:
    """Of 32 tails that begin together the shares lie apart, and none is small."""
    limits = Limits(rows=20_000)
    some = shares()
    due = sorted({next(n for n in range(20_001) if is_full(n, share, limits)) for share in
                  (next(some) for _ in range(32))})  # fmt: skip
    assert len(due) == 32
    assert due[0] >= 5_000
    assert due[-1] == 20_000
    assert max(later - earlier for earlier, later in pairwise(due)) < 1_000


def is_full(rows: int, share: float, limits: Limits) -> bool:
    one = Tail(KIND["traces"], 0, 1, "2026-11-26T08", float("inf"), share, rows=rows)
    return one.is_full(limits)
