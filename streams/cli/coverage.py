"""`spanloom coverage`: what the contract expects to be told, and what the topics tell.

Owns the layout of the answer; what is a gap is `streams.contract.coverage`'s to say.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from streams.cli.connection import OtlpTopics, connect, tell_not_read
from streams.cli.coverage_template import files_for
from streams.cli.lines import clean, time_of_day
from streams.cli.tables import columns_of, print_table, terminal
from streams.contract.coverage import KINDS, Coverage, Finding, coverage
from streams.contract.loader import load_contract
from streams.errors import ConfigError
from streams.runtime.build import load_pipeline
from streams.runtime.counting import Told, count_told
from streams.runtime.reading import Reading
from streams.runtime.sent_events import SentEvents
from streams.settings import load_settings
from streams.units import counted

app = typer.Typer()
_SAID: Final = {
    "never_seen": "never seen",
    "without_trace": "seen without a trace",
    "unowned": "seen, and nobody owns it",
    "old_schema": "written with an old schema",
    "old_name": "told by an old name",
    "not_in_contract": "seen, and not in the contract",
    "optional_not_seen": "not seen, and need not be",
}
_SHOWN_MAX: Final = 50

Contract = Annotated[str | None, typer.Option(help="Path of the contract, or `seed`.")]


@app.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    broker: Annotated[str | None, typer.Option(help="Bootstrap address, HOST:PORT.")] = None,
    contract: Contract = None,
    otlp_topics: OtlpTopics = None,
    newest: Annotated[
        int, typer.Option(min=1, help="Offsets that are looked at, per partition.")
    ] = 20_000,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write one JSON object instead of text.")
    ] = False,
) -> None:
    """Hold the contract's stages and signals against what the telemetry topics tell.

    Ends with 0 when all of it is told as it should be, with 1 when there is a gap.

    Example: spanloom coverage --contract seed --broker 127.0.0.1:9092
    """
    if context.invoked_subcommand is not None:
        return
    settings = load_settings(broker=broker, contract=contract, otlp_topics=otlp_topics)
    pipeline = load_pipeline(settings)
    if pipeline.contract is None:
        raise ConfigError("coverage needs a contract: give --contract FILE, or --contract seed")
    with Reading(connect(settings)) as reading:
        topics = reading.known(pipeline.sent)
        tell_not_read(reading, pipeline)
        told = count_told(reading, topics, newest, SentEvents(pipeline).of)
    found = coverage(pipeline.contract, told.seen)
    if as_json:
        typer.echo(json.dumps(view(found, told)))
    else:
        show(found, told, terminal())
    if not found.is_covered:
        raise typer.Exit(1)


@app.command()
def template(
    module: Annotated[str, typer.Argument(help="The module, as the contract spells it.")],
    component: Annotated[str, typer.Argument(help="Its component.")],
    contract: Contract = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to write the files to.")
    ] = None,
) -> None:
    """Write what adds a component's telemetry: a piece of contract, code, and a test of both.

    The piece has what the contract already says of the component; without it, a first stage and
    signal. Shows the files; with --out writes them, and none that is there already.

    Example: spanloom coverage template ALPHA parser --contract seed --out telemetry
    """
    loaded = load_contract(contract) if contract else None
    files = files_for(module, component, loaded)
    if out is None:
        for name, text in files.items():
            typer.echo(f"# --- {name}\n{text}")
        return
    there = [name for name in files if (out / name).exists()]
    if there:
        raise ConfigError(f"{out / there[0]}: is there already; give another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (out / name).write_text(text, "utf-8")
            typer.echo(str(out / name))
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error.strerror})") from error


def view(found: Coverage, told: Told) -> dict[str, Any]:
    """Return the answer as JSON has it."""
    return {
        "covered": found.is_covered,
        "shares": {s.sort: {"seen": s.seen, "expected": s.expected} for s in found.shares},
        "findings": [f._asdict() | {"what": f.what._asdict()} for f in found.findings],
        "records": told.records,
        "unreadable": dict(sorted(told.unreadable.items())),
        "events_beyond_bound": told.beyond,
        "is_cut": told.is_cut,
    }


def show(found: Coverage, told: Told, console: Console) -> None:
    """Print the answer for a person."""
    shares = [f"{s.seen} of {s.expected} {s.sort}" for s in found.shares]
    console.print(f"told: {', '.join(shares) or 'the contract expects nothing'}")
    for kind in KINDS:
        rows = [finding for finding in found.findings if finding.kind == kind]
        if rows:
            _print_findings(console, _SAID[kind], rows)
    if any(finding.kind == "never_seen" for finding in found.findings):
        hint = "what adds telemetry: spanloom coverage template MODULE COMPONENT --contract ..."
        console.print(hint, style="dim", soft_wrap=True)
    console.print(f"{counted(told.records, 'record')} read", style="dim")
    if told.is_cut:
        console.print("older records were left out: --newest says how many are read", style="dim")
    for reason, count in sorted(told.unreadable.items()):
        console.print(f"unreadable {reason}: {count:,}", style="yellow")
    if told.beyond:
        console.print(
            f"{counted(told.beyond, 'event')} of too many different names", style="yellow"
        )


def _print_findings(console: Console, title: str, rows: list[Finding]) -> None:
    seen = ["last seen, UTC"] * any(row.last_us for row in rows)
    names = ("type", "module", "component", "name", "owner", "events", *seen, "why")
    cells = [
        [
            *map(clean, (*row.what, row.owner or "unowned")),
            f"{row.events:,}" if row.events else "",
            *([time_of_day(row.last_us).partition(".")[0]] if seen else []),
            clean(row.detail or row.where),
        ]
        for row in rows[:_SHOWN_MAX]
    ]
    columns = columns_of(*names, numbers=["events"], prose=["why"])
    print_table(console, f"{title}: {len(rows)}", columns, cells)
    if len(rows) > _SHOWN_MAX:
        console.print(f"and {len(rows) - _SHOWN_MAX} more (--json has all)")
