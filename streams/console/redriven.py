"""What was driven again: lines at the end of a file, so that no record is driven twice.

Owns the file. Each record has two lines: one before it is sent and one after. Invariant: a record
with the second line is never sent again; one with the first alone was cut short by a crash, may
have been sent or not, and is sent again only by who says so.
"""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from streams.console.times import iso
from streams.errors import StateError
from streams.runtime.clock import wall_us

FILE: Final = "redriven.jsonl"
RECORDS_MAX: Final = 1_000_000
"""Each is remembered in some 200 bytes."""


class Origin(NamedTuple):
    """Where a rejected record lies."""

    topic: str
    partition: int
    offset: int


class Redriven:
    """The book of what was driven again.

    Args:
        folder: where it lies; None when there is none, and nothing can be driven again.
        clock: wall time in microseconds.

    Raises:
        StateError: the file cannot be read.
    """

    def __init__(self, folder: Path | None, clock: Callable[[], int] = wall_us) -> None:
        self._path = None if folder is None else folder / FILE
        self._clock = clock
        self._lock = threading.Lock()
        self.turn = threading.Lock()
        """Held while a record is driven again: two who ask at once must not both find it undone."""
        self._states: dict[Origin, str] = {}
        if self._path is not None and self._path.exists():
            self._read(self._path)

    def _read(self, path: Path) -> None:
        try:
            lines = path.read_text("utf-8", "replace").splitlines()
        except OSError as error:
            raise _unusable(path, error.strerror or str(error)) from error
        for n, line in enumerate(lines):
            try:
                said = json.loads(line)
                origin = Origin(said["topic"], said["partition"], said["offset"])
                self._states[origin] = said["state"]
            except (ValueError, KeyError, TypeError) as error:
                if n < len(lines) - 1:  # the last one may have been cut short by a crash
                    raise _unusable(path, f"line {n + 1} is none of ours") from error

    def state(self, origin: Origin) -> str:
        """Return "done", "begun", "failed" or ""."""
        with self._lock:
            return self._states.get(origin, "")

    def note(self, origin: Origin, state: str, **fields: Any) -> None:
        """Write down what becomes of a record: begun, done, or failed when it surely was not sent.

        Raises:
            StateError: it cannot be written, or the book is full.
        """
        if self._path is None:
            raise StateError(
                "nothing can be driven again without a book of it. Operator action: name a folder "
                "with SPANLOOM_CONSOLE_ACCESS_LOG_DIR."
            )
        with self._lock:
            if origin not in self._states and len(self._states) >= RECORDS_MAX:
                raise StateError(
                    f"{self._path} holds {RECORDS_MAX} records. Operator action: put the file "
                    "aside; what is in it can then be driven again."
                )
            self._append(self._path, origin, state, fields)
            self._states[origin] = state

    def _append(self, path: Path, origin: Origin, state: str, fields: dict[str, Any]) -> None:
        line = {"at": iso(self._clock()), **origin._asdict(), "state": state, **fields}
        # A line that a crash cut short must not swallow this one.
        text = json.dumps(line, separators=(",", ":")) + "\n"
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_APPEND | os.O_CREAT | os.O_RDWR | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                if size and os.pread(descriptor, 1, size - 1) != b"\n":
                    os.ftruncate(descriptor, _end_of_lines(descriptor, size))
                if os.write(descriptor, text.encode()) != len(text):
                    raise OSError(28, "no room for a whole line")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _unusable(path, error.strerror or str(error)) from error


def _end_of_lines(descriptor: int, size: int) -> int:
    """Return where the last whole line ends."""
    reach = min(size, 1 << 20)
    tail = os.pread(descriptor, reach, size - reach)
    return size - reach + tail.rfind(b"\n") + 1


def _unusable(path: Path, why: str) -> StateError:
    return StateError(
        f"{path} cannot be used: {why}. Operator action: give it room and rights, or put it aside "
        "when it is damaged; what is in it could then be driven again."
    )
