"""Case `otlp`: how many spans of OTLP messages become columns in a CPU second? Needs no broker."""

import argparse
import base64
import json
import random
import time
from collections.abc import Callable
from typing import Any, Final

from google.protobuf import json_format
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import (
    ResourceSpans,
    ScopeSpans,
    Span,
    Status,
    TracesData,
)

from benchmarks.cases.lab import Lab
from benchmarks.cases.report import Report
from streams.codec.eventbatch import encode_batch
from streams.codec.events import EventDecoder
from streams.codec.otlp.bodies import OtlpEncoder
from streams.codec.otlp.requests import SPANS
from streams.codec.otlp.services import Services
from streams.codec.recordbatch import RecordBatch
from streams.codec.schemas import default_schemas
from streams.codec.varints import varint
from streams.compiled.loading import load
from streams.core.columns import EventColumns, Operations
from streams.core.signals.series import SeriesBook
from streams.runtime.heap import bound_heap

NEEDS_BROKER: Final = False
START_NS: Final = 1_760_000_000_000_000_000
SPANS_A_TRACE: Final = 8
ROUNDS: Final = 15
"""The best counts: a neighbour on the machine makes a round slower, and none makes one faster."""
SLOW: Final = "bodies_slow_us"
COLUMNS: Final = "columns_us"
RICH: Final = "columns_rich_us"
LINKED: Final = "columns_linked_us"
JSON: Final = "columns_json_us"
RICH_RATE: Final = 0.1
"""Of spans that failed."""
LINK_RATE: Final = 0.5
"""Of spans with links, each a transfer of a batch of `LINKS`."""
LINKS: Final = 4
STACK: Final = "\n".join(
    f'  File "/srv/shop/app/module_{i}.py", line {31 * i + 7}, in handle' for i in range(12)
)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--spans", type=int, default=20_000, help="in a step")
    parser.add_argument("--spans-a-message", type=int, default=100)


def make_quick(options: argparse.Namespace) -> None:
    options.spans = 1_000


def run(_lab: Lab | None, options: argparse.Namespace) -> Report:
    """Time each way to columns, the best of some rounds, and hold the ways against each other."""
    bound_heap()  # as the worker does: without it a fifth of the time goes to page faults
    load()
    report = Report("otlp")
    report.header = ("what", "us of CPU a span", "spans per CPU s")
    rng = random.Random(options.seed)
    count = options.spans // options.spans_a_message
    values = [message_of(rng, options.spans_a_message) for _ in range(count)]
    n = count * options.spans_a_message
    encoder = OtlpEncoder(default_schemas().current("telemetry_event"), Services())
    bodies = [encoder.bodies(SPANS, value) for value in values]
    native = _decoder()
    foreign = _decoder()
    otlp, batches = batch_of(values), batch_of([encode_batch(some) for some in bodies])
    each = options.spans_a_message
    rich, linked, told = _decoder(), _decoder(), _decoder()
    events = batch_of([message_of(rng, each, RICH_RATE) for _ in range(count)])
    links = batch_of([message_of(rng, each, link_rate=LINK_RATE) for _ in range(count)])
    texts = batch_of([json_of(value) for value in values])
    ways: dict[tuple[str, str], Callable[[], Any]] = {
        ("parse_us", "protobuf's own parse, no field read"): lambda: [
            *map(TracesData.FromString, values)
        ],
        (SLOW, "event bodies, span by span"): lambda: [encoder.bodies(SPANS, v) for v in values],
        (COLUMNS, "OTLP messages into columns"): lambda: foreign.decode_batches([otlp], [1], [0]),
        (RICH, f"the same, {RICH_RATE:.0%} with an exception event and a status message"): lambda: (
            rich.decode_batches([events], [1], [0])
        ),
        (LINKED, f"the same, {LINK_RATE:.0%} with {LINKS} links"): lambda: linked.decode_batches(
            [links], [1], [0]
        ),
        (JSON, "the same as JSON"): lambda: told.decode_batches([texts], [1], [0]),
        ("native_us", "native batch messages into columns"): lambda: native.decode_batches(
            [batches], [0], [0]
        ),
    }
    for (figure, name), way in ways.items():
        us = cpu_us(way, 1 if figure in (SLOW, JSON) else ROUNDS) / n
        report.rows.append((name, f"{us:.2f}", f"{1e6 / us:,.0f}"))
        report.figures[figure] = round(us, 3)
        if figure == COLUMNS:
            report.figures["spans_per_cpu_s"] = round(1e6 / us)
    report.notes.append(
        f"{n:,} spans a step, {options.spans_a_message} a message, "
        f"{sum(map(len, values)) / n:.0f} bytes a span, 5 attributes each; the best of {ROUNDS} "
        "rounds, one for JSON and for the way span by span."
    )
    decoded = [
        foreign.decode_batches([otlp], [1], [0])[0],
        told.decode_batches([texts], [1], [0])[0],
    ]
    _check(report, decoded, [body for some in bodies for body in some])
    return report


