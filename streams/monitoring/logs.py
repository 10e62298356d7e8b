"""Logs: events with fixed names as JSON lines on stderr, or readable lines on a terminal."""

import logging
import sys
import threading
from types import TracebackType
from typing import TextIO, cast

import structlog

from streams.monitoring.libraries import LibraryHandler
from streams.monitoring.tracebacks import without_values


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

    From here on an error that ends the process is a line of the log too, and as any line of it
    quotes no value of telemetry.

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
            without_values,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, LogStream(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    sys.excepthook = _ended
    threading.excepthook = _thread_ended


def _ended(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    structlog.get_logger().critical("process_failed", exc_info=error)


def _thread_ended(about: threading.ExceptHookArgs) -> None:
    if about.exc_value is not None and not isinstance(about.exc_value, SystemExit):
        name = about.thread.name if about.thread is not None else ""
        structlog.get_logger().critical("thread_failed", thread=name, exc_info=about.exc_value)
