"""What a case says at its end: a table, a file of JSON, and its own section of the results page."""

import importlib.metadata
import json
import os
import platform
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.cases.proc import cpu_model

PACKAGES: Final = (
    "spanloom",
    "numpy",
    "polars",
    "faust-streaming",
    "aiokafka",
    "confluent-kafka",
    "rocksdict",
)
MB: Final = 1e6


@dataclass
class Report:
    """What a case measured.

    Attributes:
        case: its name.
        figures: by name, units last; numbers, or lists and mappings of them.
        header: of the table.
        rows: of the table, as text.
        notes: sentences for the results page.
        faults: what was wrong with the results; a benchmark with wrong results has failed.
    """

    case: str
    figures: dict[str, Any] = field(default_factory=dict)
    header: Sequence[str] = ()
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def check(self, where: str, faults: Sequence[str]) -> None:
        """Note what was wrong with one run."""
        self.faults += [f"{where}: {fault}" for fault in faults]


def machine(load_before: Sequence[float]) -> dict[str, Any]:
    """Return what the figures were taken on."""
    return {
        "cores": os.cpu_count(),
        "cpu_model": cpu_model(),
        "system": f"{platform.system()} {platform.release()}",
        "load_average_before": [round(x, 2) for x in load_before],
        "load_average_after": [round(x, 2) for x in os.getloadavg()],
    }


def versions() -> dict[str, str]:
    """Return the versions that the figures were taken with."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        found[name] = importlib.metadata.version(name)
    return found


def as_json(
    report: Report, seed: int, options: Mapping[str, Any], load_before: Sequence[float]
) -> dict[str, Any]:
    """Return a report as the file holds it: figures at the top, then what they were taken on."""
    return {
        "case": report.case,
        **report.figures,
        "faults": report.faults,
        "options": dict(options),
        "machine": machine(load_before),
        "versions": versions(),
        "seed": seed,
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def text_table(report: Report) -> str:
    """Return the table for a terminal."""
    lines = [tuple(report.header), *(tuple(row) for row in report.rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(report.header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def section(report: Report, said: Mapping[str, Any], command: str) -> str:
    """Return the section of the results page, markers included."""
    on = said["machine"]
    load = (on["load_average_before"][0], on["load_average_after"][0])
    lines = [
        f"<!-- case:{report.case} -->",
        f"## Case `{report.case}`",
        "",
        f"`{command}`, {said['date'][:16].replace('T', ' ')} UTC, seed {said['seed']}; "
        f"{on['cores']} cores ({on['cpu_model']}), load average {load[0]} before and {load[1]} "
        "after. Worker, broker, generator and reader share the cores.",
        "",
        "| " + " | ".join(report.header) + " |",
        "|" + "---|" * len(report.header),
        *("| " + " | ".join(row) + " |" for row in report.rows),
    ]
    if report.notes:
        lines += ["", " ".join(report.notes)]
    return "\n".join([*lines, f"<!-- /case:{report.case} -->"])


def replace_section(page: str, case: str, text: str) -> str:
    """Return the page with the section of one case replaced, or put at its end."""
    old = re.compile(rf"<!-- case:{case} -->.*?<!-- /case:{case} -->", re.DOTALL)
    if old.search(page):
        return old.sub(lambda _: text, page, count=1)
    return page.rstrip("\n") + "\n\n" + text + "\n"


def write(path: Path, text: str) -> None:
    """Replace a file in one step, so that a reader never finds half of it."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def write_json(path: Path, said: Mapping[str, Any]) -> None:
    """Write a report's file."""
    write(path, json.dumps(said, indent=2) + "\n")


def megabytes(size_bytes: float) -> str:
    """Return a size as text."""
    return f"{size_bytes / MB:,.0f} MB"


def whole(number: float) -> str:
    """Return a number as text, without digits after the point."""
    return f"{number:,.0f}"
