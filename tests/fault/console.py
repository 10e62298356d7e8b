"""A console of a deployment, started and killed; its archive is for `tests.fault.comparing`."""

import http.client
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any, Final

from streams.console.archive.kinds import KIND
from streams.console.archive.store import Store
from tests.fault.harness import PROGRAM, Deployment, WorkerProcess, wait_for
from tests.ports import free_port

SETTINGS: Final = {
    "SPANLOOM_CONSOLE_FILE_SECONDS": "0.3",
    "SPANLOOM_CONSOLE_FILE_ROWS": "50",
    "SPANLOOM_CONSOLE_MERGE_SECONDS": "0.3",
    "SPANLOOM_CONSOLE_MERGE_FILES": "3",
}
"""Many small files, merged all the time: a kill often meets one that is being written."""
READ_SECONDS: Final = 120.0


class ConsoleAt:
    """A console of a deployment, started again and again on one archive and one port.

    Args:
        deployment: whose topics it reads.
        archive: path or URL; "" is a folder of the deployment's.
        program: what runs the command.
    """

    def __init__(
        self, deployment: Deployment, archive: str = "", program: Sequence[str] = PROGRAM
    ) -> None:
        self.deployment = deployment
        self.program = tuple(program)
        self.archive = archive or str(deployment.folder / "archive")
        self.lives = 0
        self.consoles: list[WorkerProcess] = []
        self.port = free_port()

    def start(self, *arguments: str, settings: Mapping[str, str] = SETTINGS) -> WorkerProcess:
        """Start it; it need not serve yet. `settings` are variables of its environment."""
        command = [sys.executable, *self.program, "console", "--archive", self.archive]
        command += ["--port", str(self.port), *arguments]
        place = self.deployment.folder / f"console-{self.lives}"
        self.lives += 1
        started = WorkerProcess(command, self.deployment.environment | dict(settings), place)
        self.deployment.workers.append(started)
        self.consoles.append(started)
        return started

    def get(self, path: str) -> Any:
        """Return what a path answers, None while nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as found:
                return json.load(found)
        except (urllib.error.URLError, ConnectionError, http.client.HTTPException):
            return None

    def wait_until_ready(self, console: WorkerProcess) -> float:
        """Wait until it reads; return how long that took."""
        return wait_for(lambda: self.get("/ready") is not None, READ_SECONDS, console.tail, console)

    def wait_until_written(self, console: WorkerProcess, kind: str) -> None:
        """Wait until some rows of a kind lie in files."""

        def is_written() -> bool:
            store, schema = Store(self.archive), KIND[kind].schema
            files = [one for one in store.segments() if one.kind == kind]
            return bool(store.dataset(files, schema).count_rows()) if files else False

        wait_for(is_written, READ_SECONDS, lambda: f"{kind} in files: {console.tail()}", console)

    def wait_until_read(self, console: WorkerProcess) -> None:
        """Wait until everything is archived, in files or in memory."""

        def is_read() -> bool:
            said = self.get("/health")
            return said is not None and not said["waits_for"] and said["lag_records"] == 0

        def what() -> str:
            lag = self.get("/api/v1/lag") or {"partitions": []}
            behind = [row for row in lag["partitions"] if row["lag_records"]]
            return f"read: {self.get('/health')}, {behind}, {console.tail()}"

        wait_for(is_read, READ_SECONDS, what, console)
