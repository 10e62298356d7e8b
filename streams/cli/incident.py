"""`spanloom incident`: see the incidents, take them, end them, join them, silence their alerts.

Owns the flags and the words. Invariant: a command is written with who orders it and why, and with
--wait the exit code is 0 only when the worker has carried it out.
"""

import getpass
import json
import time
import uuid
from dataclasses import replace
from typing import Any, Final

import typer

from streams.cli.connection import connect
from streams.cli.incident_reading import Event, audit, silences, standing
from streams.cli.lines import clean, time_of_day
from streams.cli.moments import flag_length_us, moment_us
from streams.cli.tables import columns_of, print_table, terminal
from streams.codec.plain import plain
from streams.core.incidents.commands import ACK, MERGE, RESOLVE, SILENCE, UNSILENCE, parse_command
from streams.errors import ConfigError
from streams.runtime import commanding, topics
from streams.runtime.clock import wall_us
from streams.runtime.reading import Reading
from streams.settings import load_settings
from streams.units import LENGTH_FORM

app = typer.Typer(no_args_is_help=True)
REFUSED: Final = 1
_TO_THE_SECOND: Final = len("2026-01-31 12:00:00")

BROKER = typer.Option(None, help="Bootstrap address, HOST:PORT.")
PREFIX = typer.Option(None, help="Put before the names of derived topics.")
REASON = typer.Option(help="Why; it is kept with the incident and in the audit topic.")
ACTOR = typer.Option(None, help="Who orders it; your user name unless given.")
WAIT = typer.Option(False, "--wait", help="Wait until the worker has answered.")
SECONDS = typer.Option(
    30.0, "--timeout", min=0.1, help="How many seconds to wait, for the broker and the answer."
)
ID = typer.Option("", "--id", help="Id of the command; sent again with the same id it counts once.")
AS_JSON = typer.Option(False, "--json", help="Write one JSON object instead of text.")
MATCHER = typer.Option(None, "--match", help="FIELD=PATTERN, such as module=GAMMA; repeatable.")


@app.callback()
def root() -> None:
    """See incidents, and order what becomes of them."""


@app.command("ack")
def ack(
    incident: str = typer.Argument(help="Id of the incident."),
    reason: str = REASON,
    actor: str | None = ACTOR,
    wait: bool = WAIT,
    timeout: float = SECONDS,
    command_id: str = ID,
    broker: str | None = BROKER,
    derived_prefix: str | None = PREFIX,
    as_json: bool = AS_JSON,
) -> None:
    """Take an incident: it does not escalate any more.

    Example: spanloom incident ack 0f3a... --reason "looking at it" --wait
    """
    order = {"command": ACK, "incident_id": incident}
    _send(order, reason, actor, command_id, wait, timeout, broker, derived_prefix, as_json)


@app.command("resolve")
def resolve(
    incident: str = typer.Argument(help="Id of the incident."),
    reason: str = REASON,
    actor: str | None = ACTOR,
    wait: bool = WAIT,
    timeout: float = SECONDS,
    command_id: str = ID,
    broker: str | None = BROKER,
    derived_prefix: str | None = PREFIX,
    as_json: bool = AS_JSON,
) -> None:
    """End an incident though alerts of it may fire; it comes back when one of them begins anew.

    Example: spanloom incident resolve 0f3a... --reason "rolled back" --wait
    """
    order = {"command": RESOLVE, "incident_id": incident}
    _send(order, reason, actor, command_id, wait, timeout, broker, derived_prefix, as_json)


@app.command("merge")
def merge(
    incident: str = typer.Argument(help="Id of the incident that ends."),
    into: str = typer.Option(help="Id of the incident that takes it over."),
    reason: str = REASON,
    actor: str | None = ACTOR,
    wait: bool = WAIT,
    timeout: float = SECONDS,
    command_id: str = ID,
    broker: str | None = BROKER,
    derived_prefix: str | None = PREFIX,
    as_json: bool = AS_JSON,
) -> None:
    """Make two incidents one.

    Example: spanloom incident merge 0f3a... --into 77b1... --reason "same deploy" --wait
    """
    order = {"command": MERGE, "incident_id": incident, "into": into}
    _send(order, reason, actor, command_id, wait, timeout, broker, derived_prefix, as_json)


