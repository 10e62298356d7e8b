"""A real OpenTelemetry Collector, configured as `deploy/` has it, between an SDK and a worker."""

import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from streams.codec.records import decode
from tests.fault.console import ConsoleAt
from tests.fault.harness import REPOSITORY, TRACES, Deployment, balance, wait_for
from tests.integration import otelcol
from tests.integration.test_console_otlp import CONTRACT, LINES, POINTS, audit, lines_of, points_of
from tests.integration.test_otlp import TOPICS, otlp_deployment
from tests.otlp_cases import logs, metrics

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

REQUESTS = 200
SERVICES = ("frontend", "checkout", "payment")
"""Each calls the next one; a request is a span in each."""


@pytest.fixture
def collector(deployment: Deployment, tmp_path: Path) -> Iterator[otelcol.OtelCollector]:
    """Yield a Collector that writes to the deployment's broker."""
    binary, why = otelcol.find_binary()
    if binary is None:
        pytest.skip(f"no OpenTelemetry Collector: {why} (or set SPANLOOM_OTELCOL)")
    otlp_deployment(deployment)
    config = REPOSITORY / "deploy" / "otel-collector.yaml"
    environment = {"KAFKA_BROKER": deployment.broker}
    with otelcol.OtelCollector(binary, config, tmp_path / "otelcol.log", environment) as running:
        yield running


def traced(url: str) -> set[tuple[str, str]]:
    """Make requests through instrumented services; return trace and span ids of all spans."""
    providers = []
    for name in SERVICES:
        provider = TracerProvider(resource=Resource.create({"service.name": name}))
        exporter = OTLPSpanExporter(endpoint=f"{url}/v1/traces", timeout=120)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        providers.append(provider)
    front, middle, back = (provider.get_tracer("shop") for provider in providers)
    made = []
    for number in range(REQUESTS):
        with front.start_as_current_span("GET /buy") as first:
            first.set_attribute("spanloom.record_id", f"order-{number}")
            called = middle.start_as_current_span("place")
            with called as second, back.start_as_current_span("charge") as third:
                made += [one.get_span_context() for one in (first, second, third)]
    for provider in providers:
        assert provider.force_flush(240_000)
        provider.shutdown()
    return {(f"{one.trace_id:032x}", f"{one.span_id:016x}") for one in made}


def test_a_collector_as_it_is_shipped_feeds_the_worker(
    deployment: Deployment, collector: otelcol.OtelCollector
) -> None:
    """Every span of three services comes through, in whole traces, none in a wrong partition."""
    made = traced(collector.url)
    end = ("--exit-after", len(made), "--drain-seconds", 240, "--fixed-waits", 1)
    worker = deployment.worker("--otlp-topics", TOPICS, *end)
    assert worker.wait(120) == 0, (worker.tail(), collector.said())
    accounts = worker.accounting()
    assert balance(accounts) == 0
    assert (accounts["accepted"], accounts["joined"]) == (len(made), len(made))
    found = deployment.read_by(TRACES, decode)
    assert {(t["trace_id"], s["span_id"]) for t in found for s in t["spans"]} == made
    assert len(found) == REQUESTS, "each trace is told once, for its spans lie in one partition"
    assert {tuple(sorted(s["module"] for s in t["spans"])) for t in found} == {
        tuple(sorted(SERVICES))
    }
    assert {s["record_id"] for t in found for s in t["spans"]} >= {"order-0", "order-199"}
    assert worker.events("topic_mispartitioned") == []


def post(url: str, request: LogsData | MetricsData) -> None:
    """Send a request as a service's exporter does."""
    headers = {"Content-Type": "application/x-protobuf"}
    posted = urllib.request.Request(url, request.SerializeToString(), headers)
    with urllib.request.urlopen(posted, timeout=120) as answer:
        assert answer.status == 200


def test_its_points_and_records_are_what_the_console_answers_with(
    deployment: Deployment, collector: otelcol.OtelCollector, tmp_path: Path
) -> None:
    """As many as were sent, each once, though it puts many requests into one message."""
    contract = tmp_path / "contract.yaml"
    contract.write_text(CONTRACT, "utf-8")
    deployment.contract = str(contract)
    at = ConsoleAt(deployment)
    console = at.start("--otlp-topics", TOPICS)
    rounds = 30
    for n in range(rounds):
        good = [metric for metric in points_of(n) if metric.name != "queue.depth"]
        post(f"{collector.url}/v1/metrics", metrics("checkout", good))
        post(f"{collector.url}/v1/logs", logs("checkout", lines_of(n)))

    def is_there() -> bool:
        said = at.get("/health")
        return said is not None and said["waits_for"] == "" and len(audit(at)) >= wanted

    kinds = {name: rounds * count for name, count in POINTS.items() if name != "queue.depth"}
    wanted = rounds * LINES + sum(kinds.values())
    wait_for(is_there, 120, lambda: f"{console.tail()} {collector.said()}", console)
    found = audit(at)
    assert len(found) == wanted
    assert Counter(one["name"] for one in found if one["event_type"] == "METRIC") == kinds
    assert {(one["module"], one["component"]) for one in found} == {("SHOP", "cart")}
    console.terminate()
    assert console.wait(30) == 0, console.tail()
