"""The monitor: what it finds at a worker, when it calls it ready, and what it lets it end with."""

import threading
from typing import Any

import pytest
from structlog.testing import capture_logs

from streams.errors import BrokerError, StalledError
from streams.monitoring.liveness import Cause, Complaint, Limits
from streams.monitoring.meter import no_bounds
from streams.monitoring.view import health, ready
from streams.runtime import monitor as monitor_module
from streams.runtime.monitor import FETCH_SECONDS, Monitor, error_of
from tests.unit.runtime.fake_link import Connection, FakeLink, Host, Runner

NAME = f"{threading.current_thread().name} {threading.get_ident()}"
LIMITS = Limits(broker_seconds=60, stalled_seconds=40)


class Bench:
    """A monitor over one join task, with a clock that a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *hosts: Host) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(monitor_module.time, "monotonic", lambda: self.now)
        self.link = FakeLink()
        self.runner = Runner()
        self.host = Host("join-0", self.runner, ("a", "b"))
        self.hosts: list[Any] = [self.host, *hosts]
        for host in self.hosts:
            host.waiting_for = ""
        self.announced: list[list[str]] = []
        self.met = no_bounds()
        self.monitor = Monitor(
            LIMITS, lambda: self.hosts, self.link, self.announced.append, self.met
        )
        self.connection = Connection(self.now)
        self.link.made = [self.connection]

    def look(self, seconds: float = 1.0, *, heard: bool = True) -> None:
        """Let time pass, hear from the broker or not, and look."""
        self.now += seconds
        if heard:
            self.connection._last_action = self.now
        self.monitor.look()

    @property
    def not_ready(self) -> str:
        self.monitor.note_ready()
        return self.monitor.view.not_ready


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Return a monitor whose worker has just been made."""
    return Bench(monkeypatch)


# --- readiness


def test_a_worker_is_ready_when_it_is_restored_flows_and_has_fetched(bench: Bench) -> None:
    """Each step before that is named, and the line is said once, with all tasks."""
    bench.link.flows, bench.link.unfetched = False, {"a", "b"}
    assert bench.not_ready == "joining"
    bench.monitor.enter("restoring")
    assert bench.not_ready == "restoring"
    bench.monitor.enter("running")
    assert bench.not_ready == "resuming"
    bench.link.flows = True
    assert bench.not_ready == "first fetch not answered"
    assert bench.announced == []
    bench.link.unfetched = {"b"}
    assert bench.not_ready == ""
    assert bench.announced == [["join-0"]]
    assert ready(bench.monitor.view) == (
        200, {"ready": True, "state": "running", "tasks": ["join-0"]},
    )  # fmt: skip


def test_a_worker_without_partitions_is_ready(bench: Bench) -> None:
    """A spare has nothing to fetch, and must not hold up a rollout."""
    bench.hosts.clear()
    bench.monitor.enter("running")
    assert bench.not_ready == ""
    assert bench.announced == [[]]


def test_a_worker_whose_disk_is_full_is_well_and_not_ready(bench: Bench) -> None:
    """No restart makes room; people are told, and a rollout stops until there is some."""
    bench.monitor.enter("running")
    assert bench.not_ready == ""
    bench.host.waiting_for = "disk_full"
    assert bench.not_ready == "disk_full"
    bench.look()
    status, body = ready(bench.monitor.view)
    assert (status, body["reason"], body["state"]) == (503, "disk_full", "running")
    status, body = health(bench.monitor.view, 0.0)
    assert (status, body["healthy"]) == (200, True)
    bench.host.waiting_for = ""
    assert bench.not_ready == ""
    assert bench.monitor.view.rebalances.count == 0
    assert len(bench.announced) == 1, "the line is not said again"


def test_a_worker_that_starts_on_a_full_disk_says_so(bench: Bench) -> None:
    """Its line comes when it first consumes: with room."""
    bench.host.waiting_for = "disk_full"
    bench.monitor.enter("running")
    assert (bench.not_ready, bench.announced) == ("disk_full", [])
    bench.host.waiting_for = ""
    assert (bench.not_ready, bench.announced) == ("", [["join-0"]])


