"""Canaries by all ways in: SDK, collector, straight to a worker's topics; none is kept anywhere.

Looked at are all topics, changelogs among them, the state, the buffer, the archive, all logs, pages
and answers. What was sent straight to a topic lies there as it was sent, and nowhere else.
"""

import io
import json
import math
import struct
import urllib.request
import zlib
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Any

import grpc
import polars as pl
import pytest
import yaml
from confluent_kafka.admin import AdminClient
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Metric,
    NumberDataPoint,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status, TracesData
from rocksdict import Rdict

from streams.codec.records import decode, encode
from streams.console.archive.store import Store
from streams.contract.model import Contract
from streams.core.privacy.pseudonyms import FORM
from streams.runtime.task import changelog_topic
from streams.runtime.topics import EXTERNAL, OTHER, REJECTED, admin, create, spec
from streams.sdk import Telemetry
from streams.state.segment import is_document, read_piece
from tests.fault.collector import CollectorAt
from tests.fault.console import ConsoleAt
from tests.fault.harness import (
    TRACES,
    Deployment,
    Feeder,
    WorkerProcess,
    read_committed,
    stopped,
    wait_for,
)
from tests.integration.test_console_personal import ask
from tests.otlp_cases import as_json, attributes, logs, metrics, traces
from tests.ports import free_port
from tests.unit.console.canaries import (
    CANARIES,
    CLASSES,
    DIMENSIONS,
    KEYS_TEXT,
    PRIVACY,
    TEXTS,
    TREATMENTS,
    VALUE,
    contract,
    full,
    leaks,
    octets,
)

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

MESSAGE = "canary message of nobody"
STACK = "Traceback of canary-stack"
STATUS = "canary status of nobody"
STATE = "vendor=canary-tracestate"
INNER = "canary inside of something"
OLD, NEW = "canary old name", "canary new name"
ALL = (*CANARIES, MESSAGE, STACK, STATUS, STATE, INNER, OLD, NEW)
OTLP_TOPICS = ("otlp_spans", "otlp_logs", "otlp_metrics")
REASONS = {"bad_magic", "invalid_otlp", "invalid_trace_id"}
"""Why some of what is fed is rejected."""
NOW = "start=2020-01-01&end=2035-01-01"
START_NS = 1_760_000_000_000_000_000
"""About when the events of the examples are: a trace that is far behind others comes late."""
ACTOR = PRIVACY.pseudonyms.of(TEXTS["actor"])


def classed() -> Contract:
    """Return the contract of the canaries, with what logs, exceptions, audits and spans say."""
    more = {
        "dimensions.message": "PII",
        "dimensions.exception.stacktrace": "SENSITIVE",
        "dimensions.otel.status_description": "PII",
        "dimensions.w3c.tracestate": "PII",
        "dimensions.profile": "PII",
        "dimensions.old": "PII",
        "dimensions.new": "SENSITIVE",
    }
    return Contract.model_validate(contract().plain() | {"field_classes": CLASSES | more})


@pytest.fixture
def own(
    own_node: tuple[str, int], tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Deployment]:
    """Yield a deployment whose processes, this one too, have one key of pseudonyms."""
    monkeypatch.setenv("SPANLOOM_PSEUDONYM_KEYS", KEYS_TEXT)
    place = tmp_path / "contract.yaml"
    place.write_text(yaml.safe_dump(classed().plain(), allow_unicode=True), "utf-8")
    made = Deployment(own_node[0], tmp_path, f"{unique}-group", contract=str(place))
    made.pseudonym_keys = ""  # the console's are those of all
    made.start_anew()
    create(
        admin({"bootstrap.servers": made.broker}),
        [spec(name, made.partitions) for name in OTLP_TOPICS],
    )
    try:
        yield made
    finally:
        made.end()


# --- what is sent


def all_attributes() -> list[KeyValue]:
    """Return attributes that say canaries, those that are fields of ours among them."""
    return attributes(**DIMENSIONS, **{f"spanloom.{k}": v for k, v in TEXTS.items()})


def inner() -> AnyValue:
    """Return a map with a list, that say a canary."""
    text = AnyValue(string_value=INNER)
    some = AnyValue(array_value=ArrayValue(values=[text]))
    found = [KeyValue(key="name", value=text), KeyValue(key="more", value=some)]
    return AnyValue(kvlist_value=KeyValueList(values=found))


