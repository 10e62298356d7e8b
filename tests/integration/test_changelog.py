"""The changelog gives the state back whole, whatever became of the local copy in between."""

from pathlib import Path

import pytest

from streams.runtime import topics
from streams.runtime.changelog import Changelog
from streams.runtime.commit import Cut, commit_cut, init_transactions, producer_for
from streams.state.segment import scalars_segment

pytestmark = pytest.mark.kafka


class Task:
    """One life of a task: restores, commits segments, dies."""

    def __init__(self, broker: str, name: str, folder: Path) -> None:
        base = {"bootstrap.servers": broker}
        topics.create(topics.admin(base), [topics.changelog_spec(name, 1)])
        self.producer = producer_for(base, name)
        init_transactions([self.producer])
        self.changelog = Changelog(base, name, 0, folder)
        self.restored = self.changelog.restore()

    @property
    def found(self) -> list[int]:
        """Return the numbers of the segments that the restore gave back."""
        return [segment.scalars["n"] for segment in self.restored.segments]

    def commit(self, n: int, *, is_copied: bool = True) -> None:
        """Commit segment n; without a local copy where the process dies just then."""
        full = self.changelog.wants_full()
        records = self.changelog.records(scalars_segment({"n": n}), full=full)
        cut = Cut(0, [], records, {})
        commit_cut(self.producer, cut, None)
        if is_copied:
            self.changelog.committed(cut, full=full)

    def die(self) -> None:
        self.changelog.close()


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
    assert (third.found, third.restored.from_local) == ([1, 2, 3], 3)
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
    assert (third.found, third.restored.from_local) == ([1, 2, 3], 3)
    third.die()
