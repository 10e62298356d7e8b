"""The changelog over a log in memory: what is kept, what is deleted, and what a restart finds."""

import random
import shutil
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from streams.errors import StateError
from streams.runtime import changelog as changelog_module
from streams.runtime.changelog import Changelog
from streams.runtime.commit import Cut
from streams.state import compaction
from streams.state.compaction import FOLD_BYTES_MAX
from streams.state.live import LiveSegments
from streams.state.local import DamagedCopyError, LocalState, NoRoomError, Record
from streams.state.segment import FORMAT, Segment, scalars_segment
from tests.unit.state.state_cases import with_events


class Log:
    """A changelog partition: records by offset, and what compaction leaves of them."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def kept(self) -> dict[bytes, bytes]:
        """Return the last value of each key that was not deleted."""
        kept: dict[bytes, bytes | None] = dict(self.records)
        return {key: value for key, value in kept.items() if value is not None}


class MemoryChangelog(Changelog):
    """The real changelog over a log in memory."""

    def __init__(
        self,
        log: Log,
        folder: Path,
        retire_seconds: float = 0.0,
        topic_id: str = "",
        fold_bytes_max: int = FOLD_BYTES_MAX,
        if_empty: Callable[[], None] = lambda: None,
    ) -> None:
        self.log = log
        self.rebuilds: Counter[str] = Counter()
        self.met: Counter[str] = Counter()
        super().__init__(
            {},
            "state",
            0,
            folder,
            0,
            self.rebuilds,
            retire_seconds,
            topic_id,
            fold_bytes_max,
            self.met,
        )
        self.restored = self.restore(if_empty)

    def _end(self) -> int:
        return len(self.log.records)

    def _read(self, start: int) -> tuple[list[Record], int]:
        return self.log.records[start:], len(self.log.records)

    @property
    def found(self) -> list[int]:
        """The events that the restore gave back, by the number of their segment."""
        return sorted(n for s in self.restored.segments for n in s.rows.kafka_us.tolist())

    def commit(self, segment: Segment, *, is_copied: bool = True) -> Cut:
        """Commit a segment; uncopied, as if the process died just then."""
        cut = Cut(0, [], self.records(segment), {})
        self.log.records += [(r.key or b"", r.value) for r in cut.changelog]
        cut.next_changelog_offset = len(self.log.records)
        if is_copied:
            self.committed(cut)
        return cut


def event(n: int, removed: Sequence[int] = (), size_bytes: int = 100) -> Segment:
    """Return a segment that opens trace n, and removes others."""
    keys = [trace.to_bytes(16, "big") for trace in (n, *removed)]
    return with_events(n, keys[:1], keys[1:], size_bytes)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fold early, and a little at a time."""
    monkeypatch.setattr(compaction, "FLOOR_BYTES", 30_000)
    monkeypatch.setattr(compaction, "STEP_BYTES", 500)
    monkeypatch.setattr(compaction, "STEP_FACTOR", 2)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("seed", range(12))
