"""Logs: events with fixed names as JSON lines on stderr, or readable lines on a terminal."""

import logging
import sys
from typing import TextIO, cast

import structlog

from streams.monitoring.libraries import LibraryHandler


class LogStream:
    """Standard error, for lines that may be lost: the disk is full, or whoever reads it has ended.

    What is logged in the middle of a commit or of a stop must not end either. How many lines were
    lost is said before the first one that is taken again.

    Args:
        stream: takes text, each line with its own `flush`.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lost = 0
        self._is_broken = False

    def write(self, text: str) -> int:
        """Write, if it can be written."""
        try:
            if self._lost and not self._is_broken:
                self._tell()
            self._stream.write(text)
        except OSError:
            self._is_broken = True
        return len(text)

    def flush(self) -> None:
        """End a line."""
        try:
            self._stream.flush()
        except OSError:
            self._is_broken = True
        self._lost += self._is_broken
        self._is_broken = False

    def _tell(self) -> None:
        self._stream.write(f'{{"lines": {self._lost}, "event": "log_lines_lost"}}\n')
        self._stream.flush()
        self._lost = 0


def configure_logs(level: str = "INFO") -> None:
    """Send structured logs to stderr; libraries are heard from WARNING on, as `library_said`.

    Args:
        level: DEBUG, INFO, WARNING or ERROR.
    """
    number = getattr(logging, level)
    logging.basicConfig(level=logging.WARNING, handlers=[LibraryHandler()], force=True)
    for name in ("faust", "mode", "aiokafka", "kafka"):
        logging.getLogger(name).setLevel(logging.INFO if number <= logging.DEBUG else logging.ERROR)
    render = (
        structlog.dev.ConsoleRenderer(colors=False)
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, LogStream(sys.stderr))),
        cache_logger_on_first_use=True,
    )
