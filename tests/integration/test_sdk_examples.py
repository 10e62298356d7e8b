"""The examples of docs/sdk.md run as they stand, on the embedded broker."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from confluent_kafka import Consumer, Producer
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

from streams.codec.records import decode
from streams.runtime.embedded import EmbeddedBroker
from streams.sdk import Telemetry
from streams.sdk.otel import SpanloomExporter
from tests.fault.harness import REPOSITORY
from tests.ports import free_ports

pytestmark = pytest.mark.slow

EXAMPLES = REPOSITORY / "docs" / "examples"
MODULES = ("gateway", "features", "model", "scoring", "gamma", "integration", "other")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
Event = dict[str, Any]


@pytest.fixture
def address() -> Iterator[str]:
    """Yield the address of a broker that has the topics: the embedded one makes them when used."""
    with EmbeddedBroker() as broker:
        producer = Producer({"bootstrap.servers": broker.address})
        for module in MODULES:
            producer.produce(f"telemetry.{module}.v1", b"first")
        assert producer.flush(30) == 0
        yield broker.address


def run(script: str, *arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(EXAMPLES / script), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> None:
    _, said = process.communicate(timeout=240)
    assert (process.returncode, said) == (0, "")


def read(address: str, count: int) -> list[Event]:
    """Return so many events, the SDK's own reports aside, from all topics."""
    consumer = Consumer(
        {"bootstrap.servers": address, "group.id": "test", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([f"telemetry.{module}.v1" for module in MODULES])
    found: list[Event] = []
    deadline = time.monotonic() + 240
    while len(found) < count:
        assert time.monotonic() < deadline, [e["name"] for e in found]
        for message in consumer.consume(100, 0.2):
            if message.error() is None and message.value() != b"first":
                events = decode(message.value())["events"]
                found += [e for e in events if e["component"] != "telemetry"]
    consumer.close()
    assert len(found) == count
    return sorted(found, key=lambda e: (e["timestamp"], e["name"]))


def ask(port: int, headers: dict[str, str]) -> tuple[dict[str, str], str]:
    """Return headers and body of the gateway's answer, once it serves."""
    deadline = time.monotonic() + 240
    while True:
        try:
            with urlopen(
                Request(f"http://127.0.0.1:{port}/?x=3", headers=headers), timeout=30
            ) as r:
                return dict(r.headers.items()), r.read().decode()
        except URLError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_http_services(address: str) -> None:
    """The context goes from the caller through both services and back (rows S1-8, S1-12)."""
    gateway_port, model_port = free_ports(2)
    model = run("sdk_http.py", "model", "--port", model_port, "--broker", address)
    url = f"http://127.0.0.1:{model_port}"
    arguments = ("--port", gateway_port, "--ask", url, "--broker", address)
    gateway = run("sdk_http.py", "gateway", *arguments)
    try:
        ask(model_port, {"traceparent": "bad"})  # it serves; a trace of its own, which is no matter
        asked = {"traceparent": PARENT, "baggage": "region=eu,user=u1"}
        headers, body = ask(gateway_port, asked)
        assert body == '{"score": 6.0}'
        assert headers["traceparent"].split("-")[1] == TRACE
        assert "region=eu" in headers["baggage"]
    finally:
        for one in (gateway, model):
            one.terminate()
    ended(gateway)
    ended(model)
    events = [e for e in read(address, 5 + 8) if e["trace_id"] == TRACE]
    spans = {e["name"]: e for e in events if e["event_type"] == "TRACE"}
    root = spans["gateway.request"]
    assert root["parent_span_id"] == PARENT.split("-")[2]
    assert {s["parent_span_id"] for n, s in spans.items() if s is not root} == {root["span_id"]}
    assert {s["module"] for s in spans.values()} == {"GATEWAY", "FEATURES", "MODEL", "SCORING"}
    assert all(s["dimensions"]["region"] == "eu" for s in spans.values())
    assert not any("user" in s["dimensions"] for s in spans.values())
    assert {e["record_id"] for e in events} == {root["record_id"]}


def test_batch_job(address: str, tmp_path: Path) -> None:
    """What failed is in the queue with its context, and its second attempt in the same trace."""
    queue = tmp_path / "failed.jsonl"
    ended(run("sdk_batch.py", "--broker", address, "--queue", queue, "--records", 20))
    assert len(queue.read_text().splitlines()) == 4
    ended(run("sdk_batch.py", "--broker", address, "--queue", queue, "--retry"))
    assert not queue.exists()
    events = read(address, 20 + 4 + 3 + 2)
    spans = {e["span_id"]: e for e in events if e["event_type"] == "TRACE"}
    deliveries = [s for s in spans.values() if s["name"] == "gamma.deliver"]
    again = [s for s in deliveries if s["dimensions"].get("attempt") == "2"]
    assert len(again) == 4
    for one in again:
        first = spans[one["parent_span_id"]]
        assert (first["status"], one["status"]) == ("ERROR", "OK")
        assert (first["trace_id"], first["record_id"]) == (one["trace_id"], one["record_id"])
        assert one["links"] == [{"trace_id": first["trace_id"], "span_id": first["span_id"]}]
    batch = {s["name"]: s for s in spans.values() if s["batch_id"] == "batch-1"}
    first = batch["integration.assemble_batch"]
    through = {s["span_id"] for s in deliveries if s["status"] == "OK"} - {
        s["span_id"] for s in again
    }
    assert {link["span_id"] for link in first["links"]} == through
    assert len({s["trace_id"] for s in batch.values()}) == 1
    transfer, receipt = batch["integration.transfer_batch"], batch["integration.acknowledge_batch"]
    assert receipt["parent_span_id"] == transfer["span_id"]


def test_spans_of_opentelemetry(address: str) -> None:
    """Their ids, kinds, states, links and errors are ours; attributes name record and place."""
    telemetry = Telemetry("GAMMA", "delivery", address)
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(SpanloomExporter(telemetry)))
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("gamma.render", kind=SpanKind.CONSUMER) as outer:
        outer.set_attribute("spanloom.record_id", "r-1")
        outer.set_attribute("spanloom.component", "rendering")
        outer.set_attribute("retries", 3)
        link = trace.Link(outer.get_span_context())
        with (
            suppress(ValueError),
            tracer.start_as_current_span("integration.transfer", links=[link]) as inner,
        ):
            inner.set_attribute("spanloom.module", "INTEGRATION")
            raise ValueError("no")
    provider.shutdown()
    first, second = read(address, 2)
    context = outer.get_span_context()
    assert first["trace_id"] == second["trace_id"] == f"{context.trace_id:032x}"
    assert (first["module"], first["component"], first["record_id"]) == (
        "GAMMA",
        "rendering",
        "r-1",
    )
    assert (first["span_kind"], first["status"], first["parent_span_id"]) == (
        "CONSUMER", "UNSET", "",
    )  # fmt: skip
    assert first["dimensions"] == {"retries": "3"}
    assert (second["module"], second["status"]) == ("INTEGRATION", "ERROR")
    assert second["parent_span_id"] == first["span_id"]
    assert second["dimensions"] == {"error_type": "ValueError"}
    assert second["links"] == [{"trace_id": first["trace_id"], "span_id": first["span_id"]}]
    assert second["trace_flags"] & 1
    counts = telemetry.counts()
    assert (counts.made, counts.sent) == (2, 2)