@app.command("silence")
def silence(
    incident: str = typer.Argument("", help="Id of an incident: all alerts of it."),
    match: list[str] | None = MATCHER,
    during: str = typer.Option("", "--for", help=f"How long: {LENGTH_FORM}."),
    until: str = typer.Option("", help="Until when, ISO 8601 with a time zone."),
    reason: str = REASON,
    actor: str | None = ACTOR,
    wait: bool = WAIT,
    timeout: float = SECONDS,
    command_id: str = ID,
    broker: str | None = BROKER,
    derived_prefix: str | None = PREFIX,
    as_json: bool = AS_JSON,
) -> None:
    """Tell nobody of some alerts for a while; they are counted, and told if they fire then.

    Example: spanloom incident silence --match module=GAMMA --for 2h --reason "planned restart"
    """
    order = {"command": SILENCE, "until_us": _until_us(during, until), **_meant(incident, match)}
    _send(order, reason, actor, command_id, wait, timeout, broker, derived_prefix, as_json)


@app.command("unsilence")
def unsilence(
    silence_id: str = typer.Argument("", help="Id of the command that made the silence."),
    incident: str = typer.Option("", help="End the silences of this incident."),
    match: list[str] | None = MATCHER,
    reason: str = REASON,
    actor: str | None = ACTOR,
    wait: bool = WAIT,
    timeout: float = SECONDS,
    command_id: str = ID,
    broker: str | None = BROKER,
    derived_prefix: str | None = PREFIX,
    as_json: bool = AS_JSON,
) -> None:
    """End a silence before its time.

    Example: spanloom incident unsilence 5d1e... --reason "done early" --wait
    """
    meant: dict[str, Any] = {"silence_id": silence_id} if silence_id else _meant(incident, match)
    order = {"command": UNSILENCE, **meant}
    _send(order, reason, actor, command_id, wait, timeout, broker, derived_prefix, as_json)


@app.command("list")
def show(
    everything: bool = typer.Option(False, "--all", help="Those that are over, too."),
    broker: str | None = BROKER,
    derived_prefix: str | None = PREFIX,
    as_json: bool = AS_JSON,
) -> None:
    """Show the incidents that are open, the newest last; all events that are kept are read for it.

    Example: spanloom incident list --json
    """
    settings = load_settings(broker=broker, derived_prefix=derived_prefix)
    with Reading(connect(settings)) as reading:
        topic = settings.derived_prefix + topics.INCIDENTS
        shown = standing(reading, topic, everything=everything)
    if as_json:
        typer.echo(json.dumps(plain({"incidents": shown}), ensure_ascii=False))
        return
    print_table(terminal(), "", _COLUMNS, _rows(shown))


@app.command("silences")
def show_silences(
    broker: str | None = BROKER,
    derived_prefix: str | None = PREFIX,
    as_json: bool = AS_JSON,
) -> None:
    """Show the silences that hold, by whom, why and until when; not the windows of a contract.

    Example: spanloom incident silences --json
    """
    settings = load_settings(broker=broker, derived_prefix=derived_prefix)
    now_us = wall_us()
    with Reading(connect(settings)) as reading:
        entries = audit(reading, settings.derived_prefix + topics.AUDIT, now_us)
    found = silences(entries, now_us)
    if as_json:
        typer.echo(json.dumps({"silences": found}, ensure_ascii=False))
        return
    rows = []
    for one in found:
        matches = " ".join(f"{name}={pattern}" for name, pattern in one["matcher"].items())
        until = time_of_day(one["until_us"])[:_TO_THE_SECOND]
        cells = (one["silence_id"], matches, until, one["actor"], one["reason"])
        rows.append([*map(clean, cells)])
    columns = columns_of("silence", "matches", "until", "by", "reason", prose=["reason"])
    print_table(terminal(), "", columns, rows)


_COLUMNS: Final = columns_of(
    *("incident", "state", "severity", "opened", "owner", "alerts", "title"),
    numbers=["alerts"],
    prose=["state", "title"],
)


