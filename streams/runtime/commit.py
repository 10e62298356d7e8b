"""The commit: outputs, state and source position in one Kafka transaction per task.

Owns one `confluent_kafka.Producer` per task and the steps of a commit: begin, produce outputs,
produce the state's segment, add the source offsets, commit. The transaction is opened only at the
cut, so a worker that is killed rarely leaves one open to stall readers.

Invariant: either everything of a cut is visible to a `read_committed` reader, or nothing is.
"""

import itertools
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from typing import Any, Final, NamedTuple, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from streams.errors import BrokerError, ConfigError, RightError
from streams.runtime import refusals
from streams.runtime.crashpoints import reached
from streams.runtime.link import MAKES_NO_TOPICS, open_client

TRANSACTION_TIMEOUT_MS = 15_000
PATIENCE_SECONDS = 120.0
"""How long a broker may be away in the middle of a commit, where nothing else is set."""
_CALL_SECONDS = 10.0
"""How long a call may take; the client keeps to it only roughly, 16 s have been seen."""
_LOOK_SECONDS: Final = 2.0
_RECONNECT_MS: Final = 10
_SETTLE_SECONDS: Final = 0.03
"""From the first metadata until a client has its connections. One that looks for its coordinator
before that finds no broker, and looks again half a second later: a third of them did."""
_ANSWERED_MAX: Final = 2
"""So often an outcome may stay unknown though the broker answers the same client."""
_LINGER_MS: Final = 10_000
"""No time passes before something is sent: a full batch goes at once, the rest with the commit."""
_BATCH_BYTES: Final = 1_000_000
"""How much the client puts into a request for one partition; brokers take 1 MiB by default."""
_PLACE: Final = itemgetter(0, 1)
"""Topic and partition of a record."""
_STILL_SECONDS: Final = 0.5
"""After so long without an answer a commit no longer waits for full batches to go first."""


class OutRecord(NamedTuple):
    """One record to publish; no value deletes the key."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None


def out_records(
    topic: str, partition: int, keys: Sequence[bytes], values: Sequence[bytes]
) -> list[OutRecord]:
    """Return a record for each key and value; twice as fast as making them one by one."""
    n = len(keys)
    fields = zip([topic] * n, [partition] * n, keys, values, strict=True)
    return list(map(_record, fields))


_record = cast("Callable[[tuple[object, ...]], OutRecord]", partial(tuple.__new__, OutRecord))


@dataclass(slots=True)
class Cut:
    """Everything that one transaction makes visible.

    Attributes:
        cut_ms: Kafka timestamp of the outputs.
        outputs: records of the derived topics.
        changelog: the state's pieces, as records of the changelog partition.
        offsets: next offset per (topic, partition) of the source.
        next_changelog_offset: set by the commit: where the changelog goes on after this cut.
    """

    cut_ms: int
    outputs: list[OutRecord]
    changelog: list[OutRecord]
    offsets: Mapping[tuple[str, int], int]
    next_changelog_offset: int = field(default=0)


class CommitRefusedError(Exception):
    """The broker refused the transaction: the task's memory is ahead and must be thrown away."""


class ClientLostError(Exception):
    """A client gets no answer of a broker that answers others: it lost it, and finds it no more."""


class Calls:
    """Says from any thread for how long a client has been in a call."""

    def __init__(self) -> None:
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        """Since the call began that has not returned; 0 outside of one."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count the time in the block as one call."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None


def group_metadata(group: str, generation: int, member_id: str, instance_id: str | None) -> bytes:
    """Return the consumer group metadata in librdkafka's private format, version 2.

    Built from the membership that aiokafka holds, so that the broker refuses a stale generation
    or an evicted member. The format is private: `check_group_metadata` compares it at start.
    """
    instance = b"\0" + instance_id.encode() + b"\0" if instance_id else b"\1"
    head = b"CGMDv2:" + struct.pack("=i", generation)
    return head + group.encode() + b"\0" + member_id.encode() + b"\0" + instance


def check_group_metadata() -> None:
    """Pass when the installed client still has the private format that `group_metadata` writes.

    Raises:
        ConfigError: it has another one; commits would not be fenced by the group.
    """
    nowhere = {"bootstrap.servers": "127.0.0.1:1", "group.id": "check", "log_level": 0}
    consumer = open_client(Consumer, nowhere)
    try:
        theirs = consumer.consumer_group_metadata()
    finally:
        consumer.close()
    if theirs != group_metadata("check", -1, "", None):
        raise ConfigError(
            "this confluent-kafka writes consumer group metadata in another format, so commits "
            "would not be fenced: install the version that requirements.lock names"
        )


def settings_for(base: Mapping[str, object]) -> dict[str, object]:
    """Return the client settings of a producer of ours; it retries and keeps the order."""
    return {
        **base,
        **MAKES_NO_TOPICS,
        "linger.ms": _LINGER_MS,
        "batch.size": _BATCH_BYTES,
        "compression.type": "lz4",
        "message.max.bytes": 9 << 20,
        "queue.buffering.max.messages": 1_000_000,
        "queue.buffering.max.kbytes": 1 << 18,
        "partitioner": "murmur2_random",
        "enable.idempotence": True,
    }


def producer_for(base: Mapping[str, object], transactional_id: str) -> Producer:
    """Make a transactional producer; `init_transactions` is the caller's."""
    producer: Producer = open_client(
        Producer,
        {
            **settings_for(base),
            "transactional.id": transactional_id,
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
            "reconnect.backoff.ms": _RECONNECT_MS,
        },
    )
    return producer