def spans_of_otlp(n: int) -> TracesData:
    """Return a span that says canaries in all places that have attributes."""
    said = all_attributes()
    span = Span(
        trace_id=n.to_bytes(16), span_id=n.to_bytes(8), name="otlp.step",
        start_time_unix_nano=START_NS, end_time_unix_nano=START_NS + 1_000, attributes=said,
    )  # fmt: skip
    span.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=STATUS))
    span.trace_state = STATE
    span.attributes.append(KeyValue(key="profile", value=inner()))
    span.events.add(
        name="exception",
        time_unix_nano=START_NS,
        attributes=[*said, *attributes(**{"exception.stacktrace": STACK})],
    )
    span.links.add(trace_id=b"l" * 16, span_id=b"l" * 8, attributes=said)
    found = traces("BETA", [span])
    found.resource_spans[0].resource.attributes.extend(said[::2])
    found.resource_spans[0].scope_spans[0].scope.attributes.extend(said[1::2])
    return found


def requests_of_otlp(n: int) -> Iterator[tuple[str, bytes]]:
    """Yield requests by kind: each in both forms, and a torn one of each."""
    said = all_attributes()
    line = LogRecord(time_unix_nano=START_NS, attributes=said)
    line.body.string_value = MESSAGE
    nested = LogRecord(time_unix_nano=START_NS, body=inner())
    point = NumberDataPoint(time_unix_nano=START_NS, as_double=VALUE, attributes=said)
    point.exemplars.add(time_unix_nano=START_NS, as_double=VALUE, filtered_attributes=said)
    spread = ExponentialHistogramDataPoint(
        time_unix_nano=START_NS, count=2, sum=2 * VALUE, min=VALUE, max=VALUE, attributes=said
    )
    spread.exemplars.extend(point.exemplars)
    gauge = Metric(name="queue.depth", gauge=Gauge(data_points=[point]))
    wide = Metric(name="wait", exponential_histogram=ExponentialHistogram(data_points=[spread]))
    found: list[tuple[str, Any]] = [
        ("spans", spans_of_otlp(n)),
        ("logs", logs("BETA", [line, nested])),
        ("metrics", metrics("BETA", [gauge, wide])),
    ]
    for kind, request in found:
        yield kind, request.SerializeToString()
        yield kind, as_json(request)
        yield kind, request.SerializeToString()[:-3]
    yield "spans", spans_of_otlp(n + 1).SerializeToString()


def events(n: int) -> Iterator[dict[str, Any]]:
    """Yield events of all types, within a trace and outside, and two that are rejected."""
    span = full("span", n, trace_id=f"{n:032x}", span_id=f"{n:016x}", parent_span_id="")
    yield span
    for at, example in enumerate(("log", "audit", "metric_outside_traces"), n + 1):
        said = {**DIMENSIONS, "message": MESSAGE, "exception.stacktrace": STACK}
        said |= {"old": OLD, "new": NEW}
        yield full(example, at, trace_id="", span_id="", dimensions=said)
    yield full("log", n + 5, trace_id="none")
    yield full("span", n + 6, trace_id=f"{n:032x}", span_id=TEXTS["actor"])


def send_by_sdk(broker: str) -> None:
    """Send spans, points and audit entries as an instrumented module does."""
    plain = classed().plain()
    with Telemetry(
        "ALPHA", "parser", broker, actor=TEXTS["actor"],
        field_classes=plain["field_classes"], field_treatments=TREATMENTS,
    ) as telemetry:  # fmt: skip
        said: dict[str, Any] = dict(DIMENSIONS)
        ids: dict[str, Any] = {
            name: TEXTS[name] for name in ("record_id", "batch_id", "correlation_id")
        }
        try:
            with telemetry.span("alpha.parse", **ids, **said):
                telemetry.log("alpha.said", value=VALUE, message=MESSAGE, **said)
                telemetry.audit(
                    "alpha.read", "READ", actor=TEXTS["actor"], old=OLD, new=NEW, **said
                )
                telemetry.gauge("depth", VALUE, **said)
                telemetry.count("read_total", **said)
                raise ValueError("no canary")
        except ValueError as error:
            entry = telemetry.failed(error)
        with telemetry.recover("alpha.again", entry):
            pass
        assert telemetry.flush(30)
        assert not telemetry.counts().dropped


