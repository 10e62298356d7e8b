"""Keeps the archive in order beside the reader, in a thread: files are merged, old ones summed up.

Owns when that is looked for, and what becomes of its failures: a disk that is full is waited for, a
list of holds that cannot be read keeps everything, anything else ends the console.
"""

import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import structlog

from streams.console.archive.archive import Archive
from streams.console.archive.retention import Hold, read_holds
from streams.console.archive.rollup import roll_up
from streams.console.archive.tiers import Keep
from streams.errors import ConfigError, SpanloomError, StateError, reason_of, said_of
from streams.runtime.clock import wall_us

log = structlog.get_logger()


class Upkeep:
    """The thread; `start` begins, `stop` ends it once the file at hand is done.

    Args:
        archive: what is kept in order.
        seconds: so often it is looked for what is due.
        keep_days: by kind, how long it is kept.
        holds: the list of what is kept whatever its age; None for none.
        minute_days: by kind, until what age there are summaries by minute; then there are those by
            hour.
        hour_days: by kind, until what age there are these.

    Raises:
        ConfigError: the list cannot be read.
    """

    def __init__(
        self,
        archive: Archive,
        seconds: float,
        keep_days: Mapping[str, float],
        holds: Path | None,
        minute_days: Mapping[str, float] = MappingProxyType({}),
        hour_days: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self._archive, self._seconds = archive, seconds
        self._keep = Keep(keep_days, minute_days, hour_days)
        self._holds = holds
        self.read_holds()
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
                self._look(wall_us())
            except OSError as error:
                log.warning("archive_not_in_order", why=str(error), action="it is tried again")
            except Exception as error:
                self.failed = StateError(
                    f"merging files of the archive failed: {said_of(error)}. "
                    "Operator action: report this with the log; nothing is lost."
                )
                log.exception("archive_failed", error=str(self.failed))
                return

    def _look(self, now_us: int) -> None:
        if any(self._keep):
            try:
                holds = self.read_holds()
            except ConfigError as error:
                log.error("archive_keeps_all", error=str(error), action="mend the list of holds")
            else:
                is_over = self._ending.is_set
                old = roll_up(self._archive, self._keep, holds, now_us, is_over)
                if old:
                    log.info("archive_expired", files=old)
        fewer = self._archive.merge(now_us, self._ending.is_set)
        if fewer:
            log.info("archive_merged", fewer_files=fewer)

    def read_holds(self) -> list[Hold]:
        """Return the list of what is kept whatever its age, as `holds_of`."""
        return holds_of(self._holds)


def holds_of(path: Path | None) -> list[Hold]:
    """Return the list of what is kept whatever its age, as it is now.

    Raises:
        ConfigError: it cannot be read.
    """
    if path is None:
        return []
    place = "console_holds (SPANLOOM_CONSOLE_HOLDS)"
    try:
        return read_holds(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{place}: {path} cannot be read ({reason_of(error)})") from error
    except ConfigError as error:
        raise ConfigError(f"{place}: {path}: {error}") from error
