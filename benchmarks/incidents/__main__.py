"""Incidents and causes on one set, held against the truth.

    make bench-incidents ARGS="--set nezha-tt --path DIR --json FILE"

Replays the recording or the storms of DIR into the rules that the engine runs, holds the incidents
against the truth, prints one table and writes FILE: one case per labelled fault, in the label
file's order, and totals. Ends with 2 when the set cannot be run.
"""

import argparse
import importlib
import importlib.util
import inspect
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console

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


def main(arguments: list[str] | None = None) -> int:
    """Run one set; return 0, or 2 when it cannot be run."""
    options, module = _options(sys.argv[1:] if arguments is None else arguments)
    errors = Console(stderr=True)
    if module is None:
        errors.print(f"set {options.set!r} is not there yet: benchmarks/incidents has no such file")
        return 2
    try:
        result = _run(module, options)
    except SpanloomError as error:
        errors.print(str(error), style="red", markup=False)
        return 2
    console = Console(soft_wrap=True)
    console.width = max(console.width, 150)
    for table in tables(options.set, result):
        console.print(table)
    for problem in result.get("problems", ()):
        console.print(problem, markup=False)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return int(result.get("exit_code", 0))


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
    parser.add_argument("--json", type=Path, metavar="FILE", help="write cases and totals here")
    known, _ = parser.parse_known_args([a for a in arguments if a not in ("-h", "--help")] or None)
    module = module_of(known.set)
    parser.add_argument("-h", "--help", action="help", help="show this")
    if module is not None and hasattr(module, "add_options"):
        module.add_options(parser)
    options = parser.parse_args(arguments)
    if options.path is None and options.set in NEED_PATH:
        parser.error(f"--set {options.set} needs --path DIR")
    return options, module


def _run(module: ModuleType, options: argparse.Namespace) -> dict[str, Any]:
    """Call the set's `run(path)`, with the options when it takes them."""
    takes = inspect.signature(module.run).parameters
    given = {"options": options} if "options" in takes else {}
    result: dict[str, Any] = module.run(options.path, **given)
    return result


if __name__ == "__main__":
    sys.exit(main())
