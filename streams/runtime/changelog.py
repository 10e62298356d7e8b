"""The changelog of one task: its segments in a compacted Kafka topic, and a local copy of them.

Owns the numbering of segments, the folding of old ones into a base, and the local copy. A restart
reads the copy and the changelog's tail; without a believable copy it reads the changelog from its
beginning. The commit is in Kafka: whatever happens to the copy, nothing is lost.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from streams.errors import StateError
from streams.runtime.commit import Cut, OutRecord
from streams.runtime.crashpoints import reached
from streams.runtime.restore_reading import end_of, read_from
from streams.state.compaction import FOLD_BOUND, FOLD_BYTES_MAX, Compaction, is_due, step_bytes
from streams.state.live import Delta, Line, LiveSegments, encode_manifest
from streams.state.local import DamagedCopyError, LocalState, NoRoomError, Record
from streams.state.segment import Segment, encode_pieces

DISK_FULL: Final = "disk_full"
_COPY_BATCH_BYTES: Final = 32 << 20

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore found: the segments, and how it went.

    Attributes:
        segments: the state, to be applied in order.
        live_segments, pieces, size_bytes: of what it was read as.
        from_local: how many of the pieces were in the local copy.
        seconds: reading and folding.
    """

    segments: list[Segment]
    pieces: int
    from_local: int
    seconds: float
    live_segments: int = 0
    size_bytes: int = 0


@dataclass(slots=True)
class _Live:
    """The state as it is committed: which segments, and how large they are."""

    line: Line = field(default_factory=lambda: Line(None, []))
    base_bytes: int = 0
    delta_bytes: dict[int, int] = field(default_factory=dict)

    def add(self, delta: Delta, size_bytes: int, *, is_whole: bool) -> list[bytes]:
        """Put a segment on top; return the keys that a whole one replaces."""
        replaced: list[bytes] = []
        if is_whole:
            replaced = sorted(self.line.all_keys())
            self.line, self.base_bytes, self.delta_bytes = Line(None, []), 0, {}
        self.line.deltas.append(delta)
        self.delta_bytes[delta.number] = size_bytes
        return replaced

    def put_base(self, made: Compaction, size_bytes: int) -> list[bytes]:
        """Let a base take the place of what it replaces; return the keys of that."""
        assert made.base is not None
        number = made.base.number
        self.line = Line(made.base, [d for d in self.line.deltas if d.number > number])
        self.base_bytes = size_bytes
        self.delta_bytes = {n: size for n, size in self.delta_bytes.items() if n > number}
        return sorted(made.replaced.all_keys())


