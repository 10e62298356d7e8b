"""The collector under senders that dawdle, crowd or never stop: bounded, and others are served."""

import contextlib
import socket
import time
from typing import Any

import grpc
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from tests.fault.collector import CollectorAt
from tests.fault.harness import Deployment, wait_for
from tests.integration.test_collector_hostile import (
    EXPORT,
    MEMORY_BYTES_MAX,
    head,
    peak_bytes,
    served_meanwhile,
)
from tests.otlp_cases import span_of, traces
from tests.unit.collector.hostile import register
from tests.unit.collector.test_hostile import CHECKS

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

BODY_SECONDS = 5
TRICKLE_SECONDS_MAX = 120
"""A hundredth of what the body takes that way."""
CONNECTIONS = 10
GIGABYTE = 1 << 30
TAKEN_BYTES_MAX = 64 << 20
"""Of a gigabyte: the cap is 20 MiB, the rest lies in the buffers of the kernel."""
JSON_TYPE = "content-type: application/json"


@pytest.fixture
def at(deployment: Deployment) -> CollectorAt:
    """Return a collector that is impatient and takes few connections of gRPC."""
    deployment.create_topics()
    return CollectorAt(deployment, body_seconds=BODY_SECONDS, grpc_connections_max=CONNECTIONS)


def code_of(method: Any, body: bytes, metadata: Any = None) -> grpc.StatusCode:
    """Return the code that a call of gRPC ends with."""
    try:
        method(body, timeout=300, metadata=metadata)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()  # type: ignore[attr-defined]
        return code
    return grpc.StatusCode.OK


def pushed_bytes(at: CollectorAt, begun: bytes, piece: bytes, whole: int) -> int:
    """Send a body until it is whole or the collector ends the connection; return how much went."""
    sent = 0
    with socket.create_connection(("127.0.0.1", at.http), 20) as one:
        one.sendall(begun)
        with contextlib.suppress(ConnectionError, TimeoutError):
            while sent < whole:
                one.sendall(piece)
                sent += len(piece)
    return sent


def trickled(at: CollectorAt, begun: bytes, piece: bytes) -> bytes:
    """Send a piece each tenth of a second until answered or cut; return what came."""
    began = time.monotonic()
    place = ("127.0.0.1", at.http)
    with socket.create_connection(place, 60) as one, contextlib.suppress(ConnectionError):
        one.sendall(begun)
        one.settimeout(0.1)
        while time.monotonic() < began + TRICKLE_SECONDS_MAX:
            with contextlib.suppress(TimeoutError):
                return one.recv(4_096)
            one.sendall(piece)
        raise AssertionError(f"neither answered nor cut within {TRICKLE_SECONDS_MAX} s")
    return b""


def test_a_gigabyte_that_is_really_sent_takes_no_memory(at: CollectorAt) -> None:
    """In chunks, and after a head that says so: the collector hangs up, and others are served."""
    process = at.serve()
    at_rest = peak_bytes(process)
    megabyte = bytes(1 << 20)
    chunk = b"100000\r\n" + megabyte + b"\r\n"
    with served_meanwhile(at):
        chunked = head(JSON_TYPE, "transfer-encoding: chunked")
        assert pushed_bytes(at, chunked, chunk, GIGABYTE) < TAKEN_BYTES_MAX
        announced = head(JSON_TYPE, f"content-length: {GIGABYTE}")
        assert pushed_bytes(at, announced, megabyte, GIGABYTE) < TAKEN_BYTES_MAX
        with grpc.insecure_channel(f"127.0.0.1:{at.grpc}") as channel:
            code = code_of(channel.unary_unary(EXPORT), bytes(128 << 20))
            assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert peak_bytes(process) - at_rest < 2 * TAKEN_BYTES_MAX
    assert at.metric("held_bytes") == 0
    assert at.metric("refused_requests_total", reason="body_too_large") == 2


def test_who_trickles_is_cut(at: CollectorAt) -> None:
    """A head or a body that comes byte by byte has the same time as one that comes at once."""
    at.serve()
    with served_meanwhile(at):
        begun = head(JSON_TYPE, "content-length: 100000")
        # A reset may overtake the answer.
        assert trickled(at, begun, b" ")[9:12] in (b"408", b"")
        assert trickled(at, b"POST /v1/events HTTP/1.1\r\nx: ", b"y") == b""
    assert at.metric("refused_requests_total", reason="slow_body") == 1
    assert at.metric("cut_connections_total", reason="no_request") == 1


