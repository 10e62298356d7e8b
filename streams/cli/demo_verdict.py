"""The demonstration's report as people read it: accounting, faults, fidelity, verdict."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from streams.cli.tables import Cell, columns_of, print_table
from streams.simulate.report import failures

EDGES_SHOWN_MAX = 24


def print_report(report: Mapping[str, Any], console: Console) -> None:
    """Print the report; what is wrong comes last, where people look."""
    console.print()
    console.print(_accounting(report))
    _print_faults(report, console)
    _print_fidelity(report, console)
    if report.get("linked_traces"):
        console.print(
            f"{report['linked_traces']:,} traces of records whose context restarted name the "
            "other traces of their record."
        )
    for false in report["false_incident_list"]:
        told = escape(f"{false['incident_id'][:8]} {false['title']}")
        console.print(f"[red]false incident[/red] {told}")
    if report.get("lost_to_retention"):
        console.print(
            f"{report['lost_to_retention']:,} records were gone before the engine read them: the "
            "machine was too busy, and the embedded broker keeps about 5 MB of a partition."
        )
    unread = report["produced"] - report["accounting"]["accepted"]
    if unread > 0 and not report.get("lost_to_retention"):
        console.print(
            f"{unread:,} records were never read, so what is below says nothing of the engine: "
            "the machine is too busy for the demonstration; run it again with less beside it."
        )
    problems = failures(report)
    for problem in problems:
        console.print(f"[red]✗[/red] {escape(problem)}")
    if not problems:
        faults = len(report["faults"])
        console.print(
            f"[green]✓[/green] {report['produced']:,} events, all accounted for; {faults} of "
            f"{faults} faults found; no false incident; fidelity within 0.1 points of the truth."
        )


def _accounting(report: Mapping[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.title, table.title_justify = "Accounting (input records)", "left"
    accounts = report["accounting"]
    balanced = "[green]balanced[/green]" if accounts["balanced"] else "[red]not balanced[/red]"
    table.add_row(
        "produced", f"{report['produced']:,}", "accepted", f"{accounts['accepted']:,}", balanced
    )
    for names in (("joined", "duplicate", "late"), ("untraced", "rejected", "evicted"), ("open",)):
        table.add_row(*(cell for name in names for cell in (name, f"{accounts[name]:,}")))
    return table


def _print_faults(report: Mapping[str, Any], console: Console) -> None:
    rows: list[list[Cell]] = []
    for fault in report["faults"]:
        lasted = (fault["end_us"] - fault["start_us"]) / 1e6
        found = Text("✓", "green") if fault["found"] else Text("✗", "red")
        ids = " ".join(incident_id[:8] for incident_id in fault["incident_ids"])
        rows.append([fault["kind"], fault["where"], f"{lasted:.1f}", found, ids])
    names = ("fault", "where", "seconds", "found", "incidents")
    columns = columns_of(*names, numbers=["seconds"], prose=["incidents"])
    print_table(console, "Faults planted, and what was found", columns, rows)


def _print_fidelity(report: Mapping[str, Any], console: Console) -> None:
    edges = sorted(
        report["fidelity"],
        key=lambda row: (1.0 if row["true"] is None else row["true"], row["edge"]),
    )
    rows: list[list[Cell]] = []
    for row in edges[:EDGES_SHOWN_MAX]:
        measured = row["estimated"]
        colour = "red" if measured is not None and measured < 0.999 else "green"
        shown = Text(_percent(measured), colour)
        rows.append([row["edge"], f"{row['expected']:,}", shown, _percent(row["true"])])
    names = ("edge", "records", "measured", "true")
    columns = columns_of(*names, numbers=names[1:])
    print_table(console, "Propagation fidelity by edge", columns, rows)
    if len(edges) > EDGES_SHOWN_MAX:
        console.print(f"and {len(edges) - EDGES_SHOWN_MAX} more")


def _percent(ratio: float | None) -> str:
    return "-" if ratio is None else f"{100 * ratio:.2f} %"
