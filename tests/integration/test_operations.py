"""The worker under an operator's eyes: what it says of itself, how it ends, and several as one."""

import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, ConfigEntry, ConfigResource, ResourceType
from confluent_kafka.admin import AlterConfigOpType as Op
from prometheus_client.parser import text_string_to_metric_families

from streams.codec.records import decode
from streams.monitoring.metrics import CATALOGUE
from tests.fault.harness import (
    TRACES,
    Deployment,
    WorkerProcess,
    assert_revisions_are_whole,
    assert_spans_are_whole,
    balance,
    highest,
    span_ids,
    stopped,
    wait_for,
)
from tests.integration.conftest import kafka_home
from tests.integration.traces import event_of, trace_of
from tests.ports import free_ports

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

OTHER = "telemetry.other.v1"
START_SECONDS = 90.0
SPANS = 4
FROZEN_SECONDS = 30.0


def ask(port: int, path: str) -> tuple[int, str]:
    """Return status and body of a page; (0, "") when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError:
        return 0, ""
    finally:
        connection.close()


def health(port: int) -> dict[str, Any]:
    """Return the body of /health, {} when nobody answers."""
    body = ask(port, "/health")[1]
    found: dict[str, Any] = json.loads(body) if body else {}
    return found


def ready_lines(worker: WorkerProcess) -> list[str]:
    """Return the lines by which a worker said that it consumes."""
    lines = worker.out.read_text("utf-8").splitlines()
    return [line for line in lines if line.startswith("ready partitions=")]


def wait_until_ready(worker: WorkerProcess, count: int = 1) -> None:
    """Wait for the line that says so."""
    wait_for(lambda: len(ready_lines(worker)) >= count, START_SECONDS, worker.tail, worker)


def feed_traces(deployment: Deployment, first: int, count: int) -> dict[str, set[str]]:
    """Send whole traces, and return the span ids of each."""
    now_us = time.time_ns() // 1000
    numbers = range(first, first + count)
    deployment.feed(
        (OTHER, event) for n in numbers for event in trace_of(n, spans=SPANS, start_us=now_us)
    )
    return {f"{n:032x}": {f"{s:016x}" for s in range(1, SPANS + 1)} for n in numbers}


@pytest.fixture
def port() -> int:
    """Return a port for the pages of a worker; the next one, for a second worker, is free too."""
    return free_ports(2)[0]


# --- what it says


def test_a_worker_says_when_it_is_ready_and_how_it_gets_on(
    deployment: Deployment, port: int
) -> None:
    """One line when it first consumes; pages that tell lag, rows and accounts; 0 at SIGTERM."""
    deployment.create_topics()
    worker = deployment.worker("--health-port", port)
    wait_until_ready(worker)
    (line,) = ready_lines(worker)
    singles = "causes-0,external-0,fidelity-0,"
    assert line.startswith(f"ready partitions={deployment.partitions} tasks={singles}")
    assert line.endswith(f" health=http://127.0.0.1:{port}")
    assert ask(port, "/ready")[0] == 200
    traces = feed_traces(deployment, 1, 500)
    rows = SPANS * len(traces)

    def tasks() -> dict[str, Any]:
        found: dict[str, Any] = health(port).get("tasks", {})  # none while nobody answers
        return found

    def joined() -> int:
        return sum(task["records"] for name, task in tasks().items() if "join" in name)

    wait_for(lambda: joined() == rows, 60, lambda: str(health(port)), worker)
    wait_for(
        lambda: tasks() != {} and not any(task["lag_records"] for task in tasks().values()),
        60,
        lambda: f"a transaction's marker is no lag: {health(port)}",
        worker,
    )
    status, text = ask(port, "/metrics")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert status == 200
    assert families.keys() >= set(CATALOGUE)
    by_task = {
        sample.labels["task"]: sample.value for sample in families["spanloom_task_records"].samples
    }
    assert sum(n for task, n in by_task.items() if task.startswith("join-")) == rows
    lag = {s.labels["topic"] for s in families["spanloom_lag_records"].samples}
    assert {OTHER, "fidelity.partials.v1"} <= lag
    worker.terminate()
    assert worker.wait(60) == 0, worker.tail()
    assert len(ready_lines(worker)) == 1
    assert ask(port, "/health") == (0, "")


def test_bounds_of_memory_are_settings_and_say_when_they_acted(
    deployment: Deployment, port: int
) -> None:
    """A worker that may keep a megabyte of each packs and folds by it; no event is missing."""
    deployment.partitions = 1
    deployment.create_topics()
    small = dict.fromkeys(("open_raw_bytes_max", "fold_bytes_max", "heap_free_bytes_max"), 1 << 20)
    worker = deployment.worker("--health-port", port, settings=small)
    wait_until_ready(worker)
    chance, now_us = random.Random(7), time.time_ns() // 1000
    events = [
        {**event, "dimensions": {"note": chance.randbytes(400).hex()}}  # does not compress away
        for n in range(3_000)
        for event in trace_of(n + 1, spans=SPANS, start_us=now_us)
    ]
    deployment.feed((OTHER, event) for event in events)

    def met() -> dict[tuple[str, str], float]:
        families = text_string_to_metric_families(ask(port, "/metrics")[1])
        found = [one.samples for one in families if one.name == "spanloom_bounds_met"]
        return {(s.labels["task"], s.labels["bound"]): s.value for some in found for s in some}

    packed, folded = ("join-0", "open_raw_bytes_max"), ("join-0", "fold_bytes_max")
    wait_for(
        lambda: met().get(packed, 0) > 0 and met().get(folded, 0) > 0,
        60,
        lambda: f"bounds that acted: {met()}, {worker.tail()}",
        worker,
    )
    assert {("", "heap_free_bytes_max"), ("join-0", "idle_window")} <= met().keys()
    taken = lambda: health(port)["tasks"]["join-0"]["records"]  # noqa: E731
    wait_for(lambda: taken() == len(events), 60, worker.tail, worker)
    worker.terminate()
    assert worker.wait(60) == 0, worker.tail()


def test_two_workers_cannot_share_a_port(deployment: Deployment, port: int) -> None:
    """The second one ends with 2 and names the setting."""
    deployment.create_topics()
    wait_until_ready(deployment.worker("--health-port", port, state="one"))
    second = deployment.worker("--health-port", port, state="two")
    assert second.wait(60) == 2
    assert "SPANLOOM_HEALTH_PORT" in second.tail()


def test_commits_that_are_refused_again_and_again_end_the_worker(deployment: Deployment) -> None:
    """A changelog that takes markers only: the budget is spent, and the reason is told."""
    deployment.create_topics()
    worker = deployment.worker(settings={"restarts_max": 2, "restart_window_seconds": 60})
    wait_until_ready(worker)
    changelog = f"spanloom.{deployment.group}.join.state.v1"
    small = ConfigEntry("max.message.bytes", "150", incremental_operation=Op.SET)
    resource = ConfigResource(ResourceType.TOPIC, changelog, incremental_configs=[small])
    admin = AdminClient({"bootstrap.servers": deployment.broker})
    for altered in admin.incremental_alter_configs([resource]).values():
        altered.result(30)
    deployment.feed([(OTHER, event_of(1, 1, time.time_ns() // 1000))])
    assert worker.wait(120) == 3, worker.tail()
    assert "3 commits refused in 60 s" in worker.tail()
    assert len(worker.events("commit_refused")) == 3


SLOW_RESTORE = """
import time
from streams.cli import main
from streams.runtime.host import TaskHost
recover = TaskHost.recover

