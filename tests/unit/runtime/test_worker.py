"""The worker: an assignment that tears traces is refused, and a failed end is not a good one."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest
from faust.types.tuples import TP

from streams.errors import BrokerError, StalledError, StateError
from streams.monitoring.view import health
from streams.runtime import ending
from streams.runtime import worker as worker_module
from streams.runtime.build import load_pipeline
from streams.runtime.changelog import Restored
from streams.runtime.task import TaskId
from streams.runtime.topics import LINKS, OTHER
from streams.runtime.worker import Worker
from streams.settings import load_settings


class FakeHost:
    """A host whose last cut fails with `error`, if it has one."""

    may_cut = True

    def __init__(self, error: BrokerError | None = None) -> None:
        self.id = TaskId("join", 0)
        self.failed: BrokerError | None = None
        self.stopped_with_cut: bool | None = None
        self._error = error

    async def stop(self, *, cut: bool) -> None:
        self.stopped_with_cut = cut
        if cut:
            self.failed = self._error


class FakeApp:
    """A Kafka client that ends well."""

    async def stop(self) -> None:
        return None


def worker_of(folder: Path, **settings: Any) -> Worker:
    """Return a worker without a contract; it has not been prepared."""
    return Worker(load_pipeline(load_settings(state_dir=folder, **settings)))


def ended(folder: Path, hosts: list[Any], prepare: Callable[[Worker], None]) -> Worker:
    """Return a worker that has shut its tasks down."""

    async def story() -> Worker:
        worker = worker_of(folder)
        worker.hosts = {TaskId("join", i): host for i, host in enumerate(hosts)}
        prepare(worker)
        starting = asyncio.create_task(asyncio.sleep(0))
        app: Any = FakeApp()
        await worker._shut_down(app, starting)
        return worker

    return asyncio.run(story())


def test_a_stop_whose_last_commit_failed_is_a_failure(tmp_path: Path) -> None:
    """The worker does not end with 0 when what it had done could not be committed."""
    error = BrokerError("the outcome of a commit is unknown")
    worker = ended(tmp_path, [FakeHost(), FakeHost(error)], lambda _worker: None)
    assert worker.error is error


def test_a_good_stop_commits_all_tasks(tmp_path: Path) -> None:
    """Every task cuts what it has, and nothing is reported."""
    hosts = [FakeHost(), FakeHost()]
    worker = ended(tmp_path, hosts, lambda _worker: None)
    assert [host.stopped_with_cut for host in hosts] == [True, True]
    assert worker.error is None


def test_after_a_failure_nothing_more_is_committed(tmp_path: Path) -> None:
    """The first error is the one told; the other tasks end at their last commit."""
    first = StateError("damaged")
    hosts = [FakeHost(BrokerError("never asked"))]

    def break_it(worker: Worker) -> None:
        worker.error = first

    worker = ended(tmp_path, hosts, break_it)
    assert hosts[0].stopped_with_cut is False
    assert worker.error is first


class StuckHost(FakeHost):
    """A host that waits for the broker; it ends with a cut only."""

    async def stop(self, *, cut: bool) -> None:
        if not (cut and self.may_cut):
            await asyncio.sleep(3600)
        await super().stop(cut=cut)


def test_a_task_that_waits_for_the_broker_does_not_use_up_the_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failure, or while a task is being restored, there is nothing to commit."""
    monkeypatch.setattr(ending, "HOST_SECONDS", 0.05)
    first = StateError("damaged")
    restoring, other = StuckHost(), StuckHost()
    restoring.may_cut = False
    worker = ended(tmp_path, [restoring, other], lambda _worker: None)
    assert (restoring.stopped_with_cut, other.stopped_with_cut) == (None, True)
    assert worker.error is None

    def break_it(worker: Worker) -> None:
        worker.error = first

    assert ended(tmp_path, [StuckHost(), FakeHost()], break_it).error is first


def test_topics_of_a_partition_stay_together(embedded: str, tmp_path: Path) -> None:
    """A partition of which another worker has some topics is refused: traces would be torn."""

    async def story() -> Worker:
        worker = worker_of(tmp_path, broker=embedded, embedded=True)
        worker.prepare()
        with pytest.raises(StateError, match=rf"partition 2 of \['{LINKS}'\].*Operator action"):
            await worker.assigned({TP(OTHER, 2)})
        return worker

    worker = asyncio.run(story())
    assert isinstance(worker.error, StateError), "the worker ends with it"
    assert worker.hosts == {}


class RefusedHost(FakeHost):
    """A host whose cut was refused, and which notes what an assignment does to it."""

    id = TaskId("join", 0)
    is_paused = True
    is_closed = False

    def __init__(self, *, is_refused: bool) -> None:
        super().__init__()
        self.is_refused = is_refused
        self.did: list[str] = []
        self.runner = SimpleNamespace(positions={})

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def do(*_: object) -> Any:
            self.did.append(name)
            return SimpleNamespace(restored=Restored([], 0, 0, 0.0), load_seconds=0.0)

        return do


