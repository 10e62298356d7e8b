"""Case `sdk`: what a span costs the pipeline that tells it, beside the OpenTelemetry SDK."""

import argparse
import json
import os
import subprocess
import sys
from typing import Any

from benchmarks.cases.lab import ROOT, CaseError, Lab, say
from benchmarks.cases.report import Report, whole
from benchmarks.sdk_probe import VARIANTS
from streams.runtime.topics import admin, create, spec

CALLER_US_MAX = 5.0
CHEAPER_MIN = 5.0
LATENCY_RATIO_MAX = 1.01
TOPIC = "telemetry.alpha.v1"
PARTITIONS = 4


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--spans", type=int, default=40_000, help="of each variant")
    parser.add_argument("--records", type=int, default=100, help="of each pipeline, each once bare")


def make_quick(options: argparse.Namespace) -> None:
    options.spans, options.records = 4_000, 40


def run(lab: Lab, options: argparse.Namespace) -> Report:
    """Run each variant in a process of its own."""
    report = Report("sdk")
    report.header = ("variant", "caller us", "best burst", "caller wall us", "total CPU us", "sent")
    create(admin({"bootstrap.servers": lab.broker}), [spec(TOPIC, PARTITIONS)])
    found = {name: probe(lab, name, options) for name in VARIANTS}
    for name, one in found.items():
        columns = ("caller_us", "caller_best_us", "caller_wall_us", "total_us")
        figures = [f"{one[column]:.2f}" for column in columns]
        report.rows.append((name, *figures, whole(one.get("sent", 0))))
    ours, theirs = found["spanloom"], found["opentelemetry"]
    if ours["dropped"]:
        report.check("spanloom", [f"{ours['dropped']} spans were dropped"])
    cheaper = theirs["caller_us"] / ours["caller_us"]
    report.figures = {
        "variants": found,
        "caller_us": ours["caller_us"],
        "caller_cheaper": round(cheaper, 2),
        "total_cheaper": round(theirs["total_us"] / ours["total_us"], 2),
        **{
            f"{name}_latency_ratio": ratio(ours, name)
            for name in ("reference", "waiting", "hashing")
        },
        "import_ms": import_ms(),
    }
    report.notes = [
        f"A span costs its caller {ours['caller_us']:.2f} us (goal: under {CALLER_US_MAX:.0f}), "
        f"{cheaper:.1f} times less than OpenTelemetry's (goal: {CHEAPER_MIN:.0f}); with what "
        f"encodes and sends it {theirs['total_us'] / ours['total_us']:.1f} times less. "
        "`import streams.sdk` takes "
        f"{report.figures['import_ms']:.0f} ms of CPU.",
        latency_note(found, "reference", "that waits like the simulated one")
        + f" Goal: {LATENCY_RATIO_MAX - 1:.0%} at most.",
        latency_note(found, "waiting", "like it that is ten times as fast"),
        latency_note(found, "hashing", "that computes all the time in Python"),
        "Bursts of 100 traces of 4 spans with 2 dimensions, drained before the next one; medians "
        "of bursts, CPU time of the calling thread. Ours goes to the broker with acks=all; "
        "OpenTelemetry's BatchSpanProcessor encodes OTLP protobuf and sends nothing.",
    ]
    return report


def ratio(one: dict[str, Any], name: str) -> float:
    """Return a record's latency with spans over that without."""
    return round(1 + float(one[f"{name}_extra_us"]) / float(one[f"{name}_record_us"]), 4)


def latency_note(found: dict[str, dict[str, Any]], name: str, what: str) -> str:
    shares = [
        f"{ratio(found[variant], name) - 1:+.2%} {how}"
        for variant, how in (
            ("spanloom", "with spans"),
            ("opentelemetry", "with OpenTelemetry's"),
            ("nothing", "between two runs without any"),
        )
    ]
    record_ms = found["spanloom"][f"{name}_record_us"] / 1e3
    return f"A record of {record_ms:.0f} ms in a pipeline {what}: {', '.join(shares)}."


def probe(lab: Lab, variant: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return what one variant printed.

    Raises:
        CaseError: it ended otherwise.
    """
    say(variant)
    command = [sys.executable, "-m", "benchmarks.sdk_probe", variant, "--broker", lab.broker]
    command += ["--spans", str(options.spans), "--records", str(options.records)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode != 0:
        raise CaseError(f"{variant}: {done.stderr[-2_000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def import_ms() -> float:
    """Return the CPU time of importing the SDK; the best of a few."""

    def best(code: str) -> float:
        text = f"import time; t = time.process_time(); {code}; print(time.process_time() - t)"
        runs = [
            subprocess.run(
                [sys.executable, "-c", text],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for _ in range(5)
        ]
        return min(map(float, runs))

    return round((best("import streams.sdk") - best("pass")) * 1e3, 1)
