"""How a command reaches the broker that its settings name."""

from typing import Annotated

import typer

from streams.runtime.build import Pipeline
from streams.runtime.link import Link
from streams.runtime.personal import untreated
from streams.runtime.reading import Reading
from streams.runtime.registry import adopt_registry
from streams.runtime.replaying import Replay
from streams.runtime.sent_events import unread_exporter_topics
from streams.settings import WorkerSettings, load_link

OtlpTopics = Annotated[
    str | None,
    typer.Option(help="Topics of OpenTelemetry's Kafka exporter to read too; as of the worker."),
]


def connect(settings: WorkerSettings) -> Link:
    """Return the link to the broker, and say on standard error what of it should not stay.

    With a registry this process takes its ids from there.

    Raises:
        ConfigError: SPANLOOM_KAFKA_* contradict each other or the address; or SPANLOOM_REGISTRY_*
            do.
        BrokerError: a registry is named that does not answer, or lacks our schemas.
    """
    kafka = load_link(settings.broker)
    for warning in kafka.warnings():
        typer.echo(f"spanloom: warning: {warning}", err=True)
    adopt_registry()
    return Link(settings.broker, kafka, lambda said: typer.echo(f"spanloom: {said}", err=True))


def replay_of(
    pipeline: Pipeline, settings: WorkerSettings, speed: str, *, is_quiet: bool
) -> Replay:
    """Return what sends recorded events, and say which personal fields it sends as they are.

    Raises:
        ConfigError, BrokerError: as `connect` and `Replay`.
    """
    tell_untreated(pipeline, "sent as they are")
    return Replay(pipeline, connect(settings), speed, show=not is_quiet)


def tell_untreated(pipeline: Pipeline, how: str) -> None:
    """Say on standard error which personal fields go on without a key, and how."""
    if plain := untreated(pipeline.contract, pipeline.privacy):
        typer.echo(
            f"spanloom: warning: {', '.join(plain)} are personal by the contract and are {how}: "
            "set SPANLOOM_PSEUDONYM_KEYS_FILE, the same for all that treat",
            err=True,
        )


def tell_not_read(reading: Reading, pipeline: Pipeline) -> None:
    """Say on standard error which topics look like those of OpenTelemetry's exporter, unnamed."""
    if unread := unread_exporter_topics(reading, pipeline):
        what = ", ".join(unread)
        typer.echo(f"spanloom: not read: {what}. Name them by --otlp-topics.", err=True)
