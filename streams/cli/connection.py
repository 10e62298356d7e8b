"""How a command reaches the broker that its settings name."""

import typer

from streams.runtime.build import Pipeline
from streams.runtime.link import Link
from streams.runtime.personal import untreated
from streams.runtime.registry import adopt_registry
from streams.runtime.replaying import Replay
from streams.settings import WorkerSettings, load_link


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
    if plain := untreated(pipeline.contract, pipeline.privacy):
        typer.echo(
            f"spanloom: warning: {', '.join(plain)} are personal by the contract and are sent as "
            "they are: set SPANLOOM_PSEUDONYM_KEYS_FILE, the same for all that treat",
            err=True,
        )
    return Replay(pipeline, connect(settings), speed, show=not is_quiet)
