"""Case `collector`: OTLP/HTTP of many senders into the topics: spans a second, time to answers.

Each sender posts one request after the other, as an exporter does; a request is answered when all
replicas have its events. CPU is the collector's own: senders and broker share the machine with it.
Beside it an OpenTelemetry Collector with its Kafka exporter has the same senders, requests and
broker in turn: once as `deploy/` has it, which answers when its queue in memory has the spans, and
once without that queue and its batches, which answers when Kafka has them.
"""

import argparse
import contextlib
import http.client
import threading
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import yaml

from benchmarks.cases.lab import CaseError, Lab, Run, say
from benchmarks.cases.proc import usage
from benchmarks.cases.report import Report, megabytes, whole
from tests.fault.collector import CollectorAt
from tests.fault.harness import REPOSITORY, Deployment
from tests.integration import otelcol
from tests.otlp_cases import attributes, span_of, traces

SENDERS = (1, 8, 32)
SECONDS = 10.0
QUICK_SECONDS = 2.0
SPANS = 100
SPANS_OF_A_TRACE = 10
REQUESTS = 40
"""Different ones, sent in turn: made before the clock runs, since making one costs more than it."""
WARM_SECONDS = 1.0
SERVICE = "checkout"
CONTRACT = """version: "1"
name: benchmark
modules:
  {service}:
    topic: {topic}
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--senders", type=int, action="append", help="at once; repeatable (1, 8 and 32)"
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help="with each")
    parser.add_argument("--spans", type=int, default=SPANS, help="of a request")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument(
        "--alone",
        action="store_true",
        help="no OpenTelemetry Collector beside it, which Go builds at the first time",
    )


def make_quick(options: argparse.Namespace) -> None:
    options.senders = [2]
    options.seconds = QUICK_SECONDS
    options.alone = True


class Side(NamedTuple):
    """One of the collectors that are measured.

    Attributes:
        name: of its figures.
        words: of its rows.
        port: of its OTLP/HTTP.
        pid: of its process.
    """

    name: str
    words: str
    port: int
    pid: int


@dataclass
class Sent:
    """What senders saw.

    Attributes:
        seconds: (answers,) how long each took.
        faults: answers other than 200.
    """

    seconds: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def request(number: int, spans: int) -> bytes:
    """Return a request of whole traces with five attributes a span: about 250 bytes each."""
    found = []
    for i in range(spans):
        trace, nth = divmod(i, SPANS_OF_A_TRACE)
        span = span_of(number * spans + trace + 1, nth + 1)
        span.attributes.extend(
            attributes(
                http__request__method="GET",
                http__response__status_code=200,
                url__path=f"/orders/{trace}",
                peer__service="payments",
                db__query__text="SELECT 1",
            )
        )
        found.append(span)
    body: bytes = traces(SERVICE, found).SerializeToString()
    return body


def send(port: int, bodies: list[bytes], until: float, warm: float, into: Sent) -> None:
    """Post bodies in turn over one connection until a time; answers before `warm` do not count."""
    headers = {"Content-Type": "application/x-protobuf"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    n = 0
    while (began := time.monotonic()) < until:
        connection.request("POST", "/v1/traces", bodies[n % len(bodies)], headers)
        answer = connection.getresponse()
        said = answer.read()
        n += 1
        # An empty response, or one whose partial success says that none is rejected.
        if answer.status != 200 or said.strip(b"\x0a\x00"):
            into.faults.append(f"{answer.status} {said[:80]!r}")
        elif began >= warm:
            into.seconds.append(time.monotonic() - began)
    connection.close()


def run(lab: Lab, options: argparse.Namespace) -> Report:
    """Measure each number of senders on one collector."""
    report = Report("collector")
    report.header = (
        "senders",
        "collector",
        "spans/s",
        "spans/CPU s",
        "p50",
        "p99",
        "max",
        "peak memory",
    )
    bodies = [request(n, options.spans) for n in range(REQUESTS)]
    with lab.run("collector", options.partitions) as one:
        _on(one, bodies, options, report)
    best = max(report.figures["senders"], key=lambda figures: figures["spans_per_s"])
    report.figures = {**best, **report.figures}
    report.notes.append(
        f"OTLP/HTTP, protobuf without compression, {options.spans} spans a request of "
        f"{len(bodies[0]) / options.spans:.0f} bytes each; an answer comes when Kafka (acks=all, "
        "one replica) has all of them. Senders are threads of one process that post one request "
        f"after the other; the first {WARM_SECONDS:.0f} s are left out."
    )
    return report


def _on(one: Run, bodies: list[bytes], options: argparse.Namespace, report: Report) -> None:
    """Measure on topics of the run's own."""
    prefix = ("--derived-prefix", f"{one.name}.")
    contract = one.folder / "contract.yaml"
    contract.write_text(CONTRACT.format(service=SERVICE, topic=one.input_topic), "utf-8")
    deployment = Deployment(one.lab.broker, one.folder, one.name, str(contract), one.partitions)
    made = deployment.cli("topics", "create", "--partitions", one.partitions, *prefix)
    if made.returncode != 0:
        raise CaseError(f"topics could not be created: {made.stderr}")
    at = CollectorAt(deployment)
    try:
        process = at.serve(*prefix)
        sides = [Side("senders", "spanloom", at.http, process.process.pid)]
        with contextlib.ExitStack() as others:
            sides += _others(deployment, one, options, others, report)
            for senders in options.senders or SENDERS:
                for side in sides:
                    say(f"{side.words}: {senders} senders for {options.seconds:.0f} s")
                    figures = _measure(side, senders, bodies, options, report)
                    report.figures.setdefault(side.name, []).append(figures)
        at.wait_until_drained(process)  # what Kafka was slow to take lies on disk first
        taken = at.metric("taken_events_total", kind="spans")
        acknowledged = at.metric("acknowledged_events_total", topic=one.input_topic)
        if taken != acknowledged:
            report.faults.append(f"{taken:.0f} spans answered, {acknowledged:.0f} with Kafka")
        process.terminate()
        if process.wait(60) != 0:
            raise CaseError(f"the collector did not end well: {process.tail()}")
    finally:
        deployment.end()


