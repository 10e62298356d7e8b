"""A collector of a deployment, started again and again on one buffer and the same ports."""

import http.client
import json
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from typing import Any, Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from streams.codec.plain import plain
from streams.codec.records import decode
from tests.fault.harness import PROGRAM, Deployment, Event, WorkerProcess, wait_for
from tests.ports import free_ports

START_SECONDS: Final = 60.0
DRAIN_SECONDS: Final = 60.0


class Answer(NamedTuple):
    """What was answered over HTTP."""

    status: int
    headers: Message | Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Placed(NamedTuple):
    """An event as it lies in a topic."""

    topic: str
    partition: int
    event: Event


class CollectorAt:
    """A collector of a deployment; `settings` become SPANLOOM_COLLECTOR_* variables."""

    def __init__(self, deployment: Deployment, **settings: object) -> None:
        self.deployment = deployment
        self.lives = 0
        self.buffer = deployment.folder / "buffer"
        self.context: ssl.SSLContext | None = None
        """How it is spoken to over TLS; None for without."""
        self.settings = {f"SPANLOOM_COLLECTOR_{k.upper()}": str(v) for k, v in settings.items()}
        self.http, self.grpc = free_ports(2)

    def start(self, *arguments: str) -> WorkerProcess:
        """Start it; it need not serve yet."""
        command = [sys.executable, *PROGRAM, "collector", "--buffer-dir", str(self.buffer)]
        command += ["--http", str(self.http), "--grpc", str(self.grpc), *arguments]
        place = self.deployment.folder / f"collector-{self.lives}"
        self.lives += 1
        started = WorkerProcess(command, self.deployment.environment | self.settings, place)
        self.deployment.workers.append(started)
        return started

    def serve(self, *arguments: str) -> WorkerProcess:
        """Start it and wait until it serves."""
        started = self.start(*arguments)
        wait_for(lambda: self.get("/ready").status == 200, START_SECONDS, started.tail, started)
        return started

    def get(self, path: str) -> Answer:
        """Return what a path answers, with status 0 while nobody answers."""
        return self._asked(urllib.request.Request(self._url(path)), 60)

    def post(self, path: str, body: bytes, seconds: float = 60, **headers: str) -> Answer:
        """Return what a path answers to a body; a header's `_` stands for `-`."""
        given = {"content-type": "application/json"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        asked = urllib.request.Request(self._url(path), body, given, method="POST")
        return self._asked(asked, seconds)

    def _url(self, path: str) -> str:
        scheme = "http" if self.context is None else "https"
        return f"{scheme}://127.0.0.1:{self.http}{path}"

    def _asked(self, asked: urllib.request.Request, seconds: float) -> Answer:
        try:
            return self._heard(asked, seconds)
        except (OSError, http.client.HTTPException):  # one killed in the midst of it said nothing
            return Answer(0, {}, b"")

    def _heard(self, asked: urllib.request.Request, seconds: float) -> Answer:
        try:
            with urllib.request.urlopen(asked, timeout=seconds, context=self.context) as found:
                return Answer(found.status, found.headers, found.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that have some labels."""
        text = self.get("/metrics").body.decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == f"spanloom_collector_{name}"
            and labels.items() <= sample.labels.items()
        )

    def wait_until_drained(self, process: WorkerProcess) -> None:
        """Wait until the buffer is empty."""

        def is_empty() -> bool:
            said = self.get("/health")
            return said.status == 200 and not said.json["buffer_bytes"]

        wait_for(is_empty, DRAIN_SECONDS, lambda: f"drained: {self.get('/health')}", process)

    def events(self, *topics: str) -> list[Placed]:
        """Return the events of telemetry topics, batch messages opened, in the topics' order."""
        found: list[Placed] = []
        for topic in topics:
            for message in self.deployment.read(topic):
                value = plain(decode(message.value))
                some = value.get("events", [value])
                found += [Placed(topic, message.partition, event) for event in some]
        return found
