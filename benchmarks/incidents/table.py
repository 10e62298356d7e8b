"""The tables that a run prints: totals beside chance and published figures, then kind by kind."""

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from benchmarks.incidents.scoring import rank_of


def tables(name: str, result: dict[str, Any]) -> Iterator[Table]:
    """Return the tables of one set's result."""
    totals = result["totals"]
    yield _totals(name, totals, result.get("published", {}))
    if any("ranked" in case for case in result.get("cases", ())):
        yield _kinds(result["cases"])
        missed = [case for case in result["cases"] if rank_of(case) != 1]
        if missed:
            yield _missed(missed)


def _totals(name: str, totals: dict[str, Any], published: dict[str, Any]) -> Table:
    table = Table(title=name)
    table.add_column("figure")
    table.add_column("ours", justify="right")
    for label in published:
        table.add_column(label, justify="right")
    for key, value in totals.items():
        table.add_row(
            key, str(value), *(str(figures.get(key, "")) for figures in published.values())
        )
    return table


def _kinds(cases: list[dict[str, Any]]) -> Table:
    table = Table(title="by kind of fault")
    for column in ("kind", "cases", "top1", "top3", "missed", "detected after s (median)"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    for kind in sorted({case["kind"] for case in cases}):
        own = [case for case in cases if case["kind"] == kind]
        ranks = [rank_of(case) for case in own]
        after = sorted(c["detected_at_s"] for c in own if c["detected_at_s"] is not None)
        table.add_row(
            kind,
            str(len(own)),
            str(sum(r == 1 for r in ranks)),
            str(sum(0 < r <= 3 for r in ranks)),
            str(len(own) - len(after)),
            f"{after[len(after) // 2]:.0f}" if after else "-",
        )
    return table


def _missed(cases: list[dict[str, Any]]) -> Table:
    table = Table(title="not first")
    for column in ("fault", "truth", "rank", "named instead", "on what evidence"):
        table.add_column(column)
    for case in cases:
        nobody: dict[str, Any] = {"name": next(iter(case["ranked"]), "nothing"), "evidence": []}
        first = next(iter(case.get("causes", ())), nobody)
        table.add_row(
            case["id"],
            str(case["truth"]),
            str(rank_of(case) or "-"),
            first["name"],
            "; ".join(first["evidence"][:1]),
        )
    return table
