"""The collector under senders that mean harm: bounded memory, no fault of ours, others served."""

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import grpc
import pytest
from backports import zstd
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from tests.fault.collector import Answer, CollectorAt
from tests.fault.harness import Deployment, WorkerProcess, wait_for
from tests.integration.test_collector import START_US, plain_json
from tests.integration.traces import event_of
from tests.otlp_cases import span_of, traces

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

MEMORY_BYTES_MAX = 900 << 20
"""At rest it takes 180 MiB; JSON of 20 MiB is worth 450 MiB of objects while it is read."""
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def peak_bytes(process: WorkerProcess) -> int:
    """Return the most memory that a process ever had."""
    text = Path(f"/proc/{process.process.pid}/status").read_text("ascii")
    (line,) = [one for one in text.splitlines() if one.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


BOUNDS: dict[str, object] = {"requests_max": 8, "connections_max": 40, "held_bytes_max": 40 << 20}


@pytest.fixture
def at(deployment: Deployment) -> CollectorAt:
    """Return a collector with few places, that has as much patience as it usually has."""
    deployment.create_topics()
    return CollectorAt(deployment, **BOUNDS)


@pytest.fixture
def hasty(deployment: Deployment) -> CollectorAt:
    """Return one that is impatient; who is served meanwhile may be slow on a busy machine."""
    deployment.create_topics()
    return CollectorAt(deployment, body_seconds=5, **BOUNDS)


@contextmanager
def served_meanwhile(at: CollectorAt) -> Iterator[list[float]]:
    """Post good events while the block runs; each must be taken."""
    until, seconds, failed = threading.Event(), [], []

    def send() -> None:
        n = 0
        while not until.is_set():
            n += 1
            began = time.monotonic()
            answer = at.post(
                "/v1/events", json.dumps(plain_json(event_of(n, 1, START_US))).encode()
            )
            seconds.append(time.monotonic() - began)
            if answer.status not in (200, 429):
                failed.append(answer)
            time.sleep(0.05)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    yield seconds
    until.set()
    sender.join(240)
    assert failed == []
    assert seconds


def hostile_bodies() -> Iterator[tuple[str, dict[str, str], bytes, int]]:
    """Yield path, headers, body and the status that it must have."""
    zeros = bytes(1 << 20)
    bomb = gzip.compress(zeros * 400, 1)
    proto = {"content_type": "application/x-protobuf"}
    yield "/v1/events", {"content_encoding": "gzip"}, bomb, 413
    yield "/v1/traces", {**proto, "content_encoding": "gzip"}, bomb, 413
    yield "/v1/traces", {**proto, "content_encoding": "zstd"}, zstd.compress(zeros * 400), 413
    yield "/v1/events", {"content_encoding": "gzip"}, gzip.compress(bomb)[:-4], 400
    yield "/v1/events", {"content_encoding": "br"}, b"x", 415
    yield "/v1/events", {}, b"[" * 1_000_000, 400
    yield "/v1/events", {}, b'{"a":' * 100_000, 400
    yield "/v1/traces", {}, b'{"resourceSpans":' + b"[" * 500_000, 400
    yield "/v1/events", {}, b'{"event_id": "\xff\xfe"}', 400
    yield "/v1/events", {}, b"[" + b"{}," * 2_000_000 + b"{}]", 400
    yield "/v1/events", {}, b"[" + b"[]," * 6_000_000 + b"[]]", 400
    yield "/v1/events", {}, b"[[" + b"[]," * 6_000_000 + b"[]]]", 200
    yield "/v1/events", {}, b"9" * 1_000_000, 400
    yield "/v1/events", {}, b"", 400
    yield "/v1/events", {"content_type": "text/html"}, b"<p>", 415
    avro = {"content_type": "application/avro"}
    yield "/v1/events", avro, b"\x00\x00\x00\x00\x14" + b"\xff\xff\xff\xff\x0f" * 4, 400
    yield "/v1/events", avro, b"\x00\x00\x00\x00\x63abc", 400
    yield "/v1/events", avro, b"\x00\x00\x00\x00\x14" + b"\x02" * (10 << 20), 413
    deep = AnyValue()
    at = deep
    for _ in range(40):
        at = at.array_value.values.add()
    span = span_of(1, 1)
    span.attributes.add(key="deep").value.CopyFrom(deep)
    yield "/v1/traces", proto, traces("shop", [span]).SerializeToString(), 200
    yield "/v1/traces", proto, wrapped(b"\x12\x00" * 3_900_000), 413
    yield "/v1/logs", proto, wrapped(b"\x12\x00" * 3_900_000), 413
    many = b'{"resourceSpans":[{"scopeSpans":[{"spans":[' + b"{}," * 2_500_000 + b"{}]}]}]}"
    yield "/v1/traces", {}, many, 413
    yield "/v1/traces", proto, b"\x0a\xff\xff\xff\xff\x0f" + bytes(100), 400
    yield "/v1/traces", proto, b"\x0a\x80" * 500_000, 400


def field(number: int, inner: bytes) -> bytes:
    """Return a field of protobuf that holds bytes."""
    size, rest = b"", len(inner)
    while rest > 0x7F:
        size, rest = size + bytes([rest & 0x7F | 0x80]), rest >> 7
    return bytes([number << 3 | 2]) + size + bytes([rest]) + inner


def wrapped(records: bytes) -> bytes:
    """Return a request of one resource and one scope that holds these records."""
    return field(1, field(2, records))


def test_hostile_bodies_are_refused_within_bounds_and_others_are_served(at: CollectorAt) -> None:
    """Bombs, deep nesting, invalid UTF-8, lengths that lie: a word on each, and memory bounded."""
    process = at.serve()
    with served_meanwhile(at):
        for path, headers, body, status in hostile_bodies():
            answer = at.post(path, body, **headers)
            assert answer.status == status, (path, headers, body[:40], answer)
    assert at.metric("requests_total", code="500") == 0
    assert peak_bytes(process) < MEMORY_BYTES_MAX
    assert process.events("request_failed") == []
    assert process.events("intake_failed") == []


def raw(at: CollectorAt, data: bytes, seconds: float = 120) -> bytes:
    """Send bytes and return what is answered until the connection ends."""
    with closing(socket.create_connection(("127.0.0.1", at.http), seconds)) as one:
        found = b""
        try:
            one.sendall(data)
            while part := one.recv(65_536):
                found += part
                if b"\r\n\r\n" in found and b"connection: close" not in found.lower():
                    break
        except (ConnectionError, TimeoutError):
            pass
        return found


def head(*lines: str) -> bytes:
    """Return the head of a POST of events."""
    return "\r\n".join(("POST /v1/events HTTP/1.1", "host: x", *lines, "", "")).encode()


def test_heads_that_contradict_themselves_are_refused(at: CollectorAt) -> None:
    """Duplicate headers, wrong lengths, smuggling: 4xx, and no connection is left hanging."""
    process = at.serve()
    json_type = "content-type: application/json"
    cases = {
        head(json_type, "content-length: 1", "content-length: 2") + b"{}": b"400",
        head(json_type, json_type, "content-length: 2") + b"{}": b"415",
        head(json_type, "content-encoding: gzip", "content-encoding: gzip", "content-length: 1")
        + b"x": b"415",
        head(json_type, "content-length: 5000000000"): b"413",
        head(json_type, "content-length: -5"): b"400",
        head(json_type, "transfer-encoding: chunked") + b"zz\r\n": b"400",
        head(json_type, *(f"x-{n}: {'y' * 200}" for n in range(200))): b"400",
        b"\x16\x03\x01" + bytes(100): b"400",
    }
    for data, status in cases.items():
        answer = raw(at, data)
        assert answer.split(b" ")[1:2] == [status], (data[:100], answer[:100])
    assert at.metric("requests_total", code="500") == 0
    assert process.is_alive


def test_a_gigabyte_is_not_read_and_slow_senders_are_cut(hasty: CollectorAt) -> None:
    """By its length it is refused at once, in chunks at the cap; who dawdles holds no place."""
    at, process = hasty, hasty.serve()
    chunk = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    begun = head("content-type: application/json", "transfer-encoding: chunked")
    slow = []
    with served_meanwhile(at):
        answer = raw(at, begun + chunk * 30)
        assert answer[9:12] in (b"413", b""), answer[:50]  # a reset may overtake the answer
        for _ in range(6):
            one = socket.create_connection(("127.0.0.1", at.http), 120)
            one.sendall(head("content-type: application/json", "content-length: 1000") + b"[")
            slow.append(one)
        silent = [socket.create_connection(("127.0.0.1", at.http), 20) for _ in range(20)]
        for one in slow:
            assert one.recv(4_096)[9:12] == b"408"
        for one in silent:
            one.settimeout(120)
            assert one.recv(4_096) == b""
    for one in (*slow, *silent):
        one.close()
    assert at.metric("refused_requests_total", reason="slow_body") == 6
    assert at.metric("refused_requests_total", reason="body_too_large") >= 1
    assert at.metric("cut_connections_total", reason="no_request") >= 20
    assert at.metric("held_bytes") == 0
    assert peak_bytes(process) < MEMORY_BYTES_MAX


def test_too_many_requests_at_once_are_told_to_come_again(at: CollectorAt) -> None:
    """429 with Retry-After, and a Status that OTLP's clients read."""
    process = at.serve()
    begun = head("content-type: application/json", "content-length: 1000") + b"["
    held = [socket.create_connection(("127.0.0.1", at.http), 20) for _ in range(8)]
    for one in held:
        one.sendall(begun)
    answers: list[Answer] = []

    def asked() -> int:
        answers.append(at.post("/v1/traces", b"", content_type="application/x-protobuf"))
        return answers[-1].status

    wait_for(lambda: asked() == 429, 20, lambda: str(answers[-1]), process)
    answer = answers[-1]
    assert int(answer.headers["retry-after"]) >= 1
    assert Status.FromString(answer.body).code == 8
    for one in held:
        one.close()
    wait_for(lambda: at.post("/v1/traces", b"{}").status == 200, 20, process.tail, process)


def test_grpc_is_bounded_too(hasty: CollectorAt) -> None:
    """Bombs, garbage, a call without an end: a code each, and others are served."""
    at, process = hasty, hasty.serve()
    target = f"127.0.0.1:{at.grpc}"

    def call(body: bytes, compression: grpc.Compression | None = None) -> bytes:
        with grpc.insecure_channel(target) as channel:
            method = channel.unary_unary(EXPORT)
            answer: bytes = method(body, timeout=300, compression=compression)
            return answer

    good = traces("shop", [span_of(1, 1)]).SerializeToString()
    with served_meanwhile(at):
        for packed in (grpc.Compression.Gzip, grpc.Compression.Deflate):
            assert call(good, packed) == b""
        found = ExportTraceServiceResponse.FromString(
            call(traces("shop", [span_of(2, 1), type(span_of(2, 1))()]).SerializeToString())
        )
        assert found.partial_success.rejected_spans == 1
        assert "1 missing_trace_id" in found.partial_success.error_message
        bad: list[tuple[bytes, grpc.Compression | None, grpc.StatusCode]] = [
            (bytes(300 << 20), grpc.Compression.Gzip, grpc.StatusCode.INVALID_ARGUMENT),
            (b"\xff" * 100, None, grpc.StatusCode.INVALID_ARGUMENT),
            (bytes(300 << 20), grpc.Compression.Deflate, grpc.StatusCode.INVALID_ARGUMENT),
        ]
        for body, compression, code in bad:
            with pytest.raises(grpc.RpcError) as caught:
                call(body, compression)
            assert caught.value.code() == code, caught.value  # type: ignore[attr-defined]
        with grpc.insecure_channel(target) as channel:
            endless = threading.Event()

            def never() -> Iterator[bytes]:
                endless.wait(300)
                yield from ()

            with pytest.raises(grpc.RpcError) as caught:
                channel.stream_unary(EXPORT)(never(), timeout=300)
            endless.set()
            assert "in time" in caught.value.details()  # type: ignore[attr-defined]

    assert peak_bytes(process) < MEMORY_BYTES_MAX
    assert process.events("request_failed") == []
