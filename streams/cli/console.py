"""`spanloom console`: keep what the topics hold in an archive, and answer questions about it."""

import asyncio
import os
from functools import partial

import typer

from streams.cli.connection import OtlpTopics, connect
from streams.monitoring.logs import configure_logs
from streams.settings import load_settings


def run(
    broker: str | None = typer.Option(None, help="Bootstrap address, HOST:PORT."),
    archive: str | None = typer.Option(None, help="Folder of the archive, or a URL such as s3://."),
    port: int | None = typer.Option(None, help="Serve the interface on this port."),
    address: str | None = typer.Option(None, help="Listen here; on the loopback if absent."),
    auth: str | None = typer.Option(
        None, help="Who may ask: none (on the loopback alone), keys or oidc."
    ),
    contract: str | None = typer.Option(
        None, help="Path of the contract, or `seed`: names the telemetry topics, and is the map."
    ),
    input_topic: list[str] | None = typer.Option(
        None, help="Read events from this topic instead of the contract's."
    ),
    otlp_topics: OtlpTopics = None,
    derived_prefix: str | None = typer.Option(None, help="Put before the names of derived topics."),
    log_level: str | None = typer.Option(None, help="DEBUG, INFO, WARNING or ERROR."),
) -> None:
    """Keep traces, events, fidelity, alerts and incidents, and serve them over HTTP, until stopped.

    A browser finds the page at the address that it prints; GET /api/v1/openapi.json says what else
    can be asked. Ends with 0 after SIGTERM or Ctrl-C, with 2 for a wrong setting, with 3 when the
    archive or the broker cannot be used.

    Example: spanloom console --broker 127.0.0.1:9092 --archive spanloom-archive --port 8090
    """
    # Frames here have some thousand rows, too few to share out, and the cores may be the worker's.
    # polars counts its threads at its first use.
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    from streams.console.archive.otlpcolumns import OtlpSource
    from streams.console.process import COLLECT_EVERY, Console
    from streams.console.settings import load_console_settings
    from streams.runtime import topics
    from streams.runtime.build import load_pipeline, services_of
    from streams.runtime.heap import bound_heap, collect_seldom

    settings = load_console_settings(archive=archive, port=port, address=address, auth=auth)
    common = load_settings(
        broker=broker,
        contract=contract,
        input_topics=tuple(input_topic) if input_topic else None,
        otlp_topics=otlp_topics,
        derived_prefix=derived_prefix,
        log_level=log_level,
    )
    configure_logs(common.log_level)
    pipeline = load_pipeline(common)
    holding_events = (*pipeline.events, pipeline.derived(topics.AUDIT))
    services = services_of(pipeline.contract)
    otlp = OtlpSource(pipeline.otlp_events, services, common.max_event_bytes)
    link = connect(common)

    async def serve() -> None:
        place = f"{settings.scheme}://{settings.address}:{settings.port}"
        line = f"ready console={place} archive={settings.archive}"
        say = partial(typer.echo, line)
        await Console(
            settings, common.derived_prefix, holding_events, link, say, pipeline.contract, otlp
        ).run()

    bound_heap()
    collect_seldom(COLLECT_EVERY)
    asyncio.run(serve())
