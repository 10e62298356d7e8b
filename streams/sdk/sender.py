"""The broker's side of an emitter: topics, partitions, and what became of each message.

Called by the emitter's thread alone. Owns the Kafka client. Invariant: the events of a message are
counted once, as arrived or as lost, when the client says what became of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Protocol

import confluent_kafka.admin  # noqa: F401  # now, while no process forks, not with its first answer
from confluent_kafka import KafkaError, KafkaException, Producer

from streams.sdk.forks import loading
from streams.sdk.options import LOG_NAME, Options

OTHER: Final = "telemetry.other.v1"
"""For modules without a topic of their own."""
TOPICS_SECONDS: Final = 300.0
"""After so long the broker is asked again how many partitions there are."""
ASK_SECONDS: Final = 2.0
"""How long it may take to answer, and how long we wait before we ask again; twice as long with each
answer that does not have a topic we look for, for it tells of all topics there are."""
MESSAGE_OVERHEAD_BYTES: Final = 256
"""What a message costs beside its value, about."""
DELIVERY_TIMEOUT, REFUSED, BUFFER_FULL, EXIT = (
    "delivery_timeout",
    "delivery_refused",
    "buffer_full",
    "exit",
)
_REASONS: Final = {
    KafkaError._MSG_TIMED_OUT: DELIVERY_TIMEOUT,
    KafkaError._TIMED_OUT: DELIVERY_TIMEOUT,
    KafkaError._PURGE_QUEUE: EXIT,
    KafkaError._PURGE_INFLIGHT: EXIT,
}


class Counting(Protocol):
    """Who hears what became of events."""

    def arrived(self, events: int) -> None:
        """Count events that the broker has."""

    def lost(self, events: int, reason: str) -> None:
        """Count events that will not arrive."""

    def complain(self, key: str, text: str) -> None:
        """Log something, but not again and again."""


class KafkaSender:
    """Sends messages to telemetry topics; see `emitter.Sender`.

    Args:
        link: settings of the client.
        options: bounds.
        counting: hears what became of events.
    """

    def __init__(self, link: Mapping[str, object], options: Options, counting: Counting) -> None:
        self._counting = counting
        self._options = options
        self._settings = {
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 5,  # the emitter has gathered already
            "compression.type": "lz4",
            "message.timeout.ms": int(options.delivery_seconds_max * 1_000),
            # Ours is the bound that counts; the client's only has to be beyond it.
            "queue.buffering.max.kbytes": 4 * (options.buffer_bytes_max >> 10),
            "queue.buffering.max.messages": 0,
            "message.max.bytes": 1_000_000,
            # As `runtime.link.MAKES_NO_TOPICS` says, which nothing here may wait for.
            "allow.auto.create.topics": False,
            "error_cb": self._heard,
            "logger": logging.getLogger(f"{LOG_NAME}.kafka"),
            "log_level": 2,
            **link,
        }
        self._producer: Any = None
        self._is_fatal = False
        self._buffered_bytes = 0
        self._partitions: dict[str, int] = {}
        self._asked_at = -TOPICS_SECONDS
        self._ask_seconds = ASK_SECONDS
        self._unknown: set[str] = set()

    def is_ready(self) -> bool:
        """Whether topics are known and there is room for more."""
        if self._is_fatal:
            self._give_up()
        if self._producer is None:
            with loading():
                self._producer = Producer(self._settings)
            self._producer.poll(0)  # where a token is asked for, if the link needs one
        is_partial = bool(self._unknown) or not self._partitions
        if time.monotonic() - self._asked_at > (
            self._ask_seconds if is_partial else TOPICS_SECONDS
        ):
            self._ask()
        return bool(self._partitions) and self._buffered_bytes < self._options.buffer_bytes_max

    def partitions(self, topic: str) -> tuple[str, int] | None:
        """Return where a topic's events go, and how many partitions it has; None for nowhere."""
        found = self._partitions.get(topic)
        if found is not None:
            return topic, found
        if topic not in self._unknown:
            self._unknown.add(topic)
            self._ask_seconds = ASK_SECONDS
        self._counting.complain(f"topic {topic}", f"there is no topic {topic}, trying {OTHER}")
        others = self._partitions.get(OTHER)
        return None if others is None else (OTHER, others)

    def send(
        self,
        topic: str,
        partition: int,
        value: bytes,
        events: int,
        lost: Callable[[], None] | None = None,
    ) -> None:
        """Hand a message over; its events are counted when it is known what became of them."""
        size = len(value) + MESSAGE_OVERHEAD_BYTES
        heard: Callable[..., None] = partial(self._delivered, size, events, lost)
        try:
            self._producer.produce(topic, value, partition=partition, on_delivery=heard)
        except BufferError:
            self._lost(events, BUFFER_FULL, lost)
        except KafkaException as error:
            self._lost(events, REFUSED, lost)
            self._counting.complain(REFUSED, f"{topic}: {error.args[0].str()}")
        else:
            self._buffered_bytes += size

    def poll(self) -> None:
        """Hear what became of messages."""
        if self._producer is not None:
            self._producer.poll(0)

    def close(self, seconds: float) -> None:
        """Wait so long for what is on its way, and give up the rest."""
        if self._producer is not None:
            self._producer.flush(seconds)
            self._give_up()

    def _give_up(self) -> None:
        """Let go of the client, and hear of each message that it still had."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.flush(1.0)
        self._is_fatal = False  # after its last words, which may say it once more

    def _ask(self) -> None:
        """Ask how many partitions the topics have; without an answer the last one holds."""
        try:
            found = self._producer.list_topics(timeout=ASK_SECONDS).topics
        except KafkaException as error:
            self._counting.complain("broker", f"no answer from the broker: {error.args[0].str()}")
            self._asked_at = time.monotonic()
            return
        counts = {
            name: len(topic.partitions)
            for name, topic in found.items()
            if topic.error is None and topic.partitions
        }
        self._partitions = counts
        self._asked_at = time.monotonic()
        if not counts:
            self._counting.complain("topics", "the broker shows no topic: give the right Write")
        self._unknown -= counts.keys()
        self._ask_seconds = min(2 * self._ask_seconds, TOPICS_SECONDS) if counts else ASK_SECONDS

    def _lost(self, events: int, reason: str, lost: Callable[[], None] | None) -> None:
        self._counting.lost(events, reason)
        if lost is not None:
            lost()

    def _delivered(
        self,
        size: int,
        events: int,
        lost: Callable[[], None] | None,
        error: KafkaError | None,
        _message: Any,
    ) -> None:
        self._buffered_bytes -= size
        if error is None:
            self._counting.arrived(events)
            return
        reason = _REASONS.get(error.code(), REFUSED)
        self._lost(events, reason, lost)
        self._counting.complain(reason, f"{events} events were not delivered: {error.str()}")

    def _heard(self, error: KafkaError) -> None:
        self._is_fatal |= error.fatal()
        self._counting.complain(f"client {error.name()}", error.str())
