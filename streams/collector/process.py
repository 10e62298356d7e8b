"""The collector's process: its threads, its two servers on the loop, its pages, its end.

Owns the life of all. Invariants: it says that it is ready when both servers listen; when one of its
parts fails the process ends and says why; at an orderly end what was taken is safe and answered.
"""

import asyncio
import contextlib
import json
import ssl
from collections.abc import Callable
from typing import Any, Final

import structlog

from streams.codec.treating import EventTreating, RejectedTreating
from streams.collector import openapi, rpc
from streams.collector.access import Access
from streams.collector.buffer import Buffer
from streams.collector.edge import Edge, rooms
from streams.collector.http import HttpEdge
from streams.collector.intake import Intake, IntakeSettings
from streams.collector.judging import Judge, Layout
from streams.collector.layout import partitions_of
from streams.collector.meters import Meters
from streams.collector.otlp import OtlpValues
from streams.collector.quickhttp import quick
from streams.collector.replies import JSON, Reply
from streams.collector.sender import Sender
from streams.collector.settings import CollectorSettings
from streams.errors import StateError
from streams.monitoring.collector_metrics import Rows, exposition
from streams.monitoring.metrics import by_key
from streams.monitoring.sockets import Port, listen, open_connections
from streams.runtime import topics
from streams.runtime.build import Pipeline, services_of
from streams.runtime.link import Link
from streams.runtime.personal import tell
from streams.runtime.state_folder import lock_folder
from streams.runtime.stop_signals import StopSignals
from streams.serving.bounds import Room
from streams.serving.patience import Server, allow_files, server

LOOK_SECONDS: Final = 0.2
STOP_SECONDS: Final = 10.0
"""How long Kafka may take at the end for what is on its way."""
COLLECT_EVERY: Final = 20_000
"""New objects between two collections of the youngest: more than the events of a step make."""

log = structlog.get_logger()