def _others(
    deployment: Deployment,
    one: Run,
    options: argparse.Namespace,
    opened: contextlib.ExitStack,
    report: Report,
) -> list[Side]:
    """Start OpenTelemetry Collectors, with their queue and without it; none where there is none."""
    if options.alone:
        return []
    binary, why = otelcol.find_binary()
    if binary is None:
        report.notes.append(f"No OpenTelemetry Collector beside it: {why}")
        return []
    report.notes.append(
        f"Beside it the OpenTelemetry Collector {otelcol.VERSION} with its Kafka exporter, "
        "acks=all and zstd as `deploy/otel-collector.yaml` has it: with its queue it answers "
        "before Kafka has the spans, and what it holds is lost with its process; without the queue "
        "and the batches it answers when Kafka has them, as Spanloom's does. It neither judges "
        "spans nor makes events of them: it writes OTLP, a message a trace."
    )
    topic = f"{one.name}-otlp"
    made = deployment.cli(
        *("topics", "create", "--partitions", one.partitions, "--otlp-topics", f"spans={topic}"),
        *("--derived-prefix", f"{one.name}."),
    )
    if made.returncode != 0:
        raise CaseError(f"the topic of OTLP could not be created: {made.stderr}")
    found = []
    for name, words in (("otelcol_queued", "otelcol, queued"), ("otelcol", "otelcol, no queue")):
        config = one.folder / f"{name}.yaml"
        config.write_text(_config(topic, is_queued=name == "otelcol_queued"), "utf-8")
        environment = {"KAFKA_BROKER": deployment.broker}
        running = otelcol.OtelCollector(binary, config, one.folder / f"{name}.log", environment)
        opened.enter_context(running)
        found.append(Side(name, words, running.port, running.pid))
    return found


def _config(topic: str, *, is_queued: bool) -> str:
    """Return the configuration of `deploy/` for spans alone."""
    config = yaml.safe_load((REPOSITORY / "deploy" / "otel-collector.yaml").read_text("utf-8"))
    config["exporters"]["kafka"]["traces"]["topic"] = topic
    pipeline = config["service"]["pipelines"]["traces"]
    config["service"]["pipelines"] = {"traces": pipeline}
    del config["processors"]["deltatocumulative"]
    if not is_queued:
        config["exporters"]["kafka"]["sending_queue"] = {"enabled": False}
        pipeline["processors"].remove("batch")
        del config["processors"]["batch"]
    text: str = yaml.safe_dump(config)
    return text


def _measure(
    side: Side,
    senders: int,
    bodies: list[bytes],
    options: argparse.Namespace,
    report: Report,
) -> dict[str, Any]:
    """Let senders post for some seconds and return what was seen."""
    warm = time.monotonic() + WARM_SECONDS
    until = warm + options.seconds
    sent = [Sent() for _ in range(senders)]
    threads = [
        threading.Thread(target=send, args=(side.port, bodies[n:] + bodies[:n], until, warm, one))
        for n, one in enumerate(sent)
    ]
    for thread in threads:
        thread.start()
    time.sleep(max(0.0, warm - time.monotonic()))
    begun = usage([side.pid])
    time.sleep(max(0.0, until - time.monotonic()))
    ended = usage([side.pid])
    for thread in threads:
        thread.join()
    report.check(
        f"{side.words}, {senders} senders", [fault for one in sent for fault in one.faults][:5]
    )
    seconds = np.array([s for one in sent for s in one.seconds])
    if not len(seconds):
        raise CaseError(f"nothing was answered by {side.words} with {senders} senders")
    spans = len(seconds) * options.spans
    p50, p99, longest = (np.percentile(seconds, (50, 99, 100)) * 1_000).tolist()
    cpu_s = ended.cpu_s - begun.cpu_s
    rate, per_cpu = spans / options.seconds, spans / cpu_s
    report.rows.append(
        (
            str(senders),
            side.words,
            whole(rate),
            whole(per_cpu),
            *(f"{ms:,.1f} ms" for ms in (p50, p99, longest)),
            megabytes(ended.rss_peak_bytes),
        )
    )
    return {
        "senders": senders,
        "spans_per_s": round(rate),
        "spans_per_cpu_s": round(per_cpu),
        "p50_ms": round(p50, 1),
        "p99_ms": round(p99, 1),
        "max_ms": round(longest, 1),
        "peak_bytes": ended.rss_peak_bytes,
    }
