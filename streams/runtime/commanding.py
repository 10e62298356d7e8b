"""Sends commands to the incident task, and waits for its answer.

Invariant: a command is acknowledged by all of the broker's replicas when `send` returns.
"""

import json
import time
from collections.abc import Mapping
from typing import Any, Final

from streams.codec.records import decode_as
from streams.errors import BrokerError, RecordError
from streams.runtime import sending
from streams.runtime.link import Link
from streams.runtime.reading import Reading
from streams.runtime.sending import Outgoing

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
    record = Outgoing(
        topic,
        COMMANDS_PARTITION,
        str(command["command_id"]).encode(),
        json.dumps(command).encode(),
    )
    again = "a command may be sent again with the same --id, it counts once."
    sending.send(link, record, "the command", again)


def answer(
    reading: Reading,
    starts: dict[tuple[str, int], int],
    command_id: str,
    seconds: float,
    spent_seconds: float = 0.0,
) -> dict[str, Any]:
    """Return the audit entry that answers a command.

    Args:
        reading: a connection.
        starts: where the audit topic ended before the command was sent.
        command_id: of the command.
        seconds: how long to wait, what was spent on sending included.
        spent_seconds: so much of it is over.

    Raises:
        BrokerError: nothing came in time, or the broker went away.
    """
    deadline = time.monotonic() + seconds - spent_seconds
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
        "whether a worker runs; the command is carried out when one does. An id that was used "
        "before is not answered again; its answer is what `spanloom query audit --since 7d "
        f"--correlation-id {command_id}` shows."
    )
