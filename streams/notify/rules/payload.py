"""What receivers are told of an incident, as plain JSON values.

Owns the body of a plain webhook, which CloudEvents carry as their data, and the words that other
forms are made of. Pure and stable: one version of an incident gives one body. Invariant: owner and
channel are in every form, and an unknown cause is called unknown.
"""

from datetime import UTC, datetime
from typing import Any, Final

from streams.codec.plain import plain
from streams.notify.rules.book import Incident

SCHEMA: Final = "spanloom.incident/1"
UNKNOWN_CAUSE: Final = "unknown"
_EXPLANATIONS_MAX: Final = 3
_CAUSES_MAX: Final = 3
_TEXT_MAX: Final = 2_000


def delivery_id(event: Incident) -> str:
    """Return the id of one version of an incident: the same however often it is sent."""
    return f"{event['incident_id']}-{event['version']}"


def page_link(template: str, event: Incident) -> str:
    """Return the address of the incident's page, "" without a template."""
    return template.format(incident_id=event["incident_id"], version=event["version"])


def rfc3339(time_us: int) -> str:
    """Write a time as RFC 3339 with microseconds, UTC; times out of range as the epoch."""
    try:
        at = datetime.fromtimestamp(time_us // 1_000_000, tz=UTC)
    except (ValueError, OverflowError, OSError):
        at, time_us = datetime.fromtimestamp(0, tz=UTC), 0
    return f"{at:%Y-%m-%dT%H:%M:%S}.{time_us % 1_000_000:06d}Z"


def is_silenced(event: Incident) -> bool:
    """Say whether a silence or a maintenance window holds over an incident that goes on."""
    return bool(event.get("silenced", False))


def why_text(event: Incident) -> str:
    """Return why an event is told, who is behind it, and what came before it, in one line.

    As the history has it, which names who ordered what; "" where nothing says it.
    """
    history, version = event.get("history") or (), event["version"]
    own = [entry["text"] for entry in history if entry["event"] and entry["version"] == version]
    before = [e["text"] for e in history if not e["event"] and e["version"] == version - 1]
    why = own[-1] if own else str(event.get("reason", ""))
    return shorten(f"{why} ({'; '.join(before)})" if before else why)


def causes_text(event: Incident) -> str:
    """Return the likely causes in one line, the likeliest first; "unknown" is an answer."""
    named = []
    for cause in event.get("causes") or ():
        if cause.get("kind") == "UNKNOWN":
            break
        place = " ".join(str(cause[k]) for k in ("module", "component", "name") if cause.get(k))
        share = cause.get("probability")
        named.append(f"{place} ({share:.0%})" if isinstance(share, int | float) else place)
    return "; ".join(named[:_CAUSES_MAX]) or UNKNOWN_CAUSE


def explanation_text(event: Incident) -> str:
    """Return what the leading alerts say, one sentence each."""
    said = dict.fromkeys(alert["explanation"] for alert in event["alerts"])
    return shorten(" ".join(text for text in list(said)[:_EXPLANATIONS_MAX] if text))


def shorten(text: str, characters: int = _TEXT_MAX) -> str:
    """Return a text no longer than so many characters, with an ellipsis where it was cut."""
    return text if len(text) <= characters else text[: characters - 1] + "\u2026"


def body(event: Incident, page_url: str, is_test: bool = False) -> dict[str, Any]:
    """Return the body of a plain webhook.

    Args:
        event: the incident's record; the whole of it is under `incident`.
        page_url: template of the page's address.
        is_test: whether it was made up to try the way.
    """
    return {
        "schema": SCHEMA,
        "id": delivery_id(event),
        "is_test": is_test,
        "event": event["event"],
        "reason": event.get("reason", ""),
        "why": why_text(event),
        "silenced": is_silenced(event),
        "incident_id": event["incident_id"],
        "version": event["version"],
        "time": rfc3339(event["timestamp"]),
        "opened_at": rfc3339(event["opened_at"]),
        "resolved_at": rfc3339(event["resolved_at"]) if event["resolved_at"] else None,
        "title": event["title"],
        "severity": event["severity"],
        "module": event["module"],
        "owner": event["owner"],
        "channel": event["channel"],
        "playbook": event["playbook"],
        "page_url": page_link(page_url, event),
        "explanation": explanation_text(event),
        "causes": causes_text(event),
        "incident": plain(event),
    }
