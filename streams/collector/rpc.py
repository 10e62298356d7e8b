"""The collector's gRPC: the three services of OTLP, within bounds.

Owns what gRPC's own core would do without a bound: messages come to us compressed as they were
sent, and are inflated by the intake against its cap; a message is waited for no longer than a body
of HTTP. The services are the official ones by their descriptors; only requests stay bytes.
Source: OTLP 1.x, "OTLP/gRPC Response": retryable codes, RetryInfo, partial success.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import grpc
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from streams.codec.inflate import Coding
from streams.collector import replies
from streams.collector.edge import Edge
from streams.collector.request import Kind, Outcome, Refusal
from streams.collector.settings import CollectorSettings
from streams.errors import ConfigError
from streams.monitoring.sockets import Port, places
from streams.serving.bounds import BusyError, Room

SERVICES: Final[tuple[tuple[Kind, Any, str], ...]] = (
    ("spans", trace_service_pb2, "TraceService"),
    ("logs", logs_service_pb2, "LogsService"),
    ("metrics", metrics_service_pb2, "MetricsService"),
)
CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
}
"""By status of HTTP. What is too large is not RESOURCE_EXHAUSTED: that would be sent again."""
GZIP: Final = b"\x1f\x8b"
"""Begins each gzip file, and no protobuf message: there is no wire type 7."""
DEFLATE: Final = tuple(bytes((0x78, flags)) for flags in (0x01, 0x5E, 0x9C, 0xDA))
"""Begin each file of zlib as gRPC makes it, and no request of OTLP, whose fields have number 1."""
DETAILS: Final = "grpc-status-details-bin"
STREAMS_MAX: Final = 256
"""Calls at once on one connection."""
CODINGS_BITS: Final = 0b111
"""The codings that are understood, identity, deflate and gzip, by gRPC's own numbers."""
IDLE_MS: Final = 300_000
HANDSHAKE_MS: Final = 10_000
"""A connection that has not said by then that it speaks HTTP/2, and TLS where it must, is cut."""
METADATA_BYTES_MAX: Final = 16 << 10
"""Of a call, beyond which gRPC refuses it always; by default it lets some through up to twice that.
"""

log = structlog.get_logger()