def test_a_rebalance_is_a_pause_that_is_measured(bench: Bench) -> None:
    """From revoke to the first fetch after it; the line is not said again."""
    bench.monitor.enter("running")
    assert bench.not_ready == ""
    bench.monitor.enter("rebalancing")
    assert ready(bench.monitor.view)[0] == 503
    bench.now += 2
    bench.monitor.enter("rebalancing")  # revoked twice before one assignment
    bench.monitor.enter("restoring")
    bench.now += 1
    bench.monitor.enter("running")
    rebalances = bench.monitor.view.rebalances
    assert (rebalances.count, rebalances.sum, rebalances.max) == (1, 3.0, 3.0)
    assert len(bench.announced) == 1


def test_the_first_assignment_is_no_rebalance(bench: Bench) -> None:
    """The client revokes nothing before it joins; there was nothing to pause."""
    bench.monitor.enter("rebalancing")
    bench.monitor.enter("running")
    assert bench.not_ready == ""
    assert bench.monitor.view.rebalances.count == 0


def test_a_stop_is_never_left(bench: Bench) -> None:
    """The revoke of a worker that leaves its group is part of its stop, and it is well."""
    bench.monitor.enter("running")
    bench.monitor.end(None)
    bench.monitor.enter("rebalancing")
    bench.look(1_000.0, heard=False)
    assert bench.not_ready == "stopping"
    assert ready(bench.monitor.view)[0] == 503
    status, body = health(bench.monitor.view, 0.0)
    assert (status, body["state"], body["reasons"]) == (200, "stopping", [])


def test_a_worker_that_ends_with_an_error_stays_unhealthy(bench: Bench) -> None:
    """Until the process is gone, whoever asks hears what it ends with."""
    bench.monitor.enter("running")
    bench.monitor.end(StalledError("task join-0 stands still."))
    status, body = health(bench.monitor.view, 0.0)
    assert (status, body["healthy"], body["state"]) == (503, False, "stopping")
    assert body["failed"] == "task join-0 stands still."


# --- liveness


def test_lag_of_all_topics_is_what_a_task_must_get_through(bench: Bench) -> None:
    """A topic whose lag nobody knows adds nothing; it must have been fetched, though."""
    bench.monitor.enter("running")
    bench.link.lags = {"a": 5, "b": None}
    bench.look()
    (seen,) = bench.monitor.view.waits.seen.tasks
    assert (seen.lag_records, seen.is_fetched) == (5, True)
    bench.link.unfetched = {"b"}
    bench.look()
    assert not bench.monitor.view.waits.seen.tasks[0].is_fetched
    bench.runner.held = frozenset({"b"})
    bench.look()
    assert bench.monitor.view.waits.seen.tasks[0].is_fetched, "a held topic is not asked"


def test_a_topic_whose_fetches_are_not_answered_is_not_read_to_its_end(bench: Bench) -> None:
    """Its lag is as of the last answer: 0 says nothing when that is old."""
    bench.monitor.enter("running")
    bench.link.answer_age_seconds = {"b": FETCH_SECONDS + 1}
    bench.look()
    (seen,) = bench.monitor.view.waits.seen.tasks
    assert (seen.lag_records, seen.is_fetched) == (0, False)
    bench.link.answer_age_seconds = {"b": FETCH_SECONDS - 1}
    bench.look()
    assert bench.monitor.view.waits.seen.tasks[0].is_fetched


def test_a_task_that_rests_excuses_no_other(bench: Bench) -> None:
    """None waits for room in the inbox of another: what stands beside it stands for itself."""
    resting = Host("join-1", Runner())
    resting.rest = "restoring"
    bench.hosts.append(resting)
    bench.monitor.enter("running")
    bench.look()
    rests = {task.task: task.rest for task in bench.monitor.view.waits.seen.tasks}
    assert rests == {"join-0": "", "join-1": "restoring"}


