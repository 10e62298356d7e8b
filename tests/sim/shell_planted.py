"""Bugs planted in the shell: the simulated shell must catch each of them."""

import asyncio
from collections.abc import Callable
from typing import Any

from streams.errors import SpanloomError
from streams.runtime import host
from streams.runtime.chunk import Chunk
from streams.runtime.committing import Threads
from streams.runtime.host import TaskHost
from tests.sim.planted import BUGS


def _put_when_ready(self: TaskHost, chunk: Chunk) -> None:
    # Half a minute later it would be missed, and fetched again: that must be broken, too.
    self._refetch.look = lambda _topics: None  # type: ignore[method-assign]
    if not self._closed and self._ready:
        self._inbox.put(chunk)


async def _run_without_a_word(self: TaskHost) -> None:
    try:
        await self._run_until_closed()
    except SpanloomError as error:
        self.failed = error
    except Exception as error:
        self.fail(error)


async def _published_some_day(
    threads: Threads, publish: Callable[[], None], note: Callable[[], None], *_: Any
) -> bool:
    def run() -> None:
        publish()
        note()

    await asyncio.wrap_future(threads.submit(run))
    return True


async def _throw_nothing_away(self: TaskHost, why: str) -> bool:
    self._ready = True
    return False


SHELL_BUGS: dict[str, tuple[Any, str, Any]] = {
    "dropped_before_ready": (TaskHost, "put", _put_when_ready),
    "ends_without_a_word": (TaskHost, "_run", _run_without_a_word),
    "refusal_ignored": (TaskHost, "_throw_away", _throw_nothing_away),
    "never_given_up": (host, "published", _published_some_day),
}
"""Name -> what is replaced: records that come before a task may step thrown away, and
never missed; a task that ends when something that it awaits is cancelled; a refused commit passed
over; a commit that is waited for until its client comes back."""

BUGS.update(SHELL_BUGS)
