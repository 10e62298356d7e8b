"""Hands parcels to Kafka, or to the buffer while Kafka is away or slow.

Owns the choice. While the buffer holds anything, new parcels go behind it, so that they are sent in
order; when it is empty they go straight to Kafka. Invariant: a parcel is told to be safe when all
replicas have it, or the disk has; whatever fails with Kafka goes to the buffer, never away.
"""

import threading
import time
from collections import Counter
from functools import partial
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from streams.collector.buffer import Buffer, Mark
from streams.collector.parcel import Parcel, Settled
from streams.errors import StateError
from streams.runtime.link import MAKES_NO_TOPICS, Link, open_client
from streams.runtime.sending import turned

QUEUE_MESSAGES_MAX: Final = 100_000
LINGER_MS: Final = 2
DRAIN_BYTES: Final = 8 << 20
"""So much of the buffer is on its way to Kafka at once."""
DRAIN_LOOK_SECONDS: Final = 0.5
WAIT_SECONDS: Final = 0.01
RENEW_SECONDS: Final = 1.0
"""Between two clients: what broke the first one may break the next."""
LOOK_SECONDS: Final = 1.0
BACK_OFF_SECONDS: Final = (0.5, 1.0, 2.0, 5.0)
DRAIN_SECONDS: Final = 15.0
"""How long Kafka may take for a piece of the buffer: nobody waits for it."""

log = structlog.get_logger()


