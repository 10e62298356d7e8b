"""`spanloom fidelity`: which edges lose telemetry, and how much of the error budget that uses.

Owns the choice of the windows shown and their layout. Invariant: of every row the highest revision
counts, and nothing is shown as full that not every partition has passed.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from streams.cli.connection import connect
from streams.cli.lines import causes, clean, edge_name, percent, time_of_day
from streams.cli.moments import moment_us
from streams.cli.tables import fits, table_console
from streams.codec import records
from streams.codec.plain import plain
from streams.core.fidelity.unsampled import SPANS_UNSAMPLED, TRACES_UNSAMPLED
from streams.errors import ConfigError, RecordError
from streams.runtime import topics
from streams.runtime.reading import Reading
from streams.settings import load_settings
from streams.units import LENGTH_FORM, SECOND_US, length_us

BAR_CELLS: Final = 16
_FIRST_LOOK: Final = 4_000
_LOOK_FACTOR: Final = 8
_SUMMED: Final = ("expected", "observed", "late", "duplicate", "sampled_out", "in_flight")
Row = dict[str, Any]
Scope = tuple[str, str, str, str, str]


def run(
    broker: str | None = typer.Option(None, help="Bootstrap address, HOST:PORT."),
    window: float = typer.Option(60, help="Length of the windows in seconds."),
    since: str | None = typer.Option(
        None,
        help=f"Add up from {LENGTH_FORM} before the newest, or from a time: 2026-01-31T12:00Z.",
    ),
    derived_prefix: str | None = typer.Option(None, help="Put before the names of derived topics."),
    as_json: bool = typer.Option(False, "--json", help="Write one JSON object instead of text."),
) -> None:
    """Show each edge's fidelity in the newest full window, its losses by cause, and burn rates.

    A window is full when every partition has passed its end; where none is, the newest is shown
    and marked. Ends with 0 when every edge meets its objective, with 1 when one does not.

    Example: spanloom fidelity --broker 127.0.0.1:9092 --window 60 --since 15m
    """
    settings = load_settings(broker=broker, derived_prefix=derived_prefix)
    topic = settings.derived_prefix + topics.STATS
    with Reading(connect(settings)) as reading:
        rows = read_rows(reading, topic, round(window * SECOND_US), since)
    view = build_view(rows)
    if as_json:
        typer.echo(json.dumps(plain(view)))
    else:
        show(view, table_console())
    if view["below_slo"]:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class Stretch:
    """The windows that are shown: those that start in [start_us, end_us)."""

    start_us: int
    end_us: int
    window_us: int
    is_full: bool

    def holds(self, row: Row) -> bool:
        """Say whether a row belongs to one of the windows."""
        return bool(self.start_us <= row["window_start"] < self.end_us)


def read_rows(
    reading: Reading, topic: str, window_us: int, since: str | None
) -> tuple[list[Row], Stretch]:
    """Return the rows of the windows to show, each in its highest revision.

    The topic keeps weeks: it is read from its end backwards until it holds the stretch.

    Raises:
        ConfigError: there is no such topic, no window of that length, or `since` cannot be read.
    """
    ask = Since(since)
    spans = reading.spans([topic])
    count = _FIRST_LOOK
    while True:
        starts = {at: max(span.low, span.high - count) for at, span in spans.items()}
        rows = _newest_revisions(_decoded(m.value for m in reading.records(starts) if m))
        is_whole = all(starts[at] == span.low for at, span in spans.items())
        mine = [row for row in rows if row["window_us"] == window_us]
        if mine and (is_whole or _reaches_back(mine, ask)):
            stretch = choose(mine, ask)
            return [row for row in mine if stretch.holds(row)], stretch
        if is_whole:
            widths = sorted({row["window_us"] for row in rows})
            known = ", ".join(f"{width / SECOND_US:g}" for width in widths)
            hint = f"--window can be {known}" if known else "is a worker running?"
            raise ConfigError(f"{topic} has no window of {window_us / SECOND_US:g} s yet; {hint}")
        count *= _LOOK_FACTOR


def _decoded(values: Iterable[bytes | None]) -> Iterable[Row]:
    for value in values:
        try:
            yield records.decode_as("fidelity_stats", value)
        except RecordError:
            continue  # not ours: a row that cannot be read has no place in any window


def _newest_revisions(rows: Iterable[Row]) -> list[Row]:
    newest: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        at = (row["window_us"], row["window_start"], *_scope(row))
        if at not in newest or newest[at]["revision"] < row["revision"]:
            newest[at] = row
    return list(newest.values())


def _scope(row: Row) -> Scope:
    return row["kind"], row["flow"], row["from_stage"], row["to_stage"], row["module"]


def _reaches_back(rows: Sequence[Row], ask: "Since") -> bool:
    """Whether what was read holds all rows of the stretch.

    Windows come out in their order, so two older ones that came out within what was read
    (revision 1 of their total) mean that every younger one did.
    """
    first_us = choose(rows, ask).start_us
    older = {
        row["window_start"]
        for row in rows
        if row["kind"] == "total" and row["revision"] == 1 and row["window_start"] < first_us
    }
    return len(older) >= 2


class Since:
    """The start that a person asked for: a length before the newest window's end, or a time.

    Raises:
        ConfigError: it is neither.
    """

    def __init__(self, text: str | None) -> None:
        self.length_us = 0
        self.time_us: int | None = None
        if text is None:
            return
        try:
            self.length_us = length_us(text)
        except ValueError:
            form = f"{LENGTH_FORM}, or a time like 2026-01-31T12:00Z"
            self.time_us = moment_us(text, "--since", form)

    def start_us(self, end_us: int, window_us: int) -> int:
        """Return the first window's start when the last one ends at `end_us`."""
        if self.time_us is not None:
            return min(-(-self.time_us // window_us) * window_us, end_us - window_us)
        return end_us - max(1, round(self.length_us / window_us)) * window_us


def choose(rows: Sequence[Row], ask: Since) -> Stretch:
    """Return the stretch to show: it ends with the newest full window, else with the newest."""
    window_us = rows[0]["window_us"]
    reported: dict[int, bool] = {}
    for row in rows:
        is_full = row["partitions_reported"] >= row["partitions_total"] > 0
        reported[row["window_start"]] = reported.get(row["window_start"], True) and is_full
    full = [start_us for start_us, is_full in reported.items() if is_full]
    last_us = max(full or reported)
    end_us = last_us + window_us
    return Stretch(ask.start_us(end_us, window_us), end_us, window_us, bool(full))


def build_view(chosen: tuple[list[Row], Stretch]) -> dict[str, Any]:
    """Return the stretch as one mapping: edges, flows and modules, counts added up over it.

    Burn rates and objectives are those of its newest window.
    """
    rows, stretch = chosen
    by_scope: dict[Scope, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["window_start"], _scope(row))):
        by_scope.setdefault(_scope(row), []).append(row)
    merged = {scope: _sum(parts) for scope, parts in sorted(by_scope.items())}
    edges = [row for scope, row in merged.items() if scope[0] == "edge"]
    newest = max(rows, key=lambda row: int(row["window_start"]))
    total = next((row for scope, row in merged.items() if scope[0] == "total"), None)
    return {
        "start_us": stretch.start_us,
        "end_us": stretch.end_us,
        "window_us": stretch.window_us,
        "is_full": stretch.is_full,
        "partitions_reported": newest["partitions_reported"],
        "partitions_total": newest["partitions_total"],
        "contract_version": newest["contract_version"],
        "below_slo": [edge_name(row) for row in edges if row["is_below_slo"]],
        "edges": edges,
        "flows": [row for scope, row in merged.items() if scope[0] == "flow"],
        "modules": [row for scope, row in merged.items() if scope[0] == "module"],
        "total": total,
    }


def _sum(parts: Sequence[Row]) -> Row:
    last = parts[-1]
    out: Row = {name: last[name] for name in ("kind", "flow", "from_stage", "to_stage", "module")}
    out |= {name: sum(part[name] for part in parts) for name in _SUMMED}
    for name in ("missing", "counters"):
        out[name] = {}
        for part in parts:
            for counter, count in part[name].items():
                out[name][counter] = out[name].get(counter, 0) + count
    expected, slo = out["expected"], last["slo_ratio"]
    out["ratio"] = out["observed"] / expected if expected else math.nan
    out["slo_ratio"] = slo
    out["budget_used"] = (1 - out["ratio"]) / (1 - slo) if slo < 1 else math.nan
    out["burn_rate_short"], out["burn_rate_long"] = last["burn_rate_short"], last["burn_rate_long"]
    out["is_below_slo"] = bool(expected and out["ratio"] < slo)
    return out


def show(view: dict[str, Any], console: Console) -> None:
    """Print the stretch for a person."""
    seconds = (view["end_us"] - view["start_us"]) / SECOND_US
    full = "full" if view["is_full"] else "[yellow]not full yet[/]"
    console.print(
        f"{time_of_day(view['start_us'])} UTC, {seconds:g} s, {full}: "
        f"{view['partitions_reported']} of {view['partitions_total']} partitions, "
        f"contract {escape(clean(view['contract_version'])) or 'none'}"
    )
    _print_rated(console, "edge", view["edges"], has_causes=True)
    _print_rated(console, "flow", view["flows"], has_causes=False)
    console.print(_modules(view["modules"]))
    if view["total"] is not None:
        console.print(_traces(view["total"]))
    below = view["below_slo"]
    if below:
        console.print(f"[bold red]below objective:[/] {escape(clean(', '.join(below)))}")
    elif not any(edge["expected"] for edge in view["edges"]):
        console.print("[yellow]nothing was expected on any edge: no objective could be judged[/]")
    else:
        console.print("[green]every edge meets its objective[/]")


def _print_rated(console: Console, head: str, rows: Sequence[Row], *, has_causes: bool) -> None:
    table = _rated(head, rows, has_causes=has_causes)
    if fits(table, console):
        console.print(table)
        return
    # An edge whose name is cut is no answer: two of them would look alike.
    for row in rows:
        style = "red" if row["is_below_slo"] else "green"
        console.print(f"{head} {escape(clean(edge_name(row)))}", style="bold", soft_wrap=True)
        console.print(
            f"  {row['observed']:,} of {row['expected']:,}, [{style}]{percent(row['ratio'])}[/]; "
            f"SLO {percent(row['slo_ratio'])}, "
            f"burn rate {_rate(row['burn_rate_short'])} / {_rate(row['burn_rate_long'])}"
        )
        if not math.isnan(row["budget_used"]):
            console.print(f"  error budget used [{style}]{bar(row['budget_used'])}[/]")
        if has_causes and row["missing"]:
            console.print(f"  missing: {escape(clean(causes(row['missing'])))}")


def _rated(head: str, rows: Sequence[Row], *, has_causes: bool) -> Table:
    table = Table(head)
    for name in ("expected", "observed", "ratio", "SLO"):
        table.add_column(name, justify="right")
    table.add_column("error budget used")
    table.add_column("burn rate", justify="right")
    if has_causes:
        table.add_column("missing")
    for row in rows:
        style = "red" if row["is_below_slo"] else "green"
        cells = [
            escape(clean(edge_name(row))),
            f"{row['expected']:,}",
            f"{row['observed']:,}",
            f"[{style}]{percent(row['ratio'])}[/]",
            percent(row["slo_ratio"]),
            f"[{style}]{bar(row['budget_used'])}[/]",
            f"{_rate(row['burn_rate_short'])} / {_rate(row['burn_rate_long'])}",
        ]
        if has_causes:
            cells.append(escape(clean(causes(row["missing"]))))
        table.add_row(*cells)
    return table


def _rate(burn: float) -> str:
    return "-" if math.isnan(burn) else f"{burn:.3g}"


def bar(used: float) -> str:
    """Write the share of the error budget that is used: a bar, full from 1 on, and the number."""
    if math.isnan(used):
        return ""
    # Any loss shows: a budget that is touched has at least one cell.
    cells = min(BAR_CELLS, math.ceil(max(0.0, used) * BAR_CELLS))
    return f"{'█' * cells}{'░' * (BAR_CELLS - cells)} {used * 100:,.0f} %"


def _traces(total: Row) -> str:
    """Say how many traces were seen, and how many were never sent because they were not sampled."""
    counts, in_parts = total["counters"], total["sampled_out"]
    sampled = counts.get("traces", 0) - in_parts
    unsampled = max(counts.get(TRACES_UNSAMPLED, 0), in_parts)
    text = f"traces: {sampled:,} seen, {counts.get('complete', 0):,} of them complete"
    if unsampled or counts.get(SPANS_UNSAMPLED):
        share = sampled / (sampled + unsampled) if sampled + unsampled else math.nan
        text += f"; {unsampled:,} not sampled, so that {percent(share)} are seen"
    if in_parts:
        text += f" (of {in_parts:,} of these errors, audit entries or log lines came)"
    return text


def _modules(rows: Sequence[Row]) -> Table:
    table = Table("module")
    names = ["events", "spans", "errors", "duplicate", "late", "untraced"]
    if any(row["counters"].get(SPANS_UNSAMPLED) for row in rows):
        names.append(SPANS_UNSAMPLED)
    for name in names:
        table.add_column(name.replace("spans_un", "spans not "), justify="right")
    for row in rows:
        counts = row["counters"] | {name: row[name] for name in ("duplicate", "late")}
        cells = (f"{counts.get(name, 0):,}" for name in names)
        table.add_row(escape(clean(row["module"])), *cells)
    return table
