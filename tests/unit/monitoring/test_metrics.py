"""Metrics: every name of the catalogue is exposed, with the numbers of the tasks."""

import asyncio
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from streams import __version__
from streams.codec.events import EventDecoder
from streams.codec.schemas import SchemaSet, default_schemas
from streams.core.columns import Operations
from streams.core.traces.partitioners import Misplaced
from streams.errors import ConfigError
from streams.monitoring import metrics as metrics_module
from streams.monitoring.liveness import Limits, Seen, TaskSeen, Waits, advance
from streams.monitoring.meter import Sample
from streams.monitoring.metrics import CATALOGUE, Exposition, MetricName, WorkerCollector
from streams.monitoring.sockets import Port
from streams.monitoring.view import View
from streams.runtime import reporting
from streams.runtime.monitor import task_status
from streams.runtime.rekey_runner import RekeyRunner
from tests.unit.runtime.fake_link import FakeLink, Host, Runner
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

LIMITS = Limits(broker_seconds=60, stalled_seconds=40)


@pytest.fixture
def hosts(tmp_path: Path) -> list[Any]:
    """Return a join that closed a trace, has one open and rejected an event; and a small task."""
    runner = join_runner(tmp_path)
    feed(runner, chunk(A, *whole_trace()))
    let_time_pass(runner, 60)
    feed(runner, chunk(B, span("go", 1, 90_000_000, trace_id="ab" * 16), b"junk!"))
    runner.held = frozenset({A})
    runner._misplaced = {0: Misplaced("fnv1a", "murmur2")}
    runner._untreated = ("actor",)
    join = Host("join-3", runner, (A, B))
    join.meter.cut_seconds.add(0.25)
    join.meter.cut_seconds.add(0.5)
    join.meter.cut_bytes.add(700)
    join.meter.restore_seconds.add(3.5)
    rekey = RekeyRunner(*rekeyed_parts(), "telemetry.c.v1", 0, "spanloom.rekeyed.v1", 4)
    return [join, Host("incidents-0", Runner()), Host("rekey.telemetry.c.v1-0", rekey)]


def rekeyed_parts() -> tuple[EventDecoder, Operations, SchemaSet]:
    """Return what a rekey task decodes with."""
    operations, schemas = Operations(), default_schemas()
    return EventDecoder(schemas, operations), operations, schemas


def view_of(hosts: list[Any]) -> View:
    """Return the view of a worker with these tasks, the first of which stalled for 25 s."""
    link = FakeLink()
    link.lags = {A: 7, B: None}
    tasks = task_status(hosts, link)
    waits = Waits()
    for _ in range(26):
        seen = [TaskSeen(task["task"], 7, True, 5, 9, False) for task in tasks[:1]]
        waits = advance(waits, Seen("running", 1.5, seen), 1.0)
    met = {("", "heap_free_bytes_max"): 6, ("incidents-0", "fold_bytes_max"): 7}
    restarted = {"frozen": 1, "signal": 0, "exit": 4}
    rebalances = Sample(2, 3.0, 1.75)
    return View(LIMITS, waits, "", tasks, rebalances, bounds_met=met, restarted=restarted)


Samples = dict[tuple[str, str, str], float]


def samples(text: str) -> Samples:
    """Return value by (sample, task, other labels) of an exposition."""
    out = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            task = labels.pop("task", "")
            out[sample.name, task, " ".join(labels.values())] = sample.value
    return out


def exposed(hosts: list[Any], blocked: float = 0.0) -> str:
    """Return what a scraper would get."""
    registry = CollectorRegistry()
    view = view_of(hosts)
    registry.register(WorkerCollector(lambda: view, lambda: blocked))
    return generate_latest(registry).decode()


def test_every_name_of_the_catalogue_is_exposed(hosts: list[Any]) -> None:
    """Names, kinds and help are those of the catalogue, whether tasks are there or not."""
    assert set(CATALOGUE) == set(get_args(MetricName))
    expected = {name: (entry.kind, entry.text) for name, entry in CATALOGUE.items()}
    for tasks in (hosts, []):
        families = list(text_string_to_metric_families(exposed(tasks)))
        assert {f.name: (f.type, f.documentation) for f in families} == expected


def test_labels_are_those_of_the_catalogue(hosts: list[Any]) -> None:
    """A scraper's rules can be written from the catalogue alone."""
    labels = {str(name): set(entry.labels) for name, entry in CATALOGUE.items()}
    for family in text_string_to_metric_families(exposed(hosts)):
        assert family.samples, family.name
        for sample in family.samples:
            assert set(sample.labels) == labels[family.name], sample.name


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


def test_topics_that_lie_wrongly_and_what_is_placed_anew_are_exposed(hosts: list[Any]) -> None:
    """By topic and what places its keys; by what became of the events."""
    found = samples(exposed(hosts))
    assert found["spanloom_mispartitioned_topic", "join-3", f"fnv1a {A}"] == 1
    rekeyed = [key[2] for key in found if key[0] == "spanloom_rekeyed_records_total"]
    assert rekeyed == ["moved", "stayed", "rejected"]


