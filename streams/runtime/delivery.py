"""How a cut reaches its readers: as one transaction, or at least once where there are none.

Owns what differs between the two; a host knows only `Publisher`. Invariant of both: when `commit`
returns, outputs and state are with the broker; when it raises `CommitRefusedError` the memory of
the task is ahead of its state, and must be thrown away.
"""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, Literal, Protocol

from confluent_kafka import KafkaError, Producer

from streams.errors import BrokerError
from streams.runtime.commit import (
    Calls,
    ClientLostError,
    CommitRefusedError,
    Cut,
    OutRecord,
    broker_answers,
    commit_cut,
    init_transactions,
    producer_for,
    send_all,
    settings_for,
    wait_for_batches,
)
from streams.runtime.link import open_client

Delivery = Literal["exactly_once", "at_least_once"]
_LOOK: Final = "Operator action: look at the broker; the worker goes on from its last commit."


class Publisher(Protocol):
    """Publishes the cuts of one task."""

    def start(self) -> None:
        """Take the task over; blocking.

        Raises:
            BrokerError: the broker does not answer, or refuses.
        """

    def commit(self, cut: Cut, metadata: bytes | None) -> None:
        """Publish outputs, state and source position; blocking, called in a thread.

        Raises:
            CommitRefusedError: the cut does not count, whatever of its outputs may be seen.
            BrokerError: whether it counts is not known.
        """

    @property
    def call_seconds(self) -> float:
        """For how long the client has been in a call that should end by itself; from any thread."""


class ExactlyOnce:
    """All of a cut in one transaction: readers of committed records see all of it, or nothing."""

    def __init__(
        self, base: Mapping[str, object], transactional_id: str, patience_seconds: float
    ) -> None:
        self._make = partial(producer_for, base, transactional_id)
        self._producer = self._make()
        self._patience_seconds = patience_seconds
        self._calls = Calls()
        self._is_there = partial(broker_answers, base)

    def start(self) -> None:
        """Fence earlier holders and settle what they left open."""
        until = time.monotonic() + self._patience_seconds
        while True:
            try:
                init_transactions(self._producer, until - time.monotonic(), self._is_there)
                return
            except ClientLostError:
                self._producer = self._make()

    def commit(self, cut: Cut, metadata: bytes | None) -> None:
        """Commit one transaction."""
        patience_seconds, calls = self._patience_seconds, self._calls
        commit_cut(self._producer, cut, metadata, patience_seconds, calls, self._is_there)

    @property
    def call_seconds(self) -> float:
        """For how long a call of the transaction has not come back."""
        return self._calls.seconds


class AtLeastOnce:
    """Outputs first, then the state that no longer holds them: a crash between repeats outputs.

    For brokers without transactions. Nobody is fenced: for as long as a worker does not know that
    its task went to another one, both publish. The position is in the state alone; the group's
    offsets are not written.
    """

    def __init__(self, base: Mapping[str, object], patience_seconds: float) -> None:
        self._producer = open_client(
            Producer, settings_for(base) | {"message.timeout.ms": int(patience_seconds * 1000)}
        )
        self._patience_seconds = patience_seconds

    def start(self) -> None:
        """Do nothing: there is nobody to fence."""

    def commit(self, cut: Cut, metadata: bytes | None) -> None:
        """Send the outputs, and when all are acknowledged the state."""
        self._send_all(cut.outputs, cut.cut_ms)
        cut.next_changelog_offset = self._send_all(cut.changelog, 0)

    @property
    def call_seconds(self) -> float:
        """Return 0: each call ends within a second."""
        return 0.0

    def _send_all(self, records: Sequence[OutRecord], timestamp_ms: int) -> int:
        """Send records and wait for them; return the offset after the last one."""
        refused: list[str] = []
        next_offset = 0

        def delivered(error: KafkaError | None, message: object) -> None:
            nonlocal next_offset
            if error is not None:
                refused.append(error.str())
            else:
                offset = message.offset()  # type: ignore[attr-defined]
                next_offset = max(next_offset, offset + 1)

        send_all(self._producer, records, timestamp_ms, delivered)
        wait_for_batches(self._producer, records)
        deadline = time.monotonic() + self._patience_seconds
        while self._producer.flush(1.0):
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"a cut is not acknowledged after {self._patience_seconds:.0f} s. {_LOOK}"
                )
        if refused:
            raise CommitRefusedError(refused[0])
        return next_offset


def publisher_for(
    delivery: Delivery, base: Mapping[str, object], name: str, patience_seconds: float
) -> Publisher:
    """Return the publisher of a task.

    Args:
        delivery: what is promised to readers.
        base: client settings.
        name: of the task in its group, the same for all its holders.
        patience_seconds: how long a broker may be away in the middle of a commit.
    """
    if delivery == "exactly_once":
        return ExactlyOnce(base, name, patience_seconds)
    return AtLeastOnce(base, patience_seconds)
