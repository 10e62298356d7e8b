"""The buffer on disk: parcels that Kafka did not take yet, in their order.

Owns the files. One thread writes: it takes all parcels that wait, writes them as one frame, syncs
the file, and then tells that they are safe. Another one reads them again, and a file goes when all
of it was sent. Invariants: a parcel is told to be safe only after its sync; the files never take
more than the bound; a kill at any moment loses nothing that was told to be safe.
"""

import contextlib
import os
import secrets
import threading
from collections import deque
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from streams.collector.parcel import Parcel, Settled
from streams.collector.segments import (
    FILE_HEAD_BYTES,
    MAGIC,
    WORD_BYTES,
    ending_of,
    frame_at,
    frame_of,
    parcel_bytes,
    parcels_of,
)
from streams.errors import StateError, reason_of

FULL: Final = "buffer_full"
UNWRITABLE: Final = "buffer_unwritable"
FRAME_BYTES: Final = 4 << 20
"""So much is made safe by one sync."""
SUFFIX: Final = ".parcels"
TRIAL: Final = "trial"
"""Name of the file by which is found out whether a disk that took nothing takes a frame again."""
TRIAL_SECONDS: Final = 1.0

log = structlog.get_logger()


class _Segment:
    """One file: up to where it is safe, was read, and was released."""

    def __init__(self, path: Path, word: bytes, synced: int) -> None:
        self.path, self.word, self.synced = path, word, synced
        self.read = self.released = FILE_HEAD_BYTES

    @property
    def has_frames(self) -> bool:
        """Whether anything in it was promised."""
        return self.synced > FILE_HEAD_BYTES


class Mark(NamedTuple):
    """A place in the buffer, up to which it was read."""

    number: int
    at: int


