"""The changelog gives the state back whole, whatever became of the local copy in between."""

import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from streams.errors import StateError
from streams.runtime import topics
from streams.runtime.changelog import Changelog
from streams.runtime.commit import Cut, commit_cut, init_transactions, producer_for
from streams.state import compaction
from streams.state.live import LiveSegments
from streams.state.segment import Segment
from tests.fault.harness import delete_topics
from tests.integration.disks import small_disk
from tests.unit.state.state_cases import with_events

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]


class Task:
    """One life of a task: restores, commits segments, dies."""

    def __init__(self, broker: str, name: str, folder: Path, free_bytes_min: int = 0) -> None:
        base = {"bootstrap.servers": broker}
        topics.create(topics.admin(base), [topics.changelog_spec(name, 1)])
        self.producer = producer_for(base, name)
        init_transactions(self.producer)
        self.rebuilds: Counter[str] = Counter()
        self.changelog = Changelog(base, name, 0, folder, free_bytes_min, self.rebuilds)
        self.restored = self.changelog.restore()

    @property
    def found(self) -> list[int]:
        """Return the events that the restore gave back: the number of the segment of each."""
        return [n for s in self.restored.segments for n in s.rows.kafka_us.tolist()]

    def commit(self, n: int, *, is_copied: bool = True, size_bytes: int = 100) -> None:
        """Commit segment n, which brings one event; uncopied, as if the process died just then."""
        records = self.changelog.records(event(n, size_bytes))
        cut = Cut(0, [], records, {})
        commit_cut(self.producer, cut, None)
        if is_copied:
            self.changelog.committed(cut)

    def die(self) -> None:
        self.changelog.close()


def event(n: int, size_bytes: int = 100, removed: Sequence[int] = ()) -> Segment:
    """Return a segment that opens trace n, and removes others."""
    keys = [trace.to_bytes(16, "big") for trace in (n, *removed)]
    return with_events(n, keys[:1], keys[1:], size_bytes)


def test_a_restore_without_local_state_makes_a_whole_local_copy(
    broker: str, unique: str, tmp_path: Path
) -> None:
    """What was read from the changelog is in the local copy that the next restart believes."""
    first = Task(broker, unique, tmp_path / "a")
    first.commit(1)
    first.commit(2)
    first.die()
    second = Task(broker, unique, tmp_path / "b")
    assert (second.found, second.restored.from_local) == ([1, 2], 0)
    second.commit(3)
    second.die()
    third = Task(broker, unique, tmp_path / "b")
    assert (third.found, third.restored.from_local) == ([1, 2, 3], 6)
    third.die()


def test_a_death_between_commit_and_local_copy_leaves_no_hole(
    broker: str, unique: str, tmp_path: Path
) -> None:
    """A segment that was committed and not copied is copied by the restore that reads it."""
    first = Task(broker, unique, tmp_path)
    first.commit(1)
    first.commit(2, is_copied=False)
    first.die()
    second = Task(broker, unique, tmp_path)
    assert second.found == [1, 2]
    second.commit(3)
    second.die()
    third = Task(broker, unique, tmp_path)
    assert (third.found, third.restored.from_local) == ([1, 2, 3], 6)
    third.die()


# --- damage: whatever becomes of the copy, the state is the same, and the reason is counted


def cut_log(database: Path) -> None:
    path = max(database.glob("*.log"))
    path.write_bytes(path.read_bytes()[:-7])


