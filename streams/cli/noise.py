"""`spanloom noise report`: how much people were spared, by rule and owner, and by which means.

Owns the sums over days. Invariant: every alert state of a day is in exactly one row, under one
reason.
"""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import typer

from streams.cli.connection import connect
from streams.cli.lines import clean
from streams.cli.tables import columns_of, print_table, terminal
from streams.codec.records import decode_as
from streams.core.incidents.ledger import day_text, reduction
from streams.errors import ConfigError, RecordError
from streams.runtime import topics
from streams.runtime.clock import wall_us
from streams.runtime.reading import Reading
from streams.settings import load_settings
from streams.units import counted

app = typer.Typer(no_args_is_help=True)


@app.callback()
def root() -> None:
    """How many alerts came in, how many incidents went out, and what became of the rest."""


@app.command("report")
def report(
    days: int = typer.Option(7, min=1, max=3650, help="How many days, the last one included."),
    until: str = typer.Option("", help="Last day, YYYY-MM-DD, UTC; today unless given."),
    broker: str | None = typer.Option(None, help="Bootstrap address, HOST:PORT."),
    derived_prefix: str | None = typer.Option(None, help="Put before the names of derived topics."),
    as_json: bool = typer.Option(False, "--json", help="Write one JSON object instead of text."),
) -> None:
    """Report the noise of some days, by rule and owner.

    Example: spanloom noise report --days 7
    """
    last = until or day_text(wall_us())
    try:
        end = datetime.strptime(last, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise ConfigError(f"--until {until}: write a day as 2026-01-31") from error
    first = (end - timedelta(days=days - 1)).strftime("%Y-%m-%d")
    settings = load_settings(broker=broker, derived_prefix=derived_prefix)
    with Reading(connect(settings)) as reading:
        rows = read_rows(reading, settings.derived_prefix + topics.LEDGER)
    found = summed([row for row in rows if first <= row["day"] <= last]) | {
        "from": first,
        "until": last,
    }
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    total = found["total"]
    typer.echo(
        f"{first} to {last}: {counted(total['alerts'], 'alert state')}, "
        f"{counted(total['incidents'], 'incident')}, {counted(total['events'], 'event')}: "
        f"{total['reduction']:.1%} less to read"
    )
    print_table(terminal(), "", _COLUMNS, _rows(found["rows"]))


def read_rows(reading: Reading, topic: str) -> list[dict[str, Any]]:
    """Return the newest record of each row of the ledger.

    Raises:
        BrokerError: no broker answers.
        ConfigError: the topic is not there.
    """
    starts = {at: span.low for at, span in reading.spans([topic]).items()}
    newest: dict[tuple[str, str, str], dict[str, Any]] = {}
    for message in reading.records(starts):
        if message is None or message.value is None:
            continue
        try:
            row = decode_as("noise_ledger", message.value)
        except RecordError:
            continue  # not ours
        newest[row["day"], row["rule"], row["owner"]] = row
    return [newest[key] for key in sorted(newest)]


def summed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the rows summed over days by rule and owner, those with most alerts first, and all."""
    by_rule: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        by_rule.setdefault((row["rule"], row["owner"]), []).append(row)
    shown = [
        {"rule": rule, "owner": owner, **_sum(part)} for (rule, owner), part in by_rule.items()
    ]
    shown.sort(key=lambda row: (-row["alerts"], row["rule"], row["owner"]))
    return {"rows": shown, "total": _sum(rows)}


def _sum(rows: list[dict[str, Any]]) -> dict[str, Any]:
    became: Counter[str] = Counter()
    events: Counter[str] = Counter()
    for row in rows:
        became.update(row["became"])
        events.update(row["events"])
    alerts = sum(row["alerts"] for row in rows)
    return {
        "alerts": alerts,
        "became": dict(sorted(became.items())),
        "incidents": sum(row["incidents"] for row in rows),
        "events": events.total(),
        "events_by_name": dict(sorted(events.items())),
        "reduction": reduction(alerts, events.total()),
    }


_COLUMNS: Final = columns_of(
    *("rule", "owner", "alerts", "incidents", "events", "what became of them"),
    numbers=["alerts", "incidents", "events"],
    prose=["what became of them"],
)


def _rows(rows: list[dict[str, Any]]) -> list[list[str]]:
    shown = []
    for row in rows:
        became = ", ".join(f"{name} {count}" for name, count in row["became"].items())
        counts = (str(row[name]) for name in ("alerts", "incidents", "events"))
        owner = row["owner"] or "nobody"
        shown.append([clean(row["rule"]), clean(owner), *counts, clean(became)])
    return shown
