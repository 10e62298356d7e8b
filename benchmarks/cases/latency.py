"""Case `latency`: at a steady rate, how long from the last span of a trace to the trace readable?

From the moment when the last span of a trace is handed to the producing client until a
`read_committed` consumer has the assembled trace; both by this machine's clock.
"""

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.cases.lab import Lab, Run, say
from benchmarks.cases.load import Load
from benchmarks.cases.outputs import Follower, read_all
from benchmarks.cases.report import Report, megabytes, whole
from benchmarks.cases.samples import Sampler, between

RATES = (5_000.0, 50_000.0)
SECONDS = 40.0
QUICK_SECONDS = 4.0
QUICK_RATES = (1_000.0,)
WARM_SECONDS = 5.0
LIFE_SECONDS = 2.0
LEAD_SECONDS = 3.0
"""From the start of a feed to its first span: it has to start and to encode ahead."""
OUT_SECONDS = 120.0
KEPT_RATE_RATIO = 0.98
PERCENTILES = (50, 90, 99)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rate", type=float, action="append", help="spans a second; repeatable (5000 and 50000)"
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help="at each rate")
    parser.add_argument("--partitions", type=int, default=4)


def make_quick(options: argparse.Namespace) -> None:
    options.rate = list(QUICK_RATES)
    options.seconds = QUICK_SECONDS


@dataclass
class Steady:
    """What a run at a steady rate measured.

    Attributes:
        rate: spans a second that were asked for.
        achieved: spans a second that the producer was handed.
        behind_s_max: how far the producer was behind its plan, at most.
        latency_ms: by percentile name, and max; first seconds left out.
        cpu_share: CPU seconds of the worker per second, 1.0 being one core.
        cuts_per_s: transactions committed a second, over all partitions.
        traces: how many latencies.
    """

    rate: float
    achieved: float
    behind_s_max: float
    latency_ms: dict[str, float]
    cpu_share: float
    cuts_per_s: float
    rss_max_bytes: int
    traces: int
    faults: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """Return the figures for the file."""
        latency = {f"{name}_ms": round(ms, 1) for name, ms in self.latency_ms.items()}
        return {
            "rate": self.rate,
            "achieved_spans_per_s": round(self.achieved),
            "producer_behind_s_max": self.behind_s_max,
            **latency,
            "traces": self.traces,
            "worker_cpu_share": round(self.cpu_share, 3),
            "cuts_per_s": round(self.cuts_per_s, 2),
            "rss_max_bytes": self.rss_max_bytes,
        }


def live_load(seed: int, rate: float, seconds: float) -> Load:
    """Return whole traces of two seconds, or less, whose spans come as they happen."""
    return Load(
        seed,
        int((time.time() + LEAD_SECONDS) * 1e6),
        max(1, int(rate * seconds / 8)),
        traces_per_s=rate / 8,
        life_us=int(min(LIFE_SECONDS, seconds / 4) * 1e6),
        miss_ratio=0.0,
        disorder_us=20_000,
    )


def run(lab: Lab, options: argparse.Namespace) -> Report:
    """Measure each rate with a fresh worker."""
    report = Report("latency")
    report.header = ("spans/s", "achieved", "p50", "p90", "p99", "max", "worker CPU", "max RSS")
    for rate in options.rate or RATES:
        done = steady(lab, options, rate, options.partitions)
        report.check(f"{rate:.0f} spans/s", done.faults)
        report.figures.setdefault("rates", []).append(done.figures())
        report.rows.append(
            (
                whole(rate),
                whole(done.achieved),
                *(f"{ms:,.0f} ms" for ms in done.latency_ms.values()),
                f"{done.cpu_share:.0%} of a core",
                megabytes(done.rss_max_bytes),
            )
        )
    # The figures of the highest rate are those that goals speak of.
    report.figures = {**report.figures["rates"][-1], **report.figures}
    report.notes.append(
        f"From handing the last span of a trace to the producing client (linger 5 ms) until a "
        f"read_committed consumer has the trace; {options.seconds:.0f} s at each rate, the first "
        f"{WARM_SECONDS:.0f} s (a quarter, if that is less) left out. The producer stamps each "
        "burst (at most 1,000 spans) before the first of its spans, which makes latencies longer, "
        "never shorter."
    )
    return report


def steady(
    lab: Lab,
    options: argparse.Namespace,
    rate: float,
    partitions: int,
    settings: Mapping[str, object] | None = None,
) -> Steady:
    """Run one worker at a steady rate."""
    with lab.run("latency", partitions) as one:
        one.create_topics()
        worker = one.worker(settings=settings)
        one.wait_until_ready(worker, partitions)
        follower = Follower(one)
        load = live_load(options.seed, rate, options.seconds)
        follower.expect(load)
        say(f"latency: {rate:,.0f} spans/s for {options.seconds:.0f} s, {partitions} partitions")
        return _measure(one, follower, load, rate)


def _measure(one: Run, follower: Follower, load: Load, rate: float) -> Steady:
    sent_path = one.folder / "sent.f64"
    np.memmap(sent_path, np.float64, "w+", shape=(load.traces,)).flush()
    with Sampler(one.workers, one.lab.broker_pid, 0.5) as sampler:
        fed = one.feed(load, is_paced=True, sent_path=sent_path)()
        feed_end_s = time.monotonic()
        one.wait_for(lambda: follower.traces >= load.traces, OUT_SECONDS, "all traces came out")
    followed = follower.result()
    sent = np.fromfile(sent_path, np.float64)
    warm_s = min(WARM_SECONDS, load.seconds / 4)
    wanted = (sent >= load.base_us / 1e6 + warm_s) & (followed.received_s > 0)
    latency_ms = (followed.received_s - sent)[wanted] * 1e3
    named = {f"p{p}": float(np.percentile(latency_ms, p)) for p in PERCENTILES}
    named["max"] = float(latency_ms.max())
    feed_start_s = feed_end_s - load.traces / load.traces_per_s
    during = [s for s in sampler.samples if s.values and feed_start_s < s.at_s < feed_end_s]
    stretch = between(during[0], during[-1])
    cuts = during[-1].values["spanloom_cuts_total"] - during[0].values["spanloom_cuts_total"]
    faults = [*read_all(one, load).faults(), *followed.faults()]
    achieved = fed["full_rate"]
    if achieved < KEPT_RATE_RATIO * rate:
        say(f"latency: the producer reached {achieved:,.0f} spans/s of {rate:,.0f}")
    return Steady(
        rate,
        achieved,
        fed["behind_s_max"],
        named,
        stretch.cpu_s / stretch.seconds,
        cuts / stretch.seconds,
        sampler.rss_max_bytes,
        len(latency_ms),
        faults,
    )