def test_records_that_keep_what_is_personal_are_counted(hosts: list[Any]) -> None:
    """By field, all that the task took in."""
    assert samples(exposed(hosts))["spanloom_untreated_records_total", "join-3", "actor"] == 5


def test_the_tasks_state_is_exposed(hosts: list[Any]) -> None:
    """Open and closed traces, stream time, held topics, cuts and restarts stand by task."""
    found = samples(exposed(hosts))
    runner = hosts[0].runner
    expected = {
        "spanloom_open_traces": 1,
        "spanloom_closed_traces": 1,
        "spanloom_open_bytes": runner.task.state.open.live_bytes,
        "spanloom_shelved_bytes": runner.task.state.open.shelved_bytes,
        "spanloom_watermark_seconds": runner.task.watermark_us() / 1e6,
        "spanloom_held_topics": 1,
        "spanloom_task_records_total": 5,
        "spanloom_inbox_records": 30,
        "spanloom_inbox_bytes": 4_000,
        "spanloom_cuts_total": 9,
        "spanloom_cut_seconds_count": 2,
        "spanloom_cut_seconds_sum": 0.75,
        "spanloom_cut_seconds_max": 0.5,
        "spanloom_cut_bytes_count": 1,
        "spanloom_cut_bytes_sum": 700,
        "spanloom_cut_bytes_max": 700,
        "spanloom_restore_seconds_count": 1,
        "spanloom_restore_seconds_sum": 3.5,
        "spanloom_restarts": 2,
        "spanloom_refused_commits_total": 5,
        "spanloom_lost_to_retention_records_total": 4,
        "spanloom_progress_age_seconds": 25,
        "spanloom_stalled_seconds": 25,
        "spanloom_disk_full": 1,
    }
    assert found["spanloom_local_rebuilds_total", "join-3", "damaged"] == 3
    assert {name: found[name, "join-3", ""] for name in expected} == expected
    assert expected["spanloom_watermark_seconds"] > T0_US / 1e6


def test_bounds_that_acted_are_exposed(hosts: list[Any]) -> None:
    """Those of memory and work by task and name; the process's without a task."""
    open_ = hosts[0].runner.task.state.open
    open_.bounds_met["open_raw_bytes_max"] = 8
    found = samples(exposed(hosts))
    name = "spanloom_bounds_met_total"
    assert {at[1:]: value for at, value in found.items() if at[0] == name} == {
        ("", "heap_free_bytes_max"): 6,
        ("incidents-0", "fold_bytes_max"): 7,
        ("join-3", "open_raw_bytes_max"): 8,
        ("join-3", "open_raw_buffers"): 0,
        ("join-3", "idle_window"): 0,
    }


def test_lag_stands_by_topic_and_partition(hosts: list[Any]) -> None:
    """Where nobody knows the end there is no sample: 0 would say that all was read."""
    found = samples(exposed(hosts))
    lags = {at[1:]: value for at, value in found.items() if at[0] == "spanloom_lag_records"}
    assert lags == {
        ("join-3", f"3 {A}"): 7,
        ("incidents-0", "0 a"): 0,
        ("rekey.telemetry.c.v1-0", "0 a"): 0,
    }


def test_the_worker_itself_is_exposed(hosts: list[Any]) -> None:
    """Whether it is ready and well, how its partitions are spread, what rebalances cost."""
    found = samples(exposed(hosts, blocked=30.0))
    expected = {
        ("spanloom_ready", ""): 1,
        ("spanloom_healthy", ""): 0,
        ("spanloom_complaints", "stalled"): 1,
        ("spanloom_complaints", "loop_blocked"): 1,
        ("spanloom_complaints", "broker_silent"): 0,
        ("spanloom_tasks", "join"): 1,
        ("spanloom_tasks", "incidents"): 1,
        ("spanloom_broker_silent_seconds", ""): 1.5,
        ("spanloom_loop_blocked_seconds", ""): 30,
        ("spanloom_rebalance_seconds_count", ""): 2,
        ("spanloom_rebalance_seconds_sum", ""): 3,
        ("spanloom_rebalance_seconds_max", ""): 1.75,
        ("spanloom_worker_restarts_total", "frozen"): 1,
        ("spanloom_worker_restarts_total", "signal"): 0,
        ("spanloom_worker_restarts_total", "exit"): 4,
    }
    assert {at: found[at[0], "", at[1]] for at in expected} == expected
    build = [labels for name, _, labels in found if name == "spanloom_build_info"]
    assert [labels.split()[-1] for labels in build] == [__version__]


def test_a_task_without_accounts_has_what_all_tasks_have(hosts: list[Any]) -> None:
    """Tasks of the global stage show no account that is not theirs."""
    names = {name for name, task, _ in samples(exposed(hosts)) if task == "incidents-0"}
    assert {"spanloom_cuts_total", "spanloom_lag_records", "spanloom_inbox_bytes"} <= names
    assert not {"spanloom_records_total", "spanloom_open_traces"} & names


