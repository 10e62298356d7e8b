"""Workers that stop, die or join while records flow: the others go on where they were."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streams.codec.records import decode
from tests.fault.harness import (
    SESSION_SECONDS,
    TRACES,
    Deployment,
    WorkerProcess,
    assert_revisions_are_whole,
    assert_spans_are_whole,
    wait_for,
)
from tests.fault.nezha import Recording, read_recording

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

ROWS = 40_000
PACE = 4_000.0
"""Rows a second: the feed lasts longer than what is done to the workers meanwhile."""
STOP_SECONDS = 30.0
END_SECONDS = 120.0


@pytest.fixture(scope="module")
def recording(data_dir: Path) -> Recording:
    """Return the first rows of the recording and their truth."""
    return read_recording(data_dir, ROWS)


@contextmanager
def fed(deployment: Deployment, recording: Recording) -> Iterator[None]:
    """Feed the recording while the block runs; all of it has been sent at its end."""
    counts: list[int] = []
    thread = threading.Thread(
        target=lambda: counts.append(deployment.feed(recording.events(), PACE)), daemon=True
    )
    thread.start()
    yield
    thread.join(4 * END_SECONDS)
    assert counts == [recording.rows]


def assert_all_is_there(
    deployment: Deployment, recording: Recording, worker: WorkerProcess
) -> None:
    """Fail unless the worker ended well and everything fed was published once."""
    assert worker.wait(END_SECONDS) == 0, worker.tail()
    traces = deployment.read_by(TRACES, decode)
    assert_revisions_are_whole(traces)
    assert_spans_are_whole(traces, recording.spans)
    assert worker.accounting() == recording.accounting


def wait_until_it_reads(deployment: Deployment, worker: WorkerProcess, records: int = 1) -> None:
    """Wait until records have been committed beyond those there are now."""
    wanted = deployment.committed() + records
    wait_for(
        lambda: deployment.committed() >= wanted, 60, lambda: f"commits: {worker.tail()}", worker
    )


def test_sigterm_in_the_midst_of_work_ends_well(
    deployment: Deployment, recording: Recording
) -> None:
    """SIGTERM commits what is done and exits 0 in time; the next worker goes on from there."""
    deployment.create_topics()
    with fed(deployment, recording):
        worker = deployment.worker()
        wait_until_it_reads(deployment, worker, 1_000)
        began = time.monotonic()
        worker.terminate()
        code = worker.wait(STOP_SECONDS)
        print(f"sigterm: exit {code} after {time.monotonic() - began:.1f} s")
        assert code == 0, worker.tail()
        next_worker = deployment.worker("--exit-after", recording.rows, "--drain-seconds", 240)
    assert_all_is_there(deployment, recording, next_worker)


def test_sigterm_before_the_first_assignment_ends_well(deployment: Deployment) -> None:
    """A worker that is stopped while it joins its group exits 0, too."""
    deployment.create_topics()
    worker = deployment.worker()
    made = deployment.folder / "state" / deployment.group / "faust"
    wait_for(made.is_dir, 60, lambda: f"no worker: {worker.tail()}", worker)
    worker.terminate()
    assert worker.wait(STOP_SECONDS) == 0, worker.tail()


def test_two_workers_share_the_work_and_one_takes_over(
    deployment: Deployment, recording: Recording
) -> None:
    """Two instances do all once; one is killed, the other has its partitions after a session."""
    deployment.create_topics()
    end = ("--exit-after", recording.rows, "--drain-seconds", 240)
    one = deployment.worker(*end, instance="one", state="one")
    one.wait_until_restored(deployment.partitions)
    two = deployment.worker(*end, instance="two", state="two")
    two.wait_until_restored(1)
    with fed(deployment, recording):
        wait_until_it_reads(deployment, two, 1_000)
        theirs = len(joined(two))
        before = len(joined(one))
        assert 0 < theirs < deployment.partitions
        two.kill()
        taken = wait_for(
            lambda: len(joined(one)) >= before + theirs,
            SESSION_SECONDS + 60,
            lambda: f"{theirs} partitions taken over: {one.tail()}",
            one,
        )
        print(f"takeover: {theirs} of {deployment.partitions} partitions in {taken:.1f} s")
    assert_all_is_there(deployment, recording, one)


def joined(worker: WorkerProcess) -> list[str]:
    """Return the join tasks that a worker restored, in order; again each time it took one."""
    names = [str(event["task"]) for event in worker.events("task_restored")]
    return [name for name in names if name.startswith("join")]


def test_who_comes_back_gets_its_share(deployment: Deployment) -> None:
    """Two workers can hold all of three's partitions: the third is not left without one."""
    deployment.create_topics()
    workers = {}
    for name in ("one", "two", "three"):
        workers[name] = deployment.worker(instance=name, state=name)
    for worker in workers.values():
        worker.wait_until_restored(1)
    gone = workers.pop("three")
    before = sum(len(joined(one)) for one in workers.values())
    gone.kill()
    wait_for(
        lambda: sum(len(joined(one)) for one in workers.values()) > before,
        SESSION_SECONDS + 30,
        lambda: f"the others took over: {[worker.tail() for worker in workers.values()]}",
    )
    back = deployment.worker(instance="three", state="three")
    back.wait_until_restored(1)
