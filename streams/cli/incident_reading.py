"""What the commands about incidents read: all versions, and the highest of each."""

from typing import Any

from streams.codec.records import decode_as
from streams.errors import RecordError
from streams.runtime.reading import Reading

Event = dict[str, Any]
OVER = ("RESOLVED", "MERGED")


def versions(reading: Reading, topic: str, incident_id: str = "") -> dict[str, list[Event]]:
    """Return the committed versions of incidents, of one or of all, in their order.

    Raises:
        BrokerError: no broker answers.
        ConfigError: the topic is not there.
    """
    starts = {at: span.low for at, span in reading.spans([topic]).items()}
    found: dict[str, list[Event]] = {}
    for message in reading.records(starts):
        if message is None or (incident_id and message.key != incident_id.encode()):
            continue
        try:
            event = decode_as("incident_event", message.value)
        except RecordError:
            continue  # not ours
        found.setdefault(event["incident_id"], []).append(event)
    return {id_: sorted(events, key=lambda e: e["version"]) for id_, events in found.items()}
