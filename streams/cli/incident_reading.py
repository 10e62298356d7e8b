"""What the commands about incidents read: all versions of each, and the silences that hold.

Invariant: what was answered is what holds, so silences are read from the audit entries alone.
"""

from collections.abc import Iterable
from typing import Any

from streams.codec.records import decode_as
from streams.errors import RecordError
from streams.runtime.reading import Reading

Event = dict[str, Any]
_MATCHER = "matcher."
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


def audit(reading: Reading, topic: str) -> list[Event]:
    """Return the answers to all commands that are still there, in their order.

    Raises:
        BrokerError: no broker answers.
        ConfigError: the topic is not there.
    """
    starts = {at: span.low for at, span in reading.spans([topic]).items()}
    found = []
    for message in reading.records(starts):
        if message is not None:
            try:
                found.append(decode_as("telemetry_event", message.value))
            except RecordError:
                continue  # not ours
    return found


def silences(entries: Iterable[Event], now_us: int) -> list[dict[str, Any]]:
    """Return the silences that hold, those that end first before others.

    Args:
        entries: audit entries, in the order in which commands were answered.
        now_us: wall time.
    """
    held: dict[str, dict[str, Any]] = {}
    for entry in entries:
        told = entry["dimensions"]
        if told.get("outcome") != "accepted" or "first_answered_at_us" in told:
            continue
        if entry["name"] == "incident.silence":
            held[told["command_id"]] = {
                "silence_id": told["command_id"],
                "matcher": _matcher(told),
                "from_us": int(told["answered_at_us"]),
                "until_us": int(told["until_us"]),
                "actor": entry["actor"],
                "reason": told.get("reason", ""),
            }
        elif entry["name"] == "incident.unsilence":
            meant = told.get("silence_id", ""), _matcher(told)
            for id_ in [
                i for i, one in held.items() if i == meant[0] or one["matcher"] == meant[1]
            ]:
                del held[id_]
    now = [one for one in held.values() if one["until_us"] > now_us]
    return sorted(now, key=lambda one: (one["until_us"], one["silence_id"]))


def _matcher(told: dict[str, str]) -> dict[str, str]:
    named = {k.removeprefix(_MATCHER): v for k, v in told.items() if k.startswith(_MATCHER)}
    if not named and told.get("incident_id"):
        return {"incident_id": told["incident_id"]}
    return named
