"""Metrics: every name of the catalogue is exposed, with the numbers of the tasks."""

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections import Counter, deque
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from streams.monitoring.metrics import CATALOGUE, WorkerCollector
from streams.runtime import reporting
from tests.unit.runtime.join_cases import (
    T0_US,
    A,
    B,
    chunk,
    feed,
    join_runner,
    let_time_pass,
    span,
    whole_trace,
)


class Host:
    """What the reporter reads of a task's host."""

    def __init__(self, name: str, runner: Any) -> None:
        self.id = name
        self.runner = runner
        self.cuts = 9
        self.restarts = deque([1.0, 2.0])
        self.lost_to_retention = 4
        self.local_rebuilds = Counter({"damaged": 3})
        self.waiting_for = "disk_full"


class Stage:
    """A task of the global stage: it has no accounts."""

    def status(self) -> dict[str, Any]:
        return {"rows": 3, "unreadable": 0}


@pytest.fixture
def hosts(tmp_path: Path) -> list[Any]:
    """Return a join that closed a trace, has one open and rejected an event; and a small task."""
    runner = join_runner(tmp_path)
    feed(runner, chunk(A, *whole_trace()))
    let_time_pass(runner, 60)
    feed(runner, chunk(B, span("go", 1, 90_000_000, trace_id="ab" * 16), b"junk!"))
    runner.held = frozenset({A})
    return [Host("join-3", runner), Host("incidents-0", Stage())]


Samples = dict[tuple[str, str, str], float]


def samples(text: str) -> Samples:
    """Return value by (sample, task, second label) of an exposition."""
    out = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            out[sample.name, labels.pop("task"), "".join(labels.values())] = sample.value
    return out


def exposed(hosts: list[Any]) -> str:
    """Return what a scraper would get."""
    registry = CollectorRegistry()
    registry.register(WorkerCollector(lambda: reporting.task_status(hosts)))
    return generate_latest(registry).decode()


def test_every_name_of_the_catalogue_is_exposed(hosts: list[Any]) -> None:
    """Names and help are those of the catalogue, whether tasks are there or not."""
    for tasks in (hosts, []):
        families = list(text_string_to_metric_families(exposed(tasks)))
        assert {family.name: family.documentation for family in families} == CATALOGUE


def test_the_accounts_are_exposed(hosts: list[Any]) -> None:
    """Every account is a counter of its task, and accepted is the sum of the others."""
    found = samples(exposed(hosts))
    records = {
        account: value
        for (name, task, account), value in found.items()
        if name == "spanloom_records_total" and task == "join-3"
    }
    assert {account: n for account, n in records.items() if n} == {
        "accepted": 5, "joined": 3, "rejected": 1, "open": 1,
    }  # fmt: skip
    assert found["spanloom_discarded_records_total", "join-3", "bad_magic"] == 1


def test_the_tasks_state_is_exposed(hosts: list[Any]) -> None:
    """Open and closed traces, stream time, held topics, cuts and restarts stand by task."""
    found = samples(exposed(hosts))
    runner = hosts[0].runner
    expected = {
        "spanloom_open_traces": 1,
        "spanloom_closed_traces": 1,
        "spanloom_open_bytes": runner.task.state.open.live_bytes,
        "spanloom_watermark_seconds": runner.task.watermark_us() / 1e6,
        "spanloom_held_topics": 1,
        "spanloom_cuts_total": 9,
        "spanloom_restarts": 2,
        "spanloom_lost_to_retention_records_total": 4,
        "spanloom_disk_full": 1,
    }
    assert found["spanloom_local_rebuilds_total", "join-3", "damaged"] == 3
    assert {name: found[name, "join-3", ""] for name in expected} == expected
    assert expected["spanloom_watermark_seconds"] > T0_US / 1e6


def test_a_task_without_accounts_has_its_cuts(hosts: list[Any]) -> None:
    """Tasks of the global stage show what they have, and no account that is not theirs."""
    names = {name for name, task, _ in samples(exposed(hosts)) if task == "incidents-0"}
    assert names == {
        "spanloom_cuts_total", "spanloom_restarts", "spanloom_lost_to_retention_records_total",
        "spanloom_local_rebuilds_total", "spanloom_disk_full",
    }  # fmt: skip


def test_metrics_are_served_while_the_worker_runs(hosts: list[Any], unused_port: int) -> None:
    """The reporter's port answers with the exposition, and is closed when it stops."""
    address = f"http://127.0.0.1:{unused_port}/metrics"

    def fetch() -> str:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return str(answer.read().decode())

    async def story() -> str:
        reporter = reporting.Reporter(lambda: hosts, unused_port, "127.0.0.1")
        text = await asyncio.to_thread(fetch)
        await reporter.stop()
        return text

    assert samples(asyncio.run(story())) == samples(exposed(hosts))
    with pytest.raises(OSError, match="refused"):
        fetch()


def test_progress_is_logged_over_all_tasks(
    hosts: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line adds up the joins' accounts and names the slowest watermark and held topics."""
    lines: list[dict[str, Any]] = []
    said = asyncio.Event()

    def info(event: str, **fields: Any) -> None:
        lines.append({"event": event, **fields})
        said.set()

    monkeypatch.setattr(reporting.log, "info", info, raising=False)
    monkeypatch.setattr(reporting, "PROGRESS_SECONDS", 0.001)

    async def story() -> None:
        reporter = reporting.Reporter(lambda: hosts + hosts[:1], 0, "127.0.0.1")
        async with asyncio.timeout(10):
            await said.wait()
        await reporter.stop()

    asyncio.run(story())
    line = lines[0]
    assert (line["event"], line["accepted"], line["joined"]) == ("worker_progressed", 10, 6)
    assert (line["open_traces"], line["held_topics"]) == (2, [A])
    assert line["watermark_us"] == hosts[0].runner.task.watermark_us()


def test_logs_are_json_lines_on_stderr_from_their_level_on() -> None:
    """A machine reads one object a line; what is below the level is not there."""
    program = (
        "import structlog; from streams.monitoring.logs import configure_logs; "
        "configure_logs('WARNING'); log = structlog.get_logger(); "
        "log.info('not_said'); log.warning('task_restored', pieces=3)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    (line,) = ran.stderr.splitlines()
    said = json.loads(line)
    assert (said["event"], said["level"], said["pieces"]) == ("task_restored", "warning", 3)
    assert said["timestamp"].endswith("Z")
    assert ran.stdout == ""
