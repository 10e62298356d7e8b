"""The incident topic as one target reads it: a consumer group of its own, committed by hand.

Owns where reading begins, and the committed position. All calls block and belong into one thread
at a time; what happened is returned as a list, in order.

Invariants: only committed records are read; a target without a committed position gets one before
anything else, so that a start that is cut short skips nothing; a commit says no more than what the
outbox called done.
"""

from contextlib import suppress
from typing import Any, Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.errors import BrokerError, StateError
from streams.notify.rules.outbox import Position
from streams.runtime import refusals
from streams.runtime.link import Link, open_client

CALL_SECONDS: Final = 10.0
BATCH_MAX: Final = 200
_FATAL: Final = frozenset({KafkaError._AUTHENTICATION, KafkaError._FATAL})


class Fetched(NamedTuple):
    """A record of the topic; `written_us` is Kafka's time of it."""

    offset: int
    written_us: int
    value: bytes | None


class Assigned(NamedTuple):
    """The topic is ours to read.

    Attributes:
        position: committed last.
        is_new: there was none: telling begins with what comes next.
        is_anew: it lies beyond the topic's end, which was made again: telling begins with its
            first record.
        lost: offsets that the broker deleted before they were told.
    """

    position: Position
    is_new: bool
    is_anew: bool
    lost: int


class CaughtUp(NamedTuple):
    """Everything that the topic held has been read."""


class Revoked(NamedTuple):
    """The topic is another's to read."""


Happened = Fetched | Assigned | CaughtUp | Revoked


class TopicView:
    """The incident topic, for one target.

    Args:
        link: how to reach the broker.
        topic: its whole name; it has one partition.
        group: of this target alone.
        session_seconds: without a heartbeat for so long, another process takes over.
        instance: static member id: a process that starts again under it takes over at once.
    """

    def __init__(
        self, link: Link, topic: str, group: str, session_seconds: float, instance: str = ""
    ) -> None:
        self.topic = topic
        self.position: Position | None = None
        """What a take-over commits; set by whoever owns the outbox."""
        self._happened: list[Happened] = []
        self._committed: Position | None = None
        self._failed: KafkaError | None = None
        self._who = link.settings.who
        self._is_paused = False
        self._partition = TopicPartition(topic, 0)
        self._group = group
        self._consumer: Any = open_client(
            Consumer,
            {
                **link.librdkafka(),
                "group.id": group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "session.timeout.ms": int(session_seconds * 1000),
                **({"group.instance.id": instance} if instance else {}),
                "fetch.wait.max.ms": 100,
                "queued.max.messages.kbytes": 4096,
                "error_cb": self._hear,
                "log_level": 0,
            },
        )

    def subscribe(self) -> None:
        """Join the group."""
        self._consumer.subscribe(
            [self.topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    def take(self, seconds: float, is_paused: bool) -> list[Happened]:
        """Return what happened, waiting at most so long for the first of it.

        Args:
            seconds: to wait.
            is_paused: whether records are not wanted now; the group is served all the same.

        Raises:
            BrokerError: the broker refuses; a right is missing.
        """
        self._pause(is_paused)
        for number in range(BATCH_MAX):
            message = self._consumer.poll(0 if number else seconds)
            if message is None:
                break
            error = message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                self._happened.append(CaughtUp())
                break
            if error is not None:
                self._raise(error)
                break
            _, timestamp_ms = message.timestamp()
            self._happened.append(Fetched(message.offset(), timestamp_ms * 1000, message.value()))
        if self._failed is not None:
            failed, self._failed = self._failed, None
            self._raise(failed)
        happened, self._happened = self._happened, []
        return happened

    def commit(self, position: Position) -> bool:
        """Commit a position and wait for the broker's word; say whether it has it."""
        if position == self._committed:
            return True
        where = TopicPartition(self.topic, 0, position.offset, position.metadata())
        try:
            (found,) = self._consumer.commit(offsets=[where], asynchronous=False)
        except KafkaException:
            return False
        if found.error is not None:
            return False
        self._committed = position
        return True

    def ends(self) -> tuple[int, int] | None:
        """Return (low, high) offsets of the topic as the broker says now; None when it is away."""
        try:
            low, high = self._consumer.get_watermark_offsets(
                self._partition, timeout=CALL_SECONDS, cached=False
            )
        except KafkaException:
            return None
        return low, high

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    # --- the group ------------------------------------------------------------------------------

    def _assigned(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        del self._happened[:]  # read under an earlier assignment: it will be read again
        self._is_paused = False
        if not partitions:
            return
        try:
            found = consumer.committed([self._partition], timeout=CALL_SECONDS)[0]
            low, high = consumer.get_watermark_offsets(
                self._partition, timeout=CALL_SECONDS, cached=False
            )
            is_new = found.offset < 0
            position = Position(high, high)
            if not is_new:
                position = Position.parse(found.offset, found.metadata or "")
            is_anew = position.offset > high  # the topic was deleted and made again
            lost = max(0, low - position.offset)
            if lost or is_anew:
                position = Position(low, low)
            self._committed = None
        except KafkaException as error:
            self._failed = error.args[0]
            return
        if is_new and not self.commit(position):
            self._failed = KafkaError(KafkaError._TRANSPORT)
            return
        self.position = position
        begin = max(low, position.follow_from)
        consumer.assign([TopicPartition(self.topic, 0, begin)])
        self._happened.append(Assigned(position, is_new, is_anew, lost))

    def _revoked(self, _consumer: Any, partitions: list[TopicPartition]) -> None:
        if partitions and self.position is not None:
            self.commit(self.position)  # if it does not go through, some is told once more
        self._lost(_consumer, partitions)

    def _lost(self, _consumer: Any, _partitions: list[TopicPartition]) -> None:
        self.position = None
        self._happened.append(Revoked())

    def _pause(self, is_paused: bool) -> None:
        if is_paused == self._is_paused or self.position is None:
            return
        change = self._consumer.pause if is_paused else self._consumer.resume
        with suppress(KafkaException):  # not ours any more; the group will say so
            change([self._partition])
            self._is_paused = is_paused

    def _hear(self, error: KafkaError) -> None:
        if error.code() in _FATAL or refusals.is_of_right(error) or error.fatal():
            self._failed = error

    def _raise(self, error: KafkaError) -> None:
        if refusals.is_of_right(error):
            kind = "group" if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED else "topic"
            name = self._group if kind == "group" else self.topic
            raise refusals.of_right(error, "Read", f"{kind} {name}", self._who)
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise StateError(
                f"{self.topic} no longer holds what {self._group} has still to tell. Operator "
                "action: look at the topic's retention; a restart goes on with what it holds."
            )
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise BrokerError(
                f"topics are missing: {self.topic}. Operator action: run `spanloom topics create`."
            )
        if error.code() in _FATAL or error.fatal() or error.code() == KafkaError._TRANSPORT:
            raise BrokerError(
                f"the broker refuses {self._who}: {error.str()}. Operator action: look at "
                "SPANLOOM_KAFKA_* and the broker's log, and start again."
            )
