"""The simulated broker: logs with holes, transactions that fence, a group with generations.

Owns what outlives every crash. A transaction appears whole or not at all; a producer whose epoch
has been taken over, or whose member's generation is past, is refused.
"""

import zlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from streams.runtime.commit import CommitRefusedError, Cut, OutRecord
from tests.sim.load import Record

TopicPartition = tuple[str, int]


@dataclass
class Log:
    """One partition: its records, and how many of them a reader sees by now.

    Attributes:
        records: in offset order; offsets have holes.
        end: the next offset.
        visible: how many records `read_committed` readers see.
    """

    records: list[Record] = field(default_factory=list)
    end: int = 0
    visible: int = 0

    def append(self, timestamp_ms: int, key: bytes | None, value: bytes | None) -> int:
        """Add a record and return its offset."""
        offset = self.end
        self.records.append(Record(offset, timestamp_ms, key, value))
        self.end += 1
        return offset

    def first_at(self, position: int) -> int:
        """Return the index of the first record at or after an offset."""
        return bisect_left(self.records, position, key=lambda r: r.offset)

    def read(self, position: int, count: int) -> list[Record]:
        """Return up to `count` visible records from an offset on."""
        first = self.first_at(position)
        return self.records[first : min(first + count, self.visible)]

    def next_position(self, records: Sequence[Record], *, past_holes: bool) -> int:
        """Return the fetch position after some records, with or without the holes behind them."""
        after = records[-1].offset + 1
        if not past_holes:
            return after
        index = self.first_at(after)
        return self.records[index].offset if index < self.visible else after

    def is_read_to_end(self, position: int) -> bool:
        """Whether no visible record is left at a position."""
        return self.first_at(position) >= self.visible

    def show_all(self) -> None:
        """Let readers see all records."""
        self.visible = len(self.records)

    def compact(self, upto: int) -> int:
        """Drop records, before index `upto`, whose key comes again later; return how many."""
        newest = {record.key: record.offset for record in self.records}
        kept = [r for i, r in enumerate(self.records) if i >= upto or newest[r.key] == r.offset]
        gone = len(self.records) - len(kept)
        self.records = kept
        self.visible = len(kept)
        return gone


class Broker:
    """Topics, transactional ids and the consumer group.

    Args:
        partitions: of each topic whose records name no partition.
    """

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self.logs: dict[TopicPartition, Log] = {}
        self.epochs: dict[str, int] = {}
        self.generation = 0
        self.offsets: dict[TopicPartition, int] = {}

    def log(self, topic: str, partition: int) -> Log:
        """Return a partition; it is made when it is first named."""
        return self.logs.setdefault((topic, partition), Log())

    def init_transactions(self, transactional_id: str) -> int:
        """Fence the earlier holder, settle what it left, and return the new epoch."""
        self.epochs[transactional_id] = self.epochs.get(transactional_id, 0) + 1
        return self.epochs[transactional_id]

    def commit(
        self, transactional_id: str, epoch: int, generation: int, cut: Cut, *, hide: bool
    ) -> None:
        """Make a cut visible, whole.

        Args:
            transactional_id: of the producer.
            epoch: of the producer.
            generation: of the member that commits.
            cut: what to publish.
            hide: the outputs are not seen by readers yet.

        Raises:
            CommitRefusedError: fenced, or of a past generation; nothing of it is visible.
        """
        refusal = self.refusal(transactional_id, epoch, generation)
        if refusal:
            self.abort(cut)
            raise CommitRefusedError(refusal)
        for record in cut.outputs:
            self._append(record, cut.cut_ms)
        for record in cut.changelog:
            cut.next_changelog_offset = self._append(record, 0) + 1
        for log in self._touched(cut):
            log.end += 1  # the commit marker
            if not hide:
                log.show_all()
        self.offsets.update(cut.offsets)

    def refusal(self, transactional_id: str, epoch: int, generation: int) -> str:
        """Return why a producer may not commit, "" when it may."""
        if self.epochs.get(transactional_id) != epoch:
            return "fenced by a newer epoch"
        return "" if generation == self.generation else "the generation is past"

    def abort(self, cut: Cut) -> None:
        """Leave the holes of a transaction that was produced and then aborted."""
        for record in (*cut.outputs, *cut.changelog):
            self._log_of(record).end += 1
        for log in self._touched(cut):
            log.end += 1  # the abort marker

    def _touched(self, cut: Cut) -> list[Log]:
        logs = [self._log_of(record) for record in (*cut.outputs, *cut.changelog)]
        return list({id(log): log for log in logs}.values())

    def _log_of(self, record: OutRecord) -> Log:
        partition = record.partition
        if partition < 0:  # the client's partitioner; which one does not matter here
            partition = zlib.crc32(record.key or b"") % self._partitions
        return self.log(record.topic, partition)

    def _append(self, record: OutRecord, at_ms: int) -> int:
        return self._log_of(record).append(at_ms, record.key, record.value)

    def show_all(self) -> None:
        """Let readers see everything that is committed."""
        for log in self.logs.values():
            log.show_all()
