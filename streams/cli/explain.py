"""`spanloom explain`: everything that is known of one incident, and why it is what it is.

Owns the layout. Invariant: it shows what the incident topic holds and nothing that was worked out
again, so that two people always read the same.
"""

import json
from typing import Any

import typer

from streams.cli.asking import NOTHING
from streams.cli.connection import connect
from streams.cli.incident_reading import Event, versions
from streams.cli.lines import clean, edge_name, time_of_day
from streams.codec.plain import plain
from streams.runtime import topics
from streams.runtime.reading import Reading
from streams.settings import load_settings
from streams.units import counted

SHOWN_IDS = 10


def run(
    incident: str = typer.Argument(help="Id of the incident."),
    broker: str | None = typer.Option(None, help="Bootstrap address, HOST:PORT."),
    derived_prefix: str | None = typer.Option(None, help="Put before the names of derived topics."),
    as_json: bool = typer.Option(False, "--json", help="Write one JSON object instead of text."),
) -> None:
    """Explain an incident: rules, inputs, thresholds, evidence, causes, noise, owner, history.

    Example: spanloom explain 0f3a9c1e5b7d2468ace013579bdf0246
    """
    settings = load_settings(broker=broker, derived_prefix=derived_prefix)
    topic = settings.derived_prefix + topics.INCIDENTS
    with Reading(connect(settings)) as reading:
        found = versions(reading, topic, incident).get(incident)
    if not found:
        known = "`spanloom incident list --all` names those that there are"
        typer.echo(clean(f"there is no incident {incident} in {topic}: {known}"), err=True)
        raise typer.Exit(NOTHING)
    if as_json:
        typer.echo(json.dumps(plain(explanation(found)), ensure_ascii=False))
        return
    for line in text_of(found):
        typer.echo(clean(line))


def explanation(events: list[Event]) -> dict[str, Any]:
    """Return what explains an incident, from all its versions, the oldest first."""
    last = events[-1]
    return {
        "incident": last,
        "versions": [
            {
                "version": event["version"],
                "event": event["event"],
                "reason": event["reason"],
                "timestamp": event["timestamp"],
                "told_at": _told_us(events[-1], event),
                "severity": event["severity"],
                "alerts": event["alert_count"] or len(event["alerts"]),
                "command": event["command"] if _is_new_command(events, index) else "",
                "actor": event["command_actor"] if _is_new_command(events, index) else "",
                "command_reason": event["command_reason"] if _is_new_command(events, index) else "",
            }
            for index, event in enumerate(events)
        ],
        "rules": [
            {
                "rule": alert["rule_id"] or alert["kind"],
                "version": alert["rule_version"],
                "value": alert["value"],
                "threshold": alert["threshold"],
                "unit": alert["unit"],
                "explanation": alert["explanation"],
                "joined_because": alert["joined_because"],
                "caused_by": alert["caused_by"],
                "silenced_by": alert["silenced_by"],
                "fingerprint": alert["fingerprint"],
            }
            for alert in last["alerts"]
        ],
        "suppressed": last["suppressed"],
        "merged_into": last["merged_into"],
        "merged_from": last["merged_from"],
        "split_from": last["split_from"],
    }


def _told_us(last: Event, event: Event) -> int:
    """Return when a version was told, wall time; 0 where the history does not go back so far.

    Its own history has it, and the last one's, which is bounded.
    """
    told = {h["version"]: h["at"] for h in (*last["history"], *event["history"]) if h["event"]}
    return int(told.get(event["version"], 0))


def _is_new_command(events: list[Event], index: int) -> bool:
    before = events[index - 1]["command_id"] if index else ""
    return bool(events[index]["command_id"]) and events[index]["command_id"] != before


