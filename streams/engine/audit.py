"""The audit entry of a command: who ordered what, when, why, and what became of it.

An entry has the shape of every other audit entry (schemas/telemetry_event.v1.avsc, type AUDIT), so
that whoever reads audit entries reads these too.
"""

from hashlib import blake2b
from typing import Any, Final
from uuid import UUID

from streams.core.incidents.commands import CLOCKS_US, Answer

MODULE: Final = "SPANLOOM"
COMPONENT: Final = "incidents"


def _time_us(answer: Answer) -> int:
    """Return the time under which an entry is found: when it was ordered, unless that is far off.

    Whoever orders says when, and must not put the entry out of the sight of who asks for a day.
    """
    ordered_us = answer.command.at_us
    return ordered_us if abs(answer.at_us - ordered_us) <= CLOCKS_US else answer.at_us


def _merged(answer: Answer) -> str:
    """Return the incident that a merge ended; the entry is about the one that took it over."""
    command = answer.command
    return command.incident_id if command.into and not answer.refused else ""


def _ordered(answer: Answer) -> str:
    """Return the incident that an order named, where another one has taken that one over."""
    command = answer.command
    is_another = command.incident_id != answer.incident_id and not command.into
    return command.incident_id if is_another and not answer.refused else ""


def audit_event(answer: Answer, number: int) -> dict[str, Any]:
    """Return the audit entry of an answer.

    Args:
        answer: what became of a command.
        number: which one of its step it is; commands without an id are told apart by it.
    """
    command = answer.command
    dimensions = {
        "command_id": command.command_id,
        "outcome": "refused" if answer.refused else "accepted",
        "refused": answer.refused,
        "reason": command.reason,
        "incident_id": answer.incident_id,
        "incident_version": str(answer.version) if answer.version else "",
        "into": command.into,
        "silence_id": command.silence_id,
        "until_us": str(command.until_us) if command.until_us else "",
        "ordered_at_us": str(command.at_us),
        "answered_at_us": str(answer.at_us),
        "first_answered_at_us": str(answer.first_us) if answer.first_us else "",
        "merged_incident_id": _merged(answer),
        "ordered_incident_id": _ordered(answer),
        "alerts_hidden": "" if answer.alerts_hidden is None else str(answer.alerts_hidden),
    }
    dimensions |= {f"matcher.{key}": text for key, text in (command.matcher or {}).items()}
    identity = f"{command.command_id}|{answer.at_us}|{number}"
    return {
        "event_id": str(UUID(bytes=blake2b(identity.encode(), digest_size=16).digest())),
        "trace_id": "",
        "span_id": "",
        "parent_span_id": "",
        "timestamp": _time_us(answer),
        "module": MODULE,
        "component": COMPONENT,
        "event_type": "AUDIT",
        "severity": "WARN" if answer.refused else "INFO",
        "name": f"incident.{command.command or 'unreadable'}",
        "value": 0.0,
        "unit": "",
        "dimensions": {key: text for key, text in dimensions.items() if text},
        "record_id": answer.incident_id,
        "batch_id": "",
        "correlation_id": command.command_id,
        "operation": f"incident.{command.command or 'unreadable'}",
        "actor": command.actor,
        "duration_us": 0,
        "status": "ERROR" if answer.refused else "OK",
        "span_kind": "INTERNAL",
        "trace_flags": 0,
        "links": [],
    }
