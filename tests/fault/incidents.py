"""What must hold of incidents, whatever was killed: worked out from the alerts topic alone.

Every alert that ever fired is told by an incident; no alert is in two incidents that are open at
once; the life of an incident is in order; alert states are counted once.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from tests.fault.harness import Event

NEXT: Final = {
    "": {"OPENED"},
    "OPENED": {"UPDATED", "ACKNOWLEDGED", "RESOLVED", "MERGED"},
    "UPDATED": {"UPDATED", "ACKNOWLEDGED", "RESOLVED", "MERGED"},
    "ACKNOWLEDGED": {"UPDATED", "RESOLVED", "MERGED"},
    "RESOLVED": {"REOPENED", "MERGED"},
    "REOPENED": {"UPDATED", "ACKNOWLEDGED", "RESOLVED", "MERGED"},
    "MERGED": {"REOPENED"},
}
"""Which event may follow which; a merged one comes back only when its alert leaves again.

One that is resolved is merged when its alert begins anew as a part of another problem.
"""


def untold(alerts: Sequence[Event], events: Sequence[Event]) -> list[str]:
    """Return the alerts that fired and that no incident tells."""
    told = {alert["fingerprint"] for event in events for alert in event["alerts"]}
    is_bounded = any(event["alert_count"] > len(event["alerts"]) for event in events)
    fired = {alert["fingerprint"] for alert in alerts if alert["state"] == "FIRING"}
    return [] if is_bounded else sorted(fired - told)


def disorder(events: Sequence[Event]) -> list[str]:
    """Return where the life of an incident is out of order; events in topic order."""
    last: dict[str, Event] = {}
    found = []
    for event in events:
        id_, before = event["incident_id"], last.get(event["incident_id"])
        name = before["event"] if before else ""
        if event["event"] not in NEXT[name]:
            found.append(f"{id_} v{event['version']}: {event['event']} after {name or 'nothing'}")
        if before and event["timestamp"] < before["timestamp"]:
            found.append(f"{id_} v{event['version']}: its time goes back")
        last[id_] = event
    return found


def doubled(events: Sequence[Event]) -> list[str]:
    """Return the alerts that are in two open incidents, by the highest versions; ended ones too."""
    last = {event["incident_id"]: event for event in sorted(events, key=lambda e: e["version"])}
    held: Counter[str] = Counter(
        alert["fingerprint"]
        for event in last.values()
        if event["event"] not in ("RESOLVED", "MERGED")
        for alert in event["alerts"]
        if alert["state"] == "FIRING"
    )
    return sorted(print_ for print_, count in held.items() if count > 1)


def overcounted(alerts: Sequence[Event], events: Sequence[Event]) -> int:
    """Return how many alert states more are in the books of incidents than there were."""
    last = {event["incident_id"]: event for event in sorted(events, key=lambda e: e["version"])}
    counted = sum(e["alerts_in"] for e in last.values() if e["event"] != "MERGED")
    states = len({(alert["fingerprint"], alert["version"]) for alert in alerts})
    return max(0, counted - states)
