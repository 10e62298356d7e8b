"""Incidents and causes on one set, held against the truth.

    make bench-incidents ARGS="--set nezha-tt --path DIR --json FILE"
    make bench-incidents ARGS="--set storms --seeds 1 --kind back_pressure"
    make bench-incidents ARGS="--set flap --json FILE"

Replays a recording, or storms that are made here, into the rules that the engine runs, holds the
incidents against the truth, prints one table and writes FILE: one case per labelled fault, in the
label file's order, and totals. top1, top3, top5 and chance_top1 are numbers of cases; what a set
does not measure is null. Ends with 1 when a set that has a bound does not hold it (flap, load,
delivery), with 2 when the set cannot be run.
"""

import argparse
import csv
import importlib
import importlib.util
import inspect
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
from rich.console import Console

from benchmarks.arguments import report_file
from benchmarks.cases.lab import CaseError
from benchmarks.incidents.table import tables
from streams.errors import SpanloomError

SETS = {
    "storms": "storms",
    "flap": "flap",
    "load": "load",
    "delivery": "delivery",
    "nezha-tt": "nezha",
    "nezha-ob": "nezha",
    "petshop": "petshop",
    "rcb": "rcb",
    "nab": "nab",
}
NEED_PATH = frozenset({"nezha-tt", "nezha-ob", "petshop", "rcb", "nab"})
CASE_KEYS = ("id", "kind", "truth", "ranked", "detected_at_s", "events")
TOTAL_KEYS = (
    "cases", "top1", "top3", "top5", "missed", "over_merged", "split", "false_per_hour", "alerts",
    "incidents", "chance_top1",
)  # fmt: skip

_ODD_DATA = (OSError, ValueError, LookupError, TypeError, csv.Error, pl.exceptions.PolarsError)


def main(arguments: list[str] | None = None) -> int:
    """Run one set; return 0, 1 when it does not hold its bound, or 2 when it cannot be run."""
    options, module = _options(sys.argv[1:] if arguments is None else arguments)
    errors = Console(stderr=True, soft_wrap=True)  # a path is not broken in two
    if module is None:
        errors.print(f"set {options.set!r} is not there yet: benchmarks/incidents has no such file")
        return 2
    try:
        result = _run(module, options)
    except (SpanloomError, CaseError) as error:
        errors.print(str(error), style="red", markup=False)
        return 2
    except _ODD_DATA as error:
        if options.set not in NEED_PATH:
            raise
        errors.print_exception()  # where, for who reads the format
        words = f"{options.path}: not laid out as --set {options.set} needs it: {error}"
        errors.print(words, style="red", markup=False)
        return 2
    console = Console(soft_wrap=True)
    console.width = max(console.width, 150)
    for table in tables(options.set, result):
        console.print(table)
    for problem in result.get("problems", ()):
        console.print(problem, markup=False)
    if options.json:
        options.json.write_text(json.dumps(completed(result), indent=1) + "\n")
    return 0 if result["totals"].get("passed", True) else 1


def completed(result: dict[str, Any]) -> dict[str, Any]:
    """Return a report that has each key of every set; None stands for what it does not measure."""
    cases = [dict.fromkeys(CASE_KEYS) | case for case in result["cases"]]
    return result | {"cases": cases, "totals": dict.fromkeys(TOTAL_KEYS) | result["totals"]}


def module_of(name: str) -> ModuleType | None:
    """Return the module of a set; None when there is none yet."""
    path = f"benchmarks.incidents.{SETS[name]}"
    return importlib.import_module(path) if importlib.util.find_spec(path) else None


def _options(arguments: list[str]) -> tuple[argparse.Namespace, ModuleType | None]:
    """Return the options; a set's module may add its own by `add_options(parser)`."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.incidents",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    parser.add_argument("--set", choices=SETS, required=True, help="what to judge")
    parser.add_argument("--path", type=Path, metavar="DIR", help="folder of the set's data")
    parser.add_argument(
        "--json", type=report_file, metavar="FILE", help="write cases and totals here"
    )
    wants_help = not {"-h", "--help"}.isdisjoint(arguments)
    asked = [a for a in arguments if a not in ("-h", "--help")]
    help_ = "show this; with --set, its options"
    if wants_help and not any(a == "--set" or a.startswith("--set=") for a in asked):
        parser.add_argument("-h", "--help", action="help", help=help_)
        parser.parse_args(["--help"])
    known, _ = parser.parse_known_args(asked)
    module = module_of(known.set)
    parser.add_argument("-h", "--help", action="help", help=help_)
    if module is not None and hasattr(module, "add_options"):
        module.add_options(parser)
    options = parser.parse_args(arguments)
    if options.path is None and options.set in NEED_PATH:
        parser.error(f"--set {options.set} needs --path DIR")
    if options.set in NEED_PATH and not options.path.is_dir():
        parser.error(f"--path: there is no folder {options.path}")
    return options, module


def _run(module: ModuleType, options: argparse.Namespace) -> dict[str, Any]:
    """Call the set's `run(path)`, with the options when it takes them."""
    takes = inspect.signature(module.run).parameters
    given = {"options": options} if "options" in takes else {}
    result: dict[str, Any] = module.run(options.path, **given)
    return result


if __name__ == "__main__":
    sys.exit(main())
