"""`spanloom contract minimise`: which fields of events help nobody, and how many bytes they take.

Owns the layout of the answer; what a field is good for is `streams.contract.minimising`'s to say.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from streams.cli.connection import OtlpTopics, connect, tell_not_read
from streams.cli.lines import clean
from streams.cli.moments import moment_us
from streams.cli.tables import columns_of, print_table, terminal
from streams.contract.minimising import Sizes, Use, uses
from streams.errors import ConfigError, reason_of
from streams.runtime.build import load_pipeline
from streams.runtime.field_sizes import field_sizes
from streams.runtime.reading import Reading
from streams.runtime.sent_events import SentEvents
from streams.settings import load_settings

_SHOWN_MAX: Final = 50


def minimise(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A contract file, or seed for ours.")],
    broker: Annotated[str | None, typer.Option(help="Bootstrap address, HOST:PORT.")] = None,
    otlp_topics: OtlpTopics = None,
    newest: Annotated[
        int, typer.Option(min=1, help="Offsets that are looked at, per partition.")
    ] = 20_000,
    since: Annotated[
        str, typer.Option(help="Events and questions from this moment on, ISO 8601 with a zone.")
    ] = "",
    access: Annotated[
        Path | None, typer.Option(help="Folder `access` of a console: who was searched for.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write one JSON object instead of text.")
    ] = False,
) -> None:
    """Say which fields of events neither join, fidelity, rules, causes nor auditors ever read.

    What helps nobody need not be sent: it costs bytes, and may be personal. Reads the newest
    records of the telemetry topics, joins no group and keeps nothing.

    Example: spanloom contract minimise seed --broker 127.0.0.1:9092
    """
    since_us = moment_us(since, "--since", "2026-01-31T00:00:00Z") if since else 0
    settings = load_settings(broker=broker, contract=file, otlp_topics=otlp_topics)
    pipeline = load_pipeline(settings)
    assert pipeline.contract is not None, "a file was given"
    asked = {} if access is None else asked_for(access, since)
    with Reading(connect(settings)) as reading:
        topics = reading.known(pipeline.sent)
        tell_not_read(reading, pipeline)
        events_of = SentEvents(pipeline).of
        sizes, is_cut = field_sizes(reading, topics, newest, since_us, events_of)
    found = uses(pipeline.contract, sizes, asked, settings.signal_dimensions)
    if as_json:
        typer.echo(json.dumps(view(found, sizes, is_cut)))
    else:
        show(found, sizes, is_cut, terminal())


def asked_for(folder: Path, since: str) -> Counter[str]:
    """Return how often each field was asked for, by the lines of a console's book of access.

    Args:
        folder: of its files.
        since: lines from this moment on; "" for all.

    Raises:
        ConfigError: it cannot be read.
    """
    since_us = moment_us(since, "--since", "2026-01-31T00:00:00Z") if since else 0
    found: Counter[str] = Counter()
    try:
        files = sorted(folder.glob("access-*.jsonl"))
        for file in files:
            for line in file.read_text("utf-8").splitlines():
                said = json.loads(line)
                if said.get("event") == "question" and "field" in said:
                    found[said["field"]] += moment_us(said["at"], "at", "") >= since_us
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"--access {folder}: cannot be read ({reason_of(error)})") from error
    if not files:
        raise ConfigError(f"--access {folder}: has no access-*.jsonl; give ARCHIVE/access")
    return found


def view(found: Sequence[Use], sizes: Sizes, is_cut: bool) -> dict[str, Any]:
    """Return the answer as JSON has it."""
    return {
        "events": sizes.events,
        "bytes": sizes.size_bytes,
        "never_helped_share": _idle_share(found),
        "fields": [
            {
                "field": use.field,
                "helped": use.helped,
                "events": use.events,
                "bytes": use.size_bytes,
                "share": use.share,
                "used_by": list(use.used_by),
                "asked": use.asked,
                "class": use.field_class,
            }
            for use in found
        ],
        "values_beyond_bound": sizes.beyond,
        "is_cut": is_cut,
    }


def show(found: Sequence[Use], sizes: Sizes, is_cut: bool, console: Console) -> None:
    """Print the answer for a person."""
    idle = [use for use in found if not use.helped]
    console.print(
        f"{len(idle)} of {len(found)} fields helped nobody: {_idle_share(found):.1%} of "
        f"{sizes.size_bytes:,} bytes in {sizes.events:,} events"
    )
    for title, rows in (("never helped", idle), ("helped", [u for u in found if u.helped])):
        if rows:
            _print_uses(console, title, rows)
    if is_cut:
        console.print("older records were left out: --newest says how many are read", style="dim")
    if sizes.beyond:
        console.print(f"{sizes.beyond:,} values of too many different keys", style="yellow")


def _print_uses(console: Console, title: str, rows: Sequence[Use]) -> None:
    cells = [
        [
            clean(use.field),
            use.field_class,
            ", ".join(use.used_by),
            f"{use.asked:,}" if use.asked else "",
            f"{use.events:,}",
            f"{use.size_bytes:,}",
            f"{use.share:.1%}",
        ]
        for use in rows[:_SHOWN_MAX]
    ]
    numbers = ("asked", "events", "bytes", "share")
    columns = columns_of("field", "class", "used by", *numbers, numbers=numbers, prose=["used by"])
    print_table(console, title, columns, cells)
    if len(rows) > _SHOWN_MAX:
        console.print(f"and {len(rows) - _SHOWN_MAX} more (--json has all)")


def _idle_share(found: Sequence[Use]) -> float:
    return sum(use.share for use in found if not use.helped)
