"""Looks at a running worker once a second: what it shows, whether it consumes, whether it gets on.

Owns the one view that probes and scrapers read. All looking happens on the worker's loop, between
steps; whoever asks gets the last look, in another thread.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

import structlog

from streams.errors import BrokerError, SpanloomError, StalledError
from streams.monitoring import stacks
from streams.monitoring.liveness import (
    SILENT_SECONDS,
    Complaint,
    Limits,
    Phase,
    Seen,
    TaskSeen,
    advance,
)
from streams.monitoring.meter import HEAP_BOUND, BoundsMet, Sample
from streams.monitoring.view import View
from streams.runtime.changelog import DISK_FULL
from streams.runtime.hearing import Hearing
from streams.runtime.host import TaskHost
from streams.state.compaction import FOLD_BOUND

log = structlog.get_logger()
LOOK_SECONDS: Final = 1.0
SILENCE_SECONDS: Final = 10.0
"""A broker that has not answered for so long is told of, and again after as long as that was."""
FETCH_SECONDS: Final = 5.0
"""An idle partition's fetch is answered several times a second: what is this old was not."""
TOLD: Final = (
    "task", "rest", "is_dirty", "cuts", "restarts", "records_taken", "inbox_records", "lag",
)  # fmt: skip
"""What the log says of each task when nothing goes on any more."""


class Link(Protocol):
    """What the monitor asks of the Kafka client."""

    def connections(self) -> Sequence[Any]:
        """Return the connections to brokers as they are now."""

    def lag(self, topic: str, partition: int, position: int) -> int | None:
        """Return how many offsets lie between a position and the end; None when unknown."""

    def fetched_at_ms(self, topic: str, partition: int) -> int | None:
        """Return when a fetch of a partition was last answered, None for never since assigned."""

    def is_flowing(self) -> bool:
        """Whether what is fetched reaches the tasks."""


def task_status(hosts: Iterable[TaskHost], link: Link) -> list[dict[str, Any]]:
    """Return one mapping a task, as `View.tasks` holds them."""
    return [
        {
            "task": str(host.id),
            "cuts": host.cuts,
            "restarts": host.recent_restarts,
            "refused_commits": host.meter.restarts,
            "given_up_commits": host.meter.given_up,
            "lost_to_retention": host.lost_to_retention,
            "local_rebuilds": dict(host.local_rebuilds),
            "is_disk_full": int(host.waiting_for == DISK_FULL),
            "records_taken": host.runner.rows,
            "inbox_records": host.inbox[0],
            "inbox_bytes": host.inbox[1],
            "cut_seconds": replace(host.meter.cut_seconds),
            "cut_bytes": replace(host.meter.cut_bytes),
            "restore_seconds": replace(host.meter.restore_seconds),
            "rest": host.rest,
            "is_dirty": host.runner.is_dirty,
            "lag": {
                topic: link.lag(topic, host.id.partition, host.runner.positions.get(topic, 0))
                for topic in host.topics
            },
            **host.runner.status(),
        }
        for host in hosts
    ]


def bounds_of(tasks: Iterable[str], met: BoundsMet) -> dict[tuple[str, str], int]:
    """Return by task ("" for the process) and name how often bounds acted, 0 for never."""
    names = [("", HEAP_BOUND), *((task, FOLD_BOUND) for task in tasks)]
    return {(task, bound): met[task][bound] if task in met else 0 for task, bound in names}