def slow(host):
    time.sleep(18 if str(host.id) == "join-0" else 0)
    return recover(host)

TaskHost.recover = slow
main.main()
"""


def test_a_restore_may_take_longer_than_a_session(deployment: Deployment) -> None:
    """The worker stays in its group while it reads: its first commits are not refused.

    The state is small and the reading slow: one task's restore sleeps for three sessions.
    """
    deployment.create_topics()
    traces = feed_traces(deployment, 1, 100)
    rows = str(SPANS * len(traces))
    place = deployment.folder / "slow"
    flags = ["--state-dir", str(place / "state"), "--exit-after", rows, "--fixed-waits", "1"]
    command = [sys.executable, "-c", SLOW_RESTORE, "worker", "--group", deployment.group, *flags]
    environment = {**deployment.environment, "SPANLOOM_SESSION_TIMEOUT_SECONDS": "6"}
    worker = WorkerProcess(command, environment, place)
    deployment.workers.append(worker)
    assert worker.wait(120) == 0, worker.tail()
    assert worker.events("commit_refused") == []
    assert_spans_are_whole(deployment.read_by(TRACES, decode), traces)


# --- several as one


def test_workers_of_one_command_share_the_partitions_and_lose_nothing(
    deployment: Deployment, port: int
) -> None:
    """Two workers, four partitions; one is killed and comes back; every span is published once."""
    deployment.create_topics()
    command = deployment.worker(
        "--workers", 2, "--health-port", port, "--fixed-waits", 2, instance="w"
    )
    wait_until_ready(command, 2)
    traces = feed_traces(deployment, 1, 2_000)
    started = {event["number"]: event["pid"] for event in command.events("worker_started")}
    wait_for(lambda: tasks_of(port + 1) != [], 60, command.tail, command)
    os.kill(started[1], signal.SIGKILL)
    traces |= feed_traces(deployment, 2_001, 2_000)
    wait_until_ready(command, 3)
    wait_for(
        lambda: (
            len(tasks_of(port) + tasks_of(port + 1)) == deployment.partitions
            and all(0 < len(tasks_of(port + n)) < deployment.partitions for n in (0, 1))
        ),
        90,
        lambda: f"{tasks_of(port)} {tasks_of(port + 1)}: {command.tail()}",
        command,
    )
    traces |= feed_traces(deployment, 4_001, 500)
    rows = SPANS * len(traces)
    wait_for(lambda: deployment.committed() >= rows, 90, command.tail, command)

    def published() -> list[dict[str, Any]]:
        return deployment.read_by(TRACES, decode)

    wait_for(lambda: len(published()) >= len(traces), 90, command.tail, command)
    command.terminate()
    assert command.wait(60) == 0, command.tail()
    assert_revisions_are_whole(published())
    assert_spans_are_whole(published(), traces)
    restarted = command.events("worker_restarted")
    assert [(e["number"], e["why"]) for e in restarted] == [(1, "SIGKILL")]
    assert {event["worker"] for event in command.events("task_restored")} == {0, 1}
    assert sorted(path.name for path in (deployment.folder / "state").iterdir()) == ["0", "1"]


def test_a_worker_that_is_frozen_is_replaced_and_nothing_is_lost(
    deployment: Deployment, port: int
) -> None:
    """One of two is stopped: it is killed, comes back with its share, and its page says why."""
    deployment.create_topics()
    command = deployment.worker(
        *("--workers", 2, "--health-port", port, "--fixed-waits", 2),
        instance="w",
        settings={"frozen_timeout_seconds": 15},
    )
    wait_until_ready(command, 2)
    traces = feed_traces(deployment, 1, 1_000)
    wait_for(lambda: tasks_of(port + 1) != [], 60, command.tail, command)
    started = {event["number"]: event["pid"] for event in command.events("worker_started")}
    os.kill(started[1], signal.SIGSTOP)
    traces |= feed_traces(deployment, 1_001, 1_000)
    wait_until_ready(command, 3)
    wait_for(lambda: tasks_of(port + 1) != [], 90, command.tail, command)
    (frozen,) = command.events("worker_frozen")
    assert (frozen["number"], frozen["pid"]) == (1, started[1])
    assert frozen["silent_seconds"] >= 15
    assert frozen["state"] == "stopped by a signal"
    restarted = command.events("worker_restarted")
    assert [(e["number"], e["why"]) for e in restarted] == [(1, "frozen")]
    assert [restarts_of(port + n) for n in (0, 1)] == [
        {"frozen": 0.0, "signal": 0.0, "exit": 0.0},
        {"frozen": 1.0, "signal": 0.0, "exit": 0.0},
    ]
    wait_for(lambda: deployment.committed() >= SPANS * len(traces), 90, command.tail, command)

    def published() -> list[dict[str, Any]]:
        return deployment.read_by(TRACES, decode)

    wait_for(lambda: len(published()) >= len(traces), 90, command.tail, command)
    command.terminate()
    assert command.wait(60) == 0, command.tail()
    assert_revisions_are_whole(published())
    assert_spans_are_whole(published(), traces)


def restarts_of(port: int) -> dict[str, float]:
    """Return by reason how often the worker whose pages are on a port was started again."""
    families = text_string_to_metric_families(ask(port, "/metrics")[1])
    (found,) = [one.samples for one in families if one.name == "spanloom_worker_restarts"]
    return {sample.labels["reason"]: sample.value for sample in found}


def tasks_of(port: int) -> list[str]:
    """Return the join tasks of the worker whose pages are on a port, [] while it is away."""
    return [name for name in health(port).get("tasks", {}) if name.startswith("join-")]


# --- a broker that is hurt: a node of this module's own


@pytest.fixture
def own(own_node: tuple[str, int], tmp_path: Path, unique: str) -> Iterator[Deployment]:
    """Yield a deployment on a node that may be stopped."""
    made = Deployment(own_node[0], tmp_path, f"{unique}-group")
    made.start_anew()
    try:
        yield made
    finally:
        made.end()


def test_a_broker_that_says_nothing_ends_the_worker(
    own: Deployment, own_node: tuple[str, int], port: int
) -> None:
    """Its kernel still takes connections: /health says 503 first, then the worker ends with 3."""
    limits = {"broker_timeout_seconds": 20, "stop_seconds_max": 5}
    worker = own.worker("--health-port", port, settings=limits)
    wait_until_ready(worker)
    with stopped(own_node[1]):
        causes: set[str] = set()

        def says_so() -> bool:
            causes.update(reason["cause"] for reason in health(port).get("reasons", []))
            return "broker_silent" in causes

        wait_for(says_so, 60, lambda: f"{causes}, {health(port)}", worker)
        assert worker.wait(90) == 3, worker.tail()
    said = worker.tail()
    told = re.search(r"no answer from the broker for (\d+) s. Operator action: check", said)
    assert told, said
    assert int(told[1]) >= limits["broker_timeout_seconds"]
    assert_it_goes_on(own, feed_traces(own, 1, 100))


def test_a_stop_without_a_broker_keeps_its_deadline(
    own: Deployment, own_node: tuple[str, int]
) -> None:
    """What cannot be committed is left for the next start, which loses and repeats nothing."""
    worker = own.worker("--fixed-waits", 1, settings={"stop_seconds_max": 5})
    wait_until_ready(worker)
    traces = feed_traces(own, 1, 2_000)
    wait_for(lambda: own.committed() > 0, 60, worker.tail, worker)
    with stopped(own_node[1]):
        worker.terminate()
        began = time.monotonic()
        code = worker.wait(90)
        print(f"stop without a broker: exit {code} after {time.monotonic() - began:.1f} s")
    assert code in (0, 3), worker.tail()  # 0 when everything had been committed just before
    if code == 3:
        assert "Operator action: none" in worker.tail()
    assert_it_goes_on(own, traces)


def test_a_second_signal_ends_at_once(own: Deployment, own_node: tuple[str, int]) -> None:
    """An operator who cannot wait for the deadline gets the same promise."""
    worker = own.worker(settings={"stop_seconds_max": 300})
    wait_until_ready(worker)
    with stopped(own_node[1]):
        worker.terminate()
        time.sleep(2)
        if worker.is_alive:
            worker.terminate()
        code = worker.wait(60)
    assert code in (0, 3), worker.tail()
    if code == 3:
        assert "told to stop a second time (SIGTERM)" in worker.tail()
    assert_it_goes_on(own, feed_traces(own, 1, 100))


def test_a_worker_that_was_frozen_lives_on(own: Deployment, port: int) -> None:
    """SIGSTOP for longer than every limit is neither a stall nor silence nor a blocked loop."""
    limit = FROZEN_SECONDS / 2
    limits = {"stalled_timeout_seconds": limit, "broker_timeout_seconds": limit}
    worker = own.worker("--health-port", port, "--fixed-waits", 1, settings=limits)
    wait_until_ready(worker)
    traces = feed_traces(own, 1, 500)
    with stopped(worker.process.pid):
        traces |= feed_traces(own, 501, 500)
        time.sleep(FROZEN_SECONDS)
    rows = SPANS * len(traces)
    wait_for(lambda: own.committed() >= rows, 120, worker.tail, worker)
    for page in ("/ready", "/health"):
        wait_for(lambda page=page: ask(port, page)[0] == 200, 60, worker.tail, worker)

    def is_whole() -> bool:  # a feeder that was slow may have made a second revision necessary
        found = highest(own.read_by(TRACES, decode))
        return {trace: set(span_ids(one)) for trace, one in found.items()} == traces

    wait_for(is_whole, 60, worker.tail, worker)
    worker.terminate()
    assert worker.wait(60) == 0, worker.tail()
    assert_spans_are_whole(own.read_by(TRACES, decode), traces)


def test_lag_without_progress_ends_the_worker(own: Deployment, port: int) -> None:
    """A broker that answers and gives no records, here by its quota, is a stall: 503, then 3."""
    limits = {"stalled_timeout_seconds": 20, "stop_seconds_max": 10}
    worker = own.worker("--health-port", port, settings=limits)
    wait_until_ready(worker)
    set_quota(own.broker, "--add-config", "consumer_byte_rate=1")
    try:
        traces = feed_traces(own, 1, 500)
        causes: set[str] = set()

        def says_so() -> bool:
            causes.update(reason["cause"] for reason in health(port).get("reasons", []))
            return "stalled" in causes

        wait_for(says_so, 120, lambda: f"{causes}, {health(port)}", worker)
        assert worker.wait(120) == 3, worker.tail()
        assert "though the broker answers. Operator action: look at the leaders" in worker.tail()
    finally:
        set_quota(own.broker, "--delete-config", "consumer_byte_rate")
    assert_it_goes_on(own, traces)


def set_quota(broker: str, *change: str) -> None:
    """Change the quota of all clients, with Kafka's own tool: the client library has no call."""
    (jars,) = sorted(kafka_home().glob("jars-*"))[-1:]
    tool = ["java", "-Xmx128m", "-cp", f"{jars}/*", "kafka.admin.ConfigCommand"]
    where = ["--bootstrap-server", broker, "--entity-type", "clients", "--entity-default"]
    done = subprocess.run(
        [*tool, "--alter", *where, *change],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout


def assert_it_goes_on(deployment: Deployment, traces: dict[str, set[str]]) -> None:
    """Start another worker, and fail unless all traces are published whole and once at its end."""
    rows = SPANS * len(traces)
    end = ("--exit-after", rows, "--drain-seconds", 240, "--fixed-waits", 1)
    worker = deployment.worker(*end)
    assert worker.wait(180) == 0, worker.tail()
    found = deployment.read_by(TRACES, decode)
    assert_revisions_are_whole(found)
    assert_spans_are_whole(found, traces)
    assert balance(worker.accounting()) == 0
