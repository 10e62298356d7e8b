"""What libraries log, as events of ours: one line each, and of one place at most so many.

A Kafka client that cannot reach its broker logs every attempt of every connection, some seventy
lines a second for as long as the broker is away. What is left out is counted in the next line.
"""

import logging
import time
from dataclasses import dataclass
from typing import Any, Final

import structlog

from streams.errors import SpanloomError, said_of

SAID_MAX: Final = 3
"""Lines of one place within a window."""
WINDOW_SECONDS: Final = 60.0
KAFKA_CLIENT: Final = "librdkafka"
"""The library below confluent_kafka, which has levels, facilities and client names of its own."""
log = structlog.get_logger()


@dataclass(slots=True)
class _Place:
    """What one place of the code has logged: since when, how often said, and how often not."""

    since: float
    said: int = 0
    left_out: int = 0


class Seldom:
    """Says which lines are passed on; remembers places of code, of which there are only so many."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, int], _Place] = {}

    def left_out(self, where: tuple[str, int], now: float) -> int | None:
        """Return how many lines of a place were left out before this one, None to leave it out.

        Args:
            where: file and line that log.
            now: seconds, on a clock that does not jump.
        """
        place = self._places.setdefault(where, _Place(now))
        if now - place.since >= WINDOW_SECONDS:
            place.since, place.said = now, 0
        if place.said >= SAID_MAX:
            place.left_out += 1
            return None
        left_out, place.left_out = place.left_out, 0
        place.said += 1
        return left_out


class _ByFacility(logging.Filter):
    """Takes the facility of a line of librdkafka for its place: the code is always who polled."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Name the place; every line passes."""
        if isinstance(record.args, tuple) and record.args:
            record.pathname, record.lineno = f"{KAFKA_CLIENT}/{record.args[0]}", 0
        return True


def client_log() -> logging.Logger:
    """Return the `logger` of a confluent_kafka client: its lines are events `library_said`."""
    logger = logging.getLogger(KAFKA_CLIENT)
    if not logger.filters:
        logger.addFilter(_ByFacility())
    return logger


def _text(record: logging.LogRecord) -> str:
    """Return what a library says, errors within it in the words that may be said of them.

    asyncio puts the `repr` of a task, and so of the error it ended with, into further lines.
    """
    args: Any = record.args
    if isinstance(args, tuple):
        args = tuple(said_of(one) if isinstance(one, BaseException) else one for one in args)
    text = str(record.msg) % args if args else str(record.msg)
    return text.partition("\n")[0] if record.name == "asyncio" else text


class LibraryHandler(logging.Handler):
    """Passes the records of `logging` on to our own log, as events `library_said`."""

    def __init__(self) -> None:
        super().__init__()
        self._seldom = Seldom()

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on, unless its place has said enough."""
        try:
            left_out = self._seldom.left_out((record.pathname, record.lineno), time.monotonic())
            if left_out is None:
                return
            fields = {"library": record.name, "text": _text(record)}
            more: dict[str, Any] = {"left_out": left_out} if left_out else {}
            level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
            exc_info = record.exc_info
            error = exc_info[1] if exc_info is not None else None
            if isinstance(error, SpanloomError):
                # Ours, on its way through a library: a page of its frames says nothing more.
                exc_info, more["error"] = None, str(error)
            log.log(level, "library_said", exc_info=exc_info, **fields, **more)
        except Exception:  # a line that cannot be written must not end who wrote it
            self.handleError(record)
