"""The end of a worker's tasks: each gets the time that it needs, and none uses up the stop."""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from streams.errors import StateError, said_of
from streams.runtime.host import TaskHost

HOST_SECONDS: Final = 8.0
"""For a task that has nothing to commit: it waits for the broker, or reads its state. Together with
leaving the group and stopping the client this is less than `stop_seconds_max`."""

log = structlog.get_logger()


async def stop_all(hosts: Sequence[TaskHost], *, cut: bool) -> None:
    """Stop tasks side by side; what went wrong with one is in its `failed`.

    Args:
        hosts: the tasks.
        cut: whether each commits what it has; a last cut takes what it takes.
    """
    stops = [
        asyncio.wait_for(host.stop(cut=cut), None if cut and host.may_cut else HOST_SECONDS)
        for host in hosts
    ]
    problems = await asyncio.gather(*stops, return_exceptions=True)
    for host, problem in zip(hosts, problems, strict=True):
        if isinstance(problem, TimeoutError):
            log.warning("task_stop_cut_short", task=str(host.id), seconds=HOST_SECONDS)
        elif isinstance(problem, Exception):
            # Raised from here it would leave the client's thread alive, with our partitions.
            log.error("task_stop_failed", task=str(host.id), error=said_of(problem))
            host.failed = host.failed or StateError(
                f"task {host.id} could not be stopped: {said_of(problem)}. Operator action: look "
                "at the disk of the state directory; what was committed is safe."
            )