def test_a_task_that_dies_anywhere_has_its_state(tmp_path: Path, seed: int) -> None:
    """Bases come and go in the background of the cuts; with and without a copy all is there."""
    rng = random.Random(seed)
    log, alive, n = Log(), set[int](), 0
    task = MemoryChangelog(log, tmp_path)
    for _ in range(6):
        for _ in range(rng.randrange(1, 60)):
            gone = rng.sample(sorted(alive), len(alive) // 3)
            is_copied = rng.random() < 0.97
            task.commit(event(n, gone), is_copied=is_copied)
            alive = alive - set(gone) | {n}
            n += 1
            if not is_copied:
                break
        task.close()
        if rng.random() < 0.3:
            shutil.rmtree(tmp_path)
        elif rng.random() < 0.3:  # the broker compacts
            log.records = [
                (k, v) if log.kept().get(k) == v else (b"gone", None) for k, v in log.records
            ]
        task = MemoryChangelog(log, tmp_path)
        assert task.found == sorted(alive)
    task.close()


@pytest.mark.usefixtures("small")
def test_what_is_kept_is_bounded_by_what_lives(tmp_path: Path) -> None:
    """Of 500 traces five are open at a time: what a restart reads does not grow."""
    log = Log()
    task = MemoryChangelog(log, tmp_path)
    sizes = []
    for n in range(500):
        task.commit(event(n, [n - 5] if n >= 5 else []))
        sizes.append(sum(map(len, log.kept().values())))
    assert max(sizes[250:]) < 1.2 * max(sizes[:250])
    assert max(sizes) < 3 * 30_000, "what makes a base due, and what came while it was made"
    task.commit(event(500))
    live = LiveSegments()
    live.add(log.kept().values())
    left_over = log.kept().keys() - live.line().all_keys()
    assert left_over <= {*task._retired, *(key for key, _ in task._made)} | unfinished(task)
    task.close()


@pytest.mark.parametrize(("fold_bytes_max", "is_met"), [(3_000, True), (FOLD_BYTES_MAX, False)])
def test_a_fold_goes_by_its_bound_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fold_bytes_max: int, is_met: bool
) -> None:
    """With less for each cut a base takes more of them; each that would have taken more counts."""
    monkeypatch.setattr(compaction, "FLOOR_BYTES", 30_000)
    steps = []
    step = compaction.Compaction.step
    monkeypatch.setattr(
        compaction.Compaction, "step", lambda c, size: (steps.append(size), step(c, size))[1]
    )
    task = MemoryChangelog(Log(), tmp_path, fold_bytes_max=fold_bytes_max)
    for n in range(400):
        task.commit(event(n))
    assert task.met["fold_bytes_max"] == (len(steps) if is_met else 0)
    assert max(steps) <= fold_bytes_max
    assert len(steps) > 10 if is_met else len(steps) > 0
    task.close()


def unfinished(task: Changelog) -> set[bytes]:
    """Return the keys of a base in the making."""
    return set(task._compaction.published()) if task._compaction is not None else set()


def test_an_unfinished_base_is_deleted_by_the_next_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    """It has no manifest: its pieces are nothing, and do not stay for ever."""
    monkeypatch.setattr(compaction, "FLOOR_BYTES", 1_000_000)
    monkeypatch.setattr(compaction, "STEP_FACTOR", 0)
    log, n = Log(), 0
    task = MemoryChangelog(log, tmp_path)
    while not any(b"b/" in key for key in log.kept()):
        task.commit(event(n, size_bytes=80_000))  # a frame holds four of them
        n += 1
    assert not any(key.endswith(b"m") for key in log.kept()), "it has no manifest yet"
    task.close()
    again = MemoryChangelog(log, tmp_path)
    assert again.found == list(range(n))
    again.commit(event(n))
    assert not any(b"b/" in key for key in log.kept())
    again.close()


def test_of_a_task_that_says_all_at_every_cut_one_segment_is_kept(tmp_path: Path) -> None:
    """The small tasks write their whole state: the one before it is deleted by the next cut."""
    log = Log()
    task = MemoryChangelog(log, tmp_path)
    for n in range(20):
        task.commit(scalars_segment({"n": n}))
        assert len(log.kept()) <= 2
    task.close()
    again = MemoryChangelog(log, tmp_path)
    assert again.restored.segments[0].scalars == {"n": 19}
    again.close()


# --- formats


def with_format(records: Sequence[Record], version: int) -> list[Record]:
    """Return records as another version writes them."""
    return [(k, v and v[:4] + struct.pack(">H", version) + v[6:]) for k, v in records]


def test_a_changelog_of_another_format_is_refused(tmp_path: Path) -> None:
    """What cannot be read is never read wrongly: it says which version to run."""
    log = Log()
    task = MemoryChangelog(log, tmp_path)
    task.commit(event(0))
    task.close()
    log.records = with_format(log.records, FORMAT + 1)
    shutil.rmtree(tmp_path)
    with pytest.raises(StateError, match=rf"format {FORMAT + 1}, .*run the version that wrote it"):
        MemoryChangelog(log, tmp_path)


