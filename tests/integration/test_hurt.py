"""A worker whose disk is full, whose broker is away or slow, or that has no transactions.

What it published is held to what was fed. SPANLOOM_BROKER_AWAY_SECONDS sets for how long the broker
is down in the middle of commits (25; transactions time out after 15).
"""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from streams.codec.records import decode
from streams.runtime import topics
from tests.fault.harness import (
    REPOSITORY,
    TRACES,
    Deployment,
    Event,
    WorkerProcess,
    assert_revisions_are_whole,
    assert_spans_are_whole,
    balance,
    highest,
    span_ids,
    wait_for,
)
from tests.integration.disks import small_disk
from tests.integration.traces import event_of
from tests.ports import free_ports

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

SPANS = 6
SMALL_STEPS = {"step_rows_max": 1_000, "poll_records": 1_000, "inbox_rows_max": 2_000}
"""A backlog takes many cuts: something is always in flight."""
WAITS = ("--fixed-waits", 2, "--closed-retention", 36_000)
END_SECONDS = 180.0
AWAY_SECONDS = float(os.environ.get("SPANLOOM_BROKER_AWAY_SECONDS", "25"))


def events_of(traces: range) -> Iterator[tuple[str, Event]]:
    """Return the spans of some traces as they come now."""
    for trace in traces:
        for span in range(1, SPANS + 1):
            yield topics.OTHER, event_of(trace, span, time.time_ns() // 1000)


def expected(traces: int) -> dict[str, set[str]]:
    """Return the span ids of each trace."""
    spans = {f"{span:016x}" for span in range(1, SPANS + 1)}
    return {f"{trace:032x}": spans for trace in range(1, traces + 1)}


@contextmanager
def fed(deployment: Deployment, traces: int, per_second: float) -> Iterator[None]:
    """Feed traces while the block runs; all of them have been sent at its end."""
    counts: list[int] = []

    def feed() -> None:
        counts.append(deployment.feed(events_of(range(1, traces + 1)), per_second * SPANS))

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    yield
    thread.join(4 * END_SECONDS)
    assert counts == [traces * SPANS]


def wait_for_commits(deployment: Deployment, worker: WorkerProcess, more: int = 1) -> None:
    """Wait until more records have been committed."""
    wanted = deployment.committed() + more
    wait_for(
        lambda: deployment.committed() >= wanted, 90, lambda: f"commits: {worker.tail()}", worker
    )


def asked(port: int, path: str) -> tuple[int, dict[str, Any]]:
    """Return status and body of a page of a worker."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def assert_all_is_there(deployment: Deployment, worker: WorkerProcess, traces: int) -> None:
    """Fail unless the worker ended well and each trace was published with all of its spans."""
    assert worker.wait(END_SECONDS) == 0, worker.tail()
    published = deployment.read_by(TRACES, decode)
    assert_revisions_are_whole(published)
    assert_spans_are_whole(published, expected(traces))
    assert balance(worker.accounting()) == 0


def test_a_full_disk_stops_the_worker_until_there_is_room(deployment: Deployment) -> None:
    """It says so, consumes nothing more, lives on, and with room it does all that was fed."""
    deployment.create_topics()
    traces = 6_000
    with small_disk(deployment.folder / "disk", 64 << 20) as disk, ExitStack() as feeding:
        [port] = free_ports(1)
        worker = deployment.worker(
            *WAITS,
            *("--exit-after", traces * SPANS, "--drain-seconds", 240, "--health-port", port),
            state="disk/state",
            settings={"disk_free_min_bytes": 16 << 20},
        )
        worker.wait_until_restored(deployment.partitions)  # or all is fed before it begins
        feeding.enter_context(fed(deployment, traces, 200))
        wait_for_commits(deployment, worker, 500)
        filler = disk / "filler"
        filler.write_bytes(bytes(52 << 20))
        wait_for(lambda: bool(worker.events("disk_full")), 30, worker.tail, worker)
        stood = [-1]

        def stands() -> bool:
            stood.append(deployment.committed())
            time.sleep(3)
            return stood[-1] == deployment.committed() < traces * SPANS

        # Cuts that were in flight come to their end first.
        wait_for(stands, 30, lambda: f"consumed on a full disk: {stood}", worker)
        status, said_ready = asked(port, "/ready")
        assert (status, said_ready["reason"]) == (503, "disk_full")
        assert asked(port, "/health")[0] == 200, "no restart makes room"
        filler.unlink()
        said = [(event["topic"], event["partition"]) for event in worker.events("disk_full")]
        assert len(said) == len(set(said)), "each task says it once"
        assert_all_is_there(deployment, worker, traces)


# --- the broker


def node_pid(broker: str) -> int:
    """Return the process of the broker's node, which must be one of our script."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(os.environ.get("SPANLOOM_KAFKA_HOME") or cache / "spanloom-kafka")
    pid = home / f"node-{broker.rpartition(':')[2]}" / "pid"
    if not pid.exists():
        pytest.skip(f"{broker} is no node of deploy/kafka/broker.sh: it cannot be hurt")
    return int(pid.read_text())


def run_node(broker: str, command: str) -> None:
    """Stop the broker's node, or start it again with its data."""
    port = int(broker.rpartition(":")[2])
    environment = {**os.environ, "PORT": str(port)}
    config = node_config(port)
    environment["CONTROLLER_PORT"] = config
    done = subprocess.run(
        [REPOSITORY / "deploy" / "kafka" / "broker.sh", command],
        env=environment,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0


def node_config(port: int) -> str:
    """Return the controller's port of a node."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(os.environ.get("SPANLOOM_KAFKA_HOME") or cache / "spanloom-kafka")
    lines = (home / f"node-{port}" / "server.properties").read_text().splitlines()
    [listeners] = [line for line in lines if line.startswith("listeners=")]
    return listeners.rpartition(":")[2]


def memory_bytes(worker: WorkerProcess) -> int:
    """Return the resident memory of a worker."""
    pages = int(Path(f"/proc/{worker.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_a_broker_that_hangs_is_waited_for_in_bounded_memory(deployment: Deployment) -> None:
    """10 s without a word in the midst of a backlog: memory stays, and nothing is lost."""
    pid = node_pid(deployment.broker)
    deployment.create_topics()
    traces = 20_000
    deployment.feed(events_of(range(1, traces + 1)))
    worker = deployment.worker(
        *WAITS,
        *("--exit-after", traces * SPANS, "--drain-seconds", 240),
        settings=SMALL_STEPS,
    )
    wait_for_commits(deployment, worker, 1_000)
    before = memory_bytes(worker)
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(10)
        after = memory_bytes(worker)
    finally:
        os.kill(pid, signal.SIGCONT)
    print(f"memory: {before >> 20} MB, after 10 s without the broker {after >> 20} MB")
    assert after < before + (64 << 20)
    assert_all_is_there(deployment, worker, traces)


def test_a_broker_that_is_down_for_a_while_is_outlived(deployment: Deployment) -> None:
    """Down in the middle of commits, longer than a transaction lives: the same worker goes on."""
    node_pid(deployment.broker)
    deployment.create_topics()
    traces = 20_000
    deployment.feed(events_of(range(1, traces + 1)))
    worker = deployment.worker(
        *WAITS,
        *("--exit-after", traces * SPANS, "--drain-seconds", 240),
        settings=SMALL_STEPS,
    )
    wait_for_commits(deployment, worker, 1_000)
    run_node(deployment.broker, "stop")
    time.sleep(AWAY_SECONDS)
    assert worker.is_alive, worker.tail()
    run_node(deployment.broker, "start")
    assert_all_is_there(deployment, worker, traces)


# --- at least once


def dying_worker(deployment: Deployment, cut: int, *arguments: object) -> WorkerProcess:
    """Start a worker that dies at a cut, between its outputs and its state."""
    command = [sys.executable, "-m", "tests.fault.dies_between", str(cut), "worker"]
    command += ["--group", deployment.group, "--state-dir", str(deployment.folder / "state")]
    environment = deployment.environment | {
        "SPANLOOM_DELIVERY": "at_least_once",
        "SPANLOOM_SESSION_TIMEOUT_SECONDS": "6",
        "SPANLOOM_CUT_INTERVAL_SECONDS": "0.1",
    }
    place = deployment.folder / f"worker-{len(deployment.workers)}"
    worker = WorkerProcess([*command, *map(str, arguments)], environment, place)
    deployment.workers.append(worker)
    return worker


def test_without_transactions_nothing_is_lost_and_repeats_are_equal(
    deployment: Deployment,
) -> None:
    """Killed between outputs and state: what is said twice says the same, and all is said."""
    deployment.create_topics()
    each, kills = 300, 3
    traces = each * (kills + 1)
    for kill in range(kills):
        deployment.feed(events_of(range(1 + kill * each, 1 + (kill + 1) * each)))
        worker = dying_worker(deployment, 1 + kill, *WAITS)  # four partitions close their traces
        assert worker.wait(90) == -signal.SIGKILL, worker.tail()
    deployment.feed(events_of(range(1 + kills * each, traces + 1)))
    last = deployment.worker(
        *WAITS,
        *("--exit-after", traces * SPANS, "--drain-seconds", 240),
        settings={"delivery": "at_least_once"},
    )
    assert last.wait(END_SECONDS) == 0, last.tail()
    published = deployment.read_by(TRACES, decode)
    assert_spans_are_whole(published, expected(traces))
    assert balance(last.accounting()) == 0
    said: dict[tuple[str, int], list[str]] = defaultdict(list)
    for trace in published:
        content = {k: v for k, v in trace.items() if k not in ("closed_by", "spans")}
        content["spans"] = span_ids(trace)
        said[trace["trace_id"], trace["revision"]].append(json.dumps(content, sort_keys=True))
    repeated = sum(len(contents) - 1 for contents in said.values())
    unequal = [name for name, contents in said.items() if len(set(contents)) > 1]
    print(f"at least once, {kills} kills: {repeated} of {len(said)} repeated")
    assert repeated > 0, "each of the kills was after outputs that count for nothing"
    assert unequal == []
    assert len(highest(published)) == traces
