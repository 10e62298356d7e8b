"""What one poll returned of one partition: the unit in which telemetry reaches a task."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from streams.codec.recordbatch import Record, RecordBatch, records_of


@dataclass(frozen=True, slots=True)
class Chunk:
    """The record batches of one partition that one poll returned.

    Attributes:
        topic, partition: where they come from.
        start: fetch position before them; not the first offset where there are holes (control
            records, compaction), and past the first records where a batch was sought into.
        end: fetch position after them.
        batches: at least one; records before `start` are not part of the chunk.
    """

    topic: str
    partition: int
    start: int
    end: int
    batches: Sequence[RecordBatch]

    @property
    def rows(self) -> int:
        """How many records the batches hold, those before `start` included."""
        return sum(batch.count for batch in self.batches)

    @property
    def size_bytes(self) -> int:
        """How many bytes the batches have, inflated."""
        return sum(len(batch.payload) for batch in self.batches)

    @property
    def records(self) -> list[Record]:
        """The records, one by one: for topics that carry few.

        Raises:
            RecordError: a batch is damaged.
        """
        found = [record for batch in self.batches for record in records_of(batch)]
        return [record for record in found if record.offset >= self.start]

    def after(self, position: int) -> "Chunk":
        """Return the part of the chunk from a position on, which lies within it."""
        kept = [batch for batch in self.batches if batch.next_offset > position]
        return replace(self, start=position, batches=kept)
