"""`spanloom collector`: take telemetry over HTTP and gRPC, and write it into the topics."""

import asyncio
import os
from functools import partial
from pathlib import Path

import typer

from streams.cli.connection import connect
from streams.monitoring.logs import configure_logs
from streams.settings import load_settings


def run(
    broker: str | None = typer.Option(None, help="Bootstrap address, HOST:PORT."),
    http: int | None = typer.Option(None, help="Take OTLP/HTTP and events on this port."),
    grpc: int | None = typer.Option(None, help="Take OTLP/gRPC on this port."),
    contract: str | None = typer.Option(
        None, help="Path of the contract, or `seed`: names modules, topics and old metric names."
    ),
    address: str | None = typer.Option(None, help="Listen here; on the loopback if absent."),
    auth: str | None = typer.Option(
        None, help="Who may send: none (on the loopback alone), keys or mtls."
    ),
    buffer_dir: Path | None = typer.Option(None, help="Folder of the buffer on disk."),
    derived_prefix: str | None = typer.Option(None, help="Put before the names of derived topics."),
    log_level: str | None = typer.Option(None, help="DEBUG, INFO, WARNING or ERROR."),
) -> None:
    """Take OTLP and events of our own, judge them, and answer when they are safe, until stopped.

    POST to /v1/traces, /v1/logs, /v1/metrics or /v1/events; /health, /ready and /metrics tell how
    it is. Ends with 0 after SIGTERM or Ctrl-C, with 2 for a wrong setting, with 3 when the topics
    or the buffer cannot be used.

    Example: spanloom collector --broker 127.0.0.1:9092 --http 4318 --grpc 4317 --contract seed
    """
    # Frames here have some hundred rows, too few to share out. polars counts at its first use.
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    from streams.collector.process import COLLECT_EVERY, Collector
    from streams.collector.settings import load_collector_settings
    from streams.runtime.build import load_pipeline
    from streams.runtime.heap import collect_seldom

    settings = load_collector_settings(
        http_port=http, grpc_port=grpc, address=address, auth=auth, buffer_dir=buffer_dir
    )
    common = load_settings(
        broker=broker, contract=contract, derived_prefix=derived_prefix, log_level=log_level
    )
    configure_logs(common.log_level)
    pipeline = load_pipeline(common)
    link = connect(common)

    async def serve() -> None:
        place = f"{settings.address}:{settings.http_port}"
        line = f"ready http={place} grpc={settings.address}:{settings.grpc_port}"
        await Collector(settings, pipeline, link, partial(typer.echo, line)).run()

    collect_seldom(COLLECT_EVERY)
    asyncio.run(serve())
