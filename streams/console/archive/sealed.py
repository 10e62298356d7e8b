"""Tails that take no more rows, until a file holds each: who writes them, and in which order.

Whoever takes records in writes them itself, or a thread beside it does: a file is made of rows by
code that needs no interpreter, so that the next records are decoded meanwhile. Invariants: one at a
time, in the order in which they were sealed, for the files of a partition are its position; after a
failure nothing is tried again before somebody has heard of it and asks once more.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from streams.console.archive.files import At
from streams.console.archive.tail import Tail


class Sealed:
    """The tails that wait for their files.

    Args:
        lock: of what is in memory; whoever calls `put`, `drop_first` or `tails` has it.
        write: makes a file of a tail and drops it; called without the lock. What it raises is
            raised by `settle`.
        bytes_max: of what waits while a thread writes, beyond the first of it.
    """

    def __init__(
        self, lock: threading.Lock, write: Callable[[At, Tail], None], bytes_max: int
    ) -> None:
        self._changed = threading.Condition(lock)
        self._write = write
        self._bytes_max = bytes_max
        self._waiting: deque[tuple[At, Tail]] = deque()
        self._failure: BaseException | None = None
        self._is_asked = False
        self._is_over = False
        self._is_beside = False

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Let a thread write for as long as the block runs; what still waits then stays."""
        self._is_over = self._is_asked = False
        self._failure = None
        thread = threading.Thread(target=self._run, name="spanloom-archive-files", daemon=True)
        thread.start()
        self._is_beside = True
        try:
            yield
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify_all()
            thread.join()
            self._is_beside = False

    def put(self, at: At, tail: Tail) -> None:
        """Add a tail that takes no more rows."""
        self._waiting.append((at, tail))
        self._changed.notify_all()

    def drop_first(self) -> None:
        """Forget the tail that a file holds now."""
        self._waiting.popleft()

    def tails(self) -> list[tuple[At, Tail]]:
        """Return those that wait, the earliest first."""
        return list(self._waiting)

    def settle(self, *, all_of_it: bool = False) -> None:
        """Write what waits; with a thread beside, wait until little does, or nothing.

        Called by one thread, the one that takes records in.

        Raises:
            OSError: a file could not be written; its tail waits on, and those after it.
        """
        if not self._is_beside:
            while self._waiting:
                self._write(*self._waiting[0])
            return
        with self._changed:
            if self._failure is not None:
                self._is_asked = True
                self._changed.notify_all()
                self._changed.wait_for(lambda: not self._is_asked)
            self._changed.wait_for(lambda: self._failure or not self._is_much(all_of_it))
            if self._failure is not None:
                raise self._failure

    def _is_much(self, all_of_it: bool) -> bool:
        """Whether more waits than may; one is being written, however large it is."""
        if all_of_it:
            return bool(self._waiting)
        size_bytes = sum(tail.size_bytes for _, tail in self._waiting)
        return len(self._waiting) > 1 and size_bytes > self._bytes_max

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._is_due)
                if self._is_over:
                    return
                first = self._waiting[0]
            failure = None
            try:
                self._write(*first)
            except BaseException as error:  # whatever it is, `settle` would wait for it for ever
                failure = error
            with self._changed:
                self._failure, self._is_asked = failure, False
                self._changed.notify_all()

    def _is_due(self) -> bool:
        is_free = self._failure is None or self._is_asked
        return self._is_over or (bool(self._waiting) and is_free)
