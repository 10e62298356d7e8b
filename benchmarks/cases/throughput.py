"""Case `throughput`: how fast is a finished topic read, and what do two workers cost together?"""

import argparse
import time
from dataclasses import replace
from typing import Any

from benchmarks.cases.backlog import Backlog, read_backlog
from benchmarks.cases.lab import Lab
from benchmarks.cases.load import Load
from benchmarks.cases.report import Report, megabytes, whole

DEFAULT_SPANS = 1_000_000
QUICK_SPANS = 40_000
LAG_SECONDS = 60.0
"""The stream ends so long before now: all its traces are due when it has been read."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--spans", type=int, default=DEFAULT_SPANS, help="in the finished topic")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--workers", type=int, default=1, help="compare so many with one")


def make_quick(options: argparse.Namespace) -> None:
    options.spans = QUICK_SPANS


def past_load(seed: int, traces: int, lag_s: float = LAG_SECONDS, **more: Any) -> Load:
    """Return a load that ended so long ago; `more` are fields of `Load`."""
    load = Load(seed, 0, traces, **more)
    return replace(load, base_us=int((time.time() - lag_s - load.seconds) * 1e6))


def run(lab: Lab, options: argparse.Namespace) -> Report:
    """Read the topic with one worker, and with `--workers` where that is more."""
    report = Report("throughput")
    report.header = (
        "workers",
        "spans",
        "spans/s",
        "spans per CPU s",
        "spans per CPU s, from outside",
        "max RSS",
        "broker CPU s",
    )
    load = past_load(options.seed, options.spans // 8)
    counts = [1] if options.workers <= 1 else [1, options.workers]
    runs = {n: _one(lab, report, load, options.partitions, n) for n in counts}
    one = runs[1]
    report.figures = {
        "spans": one.spans,
        "spans_per_s": round(one.result.spans_per_s),
        "spans_per_cpu_s": round(one.result.spans_per_cpu_s),
        "spans_per_cpu_s_outside": round(one.watched.spans_per_cpu_s),
        "wall_s": round(one.result.seconds, 3),
        "cpu_s": round(one.result.cpu_s, 3),
        "rss_max_bytes": one.rss_max_bytes,
        "broker_cpu_s": round(one.broker_cpu_s, 2),
    }
    if options.workers > 1:
        more = runs[options.workers]
        ratio = more.watched.spans_per_cpu_s / max(one.watched.spans_per_cpu_s, 1e-9)
        report.figures |= {
            "workers": options.workers,
            "workers_spans_per_s": round(more.watched.spans_per_s),
            "workers_spans_per_cpu_s_outside": round(more.watched.spans_per_cpu_s),
            "workers_rss_max_bytes": more.rss_max_bytes,
            "workers_per_cpu_s_ratio": round(ratio, 3),
        }
        report.notes.append(
            f"Per CPU second {options.workers} workers keep {ratio:.0%} of what one does "
            "(goal: 85 %), both seen from outside."
        )
    report.notes.append(
        "The worker's own figures go from its first record to the last step that took records in; "
        "those from outside from the moment that all partitions are assigned, sampled four times a "
        "second. RSS is of the process tree."
    )
    return report


def _one(lab: Lab, report: Report, load: Load, partitions: int, workers: int) -> Backlog:
    done = read_backlog(lab, f"throughput-{workers}", load, partitions=partitions, workers=workers)
    own = done.result
    report.check(f"{workers} workers", done.faults)
    report.rows.append(
        (
            str(workers),
            whole(done.spans),
            whole(own.spans_per_s if own.spans else done.watched.spans_per_s),
            whole(own.spans_per_cpu_s) if own.spans else "",
            whole(done.watched.spans_per_cpu_s),
            megabytes(done.rss_max_bytes),
            f"{done.broker_cpu_s:.1f}" if lab.broker_pid else "unknown",
        )
    )
    return done
