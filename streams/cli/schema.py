"""`spanloom schema`: whether all versions of our schemas read each other; a registry's copies."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from streams.cli.lines import clean
from streams.cli.tables import table_console
from streams.codec.compatibility import changed_since, deprecations, matrix, unlike_published
from streams.contract.loader import load_contract
from streams.errors import ConfigError
from streams.runtime.registry import Registry
from streams.runtime.registry_settings import PREFIX, load_registry

app = typer.Typer(no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Write one JSON object instead of text.")]


@app.callback()
def root() -> None:
    """Check the Avro schemas of the topics, and register them."""


@app.command()
def check(
    against: Annotated[
        Path | None, typer.Option(help="Folder of published schemas, which must not have changed.")
    ] = None,
    contract: Annotated[
        str | None, typer.Option(help="List this contract's old metric names, too.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check that every version of a record's schema reads every other; list deprecations.

    Ends with 1 when a pair does not hold, or a schema is not as it was published: as the file of
    fingerprints beside them says, and with --against also a folder of them.

    Example: spanloom schema check --against release/schemas
    """
    pairs = list(matrix())
    changed = list(unlike_published())
    changed += changed_since(against) if against is not None else []
    names = load_contract(contract).metric_names if contract else {}
    old = [one._asdict() for one in deprecations()]
    old += [
        {"record": "metric", "what": name, "since_version": 0, "use": new}
        for name, new in names.items()
    ]
    bad = [pair for pair in pairs if not pair.holds]
    if as_json:
        answer = {
            "pairs": [pair._asdict() | {"holds": pair.holds} for pair in pairs],
            "changed": changed,
            "deprecated": old,
        }
        typer.echo(json.dumps(answer))
    else:
        _show(pairs, changed, old)
    if bad or changed:
        raise typer.Exit(1)


@app.command()
def register(as_json: Json = False) -> None:
    """Register all versions of our schemas with the registry that the environment names.

    What is registered keeps its id, so the command is repeatable. The subject of a record is its
    full name.

    Example: SPANLOOM_REGISTRY_URL=https://registry.example.org spanloom schema register
    """
    link = load_registry()
    if not link.url:
        raise ConfigError(f"no registry is named: set {PREFIX}URL")
    with Registry(link) as registry:
        ids = registry.register()
    rows = [{"record": r, "version": v, "id": schema_id} for (r, v), schema_id in ids.items()]
    if as_json:
        typer.echo(json.dumps({"registered": rows}))
        return
    for row in rows:
        typer.echo(f"{row['id']:>8}  {row['record']} version {row['version']}")


def _show(pairs: list[Any], changed: list[str], old: list[dict[str, Any]]) -> None:
    console = table_console()
    table = Table("record", "reader", "writers that it reads", "and not")
    readers = dict.fromkeys((pair.record, pair.reader) for pair in pairs)
    for record, reader in readers:
        mine = [p for p in pairs if (p.record, p.reader) == (record, reader)]
        good = ", ".join(str(p.writer) for p in mine if p.holds)
        bad = "; ".join(f"{p.writer}: {', '.join(p.reasons)}" for p in mine if not p.holds)
        table.add_row(record, f"version {reader}", good, clean(bad))
    console.print(table)
    for line in changed:
        console.print(clean(line), style="red", markup=False, soft_wrap=True)
    for one in old:
        what = f"deprecated: {one['record']} {one['what']}, use {one['use']}"
        console.print(clean(what), markup=False, soft_wrap=True)
