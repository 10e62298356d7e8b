"""Keeps the archive in order beside the reader, in a thread: files are merged when they are due.

Owns when that is looked for, and what becomes of its failures: a disk that is full is waited for,
anything else ends the console.
"""

import threading
import time

import structlog

from streams.console.archive import Archive
from streams.errors import SpanloomError, StateError

log = structlog.get_logger()


class Upkeep:
    """The thread; `start` begins, `stop` ends it once the file at hand is done.

    Args:
        archive: what is kept in order.
        seconds: so often it is looked for what is due.
    """

    def __init__(self, archive: Archive, seconds: float) -> None:
        self._archive, self._seconds = archive, seconds
        self._ending = threading.Event()
        self.failed: SpanloomError | None = None
        self._thread = threading.Thread(target=self._run, name="spanloom-upkeep", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """End; what takes longer than `seconds` is done anew by the next console."""
        self._ending.set()
        self._thread.join(seconds)

    @property
    def is_alive(self) -> bool:
        """Whether it still looks."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._ending.wait(self._seconds):
            try:
                fewer = self._archive.merge(time.time_ns() // 1000, self._ending.is_set)
                if fewer:
                    log.info("archive_merged", fewer_files=fewer)
            except OSError as error:
                log.warning("archive_not_merged", why=str(error), action="it is tried again")
            except Exception as error:
                self.failed = StateError(
                    f"merging files of the archive failed: {type(error).__name__}: {error}. "
                    "Operator action: report this with the log; nothing is lost."
                )
                log.exception("archive_failed", error=str(self.failed))
                return
