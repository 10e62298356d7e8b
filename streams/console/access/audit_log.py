"""The book of access: who was let in, who was refused, who ordered what, line by line.

Owns the file of each day (UTC) and the shape of a line. What must be written down and cannot be is
not done: the caller gets an error. Refusals are written as far as `NOTES_PER_MINUTE` goes and
counted beyond, so that a stranger cannot fill the disk. Invariants: a line is JSON, is appended in
one write, and holds no key, no cookie and no token.
"""

import json
import os
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import structlog

from streams.console.times import iso
from streams.errors import StateError
from streams.runtime.clock import wall_us

NOTES_PER_MINUTE: Final = 600
TEXT_CHARS_MAX: Final = 1_100
"""A reason of an order is at most 1,024 characters long."""
FOLDER: Final = "access"
MINUTE_US: Final = 60_000_000

EventName = Literal[
    "start",
    "login",
    "logout",
    "refusal",
    "order",
    "key_made",
    "key_revoked",
    "not_written",
    "question",
    "erasure",
]
"""What is written down: a typo fails the type check."""

log = structlog.get_logger()


class AccessLog:
    """The book.

    Args:
        folder: where the files are; None keeps none, as when nobody logs in and there is no disk.
        clock: wall time in microseconds.
    """

    def __init__(self, folder: Path | None, clock: Callable[[], int] = wall_us) -> None:
        self._folder, self._clock = folder, clock
        self._lock = threading.Lock()
        self.events: Counter[tuple[str, str]] = Counter()
        """Decisions by (event, outcome), written down or not."""
        self.unwritten: Counter[str] = Counter()
        """Lines that are missing, by reason: too_many, disk."""
        self._minute, self._noted, self._missing = 0, 0, 0

    def write(self, event: EventName, outcome: str, **fields: Any) -> None:
        """Write a decision down; when this returns the disk has it.

        Raises:
            StateError: it cannot be written.
        """
        self.events[event, outcome] += 1
        with self._lock:
            self._append(event, outcome, fields)

    def after(self, event: EventName, outcome: str, **fields: Any) -> None:
        """Write down what became of something whose begin was written down, and can be.

        It is done: that it cannot be written down undoes nothing, and is counted and logged.
        """
        self.events[event, outcome] += 1
        with self._lock:
            self._append_if_possible(event, outcome, fields)

    def refused(self, reason: str, **fields: Any) -> None:
        """Write a refusal down, as `note` does."""
        self.note("refusal", reason, **fields)

    def note(self, event: EventName, outcome: str, **fields: Any) -> None:
        """Write down what needs no room to be made for it, as far as there is some.

        A stranger can cause any number of these, and nothing was changed: so nothing fails.
        """
        self.events[event, outcome] += 1
        with self._lock:
            minute = self._clock() // MINUTE_US
            if minute != self._minute:
                self._minute, self._noted = minute, 0
            self._noted += 1
            if self._noted > NOTES_PER_MINUTE:
                self.unwritten["too_many"] += 1
                self._missing += 1
                return
            if self._missing:
                about = {"count": self._missing}
                if not self._append_if_possible("not_written", "too_many", about):
                    return
                self._missing = 0
            self._append_if_possible(event, outcome, fields)

    def _append_if_possible(self, event: EventName, outcome: str, fields: dict[str, Any]) -> bool:
        try:
            self._append(event, outcome, fields)
        except StateError as error:
            self.unwritten["disk"] += 1
            log.error("access_not_written", error=str(error))
            return False
        return True

    def _append(self, event: EventName, outcome: str, fields: dict[str, Any]) -> None:
        if self._folder is None:
            return
        now_us = self._clock()
        line = {"at": iso(now_us), "event": event, "outcome": outcome}
        line |= {name: _cut(value) for name, value in fields.items() if value not in (None, "")}
        text = json.dumps(line, ensure_ascii=True, separators=(",", ":")) + "\n"
        path = self._folder / f"access-{(iso(now_us) or '')[:10]}.jsonl"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_APPEND | os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o600)
            try:
                written = os.write(descriptor, text.encode())
                if written != len(text):
                    raise OSError(28, "no room for a whole line")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StateError(
                f"the access log in {self._folder} cannot be written: {error.strerror}. Operator "
                "action: give it room and rights; until then nobody logs in and nothing is ordered."
            ) from error


def _cut(value: Any) -> Any:
    return value[:TEXT_CHARS_MAX] if isinstance(value, str) else value


def folder_of(archive: Path | None, given: Path | None) -> Path | None:
    """Return where the book is: what is given, else a folder of the archive."""
    if given is not None or archive is None:
        return given
    return archive / FOLDER