def test_a_copy_of_the_format_before_is_read(tmp_path: Path) -> None:
    """Only the frames are written in another way since, and both ways are read."""
    log = Log()
    task = MemoryChangelog(log, tmp_path)
    task.commit(event(0))
    task.close()
    log.records = with_format(log.records, FORMAT - 1)
    shutil.rmtree(tmp_path)
    again = MemoryChangelog(log, tmp_path)
    assert again.found == [0]
    again.close()


@pytest.mark.parametrize("topic_id", ["", "2"])
def test_a_start_that_is_refused_leaves_the_local_copy(tmp_path: Path, topic_id: str) -> None:
    """The changelog was deleted and made again: the copy may be all that is left of the state."""
    log = Log()
    old_id = "1" if topic_id else ""  # brokers before 2.8 give none
    task = MemoryChangelog(log, tmp_path, topic_id=old_id)
    for n in range(3):
        task.commit(event(n))
    task.close()

    def refuse() -> None:
        raise StateError("the state was deleted")

    with pytest.raises(StateError, match="deleted"):
        MemoryChangelog(Log(), tmp_path, topic_id=topic_id, if_empty=refuse)
    again = MemoryChangelog(log, tmp_path, topic_id=old_id)
    assert (again.found, again.restored.from_local, dict(again.rebuilds)) == ([0, 1, 2], 6, {})
    again.close()


def test_a_changelog_of_a_later_format_leaves_the_local_copy(tmp_path: Path) -> None:
    """A version that cannot read the state must not cost the one that can its quick start."""
    log = Log()
    task = MemoryChangelog(log, tmp_path)
    task.commit(event(0))
    task.close()
    later = Log()
    later.records = with_format(log.records, FORMAT + 1)
    with pytest.raises(StateError, match=r"format.*run the version that wrote it"):
        MemoryChangelog(later, tmp_path, topic_id="2")
    again = MemoryChangelog(log, tmp_path)
    assert (again.found, again.restored.from_local, dict(again.rebuilds)) == ([0], 2, {})
    again.close()


def test_a_copy_of_another_format_is_read_again_from_the_changelog(tmp_path: Path) -> None:
    """The copy is a cache: after an upgrade or a downgrade it is made anew, and counted."""
    log = Log()
    task = MemoryChangelog(log, tmp_path)
    for n in range(3):
        task.commit(event(n))
    task.close()
    local = LocalState(tmp_path, f"{task.topic}/{task.partition}")
    local.write(with_format(log.records, FORMAT - 2), len(log.records), replace=True)
    local.close()
    again = MemoryChangelog(log, tmp_path)
    assert (again.found, dict(again.rebuilds)) == ([0, 1, 2], {"damaged": 1})
    again.close()


def test_a_copy_of_another_topic_gives_way(tmp_path: Path) -> None:
    """What fits together with nothing in the changelog is not the state."""
    other = MemoryChangelog(Log(), tmp_path)
    for n in range(3):
        other.commit(event(n))
    other.close()
    log = Log()
    task = MemoryChangelog(log, tmp_path / "elsewhere")
    for n in range(90, 99):
        task.commit(event(n))
    task.close()
    log.records = [(b"x", None)] * 7 + log.records[6:]  # as if the earlier ones had expired
    with pytest.raises(StateError, match="incomplete"):
        MemoryChangelog(log, tmp_path / "nothing")


# --- the local copy


def test_a_full_disk_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit stands; the copy is behind until there is room, and then it has all."""
    log = Log()
    task = MemoryChangelog(log, tmp_path)
    task.commit(event(0))

    def full(*_: object, **__: object) -> None:
        raise NoRoomError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(LocalState, "write", full)
        task.commit(event(1))
        task.commit(event(2))
        task.catch_up()
        assert task.waiting_for == "disk_full"
    task.catch_up()
    assert task.waiting_for == ""
    task.close()
    again = MemoryChangelog(log, tmp_path)
    assert (again.found, again.restored.from_local, dict(again.rebuilds)) == ([0, 1, 2], 6, {})
    again.close()


def test_a_copy_that_cannot_be_made_anew_stops_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that takes nothing is for a person to look at; what is committed is safe."""
    task = MemoryChangelog(Log(), tmp_path)

    def broken(*_: object, **__: object) -> None:
        raise DamagedCopyError("write_failed", "Input/output error")

    monkeypatch.setattr(LocalState, "write", broken)
    with pytest.raises(StateError, match=r"cannot be made anew.*Operator action"):
        task.commit(event(0))
    task.close()


