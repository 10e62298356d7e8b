"""Cancels that were meant for us, told from those that come out of what we wait for."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


def is_asked_to_stop() -> bool:
    """Whether somebody has cancelled the task that runs now."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


@contextmanager
def own_cancels_only() -> Iterator[None]:
    """Let a cancel of this task pass, and make an error of one that only came out of an await.

    A task that ends with `CancelledError` ends without a word, as it should when it was asked to.
    The same error comes out of awaiting something else that was cancelled (a call in the client's
    thread, a future of a pool): then nobody wanted the task to end, and somebody must hear of it.

    Raises:
        TimeoutError: what the block waited for will never come.
    """
    try:
        yield
    except asyncio.CancelledError:
        if is_asked_to_stop():
            raise
        raise TimeoutError("what it waited for was cancelled by somebody else") from None
