"""How many files a worker may have open: its tasks need some each, and most limits allow 1,024.

A client that gets no socket or pipe says that the broker is away, or that its handle is gone, and
a database that is damaged. So the limit is raised as far as the machine lets us, and told of where
that is not far enough.
"""

import resource
from typing import Final

import structlog

log = structlog.get_logger()
FILES_A_TASK: Final = 40
"""A task has 15 with one broker and a small state: a producer's pipes and sockets, a database's log
and tables. Each broker more is a socket more, and a state of gigabytes has dozens of tables."""
OTHER_FILES: Final = 256
"""Of the process itself, of eight restores and recalls at once, and of those who scrape it."""
LEAST_A_TASK: Final = 16


def allow(tasks: int) -> None:
    """Let this process open what so many tasks may need, and say so where it may not.

    Args:
        tasks: those that this worker has if it is alone.
    """
    wanted = OTHER_FILES + FILES_A_TASK * tasks
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    allowed = max(soft, allowed)
    if allowed < OTHER_FILES + LEAST_A_TASK * tasks:
        log.warning(
            "few_open_files",
            allowed=allowed,
            wanted=wanted,
            tasks=tasks,
            action=f"let the worker open {wanted} files (ulimit -Hn, LimitNOFILE of systemd), or "
            "share the partitions among more workers: without files clients take the broker for "
            "away and databases for damaged",
        )
