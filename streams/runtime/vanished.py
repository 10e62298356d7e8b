"""Whether the topics are still there, which an assignment does not tell.

A task that has lost some of its topics is refused. One that has lost all of them is nobody's, and
its worker looks like a spare one: no lag, and nothing to do.
"""

from collections.abc import Collection, Mapping
from concurrent.futures import Executor

import structlog

from streams.errors import BrokerError, StateError
from streams.runtime import topics

log = structlog.get_logger()


class Vanished:
    """Looks for topics beside the flow, once for every assignment.

    Args:
        base: client settings.
        names: the topics that the group reads, as they are when it is looked; none for no look.
        pool: threads to ask in.

    Attributes:
        error: what the worker must end with, None while all topics are there.
    """

    def __init__(self, base: Mapping[str, object], names: Collection[str], pool: Executor) -> None:
        self.error: StateError | None = None
        self._base, self._names, self._pool = base, names, pool

    def look(self) -> None:
        """Begin to look; returns at once."""
        if self._names:
            self._pool.submit(self._look)

    def _look(self) -> None:
        try:
            there = topics.partition_counts(topics.admin(self._base))
        except BrokerError as error:  # how long it may be away is judged elsewhere
            log.info("topics_not_looked_at", error=str(error))
            return
        if gone := sorted({*self._names} - there.keys()):
            self.error = StateError(
                f"{', '.join(gone)}: deleted while this worker ran, so that nobody reads them. "
                "Operator action: make them with `spanloom topics create`, and start a new group "
                "(--group), which reads all topics from their beginning."
            )
