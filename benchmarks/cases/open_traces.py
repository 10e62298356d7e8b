"""Case `open`: what do many open traces cost, in speed against short traces and in memory?"""

import argparse
from typing import Any

from benchmarks.cases.backlog import Backlog, read_backlog
from benchmarks.cases.lab import Lab
from benchmarks.cases.report import Report, megabytes, whole
from benchmarks.cases.throughput import past_load

OPEN_TRACES = 250_000
QUICK_TRACES = 4_000
LIFE_S = 30.0
WAIT_LIVES = 3
"""A trace that lacks a stage is closed after so many lives; one that has all must not be."""
TURNOVER = 1.5
ENOUGH_RATIO = 0.9
SHORT_SPANS = 1_000_000


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--traces", type=int, default=OPEN_TRACES, help="open at once")
    parser.add_argument("--life", type=float, default=LIFE_S, help="seconds of a trace")
    parser.add_argument(
        "--turnover",
        type=float,
        default=TURNOVER,
        help="traces sent for each that is open at once; 1 is enough to see the memory",
    )
    parser.add_argument(
        "--short-spans", type=int, default=SHORT_SPANS, help="of the comparison; 0: none"
    )
    parser.add_argument("--partitions", type=int, default=4)


def make_quick(options: argparse.Namespace) -> None:
    options.traces = QUICK_TRACES
    options.short_spans = 0


def run(lab: Lab, options: argparse.Namespace) -> Report:
    """Read short traces, then long ones, each with a fresh worker."""
    report = Report("open")
    report.header = (
        "traces",
        "open at most",
        "spans",
        "spans/s",
        "spans per CPU s",
        "spans/s while full",
        "spans per CPU s while full",
        "max RSS",
    )
    short = None
    if options.short_spans:
        load = past_load(options.seed, max(1, options.short_spans // 8))
        short = read_backlog(lab, "short", load, partitions=options.partitions)
        _add(report, "of 2 s", "short", short)
    wait_s = options.life * WAIT_LIVES
    load = past_load(
        options.seed,
        int(options.traces * options.turnover),
        lag_s=wait_s,
        traces_per_s=options.traces / options.life,
        life_us=int(options.life * 1e6),
    )
    long = read_backlog(lab, "long", load, partitions=options.partitions, wait_s=wait_s)
    _add(report, f"of {options.life:.0f} s", "long", long)
    if not options.quick and long.open_max < ENOUGH_RATIO * options.traces:
        report.faults.append(
            f"only {long.open_max:,} of {options.traces:,} traces were open at once"
        )
    report.figures |= {
        "open_traces_max": long.open_max,
        "rss_max_bytes": long.rss_max_bytes,
        "bytes_per_open_trace": _bytes_each(short, long),
    }
    if short:
        report.figures |= {
            "rate_ratio": round(long.result.spans_per_s / max(short.result.spans_per_s, 1e-9), 3),
            "per_cpu_s_ratio": round(
                long.result.spans_per_cpu_s / max(short.result.spans_per_cpu_s, 1e-9), 3
            ),
        }
        report.notes.append(
            f"The long traces are read at {report.figures['rate_ratio']:.0%} of the short traces' "
            f"rate (goal: 60 %), at {report.figures['per_cpu_s_ratio']:.0%} per CPU second."
        )
    report.notes.append(
        "Full: while at least nine tenths of the most open traces were open. A trace of "
        f"{options.life:.0f} s has its 8 spans spread over that time; half of them wait on average."
    )
    return report


def _add(report: Report, words: str, name: str, done: Backlog) -> None:
    report.check(name, done.faults)
    report.figures[name] = figures(done)
    is_seen = done.steady.spans > 0
    report.rows.append(
        (
            words,
            whole(done.open_max),
            whole(done.spans),
            whole(done.result.spans_per_s),
            whole(done.result.spans_per_cpu_s),
            whole(done.steady.spans_per_s) if is_seen else "too short to see",
            whole(done.steady.spans_per_cpu_s) if is_seen else "",
            megabytes(done.rss_max_bytes),
        )
    )


def figures(done: Backlog) -> dict[str, Any]:
    """Return a run's figures for the file."""
    return {
        "spans": done.spans,
        "spans_per_s": round(done.result.spans_per_s),
        "spans_per_cpu_s": round(done.result.spans_per_cpu_s),
        "steady_spans_per_s": round(done.steady.spans_per_s),
        "steady_spans_per_cpu_s": round(done.steady.spans_per_cpu_s),
        "steady_seconds": round(done.steady.seconds, 2),
        "open_traces_max": done.open_max,
        "rss_max_bytes": done.rss_max_bytes,
        "broker_cpu_s": round(done.broker_cpu_s, 2),
    }


def _bytes_each(short: Backlog | None, long: Backlog) -> int | None:
    """Return what an open trace adds to the memory; None without a comparison."""
    if short is None or long.open_max <= short.open_max:
        return None
    return (long.rss_max_bytes - short.rss_max_bytes) // (long.open_max - short.open_max)
