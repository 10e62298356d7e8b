"""`spanloom notify run` as a process, a topic of incidents of its own, and a receiver to hurt."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from streams.codec.records import encode
from tests.fault.harness import REPOSITORY, WorkerProcess, wait_for
from tests.fault.patience import CALL_SECONDS, PATIENCE
from tests.ports import free_port

INCIDENTS = "incidents.events.v1"


class Hook:
    """A webhook receiver in a thread: it can be taken down and brought back on the same port.

    Attributes:
        got: (arrival, headers, body) of everything that it took, in order.
        status: what it answers.
        id_of: finds the id in a body.
    """

    def __init__(self) -> None:
        self.got: list[tuple[float, Mapping[str, str], dict[str, Any]]] = []
        self.raw: list[bytes] = []
        self.status = 200
        self.id_of: Callable[[dict[str, Any]], str] = lambda body: str(body["id"])
        self.port = free_port()
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Return its address."""
        return f"http://127.0.0.1:{self.port}/hook"

    def ids(self) -> list[str]:
        """Return the ids of what it took, in order."""
        return [self.id_of(body) for _, _, body in self.got]

    def up(self) -> None:
        """Begin to listen."""
        hook = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                if hook._server is None:  # a connection from before it went down
                    self.close_connection = True
                    return
                if hook.status < 300:
                    headers = {name.lower(): text for name, text in self.headers.items()}
                    hook.raw.append(raw)
                    hook.got.append((time.time(), headers, json.loads(raw)))
                self.send_response(hook.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Say nothing: the other side was killed."""

        self._server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def down(self) -> None:
        """Refuse every connection from now on."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class Notifying:
    """A topic of incidents and the processes that tell of them.

    Args:
        broker: bootstrap address.
        prefix: of the topic's name.
        folder: for files.
    """

    def __init__(self, broker: str, prefix: str, folder: Path) -> None:
        self.broker, self.prefix, self.folder = broker, prefix, folder
        self.topic = prefix + INCIDENTS
        self._started: list[WorkerProcess] = []
        self._secrets: dict[str, str] = {}
        admin = AdminClient({"bootstrap.servers": broker, "log_level": 0})
        self._admin = admin
        self.make_topic(self.topic)
        self._producer = Producer(
            {
                "bootstrap.servers": broker,
                "transactional.id": f"{prefix}incidents",
                "log_level": 0,
            }
        )
        self._producer.init_transactions(CALL_SECONDS)

    def make_topic(self, name: str) -> None:
        """Make a topic of one partition."""
        made = self._admin.create_topics([NewTopic(name, 1, 1)])
        made[name].result(CALL_SECONDS)

    def write(self, *events: Mapping[str, Any], is_aborted: bool = False) -> None:
        """Publish events as the engine does, in a transaction; an aborted one is never seen."""
        self._producer.begin_transaction()
        for event in events:
            value = encode("incident_event", event)
            self._producer.produce(self.topic, value, event["incident_id"].encode())
        if is_aborted:
            self._producer.flush(CALL_SECONDS)
            self._producer.abort_transaction(CALL_SECONDS)
        else:
            self._producer.commit_transaction(CALL_SECONDS)

    def secret(self, name: str, text: str) -> None:
        """Set a variable of the processes."""
        self._secrets[name] = text

    def environment(self) -> dict[str, str]:
        """Return the environment of the processes."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("SPANLOOM_")}
        return {
            **kept,
            **self._secrets,
            "PYTHONPATH": str(REPOSITORY),
            "SPANLOOM_BROKER": self.broker,
            "SPANLOOM_NOTIFY_GROUP": f"{self.prefix}notify",
            "SPANLOOM_DERIVED_PREFIX": self.prefix,
            "SPANLOOM_SESSION_TIMEOUT_SECONDS": "6",
        }

    def config(self, *targets: Mapping[str, Any], **more: Any) -> Path:
        """Write a file of targets; the loopback is open to all of them."""
        opened = {"allow_networks": ["127.0.0.0/8"]}
        given = [opened | dict(t) if "topic" not in t else dict(t) for t in targets]
        path = self.folder / f"notify-{len(list(self.folder.iterdir()))}.yaml"
        path.write_text(yaml.safe_dump({"targets": given, **more}), encoding="utf-8")
        return path

    def cli(self, *words: object) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "streams.cli.main", *map(str, words)],
            env=self.environment(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120 * PATIENCE,
            check=False,
        )

    def start(self, config: Path, *options: str, is_ready: bool = True) -> WorkerProcess:
        """Start a process, and wait until it reads for all targets."""
        command = [sys.executable, "-m", "streams.cli.main", "notify", "run"]
        command += ["--config", str(config), *options]
        place = self.folder / f"run-{len(self._started)}"
        process = WorkerProcess(command, self.environment(), place)
        self._started.append(process)
        if is_ready:
            wait_for(lambda: process.out.read_text().startswith("ready"), 60, process.tail, process)
        return process

    def end(self) -> None:
        """End what is left."""
        for process in self._started:
            if process.is_alive:
                process.kill()


def until(condition: Callable[[], bool], what: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is so; fail, saying what there is, when it takes far longer."""
    deadline = time.monotonic() + seconds * PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)
