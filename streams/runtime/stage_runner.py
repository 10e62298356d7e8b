"""The runner of a small task (fidelity, incidents, fragments): each cut holds its whole state."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from streams.codec import records
from streams.engine.outputs import Outputs
from streams.errors import RecordError
from streams.runtime.chunk import Chunk
from streams.runtime.commit import OutRecord
from streams.state.segment import Segment, scalars_segment


class StageTask(Protocol):
    """A pure engine task with a JSON-able state."""

    def step(self, records: Sequence[dict[str, Any]], now_us: int, caught_up: bool) -> Outputs:
        """Take in records and the passing of time."""

    def counters(self) -> dict[str, int]:
        """Return how much was not used, by reason."""

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state."""


class StageRunner:
    """Runs one task of the global stage.

    Args:
        task: the task without any state.
        restore: makes the task from a snapshot.
        targets: per topic kind the (topic, schema, partition) of its records; an output may name
            another partition, -1 for the one its key leads to.
        readers: how the values of a topic are read that are not of our schemas; nothing that a
            reader returns is refused, whatever the bytes.
    """

    def __init__(
        self,
        task: StageTask,
        restore: Callable[[dict[str, Any]], StageTask],
        targets: Mapping[str, tuple[str, str, int]],
        readers: Mapping[str, Callable[[bytes | None], dict[str, Any]]] | None = None,
    ) -> None:
        self.task = task
        self.positions: dict[str, int] = {}
        self.topic_ids: dict[str, str] = {}
        self.held: frozenset[str] = frozenset()
        self.rows = 0
        self.is_dirty = False
        self.unreadable = 0
        self._restore = restore
        self._targets = targets
        self._readers = readers or {}
        self._outbox: list[OutRecord] = []

    @property
    def last_cut_ms(self) -> int:
        """Not remembered: nothing is ever looked up by the time of these cuts."""
        return 0

    def step(self, chunks: Sequence[Chunk], caught_up_us: Mapping[str, int], now_us: int) -> None:
        """Decode the chunks and step the task."""
        taken: list[dict[str, Any]] = []
        for chunk in chunks:
            self.positions[chunk.topic] = chunk.end
            read = self._readers.get(chunk.topic, records.decode)
            for record in chunk.records:
                self.rows += 1
                try:
                    taken.append(read(record.value))
                except RecordError:
                    self.unreadable += 1  # not ours: only the worker writes these topics
        caught_up = bool(caught_up_us) and all(caught_up_us.values())
        self.publish(self.task.step(taken, now_us, caught_up))
        self.is_dirty = self.is_dirty or bool(chunks)

    def publish(self, outputs: Outputs) -> None:
        """Keep what a step returned for the next cut."""
        for kind, key, output, own_partition in outputs:
            topic, schema, partition = self._targets[kind]
            if own_partition is not None:
                partition = own_partition
            value = records.encode(schema, output)
            self._outbox.append(OutRecord(topic, partition, key.encode(), value))
        self.is_dirty = self.is_dirty or bool(self._outbox)

    def collect(self, cut_ms: int) -> tuple[list[OutRecord], Segment]:
        """End the cut; the segment always holds the whole state."""
        outputs, self._outbox = self._outbox, []
        self.is_dirty = False
        return outputs, self._segment()

    def _segment(self) -> Segment:
        return scalars_segment(self._scalars(self.task.snapshot()))

    def _scalars(self, task: dict[str, Any]) -> dict[str, Any]:
        return {
            "positions": self.positions,
            "topic_ids": self.topic_ids,
            "task": task,
            "unreadable": self.unreadable,
        }

    def load(self, segments: Sequence[Segment]) -> None:
        """Take over the newest snapshot."""
        if segments:
            scalars = segments[-1].scalars
            self._take_over(scalars, scalars["task"])

    def _take_over(self, scalars: Mapping[str, Any], task: dict[str, Any]) -> None:
        """Go on from what `_scalars` wrote, with the task in this state."""
        self.positions = dict(scalars["positions"])
        self.topic_ids = dict(scalars.get("topic_ids", {}))
        self.unreadable = scalars["unreadable"]
        self.task = self._restore(task)

    def status(self) -> dict[str, Any]:
        """Return what is known of the input, and what was not used, by reason."""
        reasons = {**self.task.counters(), "unreadable": self.unreadable}
        return {"rows": self.rows, "unreadable": self.unreadable, "reasons": reasons}
