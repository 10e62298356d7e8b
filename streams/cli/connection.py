"""How a command reaches the broker that its settings name."""

import typer

from streams.runtime.link import Link
from streams.runtime.registry import adopt_registry
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
    return Link(settings.broker, kafka)
