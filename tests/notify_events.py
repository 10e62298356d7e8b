"""Incident events for tests of delivery, in the shape of schemas/incident_event.v1.avsc."""

from typing import Any

from streams.codec.records import decode, encode

OPENED_US = 1_760_000_000_000_000


def incident(
    incident_id: str = "a" * 32,
    version: int = 1,
    event: str = "OPENED",
    severity: str = "ERROR",
    module: str = "BETA",
    owner: str = "team-beta",
    channel: str = "#beta",
    **changed: Any,
) -> dict[str, Any]:
    """Return an event as a reader of the topic gets it, every field of the schema given."""
    at = OPENED_US + version * 1_000_000
    record = {
        "incident_id": incident_id,
        "version": version,
        "event": event,
        "algorithm": "1",
        "timestamp": at,
        "opened_at": OPENED_US,
        "resolved_at": at if event == "RESOLVED" else 0,
        "title": "The trace context is lost between enrich and score",
        "severity": severity,
        "module": module,
        "from_stage": "enrich",
        "to_stage": "score",
        "kinds": ["fidelity_burn"],
        "owner": owner,
        "channel": channel,
        "playbook": "https://wiki.example.org/beta",
        "alerts": [
            {
                "fingerprint": "f" * 32,
                "kind": "fidelity_burn",
                "state": "FIRING",
                "module": module,
                "from_stage": "enrich",
                "to_stage": "score",
                "firing_since": OPENED_US,
                "count": 8,
                "value": 20.0,
                "threshold": 14.4,
                "explanation": "8 of 400 records lost their trace within 10 s.",
                "joined_because": "opened the incident",
            }
        ],
        "trace_ids": ["4bf92f3577b34da6a3ce929d0e0e4736"],
        "record_ids": ["rec-17"],
        "blast_radius": {
            "records": 8,
            "flows": ["batch"],
            "modules": [module],
            "downstream": ["GAMMA"],
        },
        "alerts_in": 1,
        "alerts_suppressed": 0,
        "contract_version": "1.0.0",
    }
    return decode(encode("incident_event", record)) | changed