def test_a_task_that_stands_still_ends_the_worker(bench: Bench) -> None:
    """Unhealthy from half of the limit on, with the task named; then an error of exit code 3."""
    bench.monitor.enter("running")
    bench.link.lags = {"a": 5}
    for _ in range(22):
        bench.look()
    assert bench.monitor.failure() is None
    status, body = health(bench.monitor.view, 0.0)
    assert (status, body["healthy"]) == (503, False)
    assert [(r["cause"], r["task"], r["limit_seconds"]) for r in body["reasons"]] == [
        ("stalled", "join-0", 40)
    ]
    assert body["tasks"]["join-0"]["lag_by_topic"] == {"a": 5}
    for _ in range(20):
        bench.look()
    with capture_logs() as said:
        failure = bench.monitor.failure()
    assert isinstance(failure, StalledError)
    [one] = [event for event in said if event["event"] == "worker_stands_still"]
    assert (one["cause"], one["task"], one["tasks"][0]["lag"]) == (
        ("stalled", "join-0", {"a": 5, "b": 0})
    )
    assert any("test_monitor.py" in line for line in one["threads"][NAME])
    assert failure.exit_code == 3
    assert "task join-0 is 5 records behind" in str(failure)
    assert "Operator action: " in str(failure)


def test_a_silent_broker_ends_the_worker(bench: Bench) -> None:
    """It is the broker's error, and the task that could not get on is not blamed."""
    bench.monitor.enter("running")
    bench.look()
    bench.link.lags = {"a": 5}
    for _ in range(61):
        bench.look(heard=False)
    failure = bench.monitor.failure()
    assert isinstance(failure, BrokerError)
    assert str(failure).startswith("no answer from the broker for 61 s. Operator action: ")


def test_bounds_that_acted_are_those_of_the_process_and_of_its_tasks(bench: Bench) -> None:
    """0 where none did; not of a task that another worker has now."""
    bench.look()
    none = {("", "heap_free_bytes_max"): 0, ("join-0", "fold_bytes_max"): 0}
    assert bench.monitor.view.bounds_met == none
    bench.met["join-0"]["fold_bytes_max"] += 3
    bench.met["join-1"]["fold_bytes_max"] += 5
    bench.met[""]["heap_free_bytes_max"] = 2
    bench.look()
    assert bench.monitor.view.bounds_met == {
        ("", "heap_free_bytes_max"): 2,
        ("join-0", "fold_bytes_max"): 3,
    }
    assert bench.met.keys() == {"", "join-0", "join-1"}, "a look makes no counter"


def test_looks_are_taken_now_and_then(bench: Bench) -> None:
    """The loop turns more often than the worker looks at itself."""
    before = bench.monitor.view
    bench.monitor.look_now_and_then()
    assert bench.monitor.view is before
    bench.now += 1
    bench.monitor.look_now_and_then()
    assert bench.monitor.view is not before


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        ("broker_silent", BrokerError),
        ("stalled", StalledError),
        ("uncommitted", StalledError),
        ("unassigned", StalledError),
        ("loop_blocked", StalledError),
    ],
)
def test_every_cause_ends_with_an_action(cause: Cause, kind: type[Exception]) -> None:
    """Whatever ends a worker says what its operator can do, and lets a supervisor restart it."""
    error = error_of(Complaint(cause, "", 50, 40, "it waits"))
    assert type(error) is kind
    assert error.exit_code == 3
    assert str(error).startswith("it waits. Operator action: ")


# --- the log of a broker that is away


def test_a_broker_that_is_away_is_told_of_once_and_again_ever_more_seldom(bench: Bench) -> None:
    """The log says what is so and what to do long before the end, in few lines, and the return."""
    bench.monitor.enter("running")
    bench.look()
    bench.look()
    with capture_logs() as lines:
        for _ in range(45):
            bench.look(heard=False)
        bench.look()
        bench.look()
    told = [line for line in lines if line["event"] == "broker_silent"]
    assert [line["seconds"] for line in told] == [10.0, 20.0, 40.0]
    assert {line["limit_seconds"] for line in told} == {LIMITS.broker_seconds}
    assert all("check the broker" in line["action"] for line in told)
    assert [line["silent_seconds"] for line in lines if line["event"] == "broker_answers"] == [45.0]
    with capture_logs() as lines:
        bench.look(4.0, heard=False)
        bench.look()
    assert lines == [], "a short silence is nobody's business"
