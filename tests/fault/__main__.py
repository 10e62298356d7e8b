"""Hurts a running deployment in every way we know, and says whether anything was lost.

It starts a real broker on free ports (Java 17 and Maven), workers of the shipped command, feeds
simulated telemetry with losses, repeats, late and bad records, and does what the scenario says.
Then it reads everything `read_committed` and compares it with an oracle that reads the input
topics.

Ends with 0 when nothing was lost, repeated or wrong, with 1 when something was, with 2 when the
scenario cannot run here.

Examples:
  make fault ARGS="--scenario kills --kills 20 --workers 3"
  make fault ARGS="--scenario points --kills 5 --json points.json"
  make fault ARGS="--scenario rebalance --seconds 300 --workers 2"
  make fault ARGS="--scenario broker --kills 3"          each round: stop, kill -9, down for 70 s
  make fault ARGS="--scenario damage --kills 2"          each kind of damage twice
  make fault ARGS="--scenario upgrade --old ../v1"       from that checkout to this one, and back
  make fault ARGS="--scenario kills --seed 7 --canary drop_output"    must end with 1
  make fault ARGS="--target console --kills 50 --json console.json"   its archive equals the topics
  make fault ARGS="--target console --kills 1 --bug twice_after_kill"    must end with 1
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from random import SystemRandom
from typing import Any

from benchmarks.arguments import at_least_one, report_file
from tests.fault.broker import BrokerNode, NoBrokerError
from tests.fault.canary import CANARIES, program_of
from tests.fault.console_canary import CONSOLE_CANARIES, console_program_of
from tests.fault.console_kills import SCENARIO, TOLD, kill_consoles
from tests.fault.harness import PROGRAM, Deployment
from tests.fault.run import CannotRunError, Plan, carry_out
from tests.fault.scenarios import OF_TWO_VERSIONS, SCENARIOS

CONSOLE_KILLS = 10


def main() -> int:
    """Run what the command line asks for and return the exit code."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # or what we started would live on
    seed = arguments.seed if arguments.seed is not None else SystemRandom().randrange(1 << 31)
    print(f"fault: seed {seed}", flush=True)
    every = [name for name in SCENARIOS if name not in OF_TWO_VERSIONS]
    names = every if arguments.scenario == "all" else [arguments.scenario]
    if arguments.target == "console":
        names = [SCENARIO]
    reports = []
    try:
        for name in names:
            reports.append(_run_one(arguments, name, seed))
    except (NoBrokerError, CannotRunError) as error:
        print(f"fault: {error}", file=sys.stderr)
        return 2
    found: dict[str, Any] = reports[0] if len(reports) == 1 else _together(reports, seed)
    text = json.dumps(found, indent=2)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 1 if found["lost"] or found["repeated"] or found["wrong"] else 0


def _run_one(arguments: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    scenario, usual = (None, CONSOLE_KILLS) if name == SCENARIO else SCENARIOS[name]
    plan = Plan(
        scenario=name,
        seed=seed,
        kills=usual if arguments.kills is None else arguments.kills,
        workers=arguments.workers,
        seconds=arguments.seconds,
        records_per_second=arguments.records_per_second,
        partitions=arguments.partitions,
        program=_program(arguments.canary),
        points=tuple(arguments.point or ()),
        canary=arguments.canary or "",
        old=arguments.old,
    )
    began = time.monotonic()

    def say(words: str) -> None:
        print(f"[{time.monotonic() - began:6.1f}] {words}", file=sys.stderr, flush=True)

    with ExitStack() as stack:
        node = None
        if not arguments.broker:
            node = BrokerNode()
            stack.callback(node.forget)
            say(f"starting a broker on {node.address}")
            node.start_fresh()
        folder = Path(tempfile.mkdtemp(prefix="spanloom-fault-"))
        if arguments.keep:
            say(f"logs and state stay in {folder}")
        else:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        address = node.address if node is not None else arguments.broker
        deployment = Deployment(address, folder, f"fault-{name}", "seed", plan.partitions)
        stack.callback(deployment.end)
        if node is None:
            deployment.delete_topics()
        say(f"{name}: seed {seed}, {plan.workers} workers, {plan.kills} kills")
        if scenario is None:
            told = () if plan.canary else TOLD
            return kill_consoles(plan, deployment, say, told, is_short=bool(plan.canary))
        return carry_out(plan, scenario, deployment, node, say)


def _program(canary: str | None) -> tuple[str, ...]:
    """Return what runs the target, with a planted bug where one is asked for."""
    if not canary:
        return PROGRAM
    return console_program_of(canary) if canary in CONSOLE_CANARIES else program_of(canary)


def checkout(text: str) -> Path:
    """Return the folder of a version's code.

    Raises:
        ArgumentTypeError: there is none in it.
    """
    folder = Path(text).resolve()
    if not (folder / "streams" / "runtime" / "worker.py").is_file():
        raise argparse.ArgumentTypeError(f"{folder} is no checkout of this project")
    return folder


def _together(reports: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Return one report over several scenarios, with theirs inside."""
    sums = {name: sum(r[name] for r in reports) for name in ("kills", "lost", "repeated", "wrong")}
    slowest = max((r["recovery_p95_s"] or 0.0 for r in reports), default=0.0)
    return {
        "scenario": "all",
        "seed": seed,
        **sums,
        "recovery_p95_s": slowest,
        "scenarios": reports,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests.fault",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--target", choices=["worker", "console"], default="worker", help="what is hurt (worker)")
    add("--scenario", choices=[*SCENARIOS, "all"], default="kills", help="what to do (kills)")
    add("--kills", type=int, help="kills, kills at each point, changes or rounds (the scenario's)")
    add("--workers", type=at_least_one, default=3, help="workers at once (3)")
    add("--seed", type=int, help="decides all that chance decides; drawn and printed if absent")
    add("--seconds", type=float, default=300, help="length of the rebalance storm (300)")
    add("--json", type=report_file, metavar="FILE", help="write the report here, too")
    add("--broker", metavar="HOST:PORT", help="use this broker and DELETE ALL ITS TOPICS")
    add("--point", action="append", help="points, damage: only this kind; may be repeated")
    bugs = {"worker": CANARIES, "console": CONSOLE_CANARIES}
    names = [name for of_target in bugs.values() for name in of_target]
    add("--canary", "--bug", choices=names, help="plant a bug of the target, to be found")
    add("--records-per-second", type=float, default=15, help="simulated records; 25 events each")
    add("--partitions", type=at_least_one, default=4, help="of the telemetry topics (4)")
    add("--old", type=checkout, metavar="FOLDER", help="upgrade: a checkout of the older version")
    add("--keep", action="store_true", help="keep logs and local state")
    arguments = parser.parse_args()
    if (arguments.scenario in OF_TWO_VERSIONS) != (arguments.old is not None):
        parser.error("--old FOLDER belongs to --scenario upgrade, and that needs it")
    of_target = bugs[arguments.target]
    if arguments.canary and arguments.canary not in of_target:
        parser.error(
            f"--canary {arguments.canary}: of the {arguments.target} give one of "
            f"{', '.join(of_target)}"
        )
    return arguments


if __name__ == "__main__":
    sys.exit(main())
