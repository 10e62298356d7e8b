"""Case `sdk-outage`: a broker that is away for minutes; a pipeline unharmed, and exact counts."""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.cases.lab import ROOT, CaseError, Lab, say
from benchmarks.cases.report import MB, Report, whole
from streams.codec.records import decode
from streams.runtime.topics import admin, create, spec
from streams.sdk.reports import COMPONENT
from tests.fault.harness import read_committed

TOPIC = "telemetry.alpha.v1"
PARTITIONS = 4
END_SECONDS = 600.0
LATENCY_RATIO_MAX = 0.01


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--outage-seconds", type=float, default=300.0, help="the broker is away")
    parser.add_argument("--before-seconds", type=float, default=30.0, help="before it goes")
    parser.add_argument("--after-seconds", type=float, default=60.0, help="after it is back")
    parser.add_argument("--threads", type=int, default=16, help="that work on records")


def make_quick(options: argparse.Namespace) -> None:
    options.outage_seconds, options.before_seconds, options.after_seconds = 3.0, 3.0, 3.0
    options.threads = 4


def run(lab: Lab, options: argparse.Namespace) -> Report:
    """Run the pipeline, take its broker away, give it back, and count."""
    if not lab.node:
        raise CaseError("it stops its broker, and stops none of yours: leave --broker out")
    create(admin({"bootstrap.servers": lab.broker}), [spec(TOPIC, PARTITIONS)])
    found = outage(lab, options)
    say("reading what the topic holds")
    held, told = in_topic(lab)
    report = Report("sdk-outage")
    report.header = ("phase", "records", "with spans p50 / p99 ms", "without", "RSS MB", "waiting")
    for name, one in found["phases"].items():
        report.rows.append(
            (
                name,
                whole(one["records"]),
                f"{one['told_p50_ms']:.2f} / {one['told_p99_ms']:.2f}",
                f"{one['bare_p50_ms']:.2f} / {one['bare_p99_ms']:.2f}",
                f"{one['rss_bytes_max'] / MB:.0f}",
                whole(one["waiting_max"]),
            )
        )
    report.check("sdk", faults(found, held, told))
    dropped = sum(found["dropped"].values())
    report.figures = {
        "outage_s": options.outage_seconds,
        "spans": found["begun"],
        "sent": found["sent"],
        "dropped": found["dropped"],
        "held": sum(held.values()),
        "rss_bytes_max": max(one["rss_bytes_max"] for one in found["phases"].values()),
        "phases": found["phases"],
    }
    extra = {name: one["extra_ratio"] for name, one in found["phases"].items()}
    reasons = ", ".join(f"{whole(n)} {reason}" for reason, n in sorted(found["dropped"].items()))
    report.notes = [
        f"Of {whole(found['begun'])} spans {whole(found['sent'])} were sent and {whole(dropped)} "
        f"dropped ({reasons or 'none'}), which is all of them; the topic holds "
        f"{whole(sum(held.values()))} read committed, each once, and the SDK's own metrics in it "
        "add up to the same.",
        "A record took longer with spans than without by "
        + ", ".join(f"{share:+.2%} {name}" for name, share in extra.items())
        + f" (goal: {LATENCY_RATIO_MAX:.0%} at most). Each record runs once with spans and once "
        "without, in turns, so that whatever else the machine does falls on both.",
    ]
    return report


def outage(lab: Lab, options: argparse.Namespace) -> dict[str, Any]:
    """Return what the pipeline says of the time before, during and after.

    Raises:
        CaseError: the pipeline or the broker did not do as it was told.
    """
    phases: dict[str, tuple[float, float]] = {}
    with pipeline(lab, options.threads) as process:
        began = time.time()
        time.sleep(options.before_seconds)
        phases["before"] = began, time.time()
        say(f"the broker goes for {options.outage_seconds:g} s")
        lab.stop_broker()
        gone = time.time()
        time.sleep(options.outage_seconds)
        phases["away"] = gone, time.time()
        lab.start_broker()
        back = time.time()
        say("the broker is back")
        time.sleep(options.after_seconds)
        phases["after"] = back, time.time()
        try:
            out, _ = process.communicate(json.dumps({"phases": phases}) + "\n", END_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise CaseError(f"the pipeline did not end within {END_SECONDS:.0f} s") from error
    if process.returncode != 0 or not out.strip():
        raise CaseError(f"the pipeline ended with {process.returncode}")
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


@contextmanager
def pipeline(lab: Lab, threads: int) -> "Iterator[subprocess.Popen[str]]":
    command = [sys.executable, "-m", "benchmarks.outage_probe", "--broker", lab.broker]
    process = subprocess.Popen(
        [*command, "--threads", str(threads)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise CaseError("the pipeline did not start; its words are above")
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def in_topic(lab: Lab) -> tuple[Counter[str], Counter[str]]:
    """Return how often each span is held, and what the SDK's own metrics add up to."""
    held: Counter[str] = Counter()
    told: Counter[str] = Counter()
    for message in read_committed(lab.broker, TOPIC):
        for event in decode(message.value)["events"]:
            if event["component"] == COMPONENT:
                reason = event["dimensions"].get("error_category", "")
                told[event["name"].rpartition(".")[2] + reason] += round(event["value"])
            else:
                held[event["span_id"]] += 1
    return held, told


def faults(found: dict[str, Any], held: Counter[str], told: Counter[str]) -> list[str]:
    """Return what does not add up."""
    dropped = sum(found["dropped"].values())
    # What timed out may have reached the broker all the same, and nothing else may.
    least, most = found["sent"], found["sent"] + found["dropped"].get("delivery_timeout", 0)
    wrong = []
    if not found["is_flushed"] or found["waiting"]:
        wrong.append(f"{found['waiting']} spans still wait after the broker is back")
    if found["begun"] != found["made"] or found["made"] != found["sent"] + dropped:
        wrong.append(
            f"begun {found['begun']}, made {found['made']}, sent {found['sent']}, dropped {dropped}"
        )
    if not least <= len(held) <= most:
        wrong.append(f"the topic holds {len(held)} spans, {least} to {most} were sent")
    if held.total() != len(held):
        wrong.append(f"{held.total() - len(held)} spans are held twice")
    if told["events_sent"] != found["sent"]:
        wrong.append(f"its metrics tell {told['events_sent']} sent, its counts {found['sent']}")
    for reason, count in found["dropped"].items():
        if told[f"events_dropped{reason}"] != count:
            wrong.append(f"its metrics tell other drops than {reason} {count}: {dict(told)}")
    return wrong