def is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def post_all(at: CollectorAt, n: int) -> list[tuple[str, bytes]]:
    """Send by HTTP and gRPC; return what was answered."""
    given = [{k: v for k, v in one.items() if not is_nan(v)} for one in events(n)]
    bodies = [
        ("application/json", json.dumps(given).encode()),
        ("application/x-ndjson", b"\n".join(json.dumps(one).encode() for one in given)),
        ("application/json", json.dumps([TEXTS | DIMENSIONS, given[0] | {"name": 7}]).encode()),
        ("application/json", json.dumps(given).encode()[:-9]),
        ("application/x-ndjson", repr(TEXTS | DIMENSIONS).encode()),
        ("application/avro", encode("telemetry_batch", {"events": list(events(n + 10))})),
        ("application/avro", encode("telemetry_event", next(events(n + 20)))[:-3]),
    ]
    answers = [at.post("/v1/events", body, content_type=form) for form, body in bodies]
    paths = {"spans": "traces", "logs": "logs", "metrics": "metrics"}
    for kind, body in requests_of_otlp(n + 30):
        form = "json" if body.startswith(b"{") else "x-protobuf"
        answers.append(at.post(f"/v1/{paths[kind]}", body, content_type=f"application/{form}"))
    assert {one.status for one in answers} == {200, 400}
    found = [(f"answer {i}", one.body) for i, one in enumerate(answers)]
    with grpc.insecure_channel(f"127.0.0.1:{at.grpc}") as channel:
        call = channel.unary_unary(
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export", None, None
        )
        found.append(("gRPC", bytes(call(spans_of_otlp(n + 40).SerializeToString(), timeout=120))))
        with pytest.raises(grpc.RpcError) as refused:
            call(spans_of_otlp(n + 41).SerializeToString()[:-3], timeout=120)
    return [*found, ("gRPC's refusal", repr(refused.value).encode())]


def feed(deployment: Deployment) -> None:
    """Send straight to the topics what nobody has treated, and what cannot be read."""
    with Feeder(deployment.broker) as feeder:
        for one in events(500):
            feeder.send("telemetry.beta.v1" if one["trace_id"] else OTHER, one)
        batch = encode("telemetry_batch", {"events": list(events(600))})
        feeder.send_bytes("telemetry.beta.v1", f"{600:032x}".encode(), batch)
        feeder.send_bytes(OTHER, TEXTS["actor"].encode(), repr(TEXTS | DIMENSIONS).encode())
        for kind, body in requests_of_otlp(700):
            feeder.send_bytes(f"otlp_{kind}", f"{700:032x}".encode(), body)
        alert = {"labels": {"alertname": "HighLoad", **DIMENSIONS}, "annotations": dict(TEXTS)}
        alert["annotations"] = {"summary": f"{DIMENSIONS['user']} waits"}
        feeder.send_bytes(EXTERNAL, None, json.dumps(alert).encode())
        feeder.send_bytes(EXTERNAL, TEXTS["actor"].encode(), repr(DIMENSIONS).encode())


# --- what is looked at


def in_topics(broker: str, without: Container[str] = ()) -> dict[Any, bytes]:
    """Return key and value of each record of each topic by its place, inflated and unpacked.

    Args:
        broker: asked.
        without: topics that are left out, as nobody but the test wrote them.
    """
    found = {}
    for name in AdminClient({"bootstrap.servers": broker}).list_topics(timeout=120).topics:
        for m in read_committed(broker, name) if name not in without else ():
            whole = (m.key or b"") + b"\n" + (m.value or b"")
            found[name, m.partition, m.offset] = whole + b"\n" + unpacked(m.value or b"")
    return found


def unpacked(value: bytes) -> bytes:
    """Return what a piece of state says, which is compressed; nothing for anything else."""
    try:
        payload = read_piece(value).payload
    except Exception:  # no piece
        return b""
    if is_document(payload):
        return zlib.decompressobj().decompress(payload[1:])
    if payload[:1] not in (b"r", b"c"):
        return b""
    frame = pl.read_ipc_stream(io.BytesIO(payload[1:]))
    texts = [cell for row in frame.rows() for cell in row if isinstance(cell, bytes)]
    return b"\n".join(texts) + repr(frame.rows()).encode()


def in_state(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a state folder, and what its databases hold."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            yield str(file), file.read_bytes()
    for place in sorted(folder.rglob("db")):
        database = Rdict(str(place))
        for key, value in database.items():
            yield f"{place}: {key!r}", value + b"\n" + unpacked(value)
        database.close()


def clean(found: Iterable[tuple[str, bytes]]) -> None:
    """Fail where a canary is, the number among them."""
    kept = list(found)
    assert kept
    assert leaks(kept, ALL) == []
    number = struct.pack("<d", VALUE)
    assert [where for where, text in kept if number in text or repr(VALUE).encode() in text] == []


def has(found: Iterable[tuple[str, bytes]], word: str) -> bool:
    """Whether a word is in what is kept: then a canary would be found there too."""
    return any(word.encode() in text for _, text in found)


def logs_of(deployment: Deployment) -> list[tuple[str, bytes]]:
    files = [file for one in deployment.workers for file in (one.out, one.log)]
    return [(str(file), file.read_bytes()) for file in files]


def pages_of(at: ConsoleAt, port: int) -> Iterator[tuple[str, bytes]]:
    """Yield what a console answers, and the pages of a worker."""
    record = PRIVACY.pseudonyms.of(TEXTS["record_id"])
    for path in (
        f"/api/v1/traces?{NOW}", f"/api/v1/traces/{500:032x}", f"/api/v1/records/{record}",
        f"/api/v1/lineage/{record}", f"/api/v1/metrics?{NOW}&name=*", "/api/v1/incidents",
        f"/api/v1/rejected?{NOW}", "/api/v1/catalog", "/health", "/metrics", "/",
    ):  # fmt: skip
        status, text = ask(at, path)
        assert status == 200, (path, text)
        yield path, text
    for path in ("/health", "/ready", "/metrics"):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=120) as answer:
            yield f"worker {path}", answer.read()


