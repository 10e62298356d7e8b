"""What the SDK says of itself in the program's log: seldom, and never to the program's harm.

Invariant: nothing raises. The log's handlers are the pipeline's own; one that fails is told of as
Python's logging does it, and is neither the end of the pipeline nor of the emitter's thread.
"""

from __future__ import annotations

import logging
import sys
import time
from contextlib import suppress
from typing import Final

from streams.sdk.options import LOG_NAME

log: Final = logging.getLogger(LOG_NAME)
COMPLAIN_SECONDS: Final = 60.0
"""The same complaint is logged so often at most."""
COMPLAINTS_MAX: Final = 1_000


def warn(text: str, *values: object) -> None:
    """Log a warning, whatever the log's handlers and filters do."""
    try:
        log.warning(text, *values)
    except Exception:  # of a handler that is not ours
        with suppress(Exception):  # a standard error that is closed
            error = sys.exc_info()
            record = log.makeRecord(log.name, logging.WARNING, __file__, 0, text, values, error)
            logging.Handler().handleError(record)


class Complaints:
    """Says each thing once in a while."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def complain(self, key: str, text: str) -> None:
        """Log something, but not again and again."""
        now = time.monotonic()
        if now - self._said.get(key, -COMPLAIN_SECONDS) >= COMPLAIN_SECONDS:
            if len(self._said) >= COMPLAINTS_MAX:
                self._said.clear()
            self._said[key] = now
            warn("telemetry: %s", text)
