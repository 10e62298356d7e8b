"""A console of a deployment, and whether its archive equals the topics.

Owns the comparison: rows of the files on one side, and on the other what the same records, read
from the topics as an outsider would, are as rows.
"""

import json
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from streams.console.archive.kinds import KINDS, Kind, Row
from streams.console.archive.store import Store
from streams.console.archive.treated import Treating
from streams.core.privacy.records import Privacy
from streams.errors import RecordError
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
    """

    def __init__(self, deployment: Deployment, archive: str = "") -> None:
        self.deployment = deployment
        self.archive = archive or str(deployment.folder / "archive")
        self.lives = 0
        self.consoles: list[WorkerProcess] = []
        self.port = free_port()

    def start(self, *arguments: str) -> WorkerProcess:
        """Start it; it need not serve yet."""
        command = [sys.executable, *PROGRAM, "console", "--archive", self.archive]
        command += ["--port", str(self.port), *arguments]
        place = self.deployment.folder / f"console-{self.lives}"
        self.lives += 1
        started = WorkerProcess(command, self.deployment.environment | SETTINGS, place)
        self.deployment.workers.append(started)
        self.consoles.append(started)
        return started

    def get(self, path: str) -> Any:
        """Return what a path answers, None while nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as found:
                return json.load(found)
        except (urllib.error.URLError, ConnectionError):
            return None

    def wait_until_ready(self, console: WorkerProcess) -> float:
        """Wait until it reads; return how long that took."""
        return wait_for(lambda: self.get("/ready") is not None, READ_SECONDS, console.tail, console)

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


def archived(archive: str, kind: Kind) -> list[str]:
    """Return the rows of a kind in all files, with their topics, sorted."""
    store = Store(archive)
    found = []
    for one in store.segments():
        if one.kind == kind.name:
            rows = store.dataset([one], kind.schema).to_table().to_pylist()
            found += [repr((one.topic, *row.values())) for row in rows]
    return sorted(found)


def published(
    deployment: Deployment, kind: Kind, events: Iterable[str], privacy: Privacy | None = None
) -> list[str]:
    """Return the rows that the records in a kind's topics are, sorted.

    Args:
        deployment: where they are read.
        kind: of rows.
        events: names of the topics that hold events, for the kind that has none of its own.
        privacy: what the archive has in place of what is personal.
    """
    kinds = [one for one in KINDS if one.topic == kind.topic]

    def treated(value: bytes) -> bytes | None:
        return value if privacy is None else Treating(privacy).values(kinds, [value])[0]

    return sorted(
        repr((m.topic, m.partition, m.offset, m.timestamp_ms * 1000, *row))
        for topic in ([kind.topic] if kind.topic else events)
        for m in deployment.read(topic)
        for row in _rows(kind, treated(m.value))
    )


def _rows(kind: Kind, value: bytes | None) -> Iterable[Row]:
    """Return what a record is as rows; none for one that is no value of its schema."""
    try:
        return kind.rows(value)
    except RecordError:
        return []


class Difference(NamedTuple):
    """How an archive differs from its topics, in rows."""

    lost: int
    repeated: int
    wrong: int
    rows: int


def difference(there: Iterable[str], held: Iterable[str]) -> Difference:
    """Return how the rows that are held differ from those that are there.

    Args:
        there: rows of the topics.
        held: rows of the archive.
    """
    wanted, found = Counter(there), Counter(held)
    lost = sum((wanted - found).values())
    too_many = found - wanted
    repeated = sum(count for row, count in too_many.items() if row in wanted)
    return Difference(lost, repeated, sum(too_many.values()) - repeated, sum(wanted.values()))


def compare(
    deployment: Deployment, archive: str, events: Iterable[str], privacy: Privacy | None = None
) -> dict[str, Difference]:
    """Return how an archive differs from the topics of a deployment, by kind."""
    topics = tuple(events)
    return {
        kind.name: difference(published(deployment, kind, topics, privacy), archived(archive, kind))
        for kind in KINDS
    }