def test_a_full_disk_while_a_base_is_made_keeps_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    """Reading the copy may need room as well: the fold waits, nothing is thrown away."""
    log, n = Log(), 0
    task = MemoryChangelog(log, tmp_path)
    while task._compaction is None:
        task.commit(event(n))
        n += 1

    def full(*_: object) -> bytes:
        raise NoRoomError("no room")

    task._compaction._read = full
    task.commit(event(n))
    assert task.waiting_for == "disk_full"
    for more in range(1, 41):  # with room again the base is made of all that is there
        task.commit(event(n + more))
    assert task.waiting_for == ""
    assert task._live.line.base is not None
    task.close()
    for folder in (tmp_path, tmp_path / "from the changelog alone"):
        again = MemoryChangelog(log, folder)
        assert again.found == list(range(n + 41))
        again.close()


# --- without transactions


def test_a_segment_that_was_torn_never_was(tmp_path: Path) -> None:
    """A crash in the midst of its pieces: the state before it, and its number is used again."""
    log = Log()
    task = MemoryChangelog(log, tmp_path)
    task.commit(event(0))
    before = len(log.records)
    cut = task.commit(event(1, [0], size_bytes=400_000), is_copied=False)
    assert len(cut.changelog) > 2
    for kept in range(before + 1, len(log.records)):
        torn = Log()
        torn.records = log.records[:kept]
        again = MemoryChangelog(torn, tmp_path / str(kept))
        assert again.found == [0]
        again.commit(event(7))
        again.close()
        third = MemoryChangelog(torn, tmp_path / str(kept))
        assert third.found == [0, 7]
        third.close()
    task.close()


def test_a_holder_that_lost_its_task_changes_nothing(tmp_path: Path, small: None) -> None:
    """Frozen, it wakes and goes on beside its successor, bases and all: its words do not count."""
    log = Log()
    frozen = MemoryChangelog(log, tmp_path / "frozen", retire_seconds=60.0)
    for n in range(40):
        frozen.commit(event(n))
    successor = MemoryChangelog(log, tmp_path / "successor", retire_seconds=60.0)
    successor.commit(event(1_000, [3]))
    for n in range(40):
        frozen.commit(event(2_000 + n, [n]))
        if n % 4 == 0:
            successor.commit(event(1_001 + n))
    frozen.close()
    successor.close()
    expected = [n for n in range(40) if n != 3] + [1_000] + [1_001 + n for n in range(0, 40, 4)]
    third = MemoryChangelog(log, tmp_path / "third")
    assert third.found == expected
    third.close()


def test_what_a_base_replaces_is_kept_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    """Deleted too early by somebody who lost the task, it could not be had again."""
    clock = [1_000.0]
    monkeypatch.setattr(changelog_module.time, "monotonic", lambda: clock[0])
    log, n = Log(), 0
    task = MemoryChangelog(log, tmp_path, retire_seconds=60.0)
    while not any(key.endswith(b"m") for key in log.kept()):
        task.commit(event(n))
        n += 1
    for _ in range(3):
        task.commit(event(n))
        n += 1
    assert b"1/0/0" in log.kept()
    clock[0] += 61
    for _ in range(2):
        task.commit(event(n))
        n += 1
    assert b"1/0/0" not in log.kept()
    task.close()


def test_a_copy_of_a_changelog_that_was_made_again_is_not_believed(tmp_path: Path) -> None:
    """The new one holds more than the old did: by its offsets the old copy would fit."""
    old, new = Log(), Log()
    task = MemoryChangelog(old, tmp_path, topic_id="1")
    task.commit(event(7))
    task.close()
    elsewhere = MemoryChangelog(new, tmp_path / "elsewhere", topic_id="2")
    for n in (1, 2, 3):
        elsewhere.commit(event(n))
    elsewhere.close()
    task = MemoryChangelog(new, tmp_path, topic_id="2")
    assert (task.found, task.rebuilds) == ([1, 2, 3], {"foreign": 1})
    task.close()