class Monitor:
    """Keeps the last look at a worker.

    Args:
        limits: how long the worker may wait.
        hosts: gives its tasks as of now.
        link: the Kafka client.
        on_ready: called once, with the names of the tasks, when the worker first consumes.
        bounds_met: how often bounds acted that no task's status tells of.
        restarted: how often a supervisor has started the worker again, by reason.
    """

    def __init__(
        self,
        limits: Limits,
        hosts: Callable[[], Iterable[TaskHost]],
        link: Link,
        on_ready: Callable[[list[str]], None] | None = None,
        bounds_met: BoundsMet | None = None,
        restarted: Mapping[str, int] | None = None,
    ) -> None:
        self.view = View(limits, restarted=restarted or {})
        self._bounds_met = {} if bounds_met is None else bounds_met
        self._hosts = hosts
        self._link = link
        self._on_ready = on_ready
        self._hearing = Hearing()
        self._looked_at = time.monotonic()
        self._pausing_since: float | None = None
        self._silence_told = 0.0
        self._silent_seconds = 0.0
        """At the last look; what was told last may be half of it."""

    def enter(self, phase: Phase) -> None:
        """Note where the worker stands; a stop is never left."""
        if self.view.phase == "stopping":
            return
        if phase == "rebalancing" and self.view.phase != "joining":
            self._pausing_since = self._pausing_since or time.monotonic()
        waits = replace(self.view.waits, seen=replace(self.view.waits.seen, phase=phase))
        self.view = replace(self.view, waits=waits)
        self.note_ready()

    def end(self, error: SpanloomError | None) -> None:
        """Note that the stop begins, and what for."""
        self.enter("stopping")
        self.view = replace(self.view, failed="" if error is None else str(error))

    def note_ready(self) -> None:
        """Note whether the worker consumes; cheap enough for every turn of the loop."""
        why = self._why_not_ready()
        if why == self.view.not_ready:
            return
        self.view = replace(self.view, not_ready=why)
        if why:
            return
        if self._pausing_since is not None:
            rebalances: Sample = replace(self.view.rebalances)
            rebalances.add(time.monotonic() - self._pausing_since)
            self.view = replace(self.view, rebalances=rebalances)
            self._pausing_since = None
        if self._on_ready is not None:
            self.look()
            self._on_ready([str(task["task"]) for task in self.view.tasks])
            self._on_ready = None

    def _why_not_ready(self) -> str:
        phase = self.view.phase
        if phase != "running":
            return phase
        if not self._link.is_flowing():
            return "resuming"
        places = [(topic, host.id.partition) for host in self._hosts() for topic in host.topics]
        if places and all(self._link.fetched_at_ms(*place) is None for place in places):
            return "first fetch not answered"
        # No restart makes room, so `/health` does not ask for one; a rollout has to stop here.
        return DISK_FULL if any(h.waiting_for == DISK_FULL for h in self._hosts()) else ""

    def look_now_and_then(self) -> None:
        """Take a look when the last one is old enough."""
        if time.monotonic() - self._looked_at >= LOOK_SECONDS:
            self.look()

    def look(self) -> None:
        """Take a look: what is shown and judged from now on."""
        now = time.monotonic()
        hosts = sorted(self._hosts(), key=lambda host: str(host.id))
        tasks = task_status(hosts, self._link)
        seen = Seen(
            self.view.phase,
            now - self._hearing.listen(self._link.connections()),
            [self._seen(host, task) for host, task in zip(hosts, tasks, strict=True)],
        )
        waits = advance(self.view.waits, seen, now - self._looked_at)
        self._looked_at = now
        met = bounds_of([str(task["task"]) for task in tasks], self._bounds_met)
        self.view = replace(self.view, waits=waits, tasks=tasks, bounds_met=met)
        self._tell_of_silence(waits.silent_seconds)

    def _tell_of_silence(self, seconds: float) -> None:
        """Say that the broker is away, more and more seldom, and that it is back."""
        if seconds >= max(SILENCE_SECONDS, 2 * self._silence_told):
            self._silence_told = seconds
            log.warning(
                "broker_silent",
                seconds=round(seconds, 1),
                limit_seconds=self.view.limits.broker_seconds,
                action="check the broker and the network; at the limit the worker ends, and a "
                "restart goes on from the last commit",
            )
        elif self._silence_told and seconds < SILENT_SECONDS:
            log.info("broker_answers", silent_seconds=round(self._silent_seconds, 1))
            self._silence_told = 0.0
        self._silent_seconds = seconds

    def _seen(self, host: TaskHost, task: dict[str, Any]) -> TaskSeen:
        return TaskSeen(
            task["task"],
            sum(lag or 0 for lag in task["lag"].values()),
            self._is_fetched(host),
            task["records_taken"],
            task["cuts"],
            task["is_dirty"],
            task["rest"],
        )

    def _is_fetched(self, host: TaskHost) -> bool:
        """Whether every topic that a task wants has lately been fetched; what is held is not.

        The lag alone does not tell: it is as of the last answer, and a broker that answers
        heartbeats but no fetch (a quota, a leader that is away) leaves it at 0.
        """
        since_ms = time.time() * 1000 - FETCH_SECONDS * 1000
        wanted = [topic for topic in host.topics if topic not in host.runner.held]
        answers = [self._link.fetched_at_ms(topic, host.id.partition) for topic in wanted]
        return all(at_ms is not None and at_ms >= since_ms for at_ms in answers)

    def failure(self) -> SpanloomError | None:
        """Return what the worker must end with, None while it may go on."""
        worst = [c for c in self.view.complaints(0.0) if c.is_fatal]
        if not worst:
            return None
        error = error_of(worst[0])
        if isinstance(error, StalledError):  # what it waits for cannot be seen afterwards
            log.error(
                "worker_stands_still",
                cause=worst[0].cause,
                task=worst[0].task,
                is_flowing=self._link.is_flowing(),
                tasks=[{name: task[name] for name in TOLD} for task in self.view.tasks],
                threads=stacks.of_threads(),
                coroutines=stacks.of_coroutines(),
            )
        return error


def error_of(complaint: Complaint) -> SpanloomError:
    """Return the error that a worker ends with, and what its operator should look at."""
    text = complaint.text
    if complaint.cause == "broker_silent":
        return BrokerError(
            f"{text}. Operator action: check the broker and the network; a restart goes on from "
            "the last commit."
        )
    if complaint.cause == "unassigned":
        return StalledError(
            f"{text}. Operator action: look at the group's coordinator and at its other members; "
            "a restart joins the group anew."
        )
    return StalledError(
        f"{text}. Operator action: look at the leaders of the task's partitions and at the "
        "worker's log; a restart goes on from the last commit."
    )