class Buffer:
    """The buffer.

    Args:
        folder: its own; locked by the process.
        bytes_max: of all files.
        segment_bytes: of one.

    Raises:
        StateError: a file is damaged, or the folder cannot be read or written.
    """

    def __init__(self, folder: Path, bytes_max: int, segment_bytes: int) -> None:
        self._folder, self._bytes_max, self._segment_bytes = folder, bytes_max, segment_bytes
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._waiting: deque[tuple[Parcel, Settled]] = deque()
        self._waiting_bytes = 0
        self._segments: dict[int, _Segment] = {}
        self._file: int | None = None
        self._number = 0
        self._is_over = False
        self.torn_bytes = 0
        """Of files that a crash cut short, promised to nobody."""
        self.held_events = 0
        self.written_events = 0
        self.syncs = 0
        self.said = ""
        """What the disk said when it last did not take something; "" while it takes all."""
        self._adopt()
        self._writer = threading.Thread(target=self._write_all, name="spanloom-buffer", daemon=True)
        self._writer.start()

    # --- what is told of it

    @property
    def held_bytes(self) -> int:
        """Bytes on disk and on their way there."""
        with self._lock:
            return self._held()

    @property
    def is_empty(self) -> bool:
        """Whether all that was given was read, and released."""
        with self._lock:
            is_read = all(s.released >= s.synced for s in self._segments.values())
            return not self._waiting_bytes and is_read

    @property
    def is_full(self) -> bool:
        """Whether there is no room for one more frame."""
        return self.held_bytes + FRAME_BYTES > self._bytes_max

    @property
    def is_alive(self) -> bool:
        """Whether its thread works."""
        return self._writer.is_alive()

    def _held(self) -> int:
        return self._waiting_bytes + sum(s.synced for s in self._segments.values())

    # --- writing

    def add(self, parcel: Parcel, settled: Settled) -> None:
        """Take a parcel; `settled` is told "" when it is safe, else why it is not."""
        size = parcel_bytes(parcel)
        with self._lock:
            has_room = self._held() + size <= self._bytes_max and not self._is_over
            if has_room:
                self._waiting.append((parcel, settled))
                self._waiting_bytes += size
                self._work.notify_all()
        if not has_room:
            settled(FULL)

    def _write_all(self) -> None:
        while True:
            with self._lock:
                if not self._waiting and not self._is_over:
                    self._work.wait(TRIAL_SECONDS if self.said else None)
                if not self._waiting and self._is_over:
                    return
                some: list[tuple[Parcel, Settled]] = []
                size = 0
                while self._waiting and size < FRAME_BYTES:
                    some.append(self._waiting.popleft())
                    size += parcel_bytes(some[-1][0])
            if not some:
                if self.said:
                    self._try()
                continue
            said = self._write([parcel for parcel, _ in some])
            with self._lock:
                self._waiting_bytes -= size
                self._work.notify_all()
            for _, settled in some:
                settled(said)

    def _write(self, parcels: list[Parcel]) -> str:
        """Make parcels safe; return "" or why they are not."""
        size = sum(map(parcel_bytes, parcels))
        try:
            segment = self._current(size)
            assert self._file is not None, "the current file is open"
            frame = frame_of(parcels, segment.word)
            _write_at(self._file, frame, segment.synced)
            os.fdatasync(self._file)
        except OSError as error:
            self._failed(error)
            self._leave()  # what of the frame reached the file is not known: it is never added to
            return UNWRITABLE
        self._is_written()
        with self._lock:
            segment.synced += len(frame)
            events = sum(parcel.events for parcel in parcels)
            self.held_events += events
            self.written_events += events
            self.syncs += 1
        return ""

    def _try(self) -> None:
        """Find out whether a disk that took nothing takes a frame again: nobody may send one."""
        path = self._folder / TRIAL
        try:
            file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(file, 0, FRAME_BYTES)
                os.fdatasync(file)
            finally:
                os.close(file)
                path.unlink()
        except OSError as error:
            self._failed(error)
        else:
            self._is_written()

    def _failed(self, error: OSError) -> None:
        if not self.said:  # once, not once a request: the log may lie on the same disk
            log.error("buffer_unwritable", folder=str(self._folder), error=error.strerror)
        self.said = error.strerror or UNWRITABLE

    def _is_written(self) -> None:
        if self.said:
            log.info("buffer_writable_again", folder=str(self._folder))
            self.said = ""

    def _current(self, size: int) -> _Segment:
        """Return the file that is added to, another one when it would grow too large."""
        with self._lock:
            there = self._segments.get(self._number)
        if (
            self._file is not None
            and there is not None
            and (there.synced + size <= self._segment_bytes or not there.has_frames)
        ):
            return there
        self._leave()
        number = self._number + 1
        path = self._folder / f"{number:016d}{SUFFIX}"
        self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        self._number = number
        word = secrets.token_bytes(WORD_BYTES)
        with self._lock:  # known before its head is written: where that fails, it goes again
            made = self._segments[number] = _Segment(path, word, FILE_HEAD_BYTES)
        _write_at(self._file, MAGIC + word, 0)
        _sync_folder(self._folder)
        return made

    def _leave(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):  # what is promised was synced, and it is closed
                os.close(file)
        with self._lock:
            left = self._segments.get(self._number)
        if left is not None and not left.has_frames:  # nothing in it was promised
            self._drop(self._number)

    # --- reading

    def read(self, bytes_max: int, seconds: float) -> tuple[list[Parcel], Mark | None]:
        """Return the oldest parcels that were not read yet, and the place behind them.

        Waits up to `seconds` for some; none and None when there are none.

        Raises:
            StateError: what was written cannot be read.
        """
        with self._lock:
            if not self._unread():
                self._work.wait(seconds)
            unread = self._unread()
            if not unread:
                return [], None
            number = min(unread)
            segment = self._segments[number]
            begin, end = segment.read, segment.synced
        parcels: list[Parcel] = []
        with segment.path.open("rb") as file:
            file.seek(begin)
            data = file.read(min(end - begin, max(bytes_max, 2 * FRAME_BYTES)))
        at = 0
        while at < bytes_max and (frame := frame_at(data, at, segment.word)) is not None:
            parcels += parcels_of(frame.payload)
            at = frame.end
        if not at:
            raise _damaged(segment.path, begin)
        with self._lock:
            segment.read = begin + at
        return parcels, Mark(number, begin + at)

    def _unread(self) -> list[int]:
        return [number for number, s in self._segments.items() if s.read < s.synced]

    def rewind(self) -> None:
        """Let all that was read and not released be read again."""
        with self._lock:
            for segment in self._segments.values():
                segment.read = segment.released

    def release(self, mark: Mark, events: int) -> None:
        """Forget what was read up to a place: it is with Kafka."""
        with self._lock:
            self.held_events -= events
            self._segments[mark.number].released = mark.at
            done = [n for n, s in self._segments.items() if s.released >= s.synced]
            if self._number in done and self._file is not None:
                if self._waiting_bytes:  # the writer adds to it: it goes with what it adds
                    done.remove(self._number)
                else:
                    os.close(self._file)
                    self._file = None
        for number in done:
            self._drop(number)

    def _drop(self, number: int) -> None:
        with self._lock:
            segment = self._segments.pop(number, None)
        if segment is not None:  # else the other thread was first
            # A disk that lets nothing go must end neither thread, and what is left is no loss: the
            # next start removes a file without frames, and sends another one again.
            with contextlib.suppress(OSError):
                segment.path.unlink(missing_ok=True)

    # --- begin and end

    def _adopt(self) -> None:
        """Take over the files that an earlier process left."""
        try:
            (self._folder / TRIAL).unlink(missing_ok=True)
            paths = sorted(self._folder.glob(f"*{SUFFIX}"))
            for path in paths:
                data = path.read_bytes()
                ending = ending_of(data)
                if ending.is_damaged:
                    raise _damaged(path, ending.whole_bytes)
                if ending.whole_bytes < len(data):
                    self.torn_bytes += len(data) - ending.whole_bytes
                    os.truncate(path, ending.whole_bytes)
                self._number = int(path.name.removesuffix(SUFFIX))
                if not ending.frames:
                    path.unlink()
                    continue
                word = data[len(MAGIC) : FILE_HEAD_BYTES]
                self._segments[self._number] = _Segment(path, word, ending.whole_bytes)
                self.held_events += ending.events
        except (OSError, ValueError) as error:
            raise StateError(
                f"the buffer in {self._folder} cannot be read ({reason_of(error)}). "
                "Operator action: let the collector read and write its folder, and keep no other "
                "files in it."
            ) from error

    def close(self) -> None:
        """Write what waits, and end; what was not sent stays for the next start."""
        with self._lock:
            self._is_over = True
            self._work.notify_all()
        self._writer.join()
        self._leave()


def _write_at(file: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, at)
        view, at = view[written:], at + written


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _damaged(path: Path, at: int) -> StateError:
    return StateError(
        f"the buffer's file {path} is damaged at byte {at}: events that were promised cannot be "
        "read. Operator action: mend the disk; move the file away to go on without its events."
    )
