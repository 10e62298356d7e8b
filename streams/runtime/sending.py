"""Sends one record for a person: an order, or a rejected record driven again.

Invariant: the record is acknowledged by all of the broker's replicas when `send` returns.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer

from streams.errors import BrokerError
from streams.runtime import refusals
from streams.runtime.link import MAKES_NO_TOPICS, Link, open_client

SEND_SECONDS: Final = 30.0
WHY_SECONDS: Final = 5.0
"""How long a broken client may take to say why; it knew when it broke."""


class Outgoing(NamedTuple):
    """A record on its way: where to, what, and the headers beside it."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


def turned(call: Callable[[], int], hear: Callable[[KafkaError], None]) -> int:
    """Return what a poll or a flush returns; 0 where it raised what broke the client.

    A fatal error comes to the error callback, or out of whichever call turns the client when it is
    found: which of them is chance. Either way `hear` hears it.
    """
    try:
        return call()
    except KafkaException as error:
        hear(error.args[0])
        return 0


def hear_why(
    producer: Producer,
    error: KafkaError | None,
    hear: Callable[[KafkaError], None],
    heard: Callable[[], bool],
) -> None:
    """Wait until a client that is broken has said why, which it does later.

    Args:
        producer: the client.
        error: what it said; nothing is waited for unless that is "fatal error".
        hear: told the reason, unless its callback is.
        heard: whether the reason has been heard.
    """
    until = time.monotonic() + WHY_SECONDS
    broken = error is not None and error.code() == KafkaError._FATAL
    while broken and not heard() and time.monotonic() < until:
        turned(lambda: producer.poll(0.1), hear)


def send(link: Link, record: Outgoing, what: str, again: str) -> int:
    """Write a record and return its offset when the broker has it.

    Args:
        link: how to reach the broker.
        record: what is written.
        what: names it in messages.
        again: whether it may be sent again, in words.

    Raises:
        BrokerError: the broker refuses it or does not answer.
    """
    link.reach()
    failed: list[KafkaError] = []
    offsets: list[int] = []

    def hear(error: KafkaError) -> None:
        if refusals.is_of_right(error):  # no producer id for whom may write to no topic at all
            failed.insert(0, error)
        elif error.fatal():
            failed.append(error)

    def delivered(error: KafkaError | None, message: object) -> None:
        if error is not None:
            failed.append(error)
        else:
            offsets.append(message.offset())  # type: ignore[attr-defined]

    settings = {
        **link.librdkafka(),
        **MAKES_NO_TOPICS,
        "enable.idempotence": True,
        "message.timeout.ms": round(SEND_SECONDS * 1000),
        "error_cb": hear,
        "log_level": 2,
    }
    producer = open_client(Producer, settings)
    producer.produce(
        record.topic,
        record.value,
        record.key,
        record.partition,
        delivered,
        headers=list(record.headers),
    )
    left = turned(lambda: producer.flush(SEND_SECONDS), hear)
    said = failed[0] if failed else None
    hear_why(producer, said, hear, lambda: refusals.is_of_right(failed[0]))
    if failed and refusals.is_of_right(failed[0]):
        raise refusals.of_right(failed[0], "Write", f"topic {record.topic}", link.settings.who)
    if failed or left or not offsets:
        why = failed[0].str() if failed else "the broker did not answer"
        raise BrokerError(
            f"{what} was not taken: {why}. Operator action: look at the broker; {again}"
        )
    return offsets[0]