def _rows(events: list[Event]) -> list[list[str]]:
    rows = []
    for event in events:
        marks = [
            event["event"],
            *(f"taken by {event['acknowledged_by']}",) * bool(event["acknowledged_by"]),
        ]
        marks += [name for name in ("escalated", "silenced", "flapping") if event[name]]
        cells = (
            event["incident_id"],
            " ".join(marks),
            event["severity"],
            time_of_day(event["opened_at"])[:_TO_THE_SECOND],
            event["owner"] or "unowned",
            str(event["alert_count"] or len(event["alerts"])),
            event["title"],
        )
        rows.append([*map(clean, cells)])
    return rows


# --- what a command is made of


def _meant(incident: str, match: list[str] | None) -> dict[str, Any]:
    if bool(incident) == bool(match):
        raise ConfigError("name an incident, or what to match with --match FIELD=PATTERN; not both")
    if incident:
        return {"incident_id": incident}
    matcher = {}
    for text in match or ():
        name, equals, pattern = text.partition("=")
        if not equals:
            raise ConfigError(f"--match {text}: write FIELD=PATTERN, such as module=GAMMA")
        if name in matcher:
            raise ConfigError(
                f"--match {name} is given twice, and all must match: use * or ?, or two silences"
            )
        matcher[name] = pattern
    return {"matcher": matcher}


def _until_us(during: str, until: str) -> int:
    if bool(during) == bool(until):
        raise ConfigError("a silence must end: give one of --for and --until")
    if during:
        return wall_us() + flag_length_us(during, "--for")
    return moment_us(until, "--until", "a time like 2026-01-31T12:00Z")


def _send(
    order: dict[str, Any],
    reason: str,
    actor: str | None,
    command_id: str,
    wait: bool,
    timeout: float,
    broker: str | None,
    derived_prefix: str | None,
    as_json: bool,
) -> None:
    """Write a command, and with `wait` show what became of it."""
    now_us = wall_us()
    order |= {
        "actor": getpass.getuser() if actor is None else actor,
        "reason": reason,
        "command_id": command_id or uuid.uuid4().hex,
        "at_us": now_us,
    }
    fault = parse_command(order, now_us).fault
    if fault:  # what the worker would refuse for its shape need not be sent
        raise ConfigError(fault)
    settings = load_settings(broker=broker, derived_prefix=derived_prefix)
    began = time.monotonic()
    link = connect(settings)
    if wait:
        link = replace(link, reach_seconds=min(timeout, link.reach_seconds))
    prefix = settings.derived_prefix
    with Reading(link) as reading:
        starts = commanding.end_of(reading, prefix + topics.AUDIT)
        commanding.send(link, prefix + topics.COMMANDS, order)
        told = {}
        if wait:
            spent = time.monotonic() - began
            told = commanding.answer(reading, starts, order["command_id"], timeout, spent)
            told = told["dimensions"]
    _say(order, told, as_json)
    if told.get("refused"):
        raise typer.Exit(REFUSED)


def _say(order: dict[str, Any], told: dict[str, str], as_json: bool) -> None:
    if as_json:
        line = {
            "command": order,
            "outcome": told.get("outcome", "sent"),
            "refused": told.get("refused", ""),
            "incident_id": told.get("incident_id", order.get("incident_id", "")),
            "version": int(told.get("incident_version", "0")),
        }
        typer.echo(json.dumps(line, ensure_ascii=False))
        return
    what = f"{order['command']} {order.get('incident_id', '')}".strip()
    if not told:
        typer.echo(f"{what}: sent as command {order['command_id']}")
    elif told.get("refused"):
        typer.echo(clean(f"{what}: refused: {told['refused']}"))
    else:
        version = told.get("incident_version", "")
        done = f"{what}: done" + (f", version {version}" if version else "")
        if told.get("ordered_incident_id"):
            done += f" of incident {told['incident_id']}, which took it over"
        if order["command"] == SILENCE:
            done += f", silence {order['command_id']}, until {time_of_day(order['until_us'])} UTC"
            if told.get("alerts_hidden"):
                done += f"; of the alerts that fire it hides {told['alerts_hidden']}"
        typer.echo(clean(done))
