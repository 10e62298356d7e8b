"""The runner of the task for alerts from outside: it is handed whole records, not decoded ones."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from streams.codec.recordbatch import Record
from streams.errors import RecordError
from streams.runtime.chunk import Chunk
from streams.runtime.stage_runner import StageRunner


class ExternalRunner(StageRunner):
    """Runs a task that reads a topic whose values are anybody's."""

    def step(self, chunks: Sequence[Chunk], caught_up_us: Mapping[str, int], now_us: int) -> None:
        """Hand the chunks' records over with their place, and step the task."""
        taken: list[dict[str, Any]] = []
        for chunk in chunks:
            self.positions[chunk.topic] = chunk.end
            for record in _records(chunk):
                self.rows += 1
                taken.append(
                    {
                        "topic": chunk.topic,
                        "partition": chunk.partition,
                        "offset": record.offset,
                        "timestamp": record.timestamp * 1000,
                        "key": record.key,
                        "value": record.value,
                    }
                )
        caught_up = bool(caught_up_us) and all(caught_up_us.values())
        self.publish(self.task.step(taken, now_us, caught_up))
        self.is_dirty = self.is_dirty or bool(chunks)


def _records(chunk: Chunk) -> Iterator[Record]:
    """Yield the records; a batch that cannot be taken apart is one, with its bytes as the value."""
    for batch in chunk.batches:
        try:
            yield from replace(chunk, batches=(batch,)).records
        except RecordError:
            yield Record(batch.base_offset, batch.base_ms, None, batch.payload)