def commit_cut(
    producer: Producer,
    cut: Cut,
    metadata: bytes | None,
    patience_seconds: float = PATIENCE_SECONDS,
    calls: Calls | None = None,
    is_there: Callable[[], bool] = lambda: False,
) -> None:
    """Make a cut visible; blocking, called in a thread.

    Args:
        producer: the task's producer, after `init_transactions`.
        cut: what to publish.
        metadata: consumer group metadata; None commits no group offsets.
        patience_seconds: how long the outcome is asked for while the broker does not answer.
        calls: told when a call begins and ends. One may never return: librdkafka waits without an
            end for a group's coordinator that a broker's metadata once left out (its issue 5511).
        is_there: whether the broker answers another client; asked where this one gets no answer.

    Raises:
        CommitRefusedError: fenced, stale generation, or any failure after which nothing is visible.
        BrokerError: the outcome stays unknown all that time.
    """
    refused: list[str] = []

    def delivered(error: KafkaError | None, message: object) -> None:
        if error is not None:
            refused.append(str(error))

    def delivered_state(error: KafkaError | None, message: object) -> None:
        delivered(error, message)
        if error is None:
            offset = message.offset()  # type: ignore[attr-defined]
            cut.next_changelog_offset = max(cut.next_changelog_offset, offset + 1)

    deadline = time.monotonic() + patience_seconds
    insist = _Insisting(producer, deadline, calls or Calls(), is_there)
    reached("before_begin")
    producer.poll(0)  # a token that is due is asked for here: what follows would wait for it
    try:
        producer.begin_transaction()
        reached("after_begin")
        send_all(producer, cut.outputs, cut.cut_ms, None)
        reached("after_produce", producer)
        send_all(producer, cut.changelog, 0, delivered_state)
        reached("after_changelog", producer)
        wait_for_batches(producer, [*cut.outputs, *cut.changelog])
        if metadata is not None and cut.offsets:
            offsets = [TopicPartition(t, p, o) for (t, p), o in cut.offsets.items()]
            insist(lambda: producer.send_offsets_to_transaction(offsets, metadata, _CALL_SECONDS))
        reached("after_offsets", producer)
        insist(lambda: producer.commit_transaction(_CALL_SECONDS))
    except KafkaException as error:
        _abort(producer, error, insist.calls)
        if refusals.is_of_right(error.args[0]):  # asking again will not help
            said = error.args[0].str()
            raise RightError(f"a commit was forbidden: {said}. {refusals.GRANT}") from error
        raise CommitRefusedError(
            f"{error.args[0].str()}{'; ' + refused[0] if refused else ''}"
        ) from error
    if refused:
        raise CommitRefusedError(refused[0])
    reached("after_commit")


def send_all(
    producer: Producer, records: Iterable[OutRecord], timestamp_ms: int, callback: Any
) -> None:
    """Hand records to the client; waits while its queue is full. Time 0 lets the client set it."""
    produce = producer.produce
    for topic, partition, key, value in records:
        while True:
            try:
                # By position, as names cost a third more: `callback` has two, then the time.
                produce(topic, value, key, partition, callback, None, timestamp_ms)
                break
            except BufferError:  # the client's queue is full: the broker is slower than we are
                producer.poll(0.1)


def wait_for_batches(producer: Producer, records: Sequence[OutRecord]) -> None:
    """Wait until less than a batch is left for each partition, or no answer comes.

    A partition has one request on its way at a time. A flush, which each commit begins with, makes
    the client's thread ask without a pause whether it may send the next one, a tenth of the
    worker's CPU; before a flush it sleeps until the answer is there.

    Args:
        producer: has been given the records.
        records: all of them, in that order.
    """
    left = _in_last_batches(records)
    while len(producer) > left and producer.poll(_STILL_SECONDS):
        pass


