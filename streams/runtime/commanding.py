"""Sends commands to the incident task, and waits for its answer.

Invariant: a command is acknowledged by all of the broker's replicas when `send` returns.
"""

import json
import time
from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import KafkaError, Producer

from streams.codec.records import decode_as
from streams.errors import BrokerError, RecordError
from streams.runtime import refusals
from streams.runtime.link import Link, open_client
from streams.runtime.reading import Reading

SEND_SECONDS: Final = 30.0
COMMANDS_PARTITION: Final = 0


def end_of(reading: Reading, topic: str) -> dict[tuple[str, int], int]:
    """Return where a topic ends now, to be read on from there.

    Raises:
        BrokerError: no broker answers.
        ConfigError: the topic is not there.
    """
    return {at: span.high for at, span in reading.spans([topic]).items()}


def send(link: Link, topic: str, command: Mapping[str, Any]) -> None:
    """Write a command and return when the broker has it.

    Raises:
        BrokerError: the broker refuses it or does not answer.
    """
    link.reach()
    failed: list[KafkaError] = []

    def hear(error: KafkaError) -> None:
        if refusals.is_of_right(error):  # no producer id for whom may write to no topic at all
            failed.insert(0, error)

    settings = {
        **link.librdkafka(),
        "enable.idempotence": True,
        "message.timeout.ms": round(SEND_SECONDS * 1000),
        "error_cb": hear,
        "log_level": 2,
    }
    producer = open_client(Producer, settings)

    def delivered(error: KafkaError | None, _message: object) -> None:
        if error is not None:
            failed.append(error)

    producer.produce(
        topic,
        json.dumps(command).encode(),
        str(command["command_id"]).encode(),
        COMMANDS_PARTITION,
        delivered,
    )
    left = producer.flush(SEND_SECONDS)
    if failed and refusals.is_of_right(failed[0]):
        raise refusals.of_right(failed[0], "Write", f"topic {topic}", link.settings.who)
    if failed or left:
        why = failed[0].str() if failed else "the broker did not answer"
        raise BrokerError(
            f"the command was not taken: {why}. Operator action: look at the broker; a command "
            "may be sent again with the same --id, it counts once."
        )


def answer(
    reading: Reading, starts: dict[tuple[str, int], int], command_id: str, seconds: float
) -> dict[str, Any]:
    """Return the audit entry that answers a command.

    Args:
        reading: a connection.
        starts: where the audit topic ended before the command was sent.
        command_id: of the command.
        seconds: how long to wait.

    Raises:
        BrokerError: nothing came in time, or the broker went away.
    """
    deadline = time.monotonic() + seconds
    for message in reading.records(starts, follow=True):
        if message is not None:
            try:
                event = decode_as("telemetry_event", message.value)
            except RecordError:
                continue  # not ours
            if event["correlation_id"] == command_id:
                return event
        if time.monotonic() > deadline:
            break
    raise BrokerError(
        f"the command was taken, and not answered within {seconds:g} s. Operator action: see "
        "whether a worker runs; the command is carried out when one does."
    )