def flip_table(database: Path) -> None:
    path = max(database.glob("*.sst"), key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_manifest(database: Path) -> None:
    path = next(database.glob("MANIFEST-*"))
    path.write_bytes(path.read_bytes()[:-10])


def lose_current(database: Path) -> None:
    (database / "CURRENT").unlink()


def lose_folder(database: Path) -> None:
    shutil.rmtree(database.parent)


def leave_lock(database: Path) -> None:
    """As a process that was killed leaves it: the file is there, nobody holds it."""
    assert (database / "LOCK").exists()


@pytest.mark.parametrize(
    ("damage", "reasons"),
    [
        (cut_log, {"damaged"}),
        (flip_table, {"damaged"}),
        (cut_manifest, {"damaged"}),
        (lose_current, {"damaged"}),
        (lose_folder, {"missing"}),
        (leave_lock, set()),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_damaged_copy_gives_the_same_state(
    broker: str, unique: str, tmp_path: Path, damage: Callable[[Path], None], reasons: set[str]
) -> None:
    """Cut, flipped, gone or left locked: the next start has every event, once, and a whole copy."""
    first = Task(broker, unique, tmp_path / "state")
    for n in range(12):
        first.commit(n, size_bytes=1 << 20 >> 2)
    first.changelog._local._open().flush()  # so that there is a table to damage
    first.commit(12)
    shutil.copytree(tmp_path / "state" / "db", tmp_path / "killed" / "db")  # as a kill leaves it
    first.die()
    damage(tmp_path / "killed" / "db")
    second = Task(broker, unique, tmp_path / "killed")
    assert second.found == list(range(13))
    assert set(second.rebuilds) <= reasons
    # A log or manifest cut at its end may be a valid earlier one: then the changelog has the rest.
    assert damage in (cut_log, cut_manifest) or set(second.rebuilds) == reasons
    second.commit(13)
    second.die()
    third = Task(broker, unique, tmp_path / "killed")
    assert (third.found, third.restored.from_local > 0) == (list(range(14)), True)
    assert not third.rebuilds
    third.die()


def test_a_copy_that_is_lost_while_the_task_runs_is_made_anew(
    broker: str, unique: str, tmp_path: Path
) -> None:
    """The next cut sees it and copies all that is committed; nothing is said twice."""
    task = Task(broker, unique, tmp_path / "state")
    for n in range(5):
        task.commit(n)
    shutil.rmtree(tmp_path / "state")
    for n in range(5, 8):
        task.commit(n)
    assert task.rebuilds == {"removed": 1}
    task.die()
    again = Task(broker, unique, tmp_path / "state")
    assert (again.found, again.restored.from_local) == (list(range(8)), 16)
    again.die()


def test_the_copy_of_another_task_is_not_believed(broker: str, unique: str, tmp_path: Path) -> None:
    """A folder moved or mounted in another's place is whole, fits its changelog, and is not ours.

    The other changelog is longer and numbers its segments the same way: nothing else tells them
    apart, and what it says would be joined to the wrong positions.
    """
    mine = Task(broker, f"{unique}.a", tmp_path / "a")
    other = Task(broker, f"{unique}.b", tmp_path / "b")
    for n in range(5):
        mine.commit(n)
        other.commit(n + 10)
    other.commit(15)
    mine.die()
    other.die()
    shutil.rmtree(tmp_path / "b")
    (tmp_path / "a").rename(tmp_path / "b")
    again = Task(broker, f"{unique}.b", tmp_path / "b")
    assert (again.found, dict(again.rebuilds)) == ([10, 11, 12, 13, 14, 15], {"foreign": 1})
    again.die()


def test_a_topic_that_was_made_anew_is_believed_before_the_copy(
    broker: str, unique: str, tmp_path: Path
) -> None:
    """A copy that knows more than the topic belongs to an earlier one of the same name."""
    first = Task(broker, unique, tmp_path / "state")
    for n in range(5):
        first.commit(n)
    first.die()
    delete_topics(broker, unique.__eq__)
    again = Task(broker, unique, tmp_path / "state")
    assert (again.found, dict(again.rebuilds)) == ([], {"ahead": 1})
    again.die()


# --- a full disk


def test_a_full_disk_loses_nothing_and_is_caught_up_with(
    broker: str, unique: str, tmp_path: Path
) -> None:
    """On a disk that is really full: the commit stands, the task waits, with room it goes on."""
    with small_disk(tmp_path / "disk", 16 << 20) as disk:
        task = Task(broker, unique, disk / "state")
        filler = disk / "filler"
        task.commit(0)
        filler.write_bytes(bytes(12 << 20))
        n = 0
        while not task.changelog.waiting_for:
            n += 1
            assert n < 100, "16 MB hold no 100 segments of 400 kB"
            task.commit(n, size_bytes=400_000)
        assert task.changelog.waiting_for == "disk_full"
        task.changelog.catch_up()
        assert task.changelog.waiting_for == "disk_full", "still no room"
        task.commit(n + 1)  # as a rebalance makes it cut
        filler.unlink()
        task.changelog.catch_up()
        assert task.changelog.waiting_for == ""
        assert not task.rebuilds, "nothing was thrown away"
        task.commit(n + 2)
        task.die()
        again = Task(broker, unique, disk / "state")
        assert again.found == list(range(n + 3))
        assert again.restored.from_local > n
        again.die()


def test_a_start_on_a_full_disk_has_the_state_and_waits(
    broker: str, unique: str, tmp_path: Path
) -> None:
    """No copy can be made: the state is read all the same, and copied when there is room."""
    first = Task(broker, unique, tmp_path / "elsewhere")
    for n in range(3):
        first.commit(n)
    first.die()
    with small_disk(tmp_path / "disk", 8 << 20) as disk:
        task = Task(broker, unique, disk / "state", free_bytes_min=7 << 20)
        (disk / "filler").write_bytes(bytes(4 << 20))
        task.commit(3)
        assert (task.found, task.changelog.waiting_for) == ([0, 1, 2], "disk_full")
        task.die()
        task = Task(broker, unique, disk / "state", free_bytes_min=7 << 20)
        assert (task.found, task.changelog.waiting_for) == ([0, 1, 2, 3], "disk_full")
        (disk / "filler").unlink()
        task.changelog.catch_up()
        assert task.changelog.waiting_for == ""
        task.die()
        again = Task(broker, unique, disk / "state")
        assert again.found == [0, 1, 2, 3]
        assert again.restored.from_local == 8
        again.die()


def test_a_disk_that_became_read_only_stops_the_task(
    broker: str, unique: str, tmp_path: Path
) -> None:
    """Nobody can go on by waiting: it says what to do, and what is committed stays committed."""
    with small_disk(tmp_path / "disk", 16 << 20) as disk:
        task = Task(broker, unique, disk / "state")
        task.commit(0)
        task.die()
        task.restored = task.changelog.restore()
        task.changelog.close()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(StateError, match=r"cannot be written.*Operator action"):
            task.commit(1)
        task.die()
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        again = Task(broker, unique, disk / "state")
        assert again.found == [0, 1]
        again.die()


# --- bases


@pytest.mark.parametrize("seed", [0])
def test_a_task_that_dies_anywhere_between_bases_has_its_state(
    broker: str, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Bases come and go in the background of the cuts; with and without the copy all is there."""
    rng = random.Random(seed)
    monkeypatch.setattr(compaction, "FLOOR_BYTES", 3_000)
    monkeypatch.setattr("streams.state.compaction.STEP_BYTES", 500)
    monkeypatch.setattr("streams.state.compaction.STEP_FACTOR", 0)
    task = Task(broker, unique, tmp_path / "state")
    alive: set[int] = set()
    bases = n = 0
    for _ in range(4):
        for _ in range(rng.randrange(5, 60)):
            gone = rng.sample(sorted(alive), len(alive) // 3)
            cut = Cut(0, [], task.changelog.records(event(n, removed=gone)), {})
            commit_cut(task.producer, cut, None)
            bases += any(
                r.key is not None and r.key.endswith(b"m") and r.value for r in cut.changelog
            )
            alive = alive - set(gone) | {n}
            n += 1
            if rng.random() < 0.95:
                task.changelog.committed(cut)
            else:
                break  # it dies before the copy
        task.die()
        if rng.random() < 0.5:
            shutil.rmtree(tmp_path / "state")
        task = Task(broker, unique, tmp_path / "state")
        assert sorted(task.found) == sorted(alive)
    assert bases >= 1
    task.commit(n)
    task.commit(n + 1)
    records, _ = task.changelog._read(0)
    live: dict[bytes, bytes] = {}
    for key, value in records:
        live.pop(key, None)
        if value is not None:
            live[key] = value
    kept = LiveSegments()
    kept.add(live.values())
    assert live.keys() - kept.line().all_keys() == set(task.changelog._retired) & live.keys()
    task.die()