def assigned(folder: Path, host: RefusedHost, prepare: Callable[[Worker], None]) -> Worker:
    """Return a worker whose task stays with it in an assignment."""

    async def story() -> Worker:
        worker = worker_of(folder)
        worker._add_kind("join", (OTHER,), lambda _partition: None, 1)
        worker._takeovers._go_on = AsyncMock()
        worker.hosts = {host.id: cast(Any, host)}
        prepare(worker)
        await worker.assigned({TP(OTHER, 0)})
        while worker.monitor.view.phase == "restoring":
            await asyncio.sleep(0.005)
        return worker

    return asyncio.run(story())


@pytest.mark.parametrize("is_refused", [True, False])
def test_an_assignment_restores_what_was_refused_and_nothing_else(
    tmp_path: Path, is_refused: bool
) -> None:
    """A task that stays keeps its memory, unless that was thrown away."""
    host = RefusedHost(is_refused=is_refused)
    worker = assigned(tmp_path, host, lambda _worker: None)
    steps = ["fence", "recover", "adopt", "begin", "start"]
    assert host.did == (steps if is_refused else [])
    assert (list(worker.hosts), host.is_paused) == ([host.id], False)


def test_a_worker_that_stops_takes_nothing_over(tmp_path: Path) -> None:
    """A rebalance may end while it leaves the group: whoever is next must not be fenced."""
    host = RefusedHost(is_refused=True)
    assigned(tmp_path, host, lambda worker: worker._is_over.set())
    assert host.did == []


def test_the_others_hear_of_a_stop_before_the_client_has_stopped(tmp_path: Path) -> None:
    """The group is left after the last cut, which needs the membership, and before all the rest."""
    did: list[str] = []

    class Client:
        async def leave_group(self) -> None:
            did.append("left")
            raise TimeoutError  # a session later the others have them all the same

    class Host(FakeHost):
        async def stop(self, *, cut: bool) -> None:
            did.append("cut")

    class App(FakeApp):
        async def stop(self) -> None:
            did.append("stopped")

    async def story() -> Worker:
        worker = worker_of(tmp_path)
        worker.hosts = {TaskId("join", 0): cast(Any, Host())}
        worker._client = cast(Any, Client())
        await worker._shut_down(cast(Any, App()), asyncio.create_task(asyncio.sleep(0)))
        return worker

    assert asyncio.run(story()).error is None
    assert did == ["cut", "left", "stopped"]


def test_a_worker_is_ready_once_and_ends_with_what_its_monitor_finds(
    embedded: str, tmp_path: Path
) -> None:
    """On a broker, if a simple one: ready with all its tasks, well while idle, then stalled."""
    said: list[list[str]] = []
    settings = load_settings(
        broker=embedded, embedded=True, state_dir=tmp_path, stalled_timeout_seconds=5
    )
    worker = Worker(load_pipeline(settings), on_ready=said.append)
    worker.prepare()
    error = StalledError("task join-0 stands still. Operator action: none.")

    async def story() -> None:
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(240):
            while not said and not running.done():
                await asyncio.sleep(0.05)
        await asyncio.sleep(6)  # an idle worker is well for longer than its limit
        assert not running.done()
        assert worker.monitor.view.complaints(0.0) == ()
        worker.monitor.failure = lambda: error  # type: ignore[method-assign]
        await asyncio.wait_for(running, 240)

    with pytest.raises(StalledError):
        asyncio.run(story())
    joins = [task for task in said[0] if task.startswith("join-")]
    assert (len(said), len(joins)) == (1, 4)
    assert health(worker.monitor.view, 0.0)[1]["failed"] == str(error)


@pytest.mark.parametrize(
    "kind", ["join", "fragments", "fidelity", "signals", "causes", "external", "incidents"]
)
def test_every_kind_of_task_has_its_topics_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Whatever a task reads, it reads all of, and from a partition that this worker knows of."""
    worker = prepared(tmp_path, monkeypatch)
    topics_of = worker._kinds[kind]
    many = 4 if kind in ("join", "fragments") else 1
    whole = set(topics_of)
    worker._assert_whole({TaskId(kind, many - 1): whole})
    with pytest.raises(StateError, match=r"was added while.*stop all workers of the group"):
        worker._assert_whole({TaskId(kind, many): whole})
    with pytest.raises(StateError, match=r"went to another worker.*Operator action"):
        worker._assert_whole({TaskId(kind, 0): whole - {topics_of[-1]}})


def prepared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    """Return a worker that found four partitions on a broker that it believes to be real."""
    monkeypatch.setattr(worker_module.topics, "admin", lambda _base: None)
    monkeypatch.setattr(worker_module.topics, "check", lambda *_: 4)
    monkeypatch.setattr(worker_module.topics, "create", lambda *_, who: [])
    monkeypatch.setattr(worker_module, "committed_offsets", lambda *_: {})
    monkeypatch.setattr(worker_module.topics, "check_kept", lambda *_: None)
    monkeypatch.setattr(worker_module.rights, "check", lambda *_: None)
    monkeypatch.setattr(worker_module.topic_policies, "check", lambda *_: None)
    monkeypatch.setattr(worker_module.Link, "reach", lambda _link: None)
    worker = worker_of(folder)
    worker.prepare()
    return worker


def test_a_group_that_never_answers_does_not_hold_up_the_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that no longer lets us in did, until the stop's deadline cut it short."""

    class Silent:
        async def leave_group(self) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(worker_module, "LEAVE_SECONDS", 0.01)
    stopping = Worker.__new__(Worker)
    stopping._client = cast(Any, Silent())
    asyncio.run(stopping._leave_group())
