"""Case `recovery`: how long after `kill -9` is a worker with many open spans restored, and useful?

The first half of every trace is sent and joined; the worker is killed; while it is away the second
half of a few traces is sent. Then it starts again, with its local state or from the changelog
alone. At the end all other second halves follow, and every trace must have come out once, whole.
"""

import argparse
import statistics
import time
from dataclasses import replace
from datetime import datetime
from typing import Any

from benchmarks.cases.lab import CaseError, Lab, Run, WorkerProcess, say
from benchmarks.cases.load import SPANS_MAX, STAGES, Load
from benchmarks.cases.outputs import Follower, read_all
from benchmarks.cases.report import Report, megabytes
from benchmarks.cases.samples import Sampler

OPEN_SPANS = 1_000_000
QUICK_SPANS = 8_000
ROUNDS = 2
HALF = STAGES // 2
CLOSED_TRACES = 500
"""Traces that are completed while the worker is away."""
WAIT_S = 7_200.0
JOIN_SECONDS = 900.0
OUT_SECONDS = 300.0
SETTINGS = {"session_timeout_seconds": 6}
"""The least that brokers allow; the worker that comes back is a static member and need not wait."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--spans", type=int, default=OPEN_SPANS, help="open when it is killed")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="kills of each kind")
    parser.add_argument("--partitions", type=int, default=4)


def make_quick(options: argparse.Namespace) -> None:
    options.spans = QUICK_SPANS
    options.rounds = 1


def run(lab: Lab, options: argparse.Namespace) -> Report:
    """Kill and restart with and without local state."""
    report = Report("recovery")
    report.header = ("start", "restored", "of it reading state", "first new trace", "max RSS")
    with lab.run("recovery", options.partitions, WAIT_S) as one:
        traces = max(2 * options.rounds * CLOSED_TRACES + 1, options.spans // HALF)
        base_us = int((time.time() - traces / 1000 - 60) * 1e6)
        load = Load(options.seed, base_us, traces, miss_ratio=0.0, twice_ratio=0.0)
        empty_s = _fill(one, load)
        say(f"recovery: {traces * HALF:,} spans of {traces:,} traces are open")
        found = _rounds(one, load, options.rounds)
        say("recovery: sending what is missing of the other traces")
        _finish(one, load, 2 * options.rounds * CLOSED_TRACES)
        report.check("all rounds", read_all(one, load).faults())
    report.rows.append(("no state at all", f"{empty_s:.2f} s", "", "", ""))
    for kind, lives in found.items():
        report.figures[kind] = lives
        report.rows.append(
            (
                kind.replace("_", " "),
                f"{_median(lives, 'restored_s'):.2f} s",
                f"{_median(lives, 'reading_s'):.2f} s",
                f"{_median(lives, 'first_output_s'):.2f} s",
                megabytes(max(life["rss_max_bytes"] for life in lives)),
            )
        )
    report.figures |= {
        "open_spans": traces * HALF,
        "open_traces": traces,
        "empty_start_s": round(empty_s, 3),
        **{
            f"{kind}_{name}": round(_median(lives, name), 3)
            for kind, lives in found.items()
            for name in ("restored_s", "reading_s", "first_output_s")
        },
    }
    report.notes.append(
        f"{traces * HALF:,} open spans of {traces:,} traces in {options.partitions} partitions; "
        f"medians of {options.rounds} `kill -9` each. Seconds since the process was started, so "
        "Python and the group's join are in them; reading state: the slowest partition's own "
        "word. First new trace: readable with read_committed. Goals: restored within 5 s with "
        "local state, 20 s from the changelog alone."
    )
    return report


def _median(lives: list[dict[str, Any]], name: str) -> float:
    return float(statistics.median(life[name] for life in lives))


def _start(one: Run) -> WorkerProcess:
    return one.worker("--instance", "w0", settings=SETTINGS)


def _fill(one: Run, load: Load) -> float:
    """Let a worker join the first halves; return how long a start without any state took."""
    one.create_topics()
    worker = _start(one)
    one.wait_until_ready(worker, one.partitions)
    empty_s = restored_s(worker)
    one.feed(replace(load, part=(0, HALF)))()
    _wait_until_committed(one)
    return empty_s


def _wait_until_committed(one: Run) -> None:
    end = one.end_offset()
    one.wait_for(lambda: one.committed() >= end, JOIN_SECONDS, "all spans are committed", 0.5)


def _rounds(one: Run, load: Load, rounds: int) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {"local_state": [], "changelog_alone": []}
    first = 0
    for number in range(rounds):
        for kind, lives in found.items():
            closing = replace(load, first=first, traces=CLOSED_TRACES, part=(HALF, SPANS_MAX))
            lives.append(_life(one, closing, loses_state=kind == "changelog_alone"))
            first += CLOSED_TRACES
            told = lives[-1]
            say(
                f"recovery: {kind}, round {number + 1}: restored after {told['restored_s']:.2f} s, "
                f"first new trace after {told['first_output_s']:.2f} s"
            )
    return found


def _life(one: Run, closing: Load, *, loses_state: bool) -> dict[str, Any]:
    """Kill the worker, complete a few traces, start it again; return what was seen."""
    one.workers[-1].kill()
    if loses_state:
        one.lose_state()
    follower = Follower(one)
    follower.expect(closing)
    one.feed(closing)()
    worker = _start(one)
    with Sampler([worker], one.lab.broker_pid, 0.5) as sampler:
        one.wait_until_ready(worker, one.partitions)
        one.wait_for(lambda: follower.traces >= closing.traces, OUT_SECONDS, "new traces came out")
    restored = worker.restored()
    from_local = sum(bool(event["from_local"]) for event in restored)
    if from_local != (0 if loses_state else one.partitions):
        raise CaseError(f"{from_local} of {one.partitions} tasks came from local state")
    outputs = follower.result()
    _wait_until_committed(one)
    return {
        "restored_s": round(restored_s(worker), 3),
        "reading_s": max(event["seconds"] for event in restored),
        "first_output_s": round(
            float(outputs.received_s[outputs.received_s > 0].min()) - worker.started_unix, 3
        ),
        "pieces": sum(event["pieces"] for event in restored),
        "rss_max_bytes": sampler.rss_max_bytes,
    }


def restored_s(worker: WorkerProcess) -> float:
    """Return the seconds from a worker's start to its last `task_restored`."""
    stamps = [datetime.fromisoformat(event["timestamp"]) for event in worker.restored()]
    return max(stamps).timestamp() - worker.started_unix


def _finish(one: Run, load: Load, done: int) -> None:
    rest = replace(load, first=done, traces=load.traces - done, part=(HALF, SPANS_MAX))
    one.feed(rest)()
    _wait_until_committed(one)
    one.workers[-1].stop()