class Collector:
    """The process.

    Args:
        settings: of the collector.
        pipeline: says which topic carries a module.
        link: how to reach the broker.
        say_ready: called once, when it listens.

    Raises:
        BrokerError: the topics do not fit, or the broker is away at the first start.
        ConfigError: the file of keys cannot be read.
        StateError: the buffer cannot be used.
    """

    def __init__(
        self,
        settings: CollectorSettings,
        pipeline: Pipeline,
        link: Link,
        say_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings, self._say_ready = settings, say_ready
        self._connections_max = connections_max(settings)
        access = Access(settings)
        folder = settings.buffer_dir.absolute()
        lock_folder(
            folder,
            "let the collector write there, or name another place with --buffer-dir",
            "give each collector a folder of its own with --buffer-dir",
        )
        self._buffer = Buffer(folder, settings.buffer_bytes_max, settings.segment_bytes)
        if self._buffer.torn_bytes:
            log.warning("buffer_end_torn", bytes=self._buffer.torn_bytes, action="none: unanswered")
        contract, privacy = pipeline.contract, pipeline.privacy
        tell(contract, privacy)
        by_module = {m: contract.topic(m) for m in contract.modules} if contract else {}
        rejected = pipeline.derived(topics.REJECTED)
        telemetry = list(dict.fromkeys((*by_module.values(), topics.OTHER)))
        holds_events = not self._buffer.is_empty
        partitions = partitions_of(link, telemetry, rejected, folder, holds_events=holds_events)
        self.meters = Meters()
        self._sender = Sender(link, self._buffer, settings.ack_seconds)
        judge = Judge(
            Layout(by_module, topics.OTHER, partitions),
            contract.metric_names if contract else {},
            pipeline.settings.max_event_bytes,
            rejects_unknown=settings.unknown_modules == "reject",
            operations_max=pipeline.settings.operations_max,
            treating=EventTreating(privacy) if privacy else None,
        )
        self._intake = Intake(
            judge,
            OtlpValues(services_of(contract), has_columns=privacy is None),
            self._sender,
            self.meters,
            IntakeSettings(
                settings.inflated_bytes_max,
                settings.retry_after_seconds,
                rejected,
                partitions[rejected],
            ),
            RejectedTreating(privacy) if privacy else None,
        )
        held = Room(settings.held_bytes_max, "held_bytes", "too many bytes wait for an answer")
        self._edge = Edge(settings, access, self._intake, self.meters, held)
        self._stop = asyncio.Event()
        self._is_serving = False

    async def run(self) -> None:
        """Serve until a signal asks for the end.

        Raises:
            ConfigError: a port cannot be listened on, or TLS cannot be used.
            StateError: a part cannot go on.
        """
        StopSignals(self._stop.set, is_hard=True, is_supervised=False).install()
        settings, room = self._settings, rooms(self._settings)
        http = self._http(room("HTTP"))
        grpc_server = rpc.server(self._edge, room("gRPC"), self._connections_max[1])
        sockets = listen(
            Port("collector_http_port", "--http", settings.address, settings.http_port)
        )
        await grpc_server.start()
        serving = asyncio.create_task(http.serve(sockets))
        try:
            while not self._stop.is_set() and self._lives() and not serving.done():
                if http.started and not self._is_serving:
                    self._is_serving = True
                    log.info("collector_ready", buffer_events=self._buffer.held_events)
                    self._say_ready()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), LOOK_SECONDS)
        finally:
            self._edge.is_stopping = True
            http.should_exit = True
            stopping = grpc_server.stop(self._end_seconds)
            await asyncio.gather(stopping, serving, return_exceptions=True)
            await asyncio.to_thread(self._end)
        if serving.exception() is not None:
            raise serving.exception()  # type: ignore[misc]
        self._say_why()

    @property
    def _end_seconds(self) -> float:
        """How long requests that were begun may take at the end.

        One may have to hear first that Kafka does not answer; then its events go to disk.
        """
        return STOP_SECONDS + self._settings.ack_seconds

    def _end(self) -> None:
        """Finish what was taken: with Kafka if it is there, else on disk."""
        self._intake.close()
        self._sender.close(STOP_SECONDS)
        self._buffer.close()
        log.info("collector_stopped", buffer_events=self._buffer.held_events)

    def _lives(self) -> bool:
        return self._sender.is_alive and self._intake.is_alive and self._buffer.is_alive

    def _say_why(self) -> None:
        if self._sender.failed is not None:
            raise self._sender.failed
        if not self._stop.is_set():
            raise StateError(
                "a thread of the collector ended. Operator action: start it again, nothing that "
                "was answered is lost; its log says what it found."
            )

    def _http(self, room: Room) -> Server:
        settings = self._settings
        text = exposition(self._rows)

        def metrics(accept: str) -> Reply:
            content_type, body = text(accept)
            return Reply(200, content_type, body)

        pages = {
            "/health": self._health,
            "/ready": self._ready,
            "/metrics": metrics,
            **openapi.page(settings),
        }
        http = HttpEdge(self._edge, room, pages)
        return server(
            http,
            self.meters,
            self._end_seconds,
            quick(http),
            limit_concurrency=self._connections_max[0],
            ssl_certfile=settings.tls_certificate_file,
            ssl_keyfile=settings.tls_key_file,
            ssl_ca_certs=settings.client_ca_file,
            ssl_cert_reqs=ssl.CERT_REQUIRED if settings.auth == "mtls" else ssl.CERT_NONE,
        )

    # --- pages

    def _not_ready(self) -> str:
        if not self._is_serving or self._edge.is_stopping:
            return "stopping" if self._edge.is_stopping else "starting"
        if self._buffer.is_full:
            return "the buffer is full"
        said = self._buffer.said
        # While Kafka takes what comes, the disk is not needed.
        if said and (self._sender.is_away or not self._buffer.is_empty):
            return f"the buffer cannot be written: {said}"
        return ""

    def _health(self, _accept: str) -> Reply:
        is_well = self._lives()
        said = {
            "healthy": is_well,
            "kafka_away": self._sender.is_away,
            "kafka_said": self._sender.said,
            "buffer_events": self._buffer.held_events,
            "buffer_bytes": self._buffer.held_bytes,
            "buffer_said": self._buffer.said,
            "waiting_requests": self._intake.waiting,
        }
        return _page(said, is_well=is_well)

    def _ready(self, _accept: str) -> Reply:
        reason = self._not_ready()
        said: dict[str, Any] = {"ready": not reason, "kafka_away": self._sender.is_away}
        return _page(said | ({"reason": reason} if reason else {}), is_well=not reason)

    def _rows(self) -> Rows:
        meters, sender, buffer = self.meters, self._sender, self._buffer
        one = ()
        grpc_connections = open_connections(self._settings.grpc_port)
        return {
            "spanloom_collector_ready": [(one, int(not self._not_ready()))],
            "spanloom_collector_healthy": [(one, int(self._lives()))],
            "spanloom_collector_requests": by_key(meters.requests),
            "spanloom_collector_request_seconds": [((p,), d) for p, d in meters.seconds.items()],
            "spanloom_collector_open_requests": by_key(meters.open_requests),
            "spanloom_collector_waiting_requests": [(one, self._intake.waiting)],
            "spanloom_collector_refused_requests": by_key(meters.refused),
            "spanloom_collector_held_bytes": [(one, meters.held_bytes)],
            "spanloom_collector_received_bytes": by_key(meters.received_bytes),
            "spanloom_collector_inflated_bytes": by_key(meters.inflated_bytes),
            "spanloom_collector_taken_events": by_key(meters.taken_events),
            "spanloom_collector_rejected_events": by_key(meters.rejected_events),
            "spanloom_collector_unkept_rejections": by_key(meters.unkept_rejections),
            "spanloom_collector_acknowledged_events": by_key(sender.acknowledged),
            "spanloom_collector_flying_messages": [(one, sender.flying)],
            "spanloom_collector_kafka_away": [(one, int(sender.is_away))],
            "spanloom_collector_renewed_clients": [(one, sender.producers)],
            "spanloom_collector_buffered_events": by_key(sender.buffered),
            "spanloom_collector_drained_events": [(one, sender.drained_events)],
            "spanloom_collector_buffer_events": [(one, buffer.held_events)],
            "spanloom_collector_buffer_bytes": [(one, buffer.held_bytes)],
            "spanloom_collector_buffer_bytes_max": [(one, self._settings.buffer_bytes_max)],
            "spanloom_collector_buffer_syncs": [(one, buffer.syncs)],
            "spanloom_collector_torn_bytes": [(one, buffer.torn_bytes)],
            "spanloom_collector_connections": [(one, meters.connections())],
            "spanloom_collector_grpc_connections": [(one, grpc_connections)],
            "spanloom_collector_grpc_connections_max": [(one, self._connections_max[1])],
            "spanloom_collector_cut_connections": by_key(meters.cut),
            "spanloom_collector_keys_unreadable": [(one, int(bool(self._edge.access.keys_failed)))],
        }


def connections_max(settings: CollectorSettings) -> tuple[int, int]:
    """Return how many connections of HTTP and of gRPC this machine allows of what is wanted."""
    wanted = (settings.connections_max, settings.grpc_connections_max)
    allowed = allow_files(sum(wanted))
    http_max = max(1, wanted[0] * allowed // sum(wanted))
    return http_max, max(1, allowed - http_max)


def _page(said: dict[str, Any], *, is_well: bool) -> Reply:
    return Reply(200 if is_well else 503, JSON, json.dumps(said).encode())
