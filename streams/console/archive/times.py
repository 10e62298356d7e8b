"""Of what time the rows of files are: asked of each file once, for files do not change their times.

Owns what is remembered of that. The list of an hour tells the times of all its files at once; of
others their footers are read.
"""

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from streams.console.archive.files import HOUR_US, Segment, hour_of
from streams.console.archive.kinds import Kind
from streams.console.archive.lists import Times
from streams.console.archive.store import Store

CLOCK_US: Final = 24 * HOUR_US
"""Kafka's time of a record is not so long before its own: no clock is so far ahead."""
FOOTER_THREADS: Final = 8


class FileTimes:
    """The least and the greatest time of the rows of each file.

    Args:
        store: where the files are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._known: dict[Segment, Times] = {}

    def within(self, kind: Kind, files: Iterable[Segment], times: Times) -> dict[Segment, Times]:
        """Return the files that hold something of [start, end), in us, with their times.

        Raises:
            OSError: a file cannot be read.
        """
        first = hour_of(times[0] - CLOCK_US)
        known = self.of(kind, [one for one in files if one.hour >= first])
        return {one: t for one, t in known.items() if t[0] < times[1] and t[1] >= times[0]}

    def of(self, kind: Kind, files: Sequence[Segment]) -> dict[Segment, Times]:
        """Return the times of files of a kind.

        Raises:
            OSError: a file cannot be read.
        """
        with self._lock:
            found = {one: self._known[one] for one in files if one in self._known}
        unknown = [one for one in files if one not in found]
        if unknown:
            told = self._read(kind, unknown)
            with self._lock:
                self._known |= told
            found |= told
        return found

    def note(self, one: Segment, times: Times) -> None:
        """Take in the times of a file that was just written."""
        with self._lock:
            self._known[one] = times

    def forget(self, one: Segment) -> None:
        """Let go of what is known of a file that was removed."""
        with self._lock:
            self._known.pop(one, None)

    def _read(self, kind: Kind, files: Sequence[Segment]) -> dict[Segment, Times]:
        found: dict[Segment, Times] = {}
        for hour in {one.hour for one in files}:
            if (list_ := self._store.hour_list(kind.name, hour)) is not None:
                found |= {one: list_.times[one] for one in files if one in list_.times}
        unlisted = [one for one in files if one not in found]
        if unlisted:
            with ThreadPoolExecutor(FOOTER_THREADS, "spanloom-footer") as pool:
                told = pool.map(lambda one: self._store.times(kind, one), unlisted)
                found |= zip(unlisted, told, strict=True)
        return found
