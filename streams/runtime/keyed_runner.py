"""The runner of a task with a larger state: each cut holds the entries that changed since the last.

An entry is kept as a row of a segment, under 16 bytes where other tasks have a trace id: an entry
that changed is removed and written anew. So the fold of segments, the local copy and the changelog
do for these tasks what they do for open traces.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from streams.core.bodies import Bodies
from streams.engine.outputs import Outputs
from streams.runtime.stage_runner import StageRunner
from streams.state.segment import Segment, SegmentRows, closed_of, rows_of


class Changes(Protocol):
    """What changed in a state: keys that are gone or written anew, and the entries written."""

    @property
    def removed(self) -> list[bytes]:
        """Return the keys, 16 bytes each."""

    @property
    def entries(self) -> list[tuple[bytes, bytes]]:
        """Return key and value, which is JSON, of each entry."""


class KeyedTask(Protocol):
    """A pure engine task whose state is a small header and entries by key."""

    def step(self, records: Sequence[dict[str, Any]], now_us: int, caught_up: bool) -> Outputs:
        """Take in records and the passing of time."""

    def counters(self) -> dict[str, int]:
        """Return how much was not used, by reason."""

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state; its entries are under `entries`."""

    def header(self) -> dict[str, Any]:
        """Return the state without its entries."""

    def changes(self) -> Changes:
        """Return the entries that changed since the last call."""


class KeyedRunner(StageRunner):
    """Runs one such task; see `StageRunner`.

    Args:
        task: the task without any state.
        restore: makes the task from a header with all its `entries`, or from a whole state that
            `StageRunner` wrote before the task had entries.
        targets: as of `StageRunner`.
        readers: as of `StageRunner`.
    """

    task: Any  # a KeyedTask; the base class knows it as a StageTask only

    def __init__(
        self,
        task: KeyedTask,
        restore: Callable[[dict[str, Any]], KeyedTask],
        targets: Mapping[str, tuple[str, str, int]],
        readers: Mapping[str, Callable[[bytes | None], dict[str, Any]]] | None = None,
    ) -> None:
        super().__init__(task, restore, targets, readers)

    def _segment(self) -> Segment:
        changes = self.task.changes()
        return Segment(
            _rows(changes.entries),
            changes.removed,
            closed_of([]),
            [],
            self._scalars(self.task.header()),
        )

    def load(self, segments: Sequence[Segment]) -> None:
        """Take over the newest header and the entries that are left of all segments."""
        if not segments:
            return
        scalars = segments[-1].scalars or segments[0].scalars
        entries: dict[bytes, bytes] = {}
        for segment in segments:
            scalars = segment.scalars or scalars
            for key in segment.removed:
                entries.pop(key, None)
            keys = _keys(segment.rows)
            entries.update(zip(keys, segment.rows.body, strict=True))
        found = [json.loads(value) for value in entries.values()]
        self._take_over(scalars, {"entries": found, **scalars["task"]})


def _rows(entries: Sequence[tuple[bytes, bytes]]) -> SegmentRows:
    if not entries:
        return rows_of([])
    n = len(entries)
    none = np.zeros(n, np.bool_)
    keys = np.frombuffer(b"".join(key for key, _ in entries), ">u8").astype(np.uint64)
    return SegmentRows(
        keys.reshape(-1, 2),
        np.zeros(n, np.uint8),
        np.zeros(n, np.int64),
        none,
        none,
        Bodies.of([value for _, value in entries]),
    )


def _keys(rows: SegmentRows) -> list[bytes]:
    octets = rows.trace_id.astype(">u8").tobytes()
    return [octets[i : i + 16] for i in range(0, len(octets), 16)]
