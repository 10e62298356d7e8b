"""A task's changelog and its local copy, in memory: the real `Changelog` over simulated parts.

What is real: which pieces are read, how segments are numbered, when a full one is due, and whether
the local copy is believed. What is simulated: the topic, and the database under the copy.
"""

from collections.abc import Sequence
from pathlib import Path

from streams.runtime.changelog import Changelog
from streams.state.local import Manifest
from tests.sim.broker import Log


class LocalCopy:
    """The local copy of one task's state on one worker's disk; keeps the contract of LocalState."""

    def __init__(self) -> None:
        self._pieces: dict[bytes, bytes] = {}
        self._manifest: Manifest | None = None
        self._earlier: list[tuple[dict[bytes, bytes], Manifest]] = []

    def load(self) -> tuple[list[bytes], Manifest] | None:
        """Return the live pieces and the manifest, None when there is nothing to believe."""
        return None if self._manifest is None else (list(self._pieces.values()), self._manifest)

    def write(
        self,
        generation: int,
        pieces: Sequence[tuple[bytes, bytes]],
        changelog_offset: int,
        *,
        replace: bool,
    ) -> None:
        """Add pieces after they were committed; `replace` drops the earlier ones first."""
        if self._manifest is not None:
            self._earlier.append((dict(self._pieces), self._manifest))
        if replace:
            self._pieces = {}
        self._pieces.update(pieces)
        self._manifest = Manifest(generation, len(self._pieces), 0, changelog_offset)

    def wipe(self) -> None:
        """Delete the copy."""
        self._pieces, self._manifest = {}, None

    def close(self) -> None:
        """Do nothing: there is no file to close."""

    def go_back(self, writes: int) -> bool:
        """Become the copy as it was some writes ago, as a restored disk is; whether it could."""
        if len(self._earlier) < writes:
            return False
        self._pieces, self._manifest = self._earlier[-writes]
        self._pieces = dict(self._pieces)
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

    def _read(self, start: int) -> tuple[list[bytes], int]:
        records = self._log.records[self._log.first_at(start) :]
        values = [record.value for record in records if record.value is not None]
        return values, records[-1].offset + 1 if records else start
