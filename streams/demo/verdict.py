"""The demonstration's report as people read it: accounting, faults, fidelity, verdict."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from streams.simulate.report import failures

EDGES_SHOWN_MAX = 24


def print_report(report: Mapping[str, Any], console: Console) -> None:
    """Print the report; what is wrong comes last, where people look."""
    console.print()
    console.print(_accounting(report))
    console.print(_faults(report))
    console.print(_fidelity(report))
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


def _faults(report: Mapping[str, Any]) -> Table:
    table = Table(title="Faults planted, and what was found", title_justify="left")
    for name in ("fault", "where", "seconds", "found", "incidents"):
        # The longest, a place, is folded where there is no room: nothing is ever cut.
        width = None if name == "where" else len(name)
        table.add_column(name, no_wrap=name == "fault", overflow="fold", min_width=width)
    for fault in report["faults"]:
        lasted = (fault["end_us"] - fault["start_us"]) / 1e6
        found = "[green]✓[/green]" if fault["found"] else "[red]✗[/red]"
        ids = " ".join(incident_id[:8] for incident_id in fault["incident_ids"])
        table.add_row(fault["kind"], escape(fault["where"]), f"{lasted:.1f}", found, ids)
    return table


def _fidelity(report: Mapping[str, Any]) -> Table:
    table = Table(title="Propagation fidelity by edge", title_justify="left")
    table.add_column("edge")
    for name in ("records", "measured", "true"):
        table.add_column(name, justify="right")
    rows = sorted(
        report["fidelity"],
        key=lambda row: (1.0 if row["true"] is None else row["true"], row["edge"]),
    )
    for row in rows[:EDGES_SHOWN_MAX]:
        measured = row["estimated"]
        colour = "red" if measured is not None and measured < 0.999 else "green"
        shown = f"[{colour}]{_percent(measured)}[/{colour}]"
        table.add_row(escape(row["edge"]), f"{row['expected']:,}", shown, _percent(row["true"]))
    if len(rows) > EDGES_SHOWN_MAX:
        table.caption = f"and {len(rows) - EDGES_SHOWN_MAX} more"
    return table


def _percent(ratio: float | None) -> str:
    return "-" if ratio is None else f"{100 * ratio:.2f} %"
