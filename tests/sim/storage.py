"""A task's changelog and its local copy, in memory: the real `Changelog` over simulated parts.

What is real: which pieces are read, how segments are numbered, when old ones are folded, and
whether the local copy is believed. What is simulated: the topic, and the database under the copy.
"""

from collections.abc import Sequence
from pathlib import Path

from streams.runtime.changelog import Changelog
from streams.state.local import Record
from tests.sim.broker import Log


class LocalCopy:
    """The local copy of one task's state on one worker's disk; keeps the contract of LocalState."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._offset: int | None = None
        self._earlier: list[tuple[dict[bytes, bytes], int]] = []

    def load(self) -> tuple[list[tuple[bytes, bytes]], int] | None:
        """Return the records and where the changelog goes on, None without anything to believe."""
        return None if self._offset is None else (list(self._values.items()), self._offset)

    def get(self, key: bytes) -> bytes | None:
        """Return one value."""
        return self._values.get(key)

    def write(self, records: Sequence[Record], changelog_offset: int, *, replace: bool) -> None:
        """Put records on top after they were committed; `replace` drops the earlier ones first."""
        if self._offset is not None:
            self._earlier.append((dict(self._values), self._offset))
        if replace:
            self._values = {}
        for key, value in records:
            self._values.pop(key, None)
            if value is not None:
                self._values[key] = value
        self._offset = changelog_offset

    def wipe(self) -> None:
        """Delete the copy."""
        self._values, self._offset = {}, None

    def close(self) -> None:
        """Do nothing: there is no file to close."""

    def go_back(self, writes: int) -> bool:
        """Become the copy as it was some writes ago, as a restored disk is; whether it could."""
        if len(self._earlier) < writes:
            return False
        values, self._offset = self._earlier[-writes]
        self._values = dict(values)
        del self._earlier[-writes:]
        return True


class SimulatedChangelog(Changelog):
    """The changelog partition of a task, over a simulated log and a simulated disk."""

    def __init__(self, topic: str, partition: int, log: Log, copy: LocalCopy) -> None:
        super().__init__({}, topic, partition, Path("never-opened"))
        self._local = copy  # type: ignore[assignment]
        self._log = log

    def _end(self) -> int:
        return self._log.end

    def _read(self, start: int) -> tuple[list[Record], int]:
        records = self._log.records[self._log.first_at(start) :]
        found = [(record.key or b"", record.value) for record in records]
        return found, records[-1].offset + 1 if records else start
