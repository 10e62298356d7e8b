"""The bounds of the interface: how often, how many, how long, how much.

Owns the counting. Rules are functions of what they are told and of `now`; only `Question` sets a
timer. Each bound that acts is counted by who made it act, in `spanloom_console_refused_requests`.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from streams.errors import ConfigError

READ_FACTOR: Final = 8
"""Of what is read to find rows in: other revisions, and columns that the answer lacks."""


class TimeLimitError(Exception):
    """A question took too long and was stopped."""


class TooMuchError(ConfigError):
    """An answer would be larger than one may be: the question has to be narrower."""


class Interruptible(Protocol):
    """A connection to a database, whose statement can be stopped from another thread."""

    def interrupt(self) -> None:
        """Stop what it does."""


class Question:
    """The time and the bytes that one question may take, over all its statements.

    Args:
        seconds: how long it may take.
        bytes_max: how many bytes of records it may fetch.
    """

    def __init__(self, seconds: float, bytes_max: int) -> None:
        self._seconds, self._bytes_max = seconds, bytes_max
        self._lock = threading.Lock()
        self._running: Interruptible | None = None
        self._is_over = False
        self._bytes = self._read_bytes = 0

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Make it the question of this thread, and let its time run.

        Raises:
            TimeLimitError: its time ran out, whatever its end was.
        """
        timer = threading.Timer(self._seconds, self._stop)
        timer.daemon = True
        timer.start()
        _this_thread.question = self
        try:
            yield
        except Exception as error:
            if self._is_over:
                raise TimeLimitError from error
            raise
        finally:
            _this_thread.question = None
            timer.cancel()

    def _stop(self) -> None:
        with self._lock:
            self._is_over = True
            if self._running is not None:
                self._running.interrupt()

    @contextmanager
    def statement(self, running: Interruptible) -> Iterator[None]:
        """Let the end of its time stop a statement.

        Raises:
            TimeLimitError: there is no time left.
        """
        with self._lock:
            if self._is_over:
                raise TimeLimitError
            self._running = running
        try:
            yield
        finally:
            with self._lock:
                self._running = None

    def count(self, rows: list[tuple[Any, ...]]) -> None:
        """Count the bytes of rows that were fetched.

        Raises:
            TooMuchError: they are more than an answer may have.
            TimeLimitError: there is no time left.
        """
        self._bytes += sum(_bytes_of(value) for row in rows for value in row)
        self._judge(self._bytes, self._bytes_max)

    def spend(self, read_bytes: int) -> None:
        """Count bytes that were read to find rows in, of which an answer may be made.

        Raises:
            TooMuchError, TimeLimitError: as `count`; `READ_FACTOR` times as many may be read.
        """
        self._read_bytes += read_bytes
        self._judge(self._read_bytes, READ_FACTOR * self._bytes_max)

    def _judge(self, found_bytes: int, bytes_max: int) -> None:
        if self._is_over:
            raise TimeLimitError
        if found_bytes > bytes_max:
            raise TooMuchError(
                f"limit: the answer would be made of more than {bytes_max} bytes of records; "
                "ask for fewer of them, or for a shorter range"
            )


def _bytes_of(value: Any) -> int:
    if isinstance(value, (bytes, str)):
        return len(value)
    return sum(map(_bytes_of, value)) if isinstance(value, list) else 8


class _Thread(threading.local):
    question: Question | None = None


_this_thread: Final = _Thread()
FETCH_ROWS: Final = 100


def spend(read_bytes: int) -> None:
    """Count bytes that this thread's question has read, when it has one.

    Raises:
        TimeLimitError, TooMuchError: as `Question`.
    """
    if _this_thread.question is not None:
        _this_thread.question.spend(read_bytes)


def fetch(cursor: Any, sql: str, values: list[Any]) -> list[dict[str, Any]]:
    """Run a statement and return its rows by name, within the bounds of this thread's question.

    Raises:
        TimeLimitError, TooMuchError: as `Question`.
    """
    question = _this_thread.question or Question(float(threading.TIMEOUT_MAX), 1 << 62)
    with question.statement(cursor):
        cursor.execute(sql, values)
        names = [column[0] for column in cursor.description]
        found: list[dict[str, Any]] = []
        while rows := cursor.fetchmany(FETCH_ROWS):
            question.count(rows)
            found += [dict(zip(names, row, strict=True)) for row in rows]
        return found
