"""Case `curve`: what speed and memory cost as partitions, trace size and open traces grow.

Draws `benchmarks/curve.svg`. At 64 partitions it also shows the trade between the cut interval,
the worker's CPU and latency: each partition commits a transaction of its own.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cases.backlog import Backlog, read_backlog
from benchmarks.cases.lab import Lab
from benchmarks.cases.latency import Steady, steady
from benchmarks.cases.load import Load
from benchmarks.cases.open_traces import WAIT_LIVES, figures
from benchmarks.cases.plot import Chart, Series, grid
from benchmarks.cases.report import MB, Report, megabytes, whole
from benchmarks.cases.throughput import past_load

PLOT = Path(__file__).resolve().parents[1] / "curve.svg"
SPANS = 300_000
FULL_SPANS = 1_000_000
SPANS_PER_S = 8_000.0
OPEN_LIFE_S = 30.0
TRADE_SECONDS = 15.0
TRADE_RATE = 5_000.0
TITLES = {
    "partitions": ("Partitions", "partitions"),
    "trace_spans": ("Size of a trace", "spans a trace"),
    "open_traces": ("Open traces", "traces open at once"),
}
"""What is varied: the title of its charts, and what its axis counts."""


@dataclass(frozen=True)
class Sizes:
    """Which points are measured."""

    partitions: tuple[int, ...] = (1, 4, 16, 64)
    trace_spans: tuple[int, ...] = (8, 32, 128, 500)
    open_traces: tuple[int, ...] = (1_000, 10_000, 100_000)
    cut_intervals_s: tuple[float, ...] = (0.3, 0.6, 1.0, 2.0)
    trade_partitions: int = 64


FULL = Sizes(open_traces=(1_000, 10_000, 100_000, 1_000_000))
QUICK = Sizes((4,), (8, 32), (), (0.3,), 4)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--spans", type=int, default=None, help="of each point, at least")
    parser.add_argument("--full", action="store_true", help="up to 1,000,000 open traces")
    parser.add_argument("--rate", type=float, default=TRADE_RATE, help="spans/s of the trade")
    parser.add_argument("--seconds", type=float, default=TRADE_SECONDS, help="of each trade")
    parser.add_argument("--plot", type=Path, default=None, help="where to draw (curve.svg)")


def make_quick(options: argparse.Namespace) -> None:
    options.spans = 12_000
    options.rate = 1_000.0
    options.seconds = 2.0


def run(lab: Lab, options: argparse.Namespace) -> Report:
    """Measure each point with a fresh worker and draw them."""
    sizes = QUICK if options.quick else FULL if options.full else Sizes()
    spans = options.spans or (FULL_SPANS if options.full else SPANS)
    report = Report("curve")
    report.header = ("varied", "value", "spans/s", "spans per CPU s", "max RSS")
    base = _point(lab, report, "partitions", 4, past_load(options.seed, spans // 8))
    by: dict[str, dict[float, Backlog]] = {"partitions": {4: base}, "trace_spans": {8: base}}
    for n in sizes.partitions:
        if n != 4:
            load = past_load(options.seed, spans // 8)
            by["partitions"][n] = _point(lab, report, "partitions", n, load, partitions=n)
    for n in sizes.trace_spans:
        if n != 8:
            load = _long_traces(options.seed, spans, n)
            by["trace_spans"][n] = _point(lab, report, "spans a trace", n, load)
    by["open_traces"] = {}
    for n in sizes.open_traces:
        load = past_load(
            options.seed,
            max(spans // 8, n * 5 // 4),
            lag_s=OPEN_LIFE_S * WAIT_LIVES,
            traces_per_s=n / OPEN_LIFE_S,
            life_us=int(OPEN_LIFE_S * 1e6),
        )
        by["open_traces"][n] = _point(
            lab, report, "open traces", n, load, wait_s=OPEN_LIFE_S * WAIT_LIVES
        )
    _add_rows(report, by)
    trade = _trade(lab, report, options, sizes)
    report.figures = {
        name: [{"value": n, **figures(done)} for n, done in sorted(points.items())]
        for name, points in by.items()
    }
    report.figures["cut_trade"] = [
        {"cut_interval_s": interval_s, "partitions": sizes.trade_partitions, **done.figures()}
        for interval_s, done in trade.items()
    ]
    _draw(by, trade, sizes, options)
    report.notes += [
        f"Each point is a finished topic of {spans:,} spans or more, 4 partitions, 8 spans a "
        "trace and 2,000 open unless it is what varies; traces of more spans come at the same "
        f"rate of spans. Cut interval: {sizes.trade_partitions} partitions in one process at "
        f"{options.rate:,.0f} spans/s; its cells are CPU, p50 and p99. "
        + ("" if options.quick else "![the same as a plot](curve.svg)")
    ]
    return report


def _long_traces(seed: int, spans: int, n: int) -> Load:
    """Return traces of n spans, as many spans a second as ever; the last span closes the trace."""
    plain: dict[str, Any] = {"miss_ratio": 0.0, "twice_ratio": 0.0, "disorder_us": 0}
    traces = max(1, spans // n)
    return past_load(seed, traces, spans=n, traces_per_s=SPANS_PER_S / n, **plain)


def _point(
    lab: Lab,
    report: Report,
    words: str,
    value: int,
    load: Load,
    partitions: int = 4,
    wait_s: float = 30.0,
) -> Backlog:
    name = f"curve-{words.replace(' ', '-')}-{value}"
    done = read_backlog(lab, name, load, partitions=partitions, wait_s=wait_s)
    report.check(f"{words} {value}", done.faults)
    return done


def _add_rows(report: Report, by: dict[str, dict[float, Backlog]]) -> None:
    for name, points in by.items():
        report.rows += [
            (
                TITLES[name][1],
                whole(value),
                whole(done.result.spans_per_s),
                whole(done.result.spans_per_cpu_s),
                megabytes(done.rss_max_bytes),
            )
            for value, done in sorted(points.items())
        ]


def _trade(
    lab: Lab, report: Report, options: argparse.Namespace, sizes: Sizes
) -> dict[float, Steady]:
    found = {}
    for interval_s in sizes.cut_intervals_s:
        settings = {"cut_interval_seconds": interval_s}
        done = steady(lab, options, options.rate, sizes.trade_partitions, settings)
        report.check(f"cut every {interval_s} s", done.faults)
        report.rows.append(
            (
                "cut interval",
                f"{interval_s} s",
                f"{done.cpu_share:.0%} of a core",
                f"{done.latency_ms['p50']:,.0f} / {done.latency_ms['p99']:,.0f} ms",
                megabytes(done.rss_max_bytes),
            )
        )
        found[interval_s] = done
    return found


def _draw(
    by: dict[str, dict[float, Backlog]],
    trade: dict[float, Steady],
    sizes: Sizes,
    options: argparse.Namespace,
) -> None:
    speed, memory = [], []
    for name, points in by.items():
        title, label = TITLES[name]
        wall = [(n, done.result.spans_per_s) for n, done in points.items()]
        cpu = [(n, done.result.spans_per_cpu_s) for n, done in points.items()]
        lines = [Series("a second", wall), Series("a CPU second", cpu)]
        speed.append(Chart(title, label, "spans", lines))
        used = [(n, done.rss_max_bytes / MB) for n, done in points.items()]
        memory.append(Chart("", label, "max RSS, MB", [Series("memory", used)]))
    label = f"cut interval, s ({sizes.trade_partitions} partitions)"
    share = [(s, done.cpu_share * 100) for s, done in trade.items()]
    speed.append(Chart("Cut interval", label, "CPU, % of a core", [Series("CPU", share)]))
    late = [
        Series(name, [(s, done.latency_ms[name]) for s, done in trade.items()])
        for name in ("p50", "p99")
    ]
    memory.append(Chart("", label, "latency, ms", late))
    path: Path | None = options.plot or (None if options.quick else PLOT)
    if path:
        words = "Speed and memory by partitions, size of a trace and open traces; cut interval"
        path.write_text(grid([speed, memory], words), encoding="utf-8")