def test_edges_keep_none(own: Deployment, own_node: tuple[str, int]) -> None:
    """SDK and collector: no topic, no buffer, no log and no answer has a canary; all have ~k2:."""
    at = CollectorAt(own, ack_seconds=0.5)
    at.serve()
    send_by_sdk(own.broker)
    clean(post_all(at, 100))
    with stopped(own_node[1]):
        answer = at.post("/v1/events", json.dumps([next(events(200)) | {"value": 1.0}]).encode())
        assert answer.json == {"taken": 1, "rejected": 0}
        buffered = [(str(f), f.read_bytes()) for f in at.buffer.rglob("*") if f.is_file()]
    assert has(buffered, ACTOR)
    clean(buffered)
    clean([(path, at.get(path).body) for path in ("/health", "/ready", "/metrics")])
    wait_for(lambda: marked(own) >= 8, 60, lambda: f"{marked(own)} marked")  # told soon after
    kept = in_topics(own.broker)
    clean((str(place), text) for place, text in kept.items())
    for topic in ("telemetry.alpha.v1", "telemetry.beta.v1", REJECTED):
        assert has(((p[0], t) for p, t in kept.items() if p[0] == topic), ACTOR), topic
    clean(logs_of(own))


def marked(own: Deployment) -> int:
    """Return how many rejected records have a mark in the place of their bytes."""
    details = [decode(m.value)["detail"] for m in own.read(REJECTED) if m.value]
    return sum("bytes not kept, marked ~k2:" in detail for detail in details)


def test_a_worker_keeps_none(own: Deployment) -> None:
    """Straight to its topics: outputs, changelogs, state, archive, logs and pages have none."""
    port = free_port()
    worker = own.worker("--otlp-topics", ",".join(OTLP_TOPICS), "--health-port", port)
    worker.wait_until_restored(own.partitions)
    at = ConsoleAt(own)
    console = at.start("--otlp-topics", ",".join(OTLP_TOPICS))
    at.wait_until_ready(console)
    feed(own)
    wait_for(lambda: is_through(own, worker), 120, worker.tail, worker)
    at.wait_until_read(console)
    clean(pages_of(at, port))
    for process in (worker, console):
        process.terminate()
        assert process.wait(60) == 0, process.tail()
    kept = in_topics(own.broker, {*classed().topics(), OTHER, *OTLP_TOPICS, EXTERNAL})
    clean((str(place), text) for place, text in kept.items())
    log_of_joins = changelog_topic(own.group, "join")
    changelogs = [(p[0], t) for p, t in kept.items() if p[0] == log_of_joins]
    assert has(changelogs, ACTOR)
    assert has(((p[0], t) for p, t in kept.items() if p[0] == TRACES), ACTOR)
    state = list(in_state(own.folder / "state"))
    assert has(state, ACTOR)
    clean(state)
    assert {one.topic for one in Store(at.archive).segments()} >= {"otlp_logs", "otlp_metrics"}
    archive = list(octets(Path(at.archive)))
    assert has(archive, ACTOR)
    clean(archive)
    clean(logs_of(own))
    rejected = [decode(m.value) for m in own.read(REJECTED) if m.value]
    assert {r["reason"] for r in rejected} >= REASONS
    assert all(FORM.search(r["detail"]) for r in rejected if not r["value"])


def is_through(own: Deployment, worker: WorkerProcess) -> bool:
    """Whether a trace of the last that was sent is out, and what is wrong was rejected."""
    assert worker.is_alive
    found = {decode(m.value)["trace_id"] for m in own.read(TRACES) if m.value}
    wanted = {f"{n:032x}" for n in (500, 600, 700)}
    rejected = [decode(m.value)["reason"] for m in own.read(REJECTED) if m.value]
    return wanted <= found and len(rejected) >= 8 and set(rejected) >= REASONS


def test_the_search_can_fail(own: Deployment) -> None:
    """What was fed by hand is found where it lies."""
    feed(own)
    kept = [(str(place), text) for place, text in in_topics(own.broker).items()]
    assert all(leaks(kept, [one]) for one in (*CANARIES, MESSAGE, STACK))