class Sender:
    """Sends parcels.

    Args:
        link: how to reach the broker.
        buffer: for what Kafka does not take.
        ack_seconds: how long it may take.
    """

    def __init__(self, link: Link, buffer: Buffer, ack_seconds: float) -> None:
        self._link, self._buffer, self._ack_seconds = link, buffer, ack_seconds
        self._over = threading.Event()
        self._is_away = False
        self._flying = 0
        self._lock = threading.Lock()
        self.acknowledged: Counter[str] = Counter()
        """Events that Kafka has, by topic."""
        self.buffered: Counter[str] = Counter()
        """Events that went to the buffer, by reason."""
        self.drained_events = 0
        self.producers = 0
        """How often a client was made anew, since the old one could not go on."""
        self.said = ""
        """What Kafka last said when it did not take something; "" while it takes all."""
        self.failed: StateError | None = None
        self._broken: set[str] = set()
        self._producer = self._client("_producer", ack_seconds)
        self._drain_client = self._client("_drain_client", DRAIN_SECONDS)
        self._threads = [
            threading.Thread(target=self._poll, name="spanloom-acks", daemon=True),
            threading.Thread(target=self._drain, name="spanloom-drain", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _client(self, name: str, seconds: float) -> Any:
        return open_client(
            Producer,
            {
                **self._link.librdkafka(),
                **MAKES_NO_TOPICS,
                "acks": "all",
                "enable.idempotence": True,
                "compression.type": "lz4",
                "linger.ms": LINGER_MS,
                "queue.buffering.max.messages": QUEUE_MESSAGES_MAX,
                "message.timeout.ms": round(seconds * 1000),
                "reconnect.backoff.max.ms": 1_000,
                "error_cb": partial(self._hear, name),
                "log_level": 2,
            },
        )

    @property
    def is_away(self) -> bool:
        """Whether Kafka took nothing since it last failed."""
        return self._is_away

    @property
    def is_alive(self) -> bool:
        """Whether its threads work."""
        return self.failed is None and all(thread.is_alive() for thread in self._threads)

    @property
    def flying(self) -> int:
        """Parcels that Kafka was given and has not answered for."""
        return self._flying

    def send(self, parcel: Parcel, settled: Settled) -> None:
        """Send a parcel; `settled` is told "" when it is safe, else why it is not."""
        if self._is_away or not self._buffer.is_empty:
            self._to_buffer(parcel, settled, "away" if self._is_away else "behind")
            return

        def delivered(error: KafkaError | None, _message: object) -> None:
            self._land(1)
            if error is None:
                self._taken(parcel)
                settled("")
            else:
                self._failed("_producer", error)
                self._to_buffer(parcel, settled, "not_acknowledged")

        self._land(-1)
        try:
            self._produce(self._producer, parcel, delivered)
        except (BufferError, KafkaException) as error:
            self._land(1)
            full = isinstance(error, BufferError)
            if not full:
                self._failed("_producer", error.args[0])
            self._to_buffer(parcel, settled, "queue_full" if full else "refused")

    def _land(self, count: int) -> None:
        with self._lock:
            self._flying -= count

    def _to_buffer(self, parcel: Parcel, settled: Settled, why: str) -> None:
        with self._lock:
            self.buffered[why] += parcel.events
        self._buffer.add(parcel, settled)

    @staticmethod
    def _produce(client: Any, parcel: Parcel, delivered: Any) -> None:
        client.produce(
            parcel.topic, parcel.value, parcel.key, parcel.partition, on_delivery=delivered
        )

    def _taken(self, parcel: Parcel) -> None:
        with self._lock:
            self.acknowledged[parcel.topic] += parcel.events
        self._back()

    def _back(self) -> None:
        if self._is_away or self.said:
            log.info("kafka_is_back")
            self._is_away, self.said = False, ""

    def _failed(self, client: str, error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError._FATAL:
            self._broken.add(client)
        if not self._is_away:
            log.warning("kafka_is_away", error=error.str(), action="events go to the buffer")
        self._is_away, self.said = True, error.str()

    def _hear(self, client: str, error: KafkaError) -> None:
        if error.fatal() or error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._FATAL):
            self._failed(client, error)

    def _poll(self) -> None:
        """Hear of acknowledgements until the end, and replace a client that cannot go on."""
        while not self._over.is_set():
            turned(lambda: self._producer.poll(0.1), partial(self._hear, "_producer"))
            turned(lambda: self._drain_client.poll(0), partial(self._hear, "_drain_client"))
            while self._broken and not self._over.wait(RENEW_SECONDS):
                self._renew(self._broken.pop())
            if self._is_away and not self._flying and self._buffer.is_empty:
                self._look()

    def _look(self) -> None:
        """Find out whether Kafka is back while there is nothing to send, which would tell."""
        try:
            self._producer.list_topics(timeout=LOOK_SECONDS)
        except KafkaException:
            self._over.wait(LOOK_SECONDS)
        else:
            self._back()

    def _renew(self, name: str) -> None:
        """Make a client anew whose idempotence is broken: what it still holds fails by its time."""
        log.warning("kafka_client_renewed", said=self.said)
        old = getattr(self, name)
        seconds = self._ack_seconds if name == "_producer" else DRAIN_SECONDS
        setattr(self, name, self._client(name, seconds))
        self.producers += 1
        turned(lambda: old.flush(seconds + 1), lambda _: None)  # it is known to be broken

    # --- what lies in the buffer

    def _drain(self) -> None:
        """Send what the buffer holds, in order, for as long as it takes."""
        tries = 0
        try:
            while not self._over.is_set():
                parcels, mark = self._buffer.read(DRAIN_BYTES, DRAIN_LOOK_SECONDS)
                if mark is None:
                    continue
                if self._send_again(parcels, mark):
                    tries = 0
                    continue
                self._buffer.rewind()
                self._over.wait(BACK_OFF_SECONDS[min(tries, len(BACK_OFF_SECONDS) - 1)])
                tries += 1
        except StateError as error:
            self.failed = error

    def _send_again(self, parcels: list[Parcel], mark: Mark) -> bool:
        """Send a piece of the buffer and wait for it; say whether Kafka has all of it."""
        answered = 0
        errors: list[KafkaError] = []

        def delivered(error: KafkaError | None, _message: object) -> None:
            nonlocal answered
            answered += 1
            if error is not None:
                errors.append(error)

        given = 0
        client = self._drain_client
        try:
            for parcel in parcels:
                self._produce(client, parcel, delivered)
                given += 1
        except BufferError:
            errors.append(KafkaError(KafkaError._QUEUE_FULL))
        except KafkaException as error:
            errors.append(error.args[0])
        until = time.monotonic() + DRAIN_SECONDS + 5
        while answered < given and time.monotonic() < until and not self._over.is_set():
            time.sleep(WAIT_SECONDS)
        if errors:
            self._failed("_drain_client", errors[0])
        if errors or answered < given:
            return False
        for parcel in parcels:
            self._taken(parcel)
        events = sum(parcel.events for parcel in parcels)
        self.drained_events += events
        self._buffer.release(mark, events)
        return True

    def close(self, seconds: float) -> None:
        """Wait for what is on its way; what Kafka does not take in time goes to the buffer."""
        hear = partial(self._hear, "_producer")
        turned(lambda: self._producer.flush(seconds), hear)
        self._over.set()
        for thread in self._threads:
            thread.join(seconds)
        # By then each parcel was taken or has failed.
        turned(lambda: self._producer.flush(self._ack_seconds + 1), hear)
