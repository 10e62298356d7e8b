"""How a command reaches the broker that its settings name."""

import typer

from streams.runtime.link import Link
from streams.settings import WorkerSettings, load_link


def connect(settings: WorkerSettings) -> Link:
    """Return the link to the broker, and say on standard error what of it should not stay.

    Raises:
        ConfigError: SPANLOOM_KAFKA_* contradict each other or the address.
    """
    kafka = load_link(settings.broker)
    for warning in kafka.warnings():
        typer.echo(f"spanloom: warning: {warning}", err=True)
    return Link(settings.broker, kafka)