def test_the_text_is_made_once_a_look(hosts: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """However many scrape, the worker pays for one; a new look or a blocked loop is a new text."""
    views = [view_of(hosts)]
    blocked = [0.0]
    made: list[str] = []
    choose = metrics_module.choose_encoder

    def counted(accept: str) -> Any:
        encode, content_type = choose(accept)
        return lambda registry: (made.append(content_type), encode(registry))[1], content_type

    monkeypatch.setattr(metrics_module, "choose_encoder", counted)
    exposition = Exposition(lambda: views[-1], lambda: blocked[0])
    first = exposition.text("")
    assert exposition.text("") == first
    assert len(made) == 1
    blocked[0] = 7.0
    assert samples(exposition.text("")[1].decode())["spanloom_loop_blocked_seconds", "", ""] == 7
    views.append(view_of([]))
    exposition.text("")
    content_type, _ = exposition.text("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert len(made) == 4


def fetch(port: int, path: str) -> tuple[int, str]:
    """Return status and body of a page."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=120) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def port(name: str, number: int) -> Port:
    """Return a port as the worker's settings name it."""
    return Port(f"{name}_port", f"--{name}-port", "127.0.0.1", number)


def test_pages_are_served_while_the_worker_runs(hosts: list[Any], unused_port: int) -> None:
    """The port answers health, readiness and metrics, and is closed when the reporter stops."""
    view = view_of(hosts)

    async def story() -> list[tuple[int, str]]:
        ports = [port("health", unused_port), port("metrics", 0)]
        reporter = reporting.Reporter(lambda: view, lambda: 0.0, ports)
        try:
            paths = ("/health", "/ready", "/metrics")
            return [await asyncio.to_thread(fetch, unused_port, path) for path in paths]
        finally:
            await reporter.stop()

    health, ready, metrics = asyncio.run(story())
    assert health[0] == 503
    assert json.loads(health[1])["reasons"][0]["cause"] == "stalled"
    assert (ready[0], json.loads(ready[1])["ready"]) == (200, True)
    found = samples(metrics[1])
    assert found.items() >= samples(exposed(hosts)).items()
    assert found["process_resident_memory_bytes", "", ""] > 1 << 20
    with pytest.raises(OSError, match="refused"):
        fetch(unused_port, "/health")


def test_a_second_port_serves_the_same(hosts: list[Any], unused_port: int) -> None:
    """Who scrapes the port of the metrics finds everything there; two equal ports are told."""
    view = view_of(hosts)

    async def story(ports: Sequence[Port]) -> str:
        reporter = reporting.Reporter(lambda: view, lambda: 0.0, ports)
        try:
            return (await asyncio.to_thread(fetch, unused_port, "/metrics"))[1]
        finally:
            await reporter.stop()

    text = asyncio.run(story([port("metrics", unused_port)]))
    assert samples(text)["spanloom_ready", "", ""] == 1
    twice = [port(name, unused_port) for name in ("health", "metrics")]
    with pytest.raises(ConfigError, match="metrics_port"):
        asyncio.run(story(twice))


def test_progress_is_logged_over_all_tasks(
    hosts: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line adds up the joins' accounts, and names held topics and the task furthest behind."""
    lines: list[dict[str, Any]] = []
    said = asyncio.Event()

    def info(event: str, **fields: Any) -> None:
        lines.append({"event": event, **fields})
        said.set()

    monkeypatch.setattr(reporting.log, "info", info, raising=False)
    monkeypatch.setattr(reporting, "PROGRESS_SECONDS", 0.001)
    view = view_of([*hosts, hosts[0]])

    async def story() -> None:
        reporter = reporting.Reporter(lambda: view, lambda: 0.0, [])
        async with asyncio.timeout(60):
            await said.wait()
        await reporter.stop()

    asyncio.run(story())
    line = lines[0]
    assert (line["event"], line["accepted"], line["joined"]) == ("worker_progressed", 10, 6)
    assert (line["open_traces"], line["held_topics"]) == (2, [A])
    assert line["watermark_us"] == hosts[0].runner.task.watermark_us()
    assert (line["lag_records"], line["furthest_behind"]) == (7, "join-3")


def test_logs_are_json_lines_on_stderr_from_their_level_on() -> None:
    """A machine reads one object a line; what is below the level is not there."""
    program = (
        "import structlog; from streams.monitoring.logs import configure_logs; "
        "configure_logs('WARNING'); log = structlog.get_logger(); "
        "log.info('not_said'); log.warning('task_restored', pieces=3)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=True
    )
    (line,) = ran.stderr.splitlines()
    said = json.loads(line)
    assert (said["event"], said["level"], said["pieces"]) == ("task_restored", "warning", 3)
    assert said["timestamp"].endswith("Z")
    assert ran.stdout == ""