def _in_last_batches(records: Sequence[OutRecord]) -> int:
    """Return how many records may wait for a flush: of each partition those after a full batch."""
    count = 0
    size_bytes: dict[tuple[str, int], int] = {}
    # Records of one place come in long runs: what lies before its last batch is passed over in C.
    for place, run in itertools.groupby(reversed(records), _PLACE):
        if place[1] < 0:  # it is one of many partitions
            count += sum(1 for _ in run)
            continue
        held_bytes = size_bytes.get(place, 0)
        if held_bytes < _BATCH_BYTES:
            for record in run:
                held_bytes += len(record.value or b"")
                count += 1
                if held_bytes >= _BATCH_BYTES:
                    break
            size_bytes[place] = held_bytes
    return count


@dataclass(slots=True)
class _Insisting:
    """Repeats a call while its outcome is unknown: an abort then could undo what was committed.

    The calls of a transaction say of each error what it asks for, `retriable()` or
    `txn_requires_abort()`; an answer like "not the coordinator" they try again by themselves, and
    come out with a retriable time-out. An error that says nothing throws the memory away: what is
    read back after `init_transactions` is what was committed, whatever that error was.

    Where the broker answers and the outcome stays unknown, another client is to find it out; at
    once where it answers others only: a client that was told of no broker at all, as one that just
    came back may do, never finds it again.
    """

    producer: Producer
    deadline: float
    calls: Calls
    is_there: Callable[[], bool]
    answered: int = 0

    def __call__(self, call: Callable[[], object]) -> None:
        def counted() -> None:
            with self.calls.one():
                call()

        _until(counted, self.deadline, self._failed)

    def _failed(self, error: KafkaException) -> None:
        with self.calls.one():
            is_heard = _connected(self.producer)
        self.answered += is_heard
        said = error.args[0].str()
        if self.answered > _ANSWERED_MAX:
            raise CommitRefusedError(f"{said}, though the broker answers") from error
        if not is_heard and self.is_there():
            raise CommitRefusedError(f"{said}, though the broker answers others") from error


def _connected(producer: Producer) -> bool:
    """Return whether the broker answers a client, and have it look for one.

    A client that lost its brokers may look for none by itself: "No brokers available for
    Transactions", again and again, with the broker long back.
    """
    try:
        producer.list_topics(timeout=_LOOK_SECONDS)
    except KafkaException:
        return False
    return True


def broker_answers(base: Mapping[str, object]) -> bool:
    """Return whether the broker answers a client made for this question; blocking, some 2 s.

    Args:
        base: client settings.
    """
    return _connected(open_client(Producer, {**base, **MAKES_NO_TOPICS}))


def _until(
    call: Callable[[], object],
    deadline: float,
    failed: Callable[[KafkaException], object],
) -> None:
    """Repeat a call for as long as its errors say that it should be repeated."""
    for attempt in itertools.count():
        try:
            call()
            return
        except KafkaException as error:
            if not error.args[0].retriable() or time.monotonic() > deadline:
                raise
            failed(error)
            time.sleep(min(2.0, 0.1 * 2 ** min(attempt, 5)))


def _abort(producer: Producer, error: KafkaException, calls: Calls) -> None:
    reason = error.args[0]
    if reason.retriable() and not reason.txn_requires_abort():
        raise BrokerError(
            f"the outcome of a commit stays unknown ({reason.str()}). "
            "Operator action: look at the broker; the worker goes on from its last commit."
        ) from error
    if reason.txn_requires_abort():
        try:
            with calls.one():
                producer.abort_transaction(_CALL_SECONDS)
        except KafkaException:
            # The producer is thrown away and its successor's init_transactions aborts for it.
            return


def init_transactions(
    producer: Producer,
    patience_seconds: float = PATIENCE_SECONDS,
    is_there: Callable[[], bool] = lambda: False,
) -> None:
    """Fence earlier holders and settle what they left open; blocking.

    Args:
        producer: whose transactional id it is.
        patience_seconds: how long the broker may be away.
        is_there: whether it answers another client; asked where this one gets no answer.

    Raises:
        BrokerError: the broker does not answer for so long, or refuses the transactional id.
        ClientLostError: it answers others, and not this producer: a new one is to be made.
    """

    def look_again(error: KafkaException) -> None:
        if not _connected(producer) and is_there():
            raise ClientLostError(error.args[0].str()) from error

    deadline = time.monotonic() + patience_seconds
    if _connected(producer):
        time.sleep(_SETTLE_SECONDS)
    try:
        _until(partial(producer.init_transactions, _CALL_SECONDS), deadline, look_again)
    except KafkaException as error:
        if refusals.is_of_right(error.args[0]):
            what = "the transactional ids that begin with its group"
            raise refusals.of_right(error.args[0], "Write", what, "the worker") from error
        raise BrokerError(
            f"transactions cannot be initialised: {error.args[0].str()}. Operator action: "
            "check that the broker is up and allows the worker's transactional ids."
        ) from error
