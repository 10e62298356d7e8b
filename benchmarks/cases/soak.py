"""Case `soak`: does a worker at a steady rate stay as it is, for an hour?

Memory, open files, threads, open and closed traces are sampled from outside; every trace that comes
out is looked at as it comes, and none may be missing at the end, or come twice.
"""

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.cases.lab import CaseError, Lab, Run, say
from benchmarks.cases.latency import live_load
from benchmarks.cases.load import Load
from benchmarks.cases.outputs import Follower
from benchmarks.cases.report import MB, Report, megabytes, whole
from benchmarks.cases.samples import Sample, Sampler, between

MINUTES = 60.0
QUICK_MINUTES = 0.1
RATE = 25_000.0
QUICK_RATE = 1_000.0
SAMPLE_SECONDS = 10.0
SETTLE_MINUTES = 10.0
"""Before that memory still grows: the closed set fills until its retention is reached."""
SETTLE_SHARE = 1 / 3
"""A soak of less than half an hour settles for this share of it."""
TELL_SECONDS = 60.0
OUT_SECONDS = 120.0
FITTED_MAX = 1_500
"""Samples that go into the fit of a slope, which looks at all pairs."""
RETENTION = {
    "retention.ms": "600000",
    "segment.ms": "60000",
    "segment.bytes": str(64 << 20),
}
"""An hour of spans and traces fills a disk; both have been read long before they go."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--rate", type=float, default=RATE, help="spans a second")
    parser.add_argument("--partitions", type=int, default=4)


def make_quick(options: argparse.Namespace) -> None:
    options.minutes = QUICK_MINUTES
    options.rate = QUICK_RATE


def run(lab: Lab, options: argparse.Namespace) -> Report:
    """Run one worker at a steady rate and say what grew."""
    report = Report("soak")
    with lab.run("soak", options.partitions) as one:
        one.create_topics(RETENTION)
        worker = one.worker()
        one.wait_until_ready(worker, options.partitions)
        follower = Follower(one)
        load = live_load(options.seed, options.rate, options.minutes * 60)
        follower.expect(load)
        say(f"soak: {options.rate:,.0f} spans/s for {options.minutes:g} minutes")
        interval_s = min(SAMPLE_SECONDS, options.minutes * 60 / 20)
        with Sampler(one.workers, lab.broker_pid, interval_s) as sampler:
            fed = _feed(one, follower, load, sampler)
        report.check("soak", follower.result().faults())
        worker.stop()
    # After the last trace has begun the rate falls: that is not steady any more.
    until_s = load.base_us / 1e6 + load.traces / load.traces_per_s - time.time() + time.monotonic()
    samples = [s for s in sampler.samples if s.accepted > 0 and s.at_s <= until_s]
    settle_s = min(SETTLE_MINUTES, options.minutes * SETTLE_SHARE) * 60
    settled = [s for s in samples if s.at_s - samples[0].at_s >= settle_s]
    if len(settled) < 3:
        raise CaseError(f"{len(settled)} samples after {settle_s:.0f} s are too few: run longer")
    _fill(report, samples, settled, fed)
    report.notes.append(
        f"{options.minutes:g} minutes at {options.rate:,.0f} spans/s; slopes (Theil-Sen: the "
        f"median over all pairs of samples) after the first {settle_s / 60:g} minutes, in which "
        "the closed set and the allocator fill. Goal: less than 1 MB an hour."
    )
    return report


def _feed(one: Run, follower: Follower, load: Load, sampler: Sampler) -> dict[str, float]:
    """Feed all of it, telling how it stands, and wait until all traces came out."""
    end = one.feed(load, is_paced=True)
    until_s = load.base_us / 1e6 + load.seconds
    while (left_s := until_s - time.time()) > 0:
        one.watch(min(left_s, TELL_SECONDS))
        last = sampler.samples[-1] if sampler.samples else sampler.now()
        say(
            f"soak: {max(0.0, until_s - time.time()) / 60:.1f} minutes to go, "
            f"{follower.traces:,} traces came, RSS {megabytes(last.workers.rss_bytes)}, "
            f"{last.workers.files} files, {last.open_traces:,} open"
        )
    fed = end()
    one.wait_for(lambda: follower.traces >= load.traces, OUT_SECONDS, "all traces came out")
    return fed


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the median slope over all pairs of points (Theil-Sen), which outliers do not bend.

    Source: Sen, "Estimates of the regression coefficient based on Kendall's tau" (1968).
    """
    every = max(1, len(x) // FITTED_MAX)
    at, value = np.array(x[::every]), np.array(y[::every])
    i, j = np.triu_indices(len(at), 1)
    apart = at[j] - at[i]
    use = apart > 0
    return float(np.median((value[j] - value[i])[use] / apart[use]))


def series(samples: Sequence[Sample]) -> dict[str, list[float]]:
    """Return what is watched, by name, one value a sample."""
    return {
        "rss_bytes": [s.workers.rss_bytes for s in samples],
        "files": [s.workers.files for s in samples],
        "threads": [s.workers.threads for s in samples],
        "open_traces": [s.open_traces for s in samples],
        "closed_traces": [s.values.get("spanloom_closed_traces", 0) for s in samples],
    }


def _fill(
    report: Report, samples: list[Sample], settled: list[Sample], fed: dict[str, float]
) -> None:
    hours = [s.at_s / 3600 for s in settled]
    whole_run, level = series(samples), series(settled)
    report.header = ("watched", "at first", "after settling", "at the end", "most", "slope an hour")
    slopes = {name: slope(hours, values) for name, values in level.items()}
    for name, values in whole_run.items():
        is_size = name == "rss_bytes"
        show = (lambda n: f"{n / MB:,.1f} MB") if is_size else whole
        after = (values[0], level[name][0], level[name][-1], max(values))
        words = f"{slopes[name] / MB:+.2f} MB" if is_size else f"{slopes[name]:+,.1f}"
        report.rows.append((name.replace("_", " ").replace("bytes", ""), *map(show, after), words))
    stretch = between(settled[0], settled[-1])
    report.figures = {
        "achieved_spans_per_s": fed["full_rate"],
        "worker_cpu_share": round(stretch.cpu_s / stretch.seconds, 3),
        "rss_slope_mb_per_hour": round(slopes["rss_bytes"] / MB, 3),
        **{f"{n}_slope_per_hour": round(v, 2) for n, v in slopes.items() if n != "rss_bytes"},
        "rss_max_bytes": max(whole_run["rss_bytes"]),
        "settled_seconds": round(stretch.seconds, 1),
        "samples": _thinned(samples),
    }


def _thinned(samples: list[Sample]) -> list[dict[str, Any]]:
    """Return at most some hundred samples for the file."""
    kept = samples[:: max(1, len(samples) // 300)]
    columns = series(kept)
    begin = samples[0].at_s
    return [
        {"at_s": round(s.at_s - begin, 1), **{name: column[i] for name, column in columns.items()}}
        for i, s in enumerate(kept)
    ]
