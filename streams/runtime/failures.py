"""What a running worker must end with, beside what it waits for too long (`Monitor`).

Owns the order in which failures are believed: what a task says of itself says more than what its
Kafka client ends with, which is often the consequence.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final, Protocol

from streams.errors import BrokerError, SpanloomError, said_of
from streams.runtime import refusals

_GO_ON: Final = "Operator action: look at the broker; a restart goes on from the last commit."


class Failing(Protocol):
    """A task that may have failed."""

    @property
    def failed(self) -> SpanloomError | None:
        """What it failed with."""


class Looked(Protocol):
    """A look at the topics that goes on beside the flow."""

    @property
    def error(self) -> SpanloomError | None:
        """What it found."""


class Client(Protocol):
    """A Faust app, as far as it may crash."""

    @property
    def crashed(self) -> bool:
        """Whether a service of it ended with an error."""

    @property
    def crash_reason(self) -> Any:
        """The error."""


class FailureWatch:
    """Looks for what a worker must end with.

    Args:
        vanished: the look at the topics.
        who: the user that the worker is to the broker, for the words of a refusal.
    """

    def __init__(self, vanished: Looked, who: str) -> None:
        self._vanished, self._who = vanished, who

    def look(
        self,
        tasks: Iterable[Failing],
        noted: SpanloomError | None,
        starting: asyncio.Task[None],
        client: Client,
    ) -> SpanloomError | None:
        """Return what the worker must end with, None while it may go on.

        Args:
            tasks: of the worker.
            noted: what an assignment failed with.
            starting: the start of the client.
            client: the client.
        """
        found = failed_task(tasks) or noted or self._vanished.error
        if found is not None:
            return found
        if starting.done() and not is_good(starting):
            return self._of_client("did not start", starting.exception())
        if client.crashed:
            return self._of_client("stopped", client.crash_reason)
        return None

    def _of_client(self, what: str, why: BaseException | None) -> BrokerError:
        if isinstance(why, BrokerError):  # ours, which says what to do
            return why
        known = refusals.of_aiokafka(why, who=self._who)
        said = "without a word" if why is None else said_of(why)
        return known or BrokerError(f"the Kafka client {what}: {said}. {_GO_ON}")


def failed_task(tasks: Iterable[Failing]) -> SpanloomError | None:
    """Return what the first task that failed did so with, None while all are well."""
    return next((task.failed for task in tasks if task.failed is not None), None)


def is_good(starting: asyncio.Task[None]) -> bool:
    """Whether a start that is over went well."""
    return not starting.cancelled() and starting.exception() is None
