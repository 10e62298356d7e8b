"""The SDK while its broker is stopped and started again: a pipeline unharmed, and exact counts."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from streams.codec.records import decode
from streams.runtime.topics import admin, create, spec
from streams.sdk import Telemetry
from tests.fault.harness import REPOSITORY, read_committed, wait_for
from tests.integration.conftest import BROKER_SCRIPT, START_SECONDS_MAX
from tests.ports import free_ports

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

TOPIC = "telemetry.alpha.v1"
AWAY_SECONDS = 6.0
BUFFER_BYTES = 1 << 20
QUEUE_EVENTS = 2_000
OUTAGE_EVENTS = 20_000
"""More than queue and buffer hold: some must be dropped."""
CHILD = """
import multiprocessing, sys
from streams.sdk import Telemetry
t = Telemetry("ALPHA", "parser", sys.argv[1], exit_seconds_max=60)
def work(n):
    for _ in range(100):
        with t.span(f"child.{n}"): pass
if __name__ == "__main__":
    with t.span("parent.before"): pass
    t.flush(120)
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=work, args=(n,)) for n in range(3)]
    for one in children: one.start()
    with t.span("parent.after"): pass
    for one in children: one.join(240)
    assert [one.exitcode for one in children] == [0, 0, 0]
"""


class Node:
    """A broker that may be stopped and started on the same address."""

    def __init__(self) -> None:
        port, controller = free_ports(2)
        self.address = f"127.0.0.1:{port}"
        self._environment = {**os.environ, "PORT": str(port), "CONTROLLER_PORT": str(controller)}

    def run(self, *arguments: str) -> None:
        # No pipe: the node inherits these descriptors.
        done = subprocess.run(
            [BROKER_SCRIPT, *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            timeout=START_SECONDS_MAX,
            check=False,
        )
        assert done.returncode == 0, arguments


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    made = Node()
    made.run("start", "--fresh")
    try:
        yield made
    finally:
        made.run("forget")


def new_topic(node: Node) -> None:
    create(admin({"bootstrap.servers": node.address}), [spec(TOPIC, 4)])


def events(node: Node) -> list[dict[str, object]]:
    """Return what lies in the topic, the SDK's own reports aside."""
    found = [e for m in read_committed(node.address, TOPIC) for e in decode(m.value)["events"]]
    return [e for e in found if e["component"] != "telemetry"]


def test_children_of_a_fork_send_their_own(node: Node) -> None:
    """Processes that multiprocessing forks send what they made when they end, and only that."""
    new_topic(node)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, node.address],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = events(node)
    names = [str(e["name"]) for e in found]
    assert sorted(set(names)) == ["child.0", "child.1", "child.2", "parent.after", "parent.before"]
    assert [names.count(f"child.{n}") for n in range(3)] == [100, 100, 100]
    assert names.count("parent.before") == names.count("parent.after") == 1
    assert len({e["span_id"] for e in found}) == 302


def test_an_outage_costs_telemetry_alone(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """Spans go on while the broker is away, within bounds; then sent + dropped = made, exactly."""
    new_topic(node)
    t = Telemetry(
        "ALPHA",
        "parser",
        node.address,
        buffer_bytes_max=BUFFER_BYTES,
        queue_events_max=QUEUE_EVENTS,
        delivery_seconds_max=300,
        wait_told_seconds=2.0,
    )
    made = 0

    def work(seconds: float, least: int = 1) -> None:
        """Make spans for some seconds, and go on until there are so many."""
        nonlocal made
        until, enough = time.monotonic() + seconds, made + least
        while time.monotonic() < until or made < enough:
            for _ in range(20):
                with t.span("alpha.parse", record_id=f"r-{made}", source_system="orders"):
                    made += 1
            time.sleep(0.002)

    work(1)
    assert t.flush(120)
    at_stop = made
    node.run("stop")
    work(AWAY_SECONDS, OUTAGE_EVENTS)
    counts = t.counts()
    assert counts.waiting < made - at_stop, "nothing was dropped: the outage was too short"
    sender = t.emitter.sender
    assert sender is not None
    assert vars(sender)["_buffered_bytes"] < BUFFER_BYTES + (512 << 10)
    assert len(t.emitter.queue) <= QUEUE_EVENTS
    told = [one for one in caplog.messages if "events wait since" in one]
    assert told, caplog.messages
    assert "the broker takes none of them" in told[0]
    assert "delivery_timeout 300 s after" in told[0]
    node.run("start")
    work(1)
    wait_for(lambda: t.flush(1), 120, lambda: f"sent after the outage: {t.counts()}")
    at_end = made
    work(1)
    counts = t.close(120)
    over = [one for one in caplog.messages if "takes events again" in one]
    assert len(over) == 1, caplog.messages
    most = re.search(r"up to ([0-9,]+) events waited", over[0])
    assert most is not None
    assert int(most[1].replace(",", "")) > QUEUE_EVENTS // 2
    assert counts.waits_told >= len(told)
    assert counts.waiting == 0
    assert counts.made == made == counts.sent + sum(counts.dropped.values())
    assert set(counts.dropped) == {"queue_full"}
    mine = [e for e in events(node) if e["name"] == "alpha.parse"]
    assert len(mine) == len({e["span_id"] for e in mine}) == counts.sent
    records = {str(e["record_id"]) for e in mine}
    assert {f"r-{n}" for n in range(at_stop)} <= records
    assert f"r-{made - 1}" in records
    assert at_end < made
