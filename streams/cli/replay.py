"""`spanloom replay`: send recorded telemetry into the topics."""

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import typer

from streams.cli import replay_recorded
from streams.cli.connection import replay_of
from streams.cli.replay_account import show_refused, tell_dry
from streams.codec.eventlog import read_events
from streams.codec.nezha import nezha_events
from streams.codec.otlp.recordings import otlp_events
from streams.codec.otlp.requests import KINDS
from streams.codec.recorded.account import Account, RowError
from streams.errors import ConfigError
from streams.runtime.build import load_pipeline, services_of
from streams.runtime.replaying import Replay
from streams.settings import load_settings
from streams.units import counted

app = typer.Typer(no_args_is_help=True)


@app.callback()
def root() -> None:
    """Send recorded telemetry into the topics."""


@app.command()
def nezha(
    path: Path = typer.Argument(help="Folder of a Nezha recording, or its trace.tar.xz."),
    broker: str | None = typer.Option(None, help="Bootstrap address, HOST:PORT."),
    speed: str = typer.Option("max", help="Times real time, or `max`."),
    faultfree: bool = typer.Option(False, help="Send the fault-free minute too."),
    contract: str | None = typer.Option(None, help="Path of the contract, or `seed`."),
    quiet: bool = typer.Option(False, help="Show no progress."),
    as_json: bool = typer.Option(False, "--json", help="Write one JSON object instead of text."),
) -> None:
    """Send the spans of a Nezha recording.

    Example: spanloom replay nezha recordings/trainticket --broker 127.0.0.1:9092 --speed max
    """
    settings = load_settings(broker=broker, contract=contract)
    replay = replay_of(load_pipeline(settings), settings, speed, is_quiet=quiet)
    _send(replay, nezha_events(path, include_faultfree=faultfree), Account(), as_json=as_json)


@app.command()
def events(
    path: Path = typer.Argument(help="JSON lines of TelemetryEvents, plain or .gz."),
    broker: str | None = typer.Option(None, help="Bootstrap address, HOST:PORT."),
    speed: str = typer.Option("max", help="Times real time, or `max`."),
    contract: str | None = typer.Option(None, help="Path of the contract, or `seed`."),
    dry_run: replay_recorded.DryRun = False,
    quiet: bool = typer.Option(False, help="Show no progress."),
    as_json: bool = typer.Option(False, "--json", help="Write one JSON object instead of text."),
) -> None:
    """Send telemetry events kept as JSON lines.

    A dry run ends with 1 when the worker would reject events; so does a file that is cut in its
    last line, once the others are sent.

    Example: spanloom replay events day.jsonl.gz --broker 127.0.0.1:9092 --speed 10
    """
    settings = load_settings(broker=broker, contract=contract)
    pipeline = load_pipeline(settings)
    account = Account(withholds=pipeline.privacy is not None)
    cut = partial(_cut, account)
    if dry_run:
        held = ((str(path), event) for event in read_events(path, cut))
        tell_dry(held, settings.max_event_bytes, account, as_json=as_json)
        return
    replay = replay_of(pipeline, settings, speed, is_quiet=quiet)
    _send(replay, read_events(path, cut), account, as_json=as_json)


@app.command()
def otlp(
    files: list[Path] = typer.Argument(
        help="OTLP: JSON, JSON lines or protobuf, as a Collector's file exporter writes it; or .gz."
    ),
    broker: str | None = typer.Option(None, help="Bootstrap address, HOST:PORT."),
    speed: str = typer.Option("max", help="Times real time, or `max`."),
    contract: str | None = typer.Option(None, help="Path of the contract, or `seed`."),
    signal: str = typer.Option(
        "", help="What files of protobuf hold: spans, logs or metrics; their names may tell."
    ),
    dry_run: replay_recorded.DryRun = False,
    quiet: bool = typer.Option(False, help="Show no progress."),
    as_json: bool = typer.Option(False, "--json", help="Write one JSON object instead of text."),
) -> None:
    """Send spans, log records and metric points recorded by OpenTelemetry.

    A dry run ends with 1 when the worker would reject events; so does a file that is cut in its
    last line or message, once the others are sent.

    Example: spanloom replay otlp traces.json logs.jsonl.gz --broker 127.0.0.1:9092
    """
    if signal and signal not in KINDS:
        raise ConfigError(f"--signal {signal}: give one of {', '.join(KINDS)}")
    settings = load_settings(broker=broker, contract=contract)
    pipeline = load_pipeline(settings)
    services = services_of(pipeline.contract)
    account = Account(withholds=pipeline.privacy is not None)
    read = partial(otlp_events, services=services, kind=signal, cut=partial(_cut, account))
    found = ((str(file), one) for file in files for one in read(file))
    if dry_run:
        tell_dry(found, settings.max_event_bytes, account, as_json=as_json)
        return
    replay = replay_of(pipeline, settings, speed, is_quiet=quiet)
    _send(replay, (event for _, event in found), account, as_json=as_json)


def _cut(account: Account, reason: str, place: str, detail: str) -> None:
    account.rows += 1
    account.refuse(place, RowError(reason, detail))


def _send(
    replay: Replay, events: Iterable[dict[str, Any]], account: Account, *, as_json: bool
) -> None:
    """Send events, say how many it were and which lines were cut; end with 1 where one was.

    Raises:
        BrokerError, ConfigError: as `Replay.send`.
    """
    sent = replay.send(events)
    if as_json:
        refused = [one._asdict() for one in account.examples]
        typer.echo(
            json.dumps({"sent": sent, "refused": dict(account.refused), "examples": refused})
        )
    else:
        typer.echo(f"{counted(sent, 'event')} sent")
        show_refused(account)
    if account.refused:
        raise typer.Exit(1)


for _command in (replay_recorded.jaeger, replay_recorded.zipkin, replay_recorded.csv):
    app.command()(_command)