class Changelog:
    """The changelog partition of a task.

    Args:
        base: client settings.
        topic, partition: where it is.
        folder: of the local copy.
        free_bytes_min: the copy is not written while the disk has less room than this.
        rebuilds: counts by reason how often the copy was made anew.
        topic_id: the broker's id of the topic, "" where it gives none: a copy of another topic of
            the same name is not believed.
        retire_seconds: what a base replaces is kept for so long. Where nobody is fenced, a holder
            that lost its task may make one: by then it knows, and what it replaced is still there.
        fold_bytes_max: how much of the old state a cut folds, unless it is as large itself.
        bounds_met: counts by name how often a bound acted.
    """

    def __init__(
        self,
        base: Mapping[str, object],
        topic: str,
        partition: int,
        folder: Path,
        free_bytes_min: int = 0,
        rebuilds: Counter[str] | None = None,
        retire_seconds: float = 0.0,
        topic_id: str = "",
        fold_bytes_max: int = FOLD_BYTES_MAX,
        bounds_met: Counter[str] | None = None,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.waiting_for = ""
        """Why the copy is behind what is committed: "disk_full", or "" when it is not."""
        self._base = base
        self._local = LocalState(folder, f"{topic}/{partition} {topic_id}".rstrip(), free_bytes_min)
        self._rebuilds: Counter[str] = Counter() if rebuilds is None else rebuilds
        self._generation = 0
        self._number = 0
        self._live = _Live()
        self._compaction: Compaction | None = None
        self._made: list[Record] = []
        self._made_bytes = 0
        self._retired: list[bytes] = []
        """Keys that the next cut deletes, ..."""
        self._retiring: deque[tuple[float, list[bytes]]] = deque()
        """... and from when on others may be deleted, which a base has replaced."""
        self._retire_seconds = retire_seconds
        self._fold_bytes_max = fold_bytes_max
        self._bounds_met: Counter[str] = Counter() if bounds_met is None else bounds_met
        self._uncopied: list[tuple[list[Record], int]] = []
        self._is_copy_lost = False
        self._disbelieved = "", ""
        """Why the copy that lies there is not believed: reason and detail. It stays until the state
        was read without it: a start that is refused leaves it to its operator."""
        self._added = Delta(0, 0, 0), 0, False

    # --- restore

    def restore(self, if_empty: Callable[[], None] = lambda: None) -> Restored:
        """Read the state; blocking, after `init_transactions`, so that all is settled.

        Args:
            if_empty: called when there is no state, before the local copy is touched. What it
                raises is raised, and the copy is as it was.

        Raises:
            StateError: the changelog is incomplete or damaged.
            BrokerError: it cannot be read.
        """
        began = time.monotonic()
        found = self._copied()
        if found is not None:
            live, start = found
            from_local = len(live.values())
        else:
            live, start, from_local = LiveSegments(), 0, 0
        tail, end = self._read(start)
        reached("after_changelog_read")
        try:
            _apply(live, tail)
            line = live.line()
        except StateError:
            if not start:
                raise
            self._lose_copy("damaged", "it does not fit the changelog")  # or that itself is broken
            live, from_local = LiveSegments(), 0
            tail, end = self._read(0)
            _apply(live, tail)
            line = live.line()
        segments = live.segments()
        if not segments:
            if_empty()
        self._begin(live, line)
        self._restore_copy(live, tail, end, is_believed=found is not None and from_local > 0)
        keys = line.all_keys()
        return Restored(
            segments,
            len(keys),
            from_local,
            time.monotonic() - began,
            len(line.deltas) + (line.base is not None),
            live.size_bytes(keys),
        )

    def _begin(self, live: LiveSegments, line: Line) -> None:
        """Go on after what was found, as its next holder."""
        self._generation = live.generation + 1
        last = line.deltas[-1] if line.deltas else line.base
        self._number = last.number + 1 if last is not None else 0
        sizes = {d.number: live.size_bytes(d.piece_keys()) for d in line.deltas}
        base_bytes = live.size_bytes(line.base.piece_keys()) if line.base else 0
        self._live = _Live(line, base_bytes, sizes)
        self._retired = sorted(live.values().keys() - line.all_keys())

    def _copied(self) -> tuple[LiveSegments, int] | None:
        """Return what the local copy holds and where the changelog goes on; None without one."""
        try:
            found = self._local.load()
        except NoRoomError as error:
            self._wait_for_room(error)
            self._is_copy_lost = True
            return None
        except DamagedCopyError as error:
            self._lose_copy(error.reason, str(error))
            return None
        if found is None:
            return None
        records, start = found
        live = LiveSegments()
        try:
            live.add(value for _, value in records)
        except StateError as error:
            self._lose_copy("damaged", str(error))
            return None
        if start > self._end():
            self._lose_copy("ahead", "the topic was made anew")
            return None
        return live, start

    def _restore_copy(
        self, live: LiveSegments, tail: Sequence[Record], end: int, *, is_believed: bool
    ) -> None:
        """Bring the local copy up to what was read."""
        if is_believed:
            if tail:
                self._uncopied.append((list(tail), end))
            self.catch_up()
            return
        if live.values() and not self._is_copy_lost:
            log.info("local_copy_missing", topic=self.topic, partition=self.partition)
            self._rebuilds["missing"] += 1
        if self.waiting_for:  # it waits to be made; what is read for that is not kept for so long
            return
        self._is_copy_lost = True
        try:
            self._copy_all(live.values(), end)
        except NoRoomError as error:
            self._wait_for_room(error)
        except DamagedCopyError as error:
            raise self._hopeless(error) from error
        else:
            self._is_copy_lost = False

    # --- cuts

    def records(self, segment: Segment) -> list[OutRecord]:
        """Number a segment and return it as records of the changelog, with what else is due.

        The first piece comes last, after all the others: without a transaction a segment is there
        when that one is.
        """
        pieces = encode_pieces(segment, self._generation, self._number)
        delta = Delta(self._generation, self._number, len(pieces))
        self._added = delta, sum(map(len, pieces)), segment.is_whole
        self._number += 1
        records = list(self._made)
        made = self._compaction
        if made is not None and made.base is not None:
            records.append(encode_manifest(made.base))
        records += [(key, None) for key in self._retired]
        records += list(zip(delta.piece_keys(), pieces, strict=True))[::-1]
        return [OutRecord(self.topic, self.partition, key, value) for key, value in records]

    def committed(self, cut: Cut) -> None:
        """Take note of a commit and copy it to the local database; blocking.

        A full disk is no error: `waiting_for` says it, and `catch_up` tries again.

        Raises:
            StateError: the copy may not be written, or is held by another process.
            BrokerError: the copy had to be made anew, and the changelog cannot be read.
        """
        delta, size_bytes, is_whole = self._added
        self._retired = self._live.add(delta, size_bytes, is_whole=is_whole)
        made = self._compaction
        self._made = []
        if made is not None and (made.base is not None or is_whole):
            if made.base is not None and not is_whole:
                replaced = self._live.put_base(made, self._made_bytes)
                self._retiring.append((time.monotonic() + self._retire_seconds, replaced))
            self._compaction = None
        records: list[Record] = [(r.key, r.value) for r in cut.changelog if r.key is not None]
        while self._retiring and self._retiring[0][0] <= time.monotonic():
            self._retired += self._retiring.popleft()[1]
        self._uncopied.append((records, cut.next_changelog_offset))
        reached("in_local_write")
        self.catch_up()
        reached("after_local_write")
        if not self.waiting_for:
            self._compact(size_bytes)

    def _compact(self, cut_bytes: int) -> None:
        """Fold old segments, about as many as a cut of this size pays for."""
        live = self._live
        try:
            if self._compaction is None:
                count = len(live.line.deltas)
                if count < 2 or not is_due(live.base_bytes, sum(live.delta_bytes.values()), count):
                    return
                replaced = Line(live.line.base, list(live.line.deltas))
                self._compaction = Compaction(replaced, self._generation, self._local.get)
                self._made_bytes = 0
            size_bytes, is_bounded = step_bytes(cut_bytes, self._fold_bytes_max)
            self._bounds_met[FOLD_BOUND] += is_bounded
            self._made += self._compaction.step(size_bytes)
            self._made_bytes += sum(len(value or b"") for _, value in self._made)
        except NoRoomError as error:
            self._give_up_fold()  # half of a walk cannot be gone on with
            self._wait_for_room(error)
        except DamagedCopyError as error:
            self._lose_copy(error.reason, str(error))
            self.catch_up()

    def _give_up_fold(self) -> None:
        """Begin the fold anew when it is due; what it published goes like what it would replace."""
        if self._compaction is not None:
            self._retired += self._compaction.published()
            self._compaction, self._made = None, []

    # --- the local copy

    def catch_up(self) -> None:
        """Bring the local copy up to what is committed; blocking.

        Raises:
            StateError, BrokerError: as `committed`.
        """
        try:
            try:
                self._copy()
            except DamagedCopyError as error:
                self._lose_copy(error.reason, str(error))
                self._copy()
        except NoRoomError as error:
            self._wait_for_room(error)
            return
        except DamagedCopyError as error:
            raise self._hopeless(error) from error
        if self.waiting_for:
            log.info("local_copy_goes_on", topic=self.topic, partition=self.partition)
            self.waiting_for = ""

    def _hopeless(self, error: DamagedCopyError) -> StateError:
        return StateError(
            f"the local copy of {self.topic}/{self.partition} cannot be made anew ({error}). "
            "Operator action: look at the disk of the state directory; nothing is lost."
        )

    def _copy(self) -> None:
        if self._is_copy_lost:
            values: dict[bytes, bytes] = {}
            records, end = self._read(0)
            for key, value in records:
                values.pop(key, None)
                if value is not None:
                    values[key] = value
            self._copy_all(values, end)
            self._is_copy_lost = False
            self._uncopied = [(r, offset) for r, offset in self._uncopied if offset > end]
        while self._uncopied:
            copied, offset = self._uncopied[0]
            self._local.write(copied, offset, replace=False)
            del self._uncopied[0]

    def _copy_all(self, values: Mapping[bytes, bytes], end: int) -> None:
        """Write a copy from nothing, in steps; until the last it is as good as none."""
        self._clear_copy()
        replace = True
        for batch in _batches(values):
            self._local.write(batch, 0, replace=replace)
            replace = False
        self._local.write([], end, replace=replace)

    def _lose_copy(self, reason: str, detail: str) -> None:
        """Believe the copy no more; it is made anew from what is committed."""
        self._disbelieved = reason, detail
        self._local.close()
        self._is_copy_lost = True
        self._give_up_fold()

    def _clear_copy(self) -> None:
        """Throw a copy away that is not believed, now that the state is known without it."""
        reason, detail = self._disbelieved
        if not reason:
            return
        log.warning(
            "local_copy_rebuilt",
            topic=self.topic,
            partition=self.partition,
            reason=reason,
            detail=detail,
        )
        self._rebuilds[reason] += 1
        self._local.wipe()
        self._disbelieved = "", ""

    def _wait_for_room(self, error: NoRoomError) -> None:
        if not self.waiting_for:
            log.error(
                "disk_full",
                topic=self.topic,
                partition=self.partition,
                detail=str(error),
                action="nothing is lost, and nothing is read until "
                f"{self._local.free_bytes_min} bytes are free (disk_free_min_bytes): make room",
            )
        self.waiting_for = DISK_FULL

    def close(self) -> None:
        """Close the local copy."""
        self._local.close()

    def _end(self) -> int:
        return end_of(self._base, self.topic, self.partition)

    def _read(self, start: int) -> tuple[list[Record], int]:
        """Return the records from an offset to the end, in order, and the offset after them."""
        return read_from(self._base, self.topic, self.partition, start)


def _apply(live: LiveSegments, records: Sequence[Record]) -> None:
    """Put records of the changelog on top, deletions too."""
    for key, value in records:
        if value is None:
            live.drop(key)
        else:
            live.add([value])


def _batches(values: Mapping[bytes, bytes]) -> Iterator[list[Record]]:
    """Return values in batches that fit into memory a second time."""
    batch: list[Record] = []
    size_bytes = 0
    for key, value in values.items():
        batch.append((key, value))
        size_bytes += len(value)
        if size_bytes >= _COPY_BATCH_BYTES:
            yield batch
            batch, size_bytes = [], 0
    yield batch