# --- gRPC, by its frames (RFC 9113): no client of gRPC's own is so slow

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS = 0, 1, 4
END_HEADERS = 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame of HTTP/2."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def call_head(*more: tuple[str, str]) -> bytes:
    """Return the headers of a call, none of them compressed (RFC 7541, 6.2.2)."""
    fields = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", EXPORT),
        (":authority", "x"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        *more,
    )
    return b"".join(
        b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in fields
    )


def connected(at: CollectorAt, *frames: bytes) -> socket.socket:
    """Return a connection that has said that it speaks HTTP/2, and some frames."""
    one = socket.create_connection(("127.0.0.1", at.grpc), 20)
    one.sendall(PREFACE + frame(SETTINGS, 0, 0) + b"".join(frames))
    return one


def is_ended(one: socket.socket) -> bool:
    """Whether the other side ended a connection, once all was read that it said before."""
    one.settimeout(120)
    try:
        while one.recv(4_096):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


def test_a_message_of_grpc_that_trickles_has_an_end(at: CollectorAt) -> None:
    """Its call ends after the time of a body, holds no place then, and others are served."""
    process = at.serve()
    with served_meanwhile(at), connected(at, frame(HEADERS, END_HEADERS, 1, call_head())) as slow:
        slow.sendall(frame(DATA, 0, 1, b"\x00" + (1_000_000).to_bytes(4)))

        def is_refused() -> bool:
            with contextlib.suppress(ConnectionError):
                slow.sendall(frame(DATA, 0, 1, b"\x0a"))
            return at.metric("refused_requests_total", reason="slow_body") == 1

        wait_for(is_refused, BODY_SECONDS + 20, process.tail, process)
        assert at.metric("open_requests", protocol="grpc") == 0


def test_metadata_of_grpc_have_a_bound(at: CollectorAt) -> None:
    """A megabyte of it is refused by gRPC itself; a call with as much as others have is taken."""
    process = at.serve()
    at_rest = peak_bytes(process)
    good = traces("shop", [span_of(1, 1)]).SerializeToString()
    with served_meanwhile(at), grpc.insecure_channel(f"127.0.0.1:{at.grpc}") as channel:
        method = channel.unary_unary(EXPORT)
        for metadata in ([("x-much", "y" * (1 << 20))], [(f"x-{n}", "y" * 90) for n in range(500)]):
            assert code_of(method, good, metadata) == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert method(good, timeout=120, metadata=[("x-some", "y" * 1_000)]) == b""
    assert peak_bytes(process) - at_rest < TAKEN_BYTES_MAX


def test_connections_of_grpc_have_a_bound(at: CollectorAt) -> None:
    """Those beyond it are ended as they come; who was there is served; the silent ones go."""
    process = at.serve()
    good = traces("shop", [span_of(1, 1)]).SerializeToString()
    with contextlib.ExitStack() as opened:
        channel = opened.enter_context(grpc.insecure_channel(f"127.0.0.1:{at.grpc}"))
        method = channel.unary_unary(EXPORT)
        assert method(good, timeout=120) == b""
        held = [opened.enter_context(connected(at)) for _ in range(CONNECTIONS - 2)]
        silent = socket.create_connection(("127.0.0.1", at.grpc), 20)  # last: it is soon cut
        opened.enter_context(silent)
        wait_for(lambda: at.metric("grpc_connections") == CONNECTIONS, 20, process.tail, process)
        assert at.metric("grpc_connections_max") == CONNECTIONS
        for _ in range(5):
            with connected(at) as one:
                assert is_ended(one)
        assert method(good, timeout=120) == b""
        assert is_ended(silent), "it never said what it speaks"
        held.pop().close()
        wait_for(lambda: _is_served(at, good), 20, process.tail, process)
        assert method(good, timeout=120) == b""


def _is_served(at: CollectorAt, body: bytes) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{at.grpc}") as channel:
        try:
            return bool(channel.unary_unary(EXPORT)(body, timeout=5) == b"")
        except grpc.RpcError:
            return False


# --- the description

POSTS = 40


def test_what_its_description_allows_is_no_error_of_ours(at: CollectorAt) -> None:
    """Over real connections, all paths; its pages are as they are described."""
    process = at.serve()
    register()
    described = schemathesis.openapi.from_url(f"http://127.0.0.1:{at.http}/openapi.json")
    for path, methods in described.raw_schema["paths"].items():
        for method in methods:
            if path == "/openapi.json":
                continue  # schemathesis read it already

            @settings(
                max_examples=POSTS if method == "post" else 2,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(case=described[path][method.upper()].as_strategy())
            def ask(case: schemathesis.Case) -> None:
                case.call_and_validate(checks=CHECKS, timeout=120)

            ask()
    assert at.metric("requests_total", code="500") == 0
    assert process.events("request_failed") == []
    assert peak_bytes(process) < MEMORY_BYTES_MAX
