"""Runs simulations by hand: `python -m tests.sim --runs 5000`, or one seed with its schedule."""

import argparse
import os
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.sim.run import Case, Outcome

BATCH_RUNS = 50
SHOWN_MAX = 5
_PANIC = re.compile(r"\n?thread '[^\n]*panicked at [^\n]*\n[^\n]*\n(note: [^\n]*\n)?")


def main(arguments: list[str] | None = None) -> int:
    """Run what the arguments say; 0 when every law held, 1 when one was broken."""
    # Tiny frames: a pool of threads only costs. Read by polars when it is imported.
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    from tests.sim.kept import add_case_options, case_of
    from tests.sim.planted import BUGS
    from tests.sim.shell_planted import SHELL_BUGS

    assert SHELL_BUGS.items() <= BUGS.items()
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    add_case_options(parser)
    parser.add_argument("--runs", type=int, default=0, help="run so many seeds, from --seed on")
    parser.add_argument("--jobs", type=int, default=1, help="processes, with --runs")
    parser.add_argument(
        "--shell", action="store_true", help="the real worker and task hosts, on virtual time"
    )
    parser.add_argument("--bug", default="", choices=["", *BUGS], help="plant a bug")
    options = parser.parse_args(arguments)
    if options.shell:
        return _shell(options)
    with _without_panics():
        if options.runs:
            return _run_many(options.seed, options.runs, options.jobs, options.bug)
        return _show(case_of(options), options.bug)


def _shell(options: argparse.Namespace) -> int:
    """Run seeds of the shell one after the other; a single one is shown."""
    from dataclasses import fields

    from tests.sim.kept import case_of
    from tests.sim.planted import planted
    from tests.sim.shell_run import ShellCase, run_shell

    one = case_of(options)
    given = {field.name: getattr(one, field.name) for field in fields(one)}
    failed = 0
    count = options.runs or 1
    with _without_panics(), planted(options.bug):
        for seed in range(options.seed, options.seed + count):
            outcome = run_shell(ShellCase(**given | {"seed": seed}))
            if not options.runs:
                print("\n".join(outcome.lines))
            if outcome.law:
                failed += 1
                print(f"BROKEN {outcome.detail}\n  repeat it with: {outcome.case.command()}")
    print(f"{count:,} runs of the shell, {failed} failed")
    return 1 if failed else 0


def _show(case: "Case", bug: str) -> int:
    """Run one case and print its schedule."""
    from tests.sim.planted import planted
    from tests.sim.run import run

    features = case.features()
    print(
        f"seed {case.seed}: {features.partitions} partitions, {features.workers} workers, "
        f"{features.traces} traces, {features.actions} actions; "
        + (", ".join(sorted(features.on)) or "no faults")
    )
    with planted(bug):
        outcome = run(case)
    print("\n".join(outcome.lines))
    if not outcome.law:
        assert outcome.world is not None
        print(f"every law held; {outcome.world.observer.records} records were committed")
        return 0
    if outcome.error is not None and outcome.law == type(outcome.error).__name__:
        traceback.print_exception(outcome.error, file=sys.stdout)
    print(f"BROKEN {outcome.detail}")
    return 1


def _run_many(first: int, runs: int, jobs: int, bug: str) -> int:
    """Run many seeds, print progress and failures, each made as small as can be."""
    batches = [
        (seed, min(BATCH_RUNS, first + runs - seed), bug)
        for seed in range(first, first + runs, BATCH_RUNS)
    ]
    began, said, done = time.monotonic(), time.monotonic(), 0
    cpu_seconds = 0.0
    failed: list[int] = []
    with ProcessPoolExecutor(jobs) as pool:
        for (_, count, _), (seeds, seconds) in zip(
            batches, pool.map(_run_batch, batches), strict=True
        ):
            done += count
            cpu_seconds += seconds
            for seed in seeds:
                failed.append(seed)
                if len(failed) <= SHOWN_MAX:
                    _report(seed, bug)
            if time.monotonic() - said > 5 or done == runs:
                said = time.monotonic()
                wall, cpu = done / (said - began) * 60, done / cpu_seconds * 60
                print(
                    f"{done:,} of {runs:,} runs, {len(failed)} failed; "
                    f"{wall:,.0f} a minute, {cpu:,.0f} a minute of CPU",
                    flush=True,
                )
    if len(failed) > SHOWN_MAX:
        print(f"failing seeds: {' '.join(map(str, failed))}")
    return 1 if failed else 0


def _run_batch(batch: tuple[int, int, str]) -> tuple[list[int], float]:
    """Return the seeds that failed of a batch, and its CPU seconds."""
    from tests.sim.planted import planted
    from tests.sim.run import Case, run

    first, count, bug = batch
    began = time.process_time()
    with planted(bug):
        failed = [seed for seed in range(first, first + count) if run(Case(seed)).law]
    return failed, time.process_time() - began


def _report(seed: int, bug: str) -> None:
    from tests.sim.planted import planted
    from tests.sim.run import Case, run
    from tests.sim.shrink import shrunk

    with planted(bug):
        outcome: Outcome = run(Case(seed))
        smaller = shrunk(outcome) if outcome.law else outcome
    print(f"seed {seed}: {outcome.detail or 'held when it was run again'}")
    print(f"  repeat it with: {smaller.case.command()}" + (f" --bug {bug}" if bug else ""))


@contextmanager
def _without_panics() -> Iterator[None]:
    """Keep what polars writes about each torn body, from Rust, out of the error stream."""
    kept = os.dup(2)
    with tempfile.TemporaryFile("w+") as buffer:
        os.dup2(buffer.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            buffer.seek(0)
            sys.stderr.write(_PANIC.sub("", buffer.read()))


if __name__ == "__main__":
    sys.exit(main())
