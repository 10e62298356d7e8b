"""The view: what a worker answers to probes at any moment of its life."""

from typing import Any

from streams.monitoring.liveness import Limits, Seen, TaskSeen, Waits, advance
from streams.monitoring.view import View, health, ready

LIMITS = Limits(broker_seconds=60, stalled_seconds=40)
TASK: dict[str, Any] = {
    "task": "join-0", "lag": {"a": 5, "b": 0, "c": None}, "records_taken": 12, "rest": "restoring",
    "restarts": 1, "held_topics": ("b",),
}  # fmt: skip


def waiting(seconds: int) -> Waits:
    """Return the waits of a worker whose task stands still for so long, and a silent broker."""
    waits = Waits()
    for n in range(seconds + 1):
        task = TaskSeen("join-0", 5, True, 12, 0, False)
        waits = advance(waits, Seen("running", 2.04 if n else 0.0, (task,)), 1.0)
    return waits


def test_a_worker_that_is_well_answers_200_with_its_tasks() -> None:
    """Lag by topic, age of progress, and why a task rests are there without a look at the log."""
    status, body = health(View(LIMITS, waiting(7), "", [TASK]), 0.0)
    assert (status, body["healthy"], body["reasons"]) == (200, True, [])
    assert (body["state"], body["broker_silent_seconds"], body["rebalances"]) == ("running", 2.0, 0)
    assert body["tasks"] == {
        "join-0": {
            "lag_records": 5, "lag_by_topic": {"a": 5}, "progress_age_seconds": 7.0, "records": 12,
            "held_topics": ["b"], "rest": "restoring", "restarts": 1,
        }
    }  # fmt: skip


def test_topics_that_lie_wrongly_are_named_once() -> None:
    """Several partitions see the same topic; the worker is well all the same."""
    said = {"mispartitioned": {"otlp_spans": {"found": "fnv1a", "expected": "murmur2"}}}
    tasks = [TASK | said, TASK | {"task": "join-1"} | said]
    status, body = health(View(LIMITS, Waits(), "", tasks), 0.0)
    assert status == 200
    assert body["mispartitioned"] == [
        {"topic": "otlp_spans", "found": "fnv1a", "expected": "murmur2"}
    ]


def test_what_takes_too_long_is_named_with_its_limit() -> None:
    """An operator reads what, whose, how long, and how long it may."""
    status, body = health(View(LIMITS, waiting(25), "", [TASK]), 0.0)
    assert (status, body["healthy"]) == (503, False)
    (reason,) = body["reasons"]
    assert (reason["cause"], reason["task"]) == ("stalled", "join-0")
    assert (reason["seconds"], reason["limit_seconds"]) == (25.0, 40)
    assert reason["text"].startswith("task join-0 is 5 records behind")


def test_a_blocked_loop_shows_though_the_view_is_old() -> None:
    """The last look was good; that there was none since is what is wrong."""
    status, body = health(View(LIMITS, waiting(1), "", [TASK]), 33.0)
    assert status == 503
    assert [r["cause"] for r in body["reasons"]] == ["loop_blocked"]
    assert body["loop_blocked_seconds"] == 33.0


def test_a_task_that_was_never_looked_at_is_as_young_as_the_view() -> None:
    """Between an assignment and the first look there is a task and no wait."""
    assert health(View(LIMITS, Waits(), "", [TASK]), 0.0)[1]["tasks"]["join-0"][
        "progress_age_seconds"
    ] == (0.0)


def test_readiness_is_the_views_and_says_why_not() -> None:
    """A worker that is well may be not ready, and a probe of readiness hears the reason."""
    view = View(LIMITS)
    assert health(view, 0.0)[0] == 200
    assert ready(view) == (
        503, {"ready": False, "state": "joining", "reason": "joining", "tasks": []},
    )  # fmt: skip
