"""The forms that receivers know: CloudEvents, chat messages as Slack takes them, PagerDuty events.

Pure: an incident in, headers and bytes out. Invariant: only RESOLVED and MERGED close anything at a
receiver; every other event, an unknown one too, leaves it open.

Source: CloudEvents 1.0.2 (JSON format, HTTP and Kafka bindings); Slack's incoming webhooks;
PagerDuty's Events API v2.
"""

import json
from typing import Any, Final

from streams.codec.plain import plain
from streams.notify.rules.book import Incident, is_end
from streams.notify.rules.payload import (
    body,
    causes_text,
    delivery_id,
    explanation_text,
    is_silenced,
    page_link,
    rfc3339,
    shorten,
    why_text,
)

JSON: Final = "application/json"
CLOUDEVENTS_JSON: Final = "application/cloudevents+json; charset=utf-8"
_PAGERDUTY_SEVERITY: Final = {"INFO": "info", "WARN": "warning", "ERROR": "error"}
_PAGERDUTY_SUMMARY_MAX: Final = 1_024
_MARKS: Final = {"INFO": "\u2139\ufe0f", "WARN": "\u26a0\ufe0f", "ERROR": "\U0001f7e0"}


def dump(value: Any) -> bytes:
    """Return JSON as UTF-8, without spaces, keys as they stand: the same value, the same bytes."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def cloudevent(event: Incident, page_url: str, source: str, is_test: bool = False) -> bytes:
    """Return an incident as a CloudEvent in structured JSON.

    `id` is unique within `source`: incident id and version, so a repeated one can be told.
    """
    return dump(
        {
            "specversion": "1.0",
            "id": delivery_id(event),
            "source": source,
            "type": f"spanloom.incident.{event['event'].lower()}.v1",
            "subject": event["incident_id"],
            "time": rfc3339(event["timestamp"]),
            "datacontenttype": JSON,
            "partitionkey": event["incident_id"],
            "severity": event["severity"],
            "data": body(event, page_url, is_test),
        }
    )


def webhook(event: Incident, page_url: str, is_test: bool = False) -> bytes:
    """Return the body of a plain webhook."""
    return dump(body(event, page_url, is_test))


def slack(event: Incident, page_url: str, is_test: bool = False) -> bytes:
    """Return an incident as a message of Slack's incoming webhooks (Mattermost takes it too)."""
    link = page_link(page_url, event)
    title = _escaped(shorten(event["title"], 300))
    mark = "\u2705" if is_end(event) else _MARKS.get(event["severity"], "\U0001f534")
    head = f"{mark} {'[TEST] ' if is_test else ''}*{event['event']}* {event['severity']}"
    head += " (silenced)" if is_silenced(event) else ""
    lines = [
        f"{head} {f'<{_escaped(link)}|{title}>' if link else title}",
        f"Owner {_escaped(event['owner'] or 'unowned')}, channel "
        f"{_escaped(event['channel'] or '-')}, module {_escaped(event['module'])}",
        f"Told because: {_escaped(why_text(event))}" if why_text(event) else "",
        f"Likely cause: {_escaped(causes_text(event))}",
        _escaped(explanation_text(event)),
    ]
    if event["playbook"]:
        lines.append(f"Playbook: {_escaped(event['playbook'])}")
    return dump({"text": "\n".join(line for line in lines if line)})


def _escaped(text: str) -> str:
    """Return a text that is no markup: Slack reads &, < and > only."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def pagerduty(event: Incident, page_url: str, routing_key: str, is_test: bool = False) -> bytes:
    """Return an incident as an event of PagerDuty's Events API v2.

    One incident is one `dedup_key`; ACKNOWLEDGED acknowledges, an end resolves, all else triggers.
    """
    action = "resolve" if is_end(event) else "trigger"
    action = "acknowledge" if event["event"] == "ACKNOWLEDGED" else action
    link = page_link(page_url, event)
    title = f"{'[TEST] ' if is_test else ''}{event['title']}"
    return dump(
        {
            "routing_key": routing_key,
            "event_action": action,
            "dedup_key": event["incident_id"],
            "client": "Spanloom",
            "client_url": link or None,
            "payload": {
                "summary": shorten(title, _PAGERDUTY_SUMMARY_MAX),
                "source": event["module"] or "pipeline",
                "severity": _PAGERDUTY_SEVERITY.get(event["severity"], "critical"),
                "timestamp": rfc3339(event["timestamp"]),
                "component": event["to_stage"] or event["module"],
                "group": event["owner"],
                "class": ",".join(event["kinds"]),
                "custom_details": {
                    "event": event["event"],
                    "version": event["version"],
                    "why": why_text(event),
                    "silenced": is_silenced(event),
                    "owner": event["owner"],
                    "channel": event["channel"],
                    "playbook": event["playbook"],
                    "causes": causes_text(event),
                    "explanation": explanation_text(event),
                    "blast_radius": plain(event["blast_radius"]),
                },
            },
        }
    )
