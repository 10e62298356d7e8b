"""When a worker has stopped getting on: a rule over numbers, without a clock and without a broker.

Owns what counts as waiting, and how long each kind of it may last. A worker looks at itself about
once a second; `advance` adds the time since the last look to what it still waits for, and `judge`
says what is too long. Time that has an excuse is not added: a silent broker has a limit of its own,
a task that is being restored one of its own, and a process that was itself stopped (SIGSTOP, a
frozen container) has not been waiting.

Invariant: whatever gets on is never called stalled, and what waits without an excuse is, once the
limit is over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

Cause = Literal["broker_silent", "stalled", "uncommitted", "unassigned", "loop_blocked"]
Phase = Literal["joining", "restoring", "running", "rebalancing", "stopping"]
LOOK_SECONDS_MAX: Final = 5.0
"""More than this between two looks is time in which the process did not run, or not this part."""
SILENT_SECONDS: Final = 5.0
"""Without an answer for so long nobody can be expected to get on."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a worker may wait.

    Attributes:
        broker_seconds: without any answer from any broker.
        stalled_seconds: for everything else.
        unhealthy_ratio: from this share of a limit on the worker calls itself unhealthy.
    """

    broker_seconds: float
    stalled_seconds: float
    unhealthy_ratio: float = 0.5


@dataclass(frozen=True, slots=True)
class TaskSeen:
    """One task as a look finds it.

    Attributes:
        task: its name.
        lag_records: records of its topics that it has not joined, as far as the client knows.
        is_fetched: every topic of it that is not held has lately been fetched.
        rows: records that it joined; any change means that it got on.
        cuts: commits that went through; any change means that it could commit.
        is_dirty: there is something to commit.
        rest: why the task may not step now, "" for no reason. Who sets one bounds it, too.
    """

    task: str
    lag_records: int
    is_fetched: bool
    rows: int
    cuts: int
    is_dirty: bool
    rest: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """A worker as a look finds it.

    Attributes:
        phase: where it stands between start and end.
        silent_seconds: since the last answer of any broker, by the clock.
        tasks: its tasks.
    """

    phase: Phase
    silent_seconds: float
    tasks: Sequence[TaskSeen] = ()


@dataclass(frozen=True, slots=True)
class TaskWait:
    """What a task waits for, and since when, in seconds that had no excuse."""

    rows: int
    cuts: int
    stalled_seconds: float = 0.0
    uncommitted_seconds: float = 0.0
    age_seconds: float = 0.0
    """Since it last joined a record, idle or excused or not: for people, not for the rule."""


@dataclass(frozen=True, slots=True)
class Waits:
    """What a worker waits for, as of the last look."""

    seen: Seen = Seen("joining", 0.0)
    silent_seconds: float = 0.0
    """Since the last answer of any broker, as far as the worker could have heard one."""
    unassigned_seconds: float = 0.0
    tasks: Mapping[str, TaskWait] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing that takes too long.

    Attributes:
        cause: its bounded name.
        task: whose it is, "" for the worker's.
        seconds: how long it has lasted.
        limit_seconds: how long it may.
        text: the sentence for people.
    """

    cause: Cause
    task: str
    seconds: float
    limit_seconds: float
    text: str

    @property
    def is_fatal(self) -> bool:
        """Whether the limit is over."""
        return self.seconds > self.limit_seconds


def advance(waits: Waits, seen: Seen, elapsed_seconds: float) -> Waits:
    """Return what the worker waits for after another look.

    Args:
        waits: as of the last look.
        seen: what the worker finds now.
        elapsed_seconds: since the last look, >= 0; beyond `LOOK_SECONDS_MAX` it does not count.
    """
    assert elapsed_seconds >= 0, elapsed_seconds
    elapsed = min(elapsed_seconds, LOOK_SECONDS_MAX)
    silent = min(seen.silent_seconds, waits.silent_seconds + elapsed)
    counted = 0.0 if silent > SILENT_SECONDS else elapsed
    is_waiting = seen.phase in ("joining", "rebalancing")
    tasks = {}
    for one in seen.tasks:
        last = waits.tasks.get(one.task)
        tasks[one.task] = (
            TaskWait(one.rows, one.cuts) if last is None else _wait(last, one, counted, elapsed)
        )
    unassigned = waits.unassigned_seconds + counted if is_waiting else 0.0
    return Waits(seen, silent, unassigned, tasks)


def _wait(last: TaskWait, one: TaskSeen, counted: float, elapsed: float) -> TaskWait:
    """Return a task's wait after another look, `counted` being the part without an excuse."""
    if one.rest:
        counted = 0.0
    has_stepped, has_cut = one.rows != last.rows, one.cuts != last.cuts
    has_work = one.lag_records > 0 or not one.is_fetched
    is_stalled = has_work and not has_stepped
    # A refused commit leaves a clean memory behind: only one that goes through ends the wait.
    is_settled = has_cut or not (one.is_dirty or has_work)
    return TaskWait(
        one.rows,
        one.cuts,
        last.stalled_seconds + counted if is_stalled else 0.0,
        0.0 if is_settled else last.uncommitted_seconds + (counted if one.is_dirty else 0.0),
        0.0 if has_stepped else last.age_seconds + elapsed,
    )


def judge(waits: Waits, limits: Limits, blocked_seconds: float = 0.0) -> tuple[Complaint, ...]:
    """Return what takes too long, what is worst first; () for a worker that is well.

    Args:
        waits: what the worker waits for.
        limits: how long it may.
        blocked_seconds: for how long the worker has not been able to look at itself.
    """
    found = [_broker(waits, limits), _unassigned(waits, limits), _blocked(blocked_seconds, limits)]
    lags = {one.task: one.lag_records for one in waits.seen.tasks}
    for task, wait in waits.tasks.items():
        found.append(_stalled(task, wait, lags[task], limits))
        found.append(_uncommitted(task, wait, limits))
    late = [c for c in found if c.seconds > c.limit_seconds * limits.unhealthy_ratio]
    return tuple(sorted(late, key=lambda c: -c.seconds / c.limit_seconds))


def _broker(waits: Waits, limits: Limits) -> Complaint:
    seconds = waits.silent_seconds
    text = f"no answer from the broker for {seconds:.0f} s"
    return Complaint("broker_silent", "", seconds, limits.broker_seconds, text)


def _unassigned(waits: Waits, limits: Limits) -> Complaint:
    seconds = waits.unassigned_seconds
    text = f"the group has given no partitions for {seconds:.0f} s though the broker answers"
    return Complaint("unassigned", "", seconds, limits.stalled_seconds, text)


def _blocked(seconds: float, limits: Limits) -> Complaint:
    text = f"the worker's loop has not turned for {seconds:.0f} s"
    return Complaint("loop_blocked", "", seconds, limits.stalled_seconds, text)


def _stalled(task: str, wait: TaskWait, lag_records: int, limits: Limits) -> Complaint:
    seconds = wait.stalled_seconds
    behind = f"is {lag_records:,} records behind" if lag_records else "could not fetch"
    text = f"task {task} {behind} and has joined none for {seconds:.0f} s though the broker answers"
    return Complaint("stalled", task, seconds, limits.stalled_seconds, text)


def _uncommitted(task: str, wait: TaskWait, limits: Limits) -> Complaint:
    seconds = wait.uncommitted_seconds
    text = f"task {task} could not commit for {seconds:.0f} s though the broker answers"
    return Complaint("uncommitted", task, seconds, limits.stalled_seconds, text)