def _check(report: Report, decoded: list[EventColumns], bodies: list[bytes]) -> None:
    faults = []
    for way, events in zip(("protobuf", "JSON"), decoded, strict=True):
        if len(events) != len(bodies):
            faults.append(f"{way}: {len(bodies) - len(events)} events are missing")
        elif list(events.body) != bodies:
            faults.append(f"{way}: the two ways to bodies differ")
    report.check("otlp", faults)


def cpu_us(way: Callable[[], Any], rounds: int) -> float:
    """Return the CPU time of the best of some rounds."""
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        way()
        best = min(best, time.process_time() - began)
    return best * 1e6


def _decoder() -> EventDecoder:
    return EventDecoder(
        default_schemas(), Operations(), series=SeriesBook(1_000), otlp_kinds={1: SPANS}
    )


def batch_of(values: list[bytes]) -> RecordBatch:
    """Return a record batch of some values, each with the key of a trace."""
    payload = bytearray()
    key = varint(32) + b"0" * 32
    for i, value in enumerate(values):
        body = b"\0" + varint(0) + varint(i) + key + varint(len(value)) + value + varint(0)
        payload += varint(len(body)) + body
    return RecordBatch(0, len(values), START_NS // 1_000_000, -1, len(values), bytes(payload))


def json_of(value: bytes) -> bytes:
    """Return a request as OTLP's JSON, with ids as hex, as the Collector writes it."""
    tree = json_format.MessageToDict(TracesData.FromString(value))
    for resource in tree["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for name in ("traceId", "spanId", "parentSpanId"):
                    span[name] = base64.b64decode(span.get(name, "")).hex()
                span["kind"] = Span.SpanKind.Value(span["kind"])
    return json.dumps(tree, separators=(",", ":")).encode()


def message_of(
    rng: random.Random, spans: int, rich_rate: float = 0.0, link_rate: float = 0.0
) -> bytes:
    resource = Resource(
        attributes=[
            _text("service.name", "checkout"),
            _text("service.instance.id", "checkout-7c9d"),
            _text("deployment.environment", "production"),
        ]
    )
    scope = InstrumentationScope(name="opentelemetry.instrumentation.flask", version="0.52")
    found: list[Span] = []
    for i in range(spans):
        is_root = i % SPANS_A_TRACE == 0
        start_ns = START_NS + rng.randrange(10**12)
        found.append(
            Span(
                trace_id=rng.randbytes(16) if is_root else found[-1].trace_id,
                span_id=rng.randbytes(8),
                parent_span_id=b"" if is_root else found[-1].span_id,
                name=f"GET /api/v1/items/{i % SPANS_A_TRACE}",
                kind=Span.SPAN_KIND_SERVER,
                flags=0x101,
                start_time_unix_nano=start_ns,
                end_time_unix_nano=start_ns + rng.randrange(10**8),
                attributes=[
                    _text("http.request.method", "GET"),
                    _int("http.response.status_code", 200),
                    _text("url.path", f"/api/v1/items/{rng.randrange(10**6)}"),
                    _text("server.address", "shop.example"),
                    _int("network.peer.port", rng.randrange(1_024, 65_536)),
                ],
            )
        )
        if rng.random() < rich_rate:
            _fail(found[-1])
        if rng.random() < link_rate:
            _link(found[-1], rng)
    of_scope = ScopeSpans(scope=scope, spans=found)
    of_resource = ResourceSpans(resource=resource, scope_spans=[of_scope])
    encoded: bytes = TracesData(resource_spans=[of_resource]).SerializeToString()
    return encoded


def _fail(span: Span) -> None:
    """Make a span one that failed, as OpenTelemetry's SDKs record it."""
    span.status.code = Status.STATUS_CODE_ERROR
    span.status.message = "ValueError: no such item"
    event = span.events.add(name="exception", time_unix_nano=span.end_time_unix_nano)
    event.attributes.append(_text("exception.type", "ValueError"))
    event.attributes.append(_text("exception.message", "no such item"))
    event.attributes.append(_text("exception.stacktrace", STACK))
    event.attributes.append(_text("exception.escaped", "False"))


def _link(span: Span, rng: random.Random) -> None:
    """Link a span to those of the records that it takes over, as OpenTelemetry's SDKs write it."""
    for _ in range(LINKS):
        link = span.links.add(trace_id=rng.randbytes(16), span_id=rng.randbytes(8), flags=0x301)
        link.attributes.append(_text("messaging.message.id", f"m-{rng.randrange(10**6)}"))


def _text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def _int(key: str, value: int) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(int_value=value))