class RpcEdge:
    """The services.

    Args:
        edge: what both servers share.
        room: of calls at once.
    """

    def __init__(self, edge: Edge, room: Room) -> None:
        self._edge, self._room = edge, room
        settings = edge.settings
        slots = max(1, settings.held_bytes_max // settings.grpc_message_bytes_max)
        # gRPC's core gathers a message before we see its size: so many may be gathered at once.
        self._reading = asyncio.Semaphore(slots)

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Return what gRPC calls, one a service."""
        found = []
        for kind, module, name in SERVICES:
            service = module.DESCRIPTOR.services_by_name[name]
            (method,) = service.methods
            handler = grpc.stream_unary_rpc_method_handler(
                self._handler(kind, f"/{service.full_name}/{method.name}"),
                response_serializer=lambda message: message.SerializeToString(),
            )
            methods = {method.name: handler}
            found.append(grpc.method_handlers_generic_handler(service.full_name, methods))
        return found

    def _handler(self, kind: Kind, path: str) -> Callable[[Any, Any], Any]:
        """Return the handler of a method.

        It is one of a stream, of which one message is read: so the call is judged before its
        message is waited for, and that has an end.
        """

        async def export(_: Any, context: Any) -> Any:
            began = time.monotonic()
            self._edge.meters.open_requests["grpc"] += 1
            status = 499
            try:
                found = await self._export(kind, context)
                status = found.status if isinstance(found, Refusal) else 200
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("request_failed", path=path)
                status, found = 500, Refusal(500, "internal", "the collector failed on this call")
            finally:
                self._edge.meters.open_requests["grpc"] -= 1
                self._edge.meters.answered(path, status, time.monotonic() - began)
            if isinstance(found, Outcome):
                return replies.exported(kind, found)
            self._edge.meters.refused[found.reason] += 1
            return await _abort(context, found)

        return export

    async def _export(self, kind: Kind, context: Any) -> Outcome | Refusal:
        edge = self._edge
        given = [str(v) for k, v in context.invocation_metadata() or () if k == "authorization"]
        source = edge.access.source(given, _client(context.peer()))
        if isinstance(source, Refusal):
            return source
        if edge.is_stopping:
            return edge.busy("stopping", "the collector stops: send it again")
        try:
            self._room.take()
        except BusyError as error:
            return edge.busy(error.reason, str(error), 429)
        size = 0
        try:
            try:
                async with asyncio.timeout(edge.settings.body_seconds), self._reading:
                    body = await context.read()
            except TimeoutError:
                return Refusal(408, "slow_body", "the message did not come in time")
            if not isinstance(body, bytes):
                return Refusal(400, "empty_call", "a call without a message")
            refusal = edge.hold(len(body))
            if refusal is not None:
                return refusal
            size = len(body)
            return await edge.take(kind, "protobuf", _coding(body), body, source)
        finally:
            edge.let_go(size)
            self._room.leave()


async def _abort(context: Any, refusal: Refusal) -> Any:
    """End a call with a status that says when to come again."""
    code = CODES.get(refusal.status, grpc.StatusCode.UNKNOWN)
    words = refusal.words[:1_000]
    if refusal.wait_seconds:
        wait = Duration()
        wait.FromMilliseconds(round(refusal.wait_seconds * 1_000))
        detail = AnyMessage()
        detail.Pack(RetryInfo(retry_delay=wait))
        status = Status(code=code.value[0], message=words, details=[detail])
        context.set_trailing_metadata(((DETAILS, status.SerializeToString()),))
    return await context.abort(code, words)


def _coding(body: bytes) -> Coding:
    """Return how a message is compressed, by its first bytes: gRPC does not tell its handlers."""
    if body.startswith(GZIP):
        return "gzip"
    return "deflate" if body.startswith(DEFLATE) else "identity"


def _client(peer: str) -> str:
    """Return the address of a peer as gRPC writes it: ipv4:1.2.3.4:5, ipv6:[::1]:5."""
    family, _, rest = peer.partition(":")
    return rest.rpartition(":")[0].strip("[]").replace("%5B", "").replace("%5D", "") or family


def server(edge: Edge, room: Room, connections_max: int) -> Any:
    """Return a server that listens already.

    Args:
        edge: what both servers share.
        room: of calls at once.
        connections_max: at once; gRPC's core ends those beyond them without a word.

    Raises:
        ConfigError: the port cannot be listened on, or a file of TLS cannot be used.
    """
    settings = edge.settings
    made = grpc.aio.server(
        options=[
            ("grpc.per_message_decompression", 0),
            ("grpc.compression_enabled_algorithms_bitset", CODINGS_BITS),
            ("grpc.max_receive_message_length", settings.grpc_message_bytes_max),
            ("grpc.max_metadata_size", METADATA_BYTES_MAX),
            ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
            ("grpc.max_concurrent_streams", STREAMS_MAX),
            ("grpc.max_connection_idle_ms", IDLE_MS),
            ("grpc.max_allowed_incoming_connections", connections_max),
            ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
            ("grpc.so_reuseport", 0),
        ],
        # Calls that are refused with a word need a place too.
        maximum_concurrent_rpcs=2 * settings.requests_max,
    )
    made.add_generic_rpc_handlers(RpcEdge(edge, room).handlers())
    port = Port("collector_grpc_port", "--grpc", settings.address, settings.grpc_port)
    credentials = _credentials(settings) if settings.is_tls else None
    try:
        # One by one: of a name gRPC is content with any address that it gets.
        for place in places(port):
            if credentials is None:
                made.add_insecure_port(place)
            else:
                made.add_secure_port(place, credentials)
    except RuntimeError as error:  # it binds and listens, or not, and does not say why
        places(port)
        why = "another program had it a moment ago: start again"
        if settings.is_tls:
            why = (
                "SPANLOOM_COLLECTOR_TLS_CERTIFICATE_FILE and SPANLOOM_COLLECTOR_TLS_KEY_FILE must "
                f"hold a chain of certificates and its key, both as PEM; or {why}"
            )
        raise ConfigError(
            f"collector_grpc_port (SPANLOOM_COLLECTOR_GRPC_PORT, --grpc): {settings.address}:"
            f"{settings.grpc_port} is free now, and gRPC could not listen there; {why}"
        ) from error
    return made


def _credentials(settings: CollectorSettings) -> Any:
    def content(path: Path | None) -> bytes | None:
        return None if path is None else path.read_bytes()

    pair = (content(settings.tls_key_file), content(settings.tls_certificate_file))
    is_mutual = settings.auth == "mtls"
    return grpc.ssl_server_credentials(
        [pair], content(settings.client_ca_file), require_client_auth=is_mutual
    )
