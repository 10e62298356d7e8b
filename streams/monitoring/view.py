"""What a worker shows of itself: one immutable look, and the answers of `/health` and `/ready`.

The worker's loop takes a look about once a second; whoever asks reads the last one, in another
thread, so that a question never waits for a step nor a step for a question.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from streams.monitoring.liveness import Complaint, Limits, Phase, Waits, judge
from streams.monitoring.meter import Sample

Answer = tuple[int, dict[str, Any]]
"""HTTP status and body."""
RestartReason = Literal["frozen", "signal", "exit"]
"""Why a supervisor starts a worker again: it showed no life, a signal ended it, it ended with 3."""


@dataclass(frozen=True, slots=True)
class View:
    """A worker at one moment.

    Attributes:
        limits: how long it may wait.
        waits: what it waits for.
        not_ready: why it does not consume, "" when it does.
        tasks: one mapping a task, as `streams.runtime.reporting.task_status` makes them.
        rebalances: pauses of rebalances that are over, seconds.
        failed: the error that the worker ends with, "" for none.
        bounds_met: by task ("" for the process) and name how often bounds on memory and work
            acted that no task's status tells of.
        restarted: how often a supervisor has started this worker again, by reason.
    """

    limits: Limits
    waits: Waits = field(default_factory=Waits)
    not_ready: str = "joining"
    tasks: Sequence[Mapping[str, Any]] = ()
    rebalances: Sample = field(default_factory=Sample)
    failed: str = ""
    bounds_met: Mapping[tuple[str, str], int] = field(default_factory=dict)
    restarted: Mapping[str, int] = field(default_factory=dict)

    @property
    def phase(self) -> Phase:
        """Where the worker stands between start and end."""
        return self.waits.seen.phase

    def complaints(self, blocked_seconds: float) -> tuple[Complaint, ...]:
        """Return what takes too long; a worker that ends by order has nothing to complain of."""
        if self.phase == "stopping":
            return ()
        return judge(self.waits, self.limits, blocked_seconds)


def health(view: View, blocked_seconds: float) -> Answer:
    """Return the answer of `/health`: 200, or 503 from a share of a limit on.

    Args:
        view: the last look.
        blocked_seconds: for how long the loop has not turned.
    """
    complaints = view.complaints(blocked_seconds)
    is_healthy = not complaints and not view.failed
    body = {
        "healthy": is_healthy,
        "state": view.phase,
        "reasons": [
            {
                "cause": c.cause,
                "task": c.task,
                "seconds": round(c.seconds, 1),
                "limit_seconds": c.limit_seconds,
                "text": c.text,
            }
            for c in complaints
        ],
        "failed": view.failed,
        "broker_silent_seconds": round(view.waits.silent_seconds, 1),
        "loop_blocked_seconds": round(blocked_seconds, 1),
        "rebalances": view.rebalances.count,
        "mispartitioned": _mispartitioned(view),
        "tasks": {str(task["task"]): _task(view, task) for task in view.tasks},
    }
    return (200 if is_healthy else 503), body


def _mispartitioned(view: View) -> list[dict[str, str]]:
    """Return the topics whose keys lie elsewhere than those of most; a fault of their producers."""
    found: dict[str, Mapping[str, str]] = {}
    for task in view.tasks:
        found |= task.get("mispartitioned", {})
    return [{"topic": topic, **said} for topic, said in sorted(found.items())]


def _task(view: View, task: Mapping[str, Any]) -> dict[str, Any]:
    wait = view.waits.tasks.get(task["task"])
    lags = {topic: lag for topic, lag in task["lag"].items() if lag is not None}
    return {
        "lag_records": sum(lags.values()),
        "lag_by_topic": {topic: lag for topic, lag in lags.items() if lag},
        "progress_age_seconds": round(wait.age_seconds, 1) if wait else 0.0,
        "records": task["records_taken"],
        "held_topics": list(task.get("held_topics", ())),
        "rest": task["rest"],
        "restarts": task["restarts"],
    }


def ready(view: View) -> Answer:
    """Return the answer of `/ready`: 200 while the worker consumes, else 503 and why not."""
    body: dict[str, Any] = {"ready": not view.not_ready, "state": view.phase}
    if view.not_ready:
        body["reason"] = view.not_ready
    body["tasks"] = [str(task["task"]) for task in view.tasks]
    return (503 if view.not_ready else 200), body
