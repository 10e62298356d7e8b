"""A span that comes after its trace was published amends the trace: revision 2, whole."""

import pytest

from streams.codec.records import decode
from tests.fault.harness import (
    TRACES,
    Deployment,
    Event,
    Feeder,
    WorkerProcess,
    assert_revisions_are_whole,
    balance,
    highest,
    span_ids,
    wait_for,
)
from tests.integration.traces import event_of, trace_of

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

TOPIC = "telemetry.other.v1"
START_US = 1_700_000_000_000_000
MINUTE_US = 60_000_000
OPTIONS = ("--fixed-waits", 5, "--closed-retention", 600)


def send(deployment: Deployment, *events: Event) -> None:
    with Feeder(deployment.broker) as feeder:
        for event in events:
            feeder.send(TOPIC, event)


def wait_for_revision(
    deployment: Deployment, worker: WorkerProcess, trace: int, revision: int
) -> None:
    """Wait until a revision of a trace can be read."""

    def there() -> bool:
        traces = deployment.read_by(TRACES, decode)
        return any(t["trace_id"] == f"{trace:032x}" and t["revision"] == revision for t in traces)

    wait_for(there, 60, lambda: f"trace {trace}, revision {revision}: {worker.tail()}", worker)


@pytest.mark.parametrize("hurt", ["nothing", "state_lost"])
def test_a_late_span_makes_the_next_revision_with_all_spans(
    deployment: Deployment, hurt: str
) -> None:
    """Minutes later the late span is joined to the published ones; a repeat is a duplicate."""
    deployment.partitions = 1  # one stream of time for all traces
    deployment.create_topics()
    first = trace_of(1, spans=3, start_us=START_US)
    late = event_of(1, 4, START_US + 4_000)
    later = event_of(1, 5, START_US + 5_000)
    worker = deployment.worker(*OPTIONS)
    send(deployment, *first, event_of(2, 1, START_US + 2 * MINUTE_US))
    wait_for_revision(deployment, worker, trace=1, revision=1)
    if hurt == "state_lost":
        worker.kill()
        deployment.lose_state()
        worker = deployment.worker(*OPTIONS)
    send(deployment, late, first[1], event_of(3, 1, START_US + 4 * MINUTE_US))
    wait_for_revision(deployment, worker, trace=1, revision=2)
    send(deployment, later, late, event_of(4, 1, START_US + 6 * MINUTE_US))
    wait_for_revision(deployment, worker, trace=1, revision=3)
    worker.terminate()
    assert worker.wait(30) == 0, worker.tail()
    worker = deployment.worker(*OPTIONS, "--exit-after", 10, "--drain-seconds", 240)
    assert worker.wait(90) == 0, worker.tail()

    traces = deployment.read_by(TRACES, decode)
    assert_revisions_are_whole(traces)
    mine = {t["revision"]: span_ids(t) for t in traces if t["trace_id"] == f"{1:032x}"}
    ids = [f"{n:016x}" for n in range(1, 6)]
    assert mine == {1: ids[:3], 2: ids[:4], 3: ids}
    assert {t["span_count"] for t in highest(traces).values()} == {1, 5}
    accounting = worker.accounting()
    print(f"late ({hurt}):", accounting)
    assert balance(accounting) == 0
    assert accounting["duplicate"] == 2
    assert (accounting["accepted"], accounting["joined"], accounting["late"]) == (10, 8, 0)
