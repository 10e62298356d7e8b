"""Logs: events with fixed names as JSON lines on stderr, or readable lines on a terminal."""

import logging
import sys

import structlog

from streams.monitoring.libraries import LibraryHandler


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
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
