"""What the commands about incidents read: all versions of each, and the silences that hold.

Invariant: what was answered is what holds, so silences are read from the audit entries alone.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from streams.codec.records import decode_as
from streams.core.incidents.commands import SILENCE_DAYS_MAX
from streams.errors import RecordError
from streams.runtime.reading import Reading
from streams.units import HOUR_US

Event = dict[str, Any]
_MATCHER = "matcher."
_LONGEST_US = (SILENCE_DAYS_MAX + 1) * 24 * HOUR_US
"""A day more than a silence lasts: clocks differ."""
OVER = ("RESOLVED", "MERGED")


def versions(reading: Reading, topic: str, incident_id: str = "") -> dict[str, list[Event]]:
    """Return the committed versions of incidents, of one or of all, in their order.

    Raises:
        BrokerError: no broker answers.
        ConfigError: the topic is not there.
    """
    found: dict[str, list[Event]] = {}
    for event in _events(reading, topic, incident_id):
        found.setdefault(event["incident_id"], []).append(event)
    return {id_: sorted(events, key=lambda e: e["version"]) for id_, events in found.items()}


def standing(reading: Reading, topic: str, *, everything: bool) -> list[Event]:
    """Return the last committed version of the incidents that are open, or of all.

    An incident may be open since any time, so the whole topic is read; of it no more than what is
    returned is kept.

    Raises:
        BrokerError: no broker answers.
        ConfigError: the topic is not there.
    """
    found: dict[str, Event] = {}
    for event in _events(reading, topic):
        if everything or event["event"] not in OVER:
            found[event["incident_id"]] = event
        else:
            found.pop(event["incident_id"], None)
    return sorted(found.values(), key=lambda e: (e["opened_at"], e["incident_id"]))


def _events(reading: Reading, topic: str, incident_id: str = "") -> Iterator[Event]:
    """Yield the committed events of incidents, of one or of all, as they lie in the topic."""
    starts = {at: span.low for at, span in reading.spans([topic]).items()}
    for message in reading.records(starts):
        if message is None or (incident_id and message.key != incident_id.encode()):
            continue
        try:
            yield decode_as("incident_event", message.value)
        except RecordError:
            continue  # not ours


def audit(reading: Reading, topic: str, now_us: int) -> list[Event]:
    """Return the answers to all commands whose silences may still hold, in their order.

    Args:
        reading: a connection.
        topic: where the worker answers.
        now_us: wall time; what was answered longer ago than a silence lasts is not read.

    Raises:
        BrokerError: no broker answers.
        ConfigError: the topic is not there.
    """
    starts = reading.since(topic, (now_us - _LONGEST_US) // 1_000)
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
