"""Runs one benchmark case of the engine: `make bench ARGS="--case latency --json latency.json"`.

Starts a broker of its own (Java and Maven needed) unless `--broker` names one, runs the shipped
worker on it, holds what came out against what went in, prints one table, writes the file and the
case's section of benchmarks/results.md. Ends with 1 when the results were wrong, 2 when the case
could not be run.
"""

import argparse
import importlib
import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from types import FrameType, ModuleType

from benchmarks.arguments import report_file
from benchmarks.cases.lab import CaseError, open_lab, say
from benchmarks.cases.report import (
    Report,
    as_json,
    replace_section,
    section,
    text_table,
    write,
    write_json,
)

CASES = {
    "throughput": "throughput",
    "latency": "latency",
    "open": "open_traces",
    "recovery": "recovery",
    "curve": "curve",
    "soak": "soak",
    "collector": "collector",
    "otlp": "otlp",
    "sdk": "sdk",
    "rekey": "rekey",
    "step": "step",
    "keeps-up": "keeps_up",
    "sdk-outage": "sdk_outage",
}
RESULTS = Path(__file__).resolve().with_name("results.md")
SEED = 7


def module_of(case: str) -> ModuleType:
    """Return the module of a case."""
    return importlib.import_module(f"benchmarks.cases.{CASES[case]}")


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the options; those of the case are read when its name is known."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    parser.add_argument("--case", choices=CASES, help="which case")
    given, _ = parser.parse_known_args(arguments)
    parser.add_argument("-h", "--help", action="help", help="show this; with --case, its options")
    parser.add_argument("--json", type=report_file, metavar="FILE", help="write the figures here")
    parser.add_argument("--broker", default="", help="HOST:PORT; else one of its own is started")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it work at all")
    parser.add_argument(
        "--results",
        type=Path,
        help="the page to update (default: benchmarks/results.md; with --quick none)",
    )
    parser.add_argument(
        "--setting",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="give every worker SPANLOOM_NAME=VALUE; repeatable",
    )
    if given.case:
        module_of(given.case).add_options(parser)
    options = parser.parse_args(arguments)
    if not options.case:
        parser.error(f"--case is missing: one of {', '.join(CASES)}")
    wrong = [text for text in options.setting if "=" not in text]
    if wrong:
        parser.error(f"--setting takes NAME=VALUE, not {wrong[0]!r}")
    if options.quick:
        module_of(options.case).make_quick(options)
    return options


def main(arguments: list[str]) -> int:
    """Run one case; return the exit code."""
    options = parse(arguments)
    load_before = os.getloadavg()
    settings = dict(text.split("=", 1) for text in options.setting)
    say(f"case {options.case}, seed {options.seed}, load average {load_before[0]:.2f}")
    try:
        case = module_of(options.case)
        needs_broker = getattr(case, "NEEDS_BROKER", True)
        with open_lab(options.broker, settings) if needs_broker else nullcontext() as lab:
            report: Report = case.run(lab, options)
    except KeyboardInterrupt:
        print(f"bench: {options.case} was interrupted; nothing is left behind", file=sys.stderr)
        return 130
    except CaseError as error:
        print(f"bench: {options.case} could not be run: {error}", file=sys.stderr)
        return 2
    asked = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
    said = as_json(report, options.seed, asked, load_before)
    print(text_table(report))
    for note in report.notes:
        print(note)
    if options.json:
        write_json(options.json, said)
    if report.faults:
        for fault in report.faults:
            print(f"bench: WRONG RESULTS: {fault}", file=sys.stderr)
        return 1
    results = options.results or (None if options.quick else RESULTS)
    if results:
        page = results.read_text(encoding="utf-8") if results.exists() else "# Results\n"
        command = " ".join(['make bench ARGS="' + " ".join(_worth_telling(arguments)) + '"'])
        write(results, replace_section(page, report.case, section(report, said, command)))
        say(f"section {report.case} of {results.name} is written")
    return 0


def _worth_telling(arguments: list[str]) -> list[str]:
    """Return the arguments without those that say where things go."""
    told: list[str] = []
    is_place = False
    for word in arguments:
        if is_place or word.startswith(("--json=", "--results=", "--broker=")):
            is_place = False
        elif word in ("--json", "--results", "--broker"):
            is_place = True
        else:
            told.append(word)
    return told


def _end(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)  # so that workers and broker are ended too
    sys.exit(main(sys.argv[1:]))
