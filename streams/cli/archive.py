"""`spanloom archive`: what can be done with an archive besides asking a console about it."""

import json

import typer

from streams.console.archive.iceberg import catalog_of, sync
from streams.console.archive.kinds import KINDS
from streams.console.archive.store import Store
from streams.console.settings import load_console_settings
from streams.errors import ConfigError

app = typer.Typer(no_args_is_help=True)


@app.callback()
def root() -> None:
    """Work on a console's archive; a console may be writing it meanwhile."""


@app.command("iceberg")
def iceberg(
    catalog: list[str] = typer.Option(
        help="KEY=VALUE of the catalog, as pyiceberg names them: type, uri, warehouse; repeatable."
    ),
    archive: str | None = typer.Option(None, help="Folder of the archive, or a URL such as s3://."),
    namespace: str = typer.Option("spanloom", help="Of the tables; each is named as its kind."),
    as_json: bool = typer.Option(False, "--json", help="Write one JSON object instead of text."),
) -> None:
    """Make Iceberg tables name the archive's files as they are now; nothing is copied.

    Run it as often as the tables shall be fresh. Needs pyiceberg: spanloom[iceberg].

    Example: spanloom archive iceberg --archive /var/lib/spanloom/archive --catalog type=sql
    --catalog uri=sqlite:////var/lib/spanloom/catalog.db --catalog warehouse=file:///var/lib/lake
    """
    properties = dict(map(_pair, catalog))
    opened = catalog_of(namespace, properties)
    files = Store(load_console_settings(archive=archive).archive).addresses()
    changes = {
        kind.name: sync(opened, namespace, kind.name, kind.schema, files.get(kind.name, []))
        for kind in KINDS
    }
    if as_json:
        typer.echo(json.dumps({name: change._asdict() for name, change in changes.items()}))
        return
    for name, change in changes.items():
        table = f"{namespace}.{name}"
        counts = f"{change.files:>7,} files, {change.added:,} new, {change.removed:,} gone"
        typer.echo(f"{table:<24} {counts}")


def _pair(text: str) -> tuple[str, str]:
    name, is_pair, value = text.partition("=")
    if not (name and is_pair):
        raise ConfigError(f"--catalog {text}: write it as KEY=VALUE, such as type=sql")
    return name, value
