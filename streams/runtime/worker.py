"""The worker: the Faust app, its tasks, and their life through rebalances, failures and the end.

Faust owns membership, assignment and fetching. The worker restores tasks before the flow resumes,
feeds them chunks, cuts at every revoke, and ends with an honest exit code.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import Any, Final

import structlog
from confluent_kafka.admin import AdminClient
from faust.types.tuples import TP

from streams.errors import BrokerError, RightError, SpanloomError, StateError, said_of
from streams.monitoring.liveness import Limits
from streams.monitoring.meter import no_bounds
from streams.monitoring.watchdog import Watchdog
from streams.runtime import misnamed, open_files, rights, topic_policies, topics
from streams.runtime.app import chunk_app
from streams.runtime.build import JoinFactory, Pipeline
from streams.runtime.chunk import Chunk
from streams.runtime.commit import check_group_metadata
from streams.runtime.committing import OwnThreads, Threads
from streams.runtime.consumer_link import ConsumerLink
from streams.runtime.consumer_source import ConsumerSource
from streams.runtime.crashpoints import arm_from_environment
from streams.runtime.ending import stop_all
from streams.runtime.failures import FailureWatch, failed_task, is_good
from streams.runtime.global_stage import GlobalFactory
from streams.runtime.host import TaskHost
from streams.runtime.join_runner import JoinRunner
from streams.runtime.link import Link
from streams.runtime.monitor import Monitor
from streams.runtime.pace import Pace
from streams.runtime.reading import committed_offsets
from streams.runtime.rebalance import Rebalance
from streams.runtime.recall import recall
from streams.runtime.rekey_stage import RekeyFactory
from streams.runtime.reporting import Reporter, ports_of
from streams.runtime.restarts import restarts_told
from streams.runtime.state_folder import lock_state_folder
from streams.runtime.stop_signals import StopSignals
from streams.runtime.takeover import Takeovers
from streams.runtime.task import JOIN, Connection, HostSettings, TaskId, changelog_topic, rekey_kind
from streams.runtime.topic_ids import BrokerTopicIds, no_ids
from streams.runtime.transport import ChunkApp, ChunkConsumer
from streams.runtime.vanished import Vanished
from streams.runtime.wholeness import assert_whole

log = structlog.get_logger()
STAGES: Final = ("fragments", "fidelity", "signals", "causes", "external", "incidents")
WATCH_SECONDS: Final = 0.2
THREADS: Final = 8
STOP_SECONDS: Final = 8.0  # for the Kafka client; nothing of ours is in its hands then
LEAVE_SECONDS: Final = 3.0  # a group that no longer lets us in must not use up the stop's time


class Worker:
    """One worker process of a group.

    Args:
        pipeline: what it runs.
        link: how the broker is reached; without one no security is used.
        on_ready: called once, with the names of its tasks, when it first consumes.
        watchdog: ends the process when it cannot end itself; None where others live in it.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        link: Link | None = None,
        on_ready: Callable[[list[str]], None] | None = None,
        watchdog: Watchdog | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.settings = pipeline.settings
        self.hosts: dict[TaskId, TaskHost] = {}
        self.error: SpanloomError | None = None
        self.first_record_at: tuple[float, float] | None = None
        self.link = link or Link.plain(self.settings.broker)
        self._base: dict[str, object] = {**self.link.librdkafka(), "log_level": 2}
        self._topic_ids = no_ids if self.settings.embedded else BrokerTopicIds(self._base)
        self._is_over = Event()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="spanloom-task")
        self._recall_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="spanloom-recall")
        self._commits: Threads = OwnThreads()
        self._pace = Pace(
            self.settings.cut_interval_seconds,
            self.settings.cut_cpu_share,
            self.settings.cuts_at_once,
        )
        self._takeovers = Takeovers(self._go_on, self._note_restored)
        self._ending = asyncio.Event()
        self._rebalance = Rebalance()
        self._counts: dict[str, int] = {}
        self._kinds: dict[str, tuple[str, ...]] = {}
        self._kind_of_topic: dict[str, str] = {}
        names = {} if self.settings.embedded else self._kind_of_topic
        self._vanished = Vanished(self._base, names, self._pool)
        self._make: dict[str, Callable[[int], Any]] = {}
        self._app: ChunkApp | None = None
        self._watchdog = watchdog
        limits = Limits(
            self.settings.broker_timeout_seconds,
            self.settings.stalled_timeout_seconds,
            self.settings.unhealthy_ratio,
        )
        self._client = ConsumerLink(lambda: self._app)
        self.bounds_met = no_bounds()
        told = restarts_told(self.settings.restarted)
        self.monitor = Monitor(
            limits, self._restored, self._client, on_ready, self.bounds_met, told
        )

    # --- preparation

    def prepare(self) -> None:
        """Check the broker and its topics and make the changelogs; blocking.

        Raises:
            BrokerError: something does not fit; says what to do.
            StateError: another process holds the state folder.
        """
        pipeline = self.pipeline
        check_group_metadata()
        if self.settings.delivery == "at_least_once":
            log.warning("outputs_may_repeat", delivery=self.settings.delivery)
        arm_from_environment()
        lock_state_folder(self.settings.state_dir / self.settings.group)
        self.link.reach()
        client = topics.admin(self._base)
        read: set[str] = set()
        if self.settings.embedded:
            partitions = topics.embedded_partitions(client, self._all_topics())
        else:
            self._check_rights()
            if pipeline.rekeyed:
                topics.make_internal(client, pipeline.derived, self.link.settings.who)
            partitions = topics.check(
                client, pipeline.telemetry, pipeline.derived, pipeline.is_foreign, pipeline.rekeyed
            )
            group, prefix = self.settings.group, self.settings.derived_prefix
            read = {topic for topic, _ in committed_offsets(self.link, group)}
            misnamed.check_prefix(group, prefix, read)
        origins = self._origins(client)
        join = JoinFactory(pipeline, partitions, origins)
        self._reader = join.reader()
        self._add_kind(JOIN, join.sources.topics, join.make, partitions)
        for topic, count in origins.items():
            rekey = RekeyFactory(pipeline, topic, partitions)
            self._add_kind(rekey_kind(topic), (topic,), rekey.make, count)
        if not pipeline.is_foreign:
            stage = GlobalFactory(pipeline, partitions)
            for kind, sources in stage.kinds().items():
                count = partitions if kind == "fragments" else 1
                self._add_kind(kind, sources, partial(stage.make, kind), count)
        open_files.allow(sum(self._counts.values()))
        if not self.settings.embedded:
            logs = {kind: changelog_topic(self.settings.group, kind) for kind in self._kinds}
            specs = [topics.changelog_spec(logs[k], count) for k, count in self._counts.items()]
            made = topics.create(client, specs, who=self.link.settings.who)
            if logs[JOIN] in made and not read:
                traces = pipeline.derived(topics.TRACES)
                misnamed.tell_if_written(client, self.settings.group, traces, partitions)
            by_key = [kind for kind in (JOIN, "fragments") if kind in logs]
            topics.check_kept(client, {logs[kind]: self._counts[kind] for kind in by_key})
            topic_policies.check(client, pipeline, logs.values())
            topics.check_grown(client, {logs[rekey_kind(t)]: n for t, n in origins.items()})

    def _origins(self, client: AdminClient) -> dict[str, int]:
        """Return how many partitions each topic has that is rekeyed."""
        if not self.pipeline.rekeyed:
            return {}
        there = topics.partition_counts(client)
        return {topic: there[topic] for topic in self.pipeline.rekeyed}

    def _all_topics(self) -> list[str]:
        names = [*self.pipeline.telemetry, *(self.pipeline.derived(d) for d in topics.DERIVED)]
        return [*names, *self._changelogs()]

    def _changelogs(self) -> list[str]:
        kinds: tuple[str, ...] = (JOIN,) if self.pipeline.is_foreign else (JOIN, *STAGES)
        kinds = (*kinds, *map(rekey_kind, self.pipeline.rekeyed))
        return [changelog_topic(self.settings.group, kind) for kind in kinds]

    def _check_rights(self) -> None:
        needed = rights.of_worker(self.pipeline, self._changelogs())
        rights.check(self._base, needed, self.link.settings.who)

    def _add_kind(
        self, kind: str, sources: tuple[str, ...], make: Callable[[int], Any], count: int
    ) -> None:
        self._kinds[kind] = sources
        self._counts[kind] = count
        self._make[kind] = make
        self._kind_of_topic.update(dict.fromkeys(sources, kind))

    # --- running

    async def run(self, on_ready: Callable[[], None] | None = None) -> None:
        """Run until told to stop, until `exit_after` is reached, or until something breaks.

        Raises:
            SpanloomError: what broke; nothing uncommitted was published.
        """
        loop = asyncio.get_running_loop()
        reporter = self._make_reporter()
        is_hard, is_supervised = self._watchdog is not None, self.settings.supervised
        StopSignals(self.stop, is_hard=is_hard, is_supervised=is_supervised).install()
        if self._watchdog is not None:
            self._watchdog.start()
        await self.link.greet()
        app = self._app = self._make_app()
        app.seats = self
        # Faust's start returns after the first assignment: a task that cannot be restored, or a
        # stop before that, would wait for it for ever.
        starting = loop.create_task(app.start())
        if on_ready is not None:
            starting.add_done_callback(lambda done: on_ready() if is_good(done) else None)
        try:
            await self._watch(starting)
        finally:
            self._name_cause()  # before the stop: one that is cut short must still name it
            self.monitor.end(self.error)
            if self._watchdog is not None:
                self._watchdog.stopping("" if self.error is None else str(self.error))
            await self._shut_down(app, starting)
            await reporter.stop()
        if self.error is not None:
            raise self.error
        log.info("worker_stopped")

    def _name_cause(self) -> None:
        """Ask the broker again where it refused: a client in the middle of its work says little."""
        is_plain = self.link.settings.security_protocol == "PLAINTEXT"
        try:
            if isinstance(self.error, RightError):
                self._check_rights()
            elif isinstance(self.error, BrokerError) and not is_plain:
                self.link.reach()
        except SpanloomError as named:
            self.error = named

    def _make_reporter(self) -> Reporter:
        watchdog = self._watchdog
        return Reporter(
            lambda: self.monitor.view,
            lambda: watchdog.blocked_seconds if watchdog is not None else 0.0,
            ports_of(self.settings),
        )

    def stop(self) -> None:
        """Ask the worker to end: cut what is done, leave the group, exit."""
        if not self._ending.is_set():
            log.info("told_to_stop")
        self._ending.set()

    def _make_app(self) -> ChunkApp:
        app = chunk_app(self.settings, self.link)
        source = app.topic(*self._kind_of_topic, value_serializer="raw", key_serializer="raw")

        async def take(stream: Any) -> None:
            async for event in stream.events():
                chunk: Chunk = event.value
                if self.first_record_at is None:
                    self.first_record_at = time.monotonic(), time.process_time()
                host = self._host(TP(chunk.topic, chunk.partition))
                if host is not None:
                    host.put(chunk)

        app.agent(source, concurrency=1, name="take")(take)
        app.finalize()
        return app

    def _host(self, tp: TP) -> TaskHost | None:
        return self.hosts.get(TaskId(self._kind_of_topic[tp.topic], tp.partition))

    @property
    def consumer(self) -> ChunkConsumer:
        """Faust's consumer, which must be ours."""
        assert self._app is not None
        consumer = self._app.consumer
        assert isinstance(consumer, ChunkConsumer)
        return consumer

    async def _watch(self, starting: asyncio.Task[None]) -> None:
        """Wait for the end; notice failures, a silent broker and the reached count."""
        assert self._app is not None
        drained_by: float | None = None
        failures = FailureWatch(self._vanished, self.link.settings.who)
        while not self._ending.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), WATCH_SECONDS)
            self.error = failures.look(self.hosts.values(), self.error, starting, self._app)
            if self.error is not None:
                return
            if self._watchdog is not None:
                self._watchdog.turned()
            self.monitor.note_ready()
            self.monitor.look_now_and_then()
            self.error = self.monitor.failure()
            if self.error is not None:
                return
            if self.settings.exit_after and self.records() >= self.settings.exit_after:
                drained_by = drained_by or time.monotonic() + self.settings.drain_seconds
                if self._is_drained() or time.monotonic() > drained_by:
                    return

    def _restored(self) -> list[TaskHost]:
        """Return the hosts of the tasks whose state is there."""
        return [h for t, h in self.hosts.items() if not self._takeovers.is_restoring(t)]

    def joins(self) -> dict[TaskHost, JoinRunner]:
        """Return the hosts of this worker's join tasks with their runners."""
        return {h: h.runner for h in self._restored() if isinstance(h.runner, JoinRunner)}

    def records(self) -> int:
        """Return how many telemetry records are in the state of this worker's partitions."""
        return sum(r.task.state.accounts["accepted"] for r in self.joins().values())

    def last_step_at(self) -> tuple[float, float] | None:
        """Return (seconds, CPU seconds) after the latest step of a join that took records in."""
        return max((host.stepped_at for host in self.joins() if host.stepped_at), default=None)

    def accounting(self) -> dict[str, int]:
        """Return the accounts of this worker's partitions, added up."""
        total: dict[str, int] = {}
        for runner in self.joins().values():
            for account, n in runner.task.state.accounting().items():
                total[account] = total.get(account, 0) + n
        return total

    def _is_drained(self) -> bool:
        return all(
            len(runner.task.state.open) == 0 and not runner.is_dirty and host.is_settled
            for host, runner in self.joins().items()
        )

    async def _shut_down(self, app: ChunkApp, starting: asyncio.Task[None]) -> None:
        self._is_over.set()
        cut = self.error is None
        for host in self.hosts.values():
            if host.failed is not None:
                log.error("task_stopped", task=str(host.id), error=str(host.failed))
        # Source before sink: what the join still has to say reaches the stages after a restart.
        self._takeovers.end()
        hosts = self._restored()
        await stop_all(hosts, cut=cut)
        if self.error is None:  # a last cut that failed is no good end
            self.error = failed_task(self.hosts.values())
        await self._leave_group()
        starting.cancel()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await asyncio.wait({starting})
                await app.stop()
        except TimeoutError:
            log.warning("client_stop_cut_short", seconds=STOP_SECONDS)  # all is committed
        except Exception as error:
            log.warning("client_stop_failed", error=said_of(error))
        for pool in (self._pool, self._recall_pool):
            pool.shutdown(wait=False, cancel_futures=True)

    async def _leave_group(self) -> None:
        """Let the others have our partitions at once: Faust takes a second or two to stop."""
        try:
            await asyncio.wait_for(self._client.leave_group(), LEAVE_SECONDS)
        except Exception as error:  # a session later they have them all the same
            log.warning("group_not_left", error=said_of(error))

    # --- seats: called by the transport around a rebalance

    async def assigned(self, partitions: set[TP]) -> None:
        """Drop what went, keep what stays, begin to restore what is new; then the flow resumes.

        Raises:
            StateError: the assignment does not fit.
        """
        if self._is_over.is_set():  # we leave the group: whoever has them next must not be fenced
            return
        self.monitor.enter("restoring")
        try:
            await self._assign(partitions)
        except SpanloomError as error:
            self.error = error
            raise
        except Exception as error:
            # Faust only logs what a rebalance raises: without this the worker would live on, idle.
            log.exception("assignment_failed")
            self.error = StateError(
                f"an assignment failed ({said_of(error)}). Operator action: report "
                "this with the log; nothing uncommitted was published, a restart is safe."
            )
            raise self.error from error

    async def _assign(self, partitions: set[TP]) -> None:
        self._rebalance.joined()
        wanted: dict[TaskId, set[str]] = {}
        for tp in partitions:
            kind = self._kind_of_topic.get(tp.topic)
            if kind is not None:
                wanted.setdefault(TaskId(kind, tp.partition), set()).add(tp.topic)
        self._assert_whole(wanted)
        if self.settings.embedded:  # its single-partition topics have four
            wanted = {t: v for t, v in wanted.items() if t.partition < self._counts[t.kind]}
        lost = [t for t in self.hosts if t not in wanted]
        await asyncio.gather(*(self._takeovers.leave(self.hosts.pop(t)) for t in lost))
        fresh = [self._new_host(task_id) for task_id in wanted if task_id not in self.hosts]
        refused = [host for host in self.hosts.values() if host.is_refused]
        self.hosts |= {host.id: host for host in fresh}
        for host in self.hosts.values():
            host.is_paused = False
        to_restore = [*fresh, *(h for h in refused if not self._takeovers.is_restoring(h.id))]
        self._takeovers.begin(to_restore)
        self._note_restored()
        self._vanished.look()
        self._rebalance.assigned(len(self.hosts) - len(to_restore), len(to_restore), len(lost))

    def _note_restored(self) -> None:
        if self.monitor.view.phase == "restoring" and len(self._restored()) == len(self.hosts):
            self.monitor.enter("running")

    async def _go_on(self, host: TaskHost) -> None:
        positions = host.runner.positions
        await self.consumer.go_on({TP(t, host.id.partition): at for t, at in positions.items()})

    def _assert_whole(self, wanted: Mapping[TaskId, set[str]]) -> None:
        assert_whole(wanted, self._kinds, self._counts, is_counted=not self.settings.embedded)

    def _new_host(self, task_id: TaskId) -> TaskHost:
        settings = self.settings
        return TaskHost(
            task_id,
            self._kinds[task_id.kind],
            lambda: self._make[task_id.kind](task_id.partition),
            Connection(
                self._base,
                settings.group,
                settings.state_dir,
                settings.disk_free_min_bytes,
                settings.delivery,
                settings.broker_timeout_seconds,
                self._topic_ids,
                settings.fold_bytes_max,
                self.bounds_met,
            ),
            ConsumerSource(settings.group, lambda: self.consumer),
            self._pool,
            HostSettings.of(settings),
            self._recall if task_id.kind == JOIN else None,
            self._pace,
            self._recall_pool,
            self._commits,
        )

    def _recall(self, partition: int, wanted: list[tuple[bytes, int, int]]) -> Any:
        topic = self.pipeline.derived(topics.TRACES)
        can_seek, over = not self.settings.embedded, self._is_over.is_set
        return recall(
            self._base, topic, partition, wanted, self._reader, can_seek_time=can_seek, is_over=over
        )

    async def revoked(self, partitions: set[TP]) -> None:
        """Commit what is done while the partitions are still ours, and rest until assigned."""
        self.monitor.enter("rebalancing")
        self._rebalance.revoked()
        for host in self.hosts.values():
            host.is_paused = True
        cuts = [host.cut() for host in self.hosts.values()]
        await asyncio.gather(self._takeovers.fenced(), *cuts)
        self._rebalance.cut()

    def seek_positions(self) -> Mapping[TP, int]:
        """Return where the state of each task stands that has been restored."""
        return {
            TP(topic, task_id.partition): position
            for task_id, host in self.hosts.items()
            if not self._takeovers.is_restoring(task_id)
            for topic, position in host.runner.positions.items()
        }

    def is_restoring_partition(self, tp: TP) -> bool:
        """Whether the state of a partition's task is not there yet."""
        kind = self._kind_of_topic.get(tp.topic)
        return kind is not None and self._takeovers.is_restoring(TaskId(kind, tp.partition))