def text_of(events: list[Event]) -> list[str]:
    """Return the explanation as lines for people."""
    last = events[-1]
    radius = last["blast_radius"]
    shown = [
        last["title"],
        f"incident {last['incident_id']}, version {last['version']}: {last['event']}"
        f" ({last['reason'] or 'no reason told'}), {last['severity']}",
        f"opened {time_of_day(last['opened_at'])}"
        + (f", resolved {time_of_day(last['resolved_at'])}" if last["resolved_at"] else ""),
        f"owner {last['owner'] or 'nobody'} {last['channel']}".rstrip(),
        f"playbook {last['playbook'] or 'none'}",
        f"hits {counted(radius['records'], 'record')}, flows {_list(radius['flows'])}, modules "
        f"{_list(radius['modules'])}, downstream {_list(radius['downstream'])}",
    ]
    if last["acknowledged_by"]:
        shown.append(f"taken by {last['acknowledged_by']} {time_of_day(last['acknowledged_at'])}")
    shown += [
        f"silenced by {silence['actor']} until {time_of_day(silence['end'])}: {silence['reason']}"
        for silence in last["silences"]
    ]
    marks = [name for name in ("escalated", "silenced", "flapping") if last[name]]
    shown += [f"marks {', '.join(marks)}"] * bool(marks)
    return [*shown, *_causes(last), *_alerts(last), *_noise(last), *_versions(events)]


def _causes(last: Event) -> list[str]:
    lines = ["", "likely causes"]
    for cause in last["causes"]:
        place = "/".join(p for p in (cause["module"], cause["component"]) if p) or "unknown"
        lines.append(f"  {cause['rank']}. {place} {cause['probability']:.0%} ({cause['kind']})")
        lines += [f"     {sentence}" for sentence in cause["evidence"]]
    return lines if last["causes"] else [*lines, "  unknown"]


def _alerts(last: Event) -> list[str]:
    count = last["alert_count"] or len(last["alerts"])
    lines = ["", f"alerts: {count}, of which {last['alerts_firing']} fired when this was told"]
    for alert in last["alerts"]:
        place = edge_name(alert) or alert["module"] or alert["name"]
        lines.append(f"  {alert['state']} {alert['rule_id'] or alert['kind']} at {place}")
        lines.append(f"     {alert['explanation']}")
        limits = f"value {alert['value']:.4g}, threshold {alert['threshold']:.4g} {alert['unit']}"
        lines.append(f"     {limits}".rstrip())
        lines.append(f"     in this incident because {alert['joined_because']}")
        if alert["silenced_by"]:
            lines.append(f"     silenced by {alert['silenced_by']}")
    if count > len(last["alerts"]):
        lines.append(f"  and {count - len(last['alerts'])} more")
    for name in ("trace_ids", "record_ids"):
        ids = last[name]
        if ids:
            more = f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
            lines.append(f"  {name.replace('_', ' ')}: {', '.join(ids[:SHOWN_IDS])}{more}")
    return lines


def _noise(last: Event) -> list[str]:
    why = ", ".join(f"{reason} {count}" for reason, count in last["suppressed"].items())
    came, untold = counted(last["alerts_in"], "alert state"), last["alerts_suppressed"]
    told = f"{came} came in, {untold} {'was' if untold == 1 else 'were'} not told"
    return ["", told + (f": {why}" if why else "")]


def _versions(events: list[Event]) -> list[str]:
    lines = ["", "history, by the clock of who told it"]
    for index, event in enumerate(events):
        at_us = _told_us(events[-1], event) or event["timestamp"]
        line = f"  {event['version']}. {time_of_day(at_us)} {event['event']}"
        line += f" {event['reason']}" if event["reason"] else ""
        if _is_new_command(events, index):
            line += f"; {event['command_actor']} ordered {event['command']}: "
            line += event["command_reason"]
        lines.append(line)
        lines += [
            f"     {time_of_day(entry['at'])} {entry['text']}"
            for entry in events[-1]["history"]
            if not entry["event"] and entry["version"] == event["version"]
        ]
    for name in ("merged_into", "split_from"):
        if events[-1][name]:
            lines.append(f"  {name.replace('_', ' ')} {events[-1][name]}")
    return lines


def _list(names: list[str]) -> str:
    return ", ".join(names) or "none"
