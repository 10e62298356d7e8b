"""What one poll returned of one partition: the unit in which telemetry reaches a task."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Chunk:
    """The records of one partition that one poll returned.

    Attributes:
        topic, partition: where they come from.
        start: fetch position before them; not the first offset where there are holes (control
            records, compaction).
        end: fetch position after them.
        records: aiokafka's records (offset, timestamp, key, value), at least one.
    """

    topic: str
    partition: int
    start: int
    end: int
    records: list[Any]
