"""Liveness: what gets on is never called stalled, and what waits without an excuse is."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.monitoring.liveness import (
    LOOK_SECONDS_MAX,
    SILENT_SECONDS,
    Complaint,
    Limits,
    Phase,
    Seen,
    TaskSeen,
    Waits,
    advance,
    judge,
)

LIMITS = Limits(broker_seconds=60, stalled_seconds=40, unhealthy_ratio=0.5)
LAGGING = TaskSeen("join-0", 7, True, 100, 3, False)
IDLE = replace(LAGGING, lag_records=0)
Look = tuple[Seen, float]


def run(looks: Sequence[Look]) -> Waits:
    """Return what a worker waits for after these looks."""
    waits = Waits()
    for seen, elapsed in looks:
        waits = advance(waits, seen, elapsed)
    return waits


def running(*tasks: TaskSeen, silent: float = 0.1, phase: Phase = "running") -> Seen:
    """Return a worker with these tasks."""
    return Seen(phase, silent, tasks)


def complaints(looks: Sequence[Look], blocked: float = 0.0) -> list[Complaint]:
    """Return what is wrong after these looks."""
    return list(judge(run(looks), LIMITS, blocked))


def causes(looks: Sequence[Look], blocked: float = 0.0) -> list[tuple[str, bool]]:
    """Return (cause, whether it is fatal) of what is wrong after these looks."""
    return [(c.cause, c.is_fatal) for c in complaints(looks, blocked)]


# --- by hand


def test_lag_without_progress_is_unhealthy_first_and_fatal_then() -> None:
    """From half of the limit on the worker says so; behind the limit it ends."""
    look = (running(LAGGING), 1.0)
    assert causes([look] * 21) == []
    assert causes([look] * 22) == [("stalled", False)]
    assert causes([look] * 41) == [("stalled", False)]
    assert causes([look] * 42) == [("stalled", True)]
    (worst,) = complaints([look] * 42)
    assert worst.text == (
        "task join-0 is 7 records behind and has joined none for 41 s though the broker answers"
    )


def test_a_task_with_nothing_to_read_waits_for_nothing() -> None:
    """An idle task is well however long it is idle, and stalls only from its first lag on."""
    idle = [(running(IDLE), 1.0)] * 500
    assert causes(idle) == []
    assert causes([*idle, *[(running(LAGGING), 1.0)] * 20]) == []


def test_a_topic_that_waits_for_another_one_is_no_stall_while_that_one_gets_on() -> None:
    """Held topics lag, yet their task joins the records of the one that is behind."""
    looks = [(running(replace(LAGGING, lag_records=9_000, rows=n)), 1.0) for n in range(500)]
    assert causes(looks) == []


def test_a_topic_that_cannot_be_fetched_is_a_stall() -> None:
    """Nobody knows its lag, but nobody can read it either."""
    blind = replace(LAGGING, lag_records=0, is_fetched=False)
    (worst,) = complaints([(running(blind), 1.0)] * 42)
    assert worst.is_fatal
    assert "could not fetch" in worst.text


def test_one_task_that_stands_still_is_enough() -> None:
    """The others get on; their worker ends all the same, so that another one takes over."""
    looks = [(running(LAGGING, replace(LAGGING, task="join-1", rows=n)), 1.0) for n in range(42)]
    assert [(c.cause, c.task) for c in complaints(looks)] == [("stalled", "join-0")]


@pytest.mark.parametrize("rest", ["restoring", "rebalancing", "disk_full"])
def test_a_task_that_rests_is_not_stalled(rest: str) -> None:
    """Who makes a task rest has a limit of its own, or none."""
    resting = replace(LAGGING, is_dirty=True, rest=rest)
    assert causes([(running(resting), 1.0)] * 500) == []


def test_rests_do_not_wipe_out_what_was_waited_before() -> None:
    """A task that stands still between two rebalances and after them adds both up."""
    still, resting = (running(LAGGING), 1.0), (running(replace(LAGGING, rest="rebalancing")), 1.0)
    looks = [still] * 16 + [resting] * 30 + [still] * 15 + [resting] * 30
    assert causes([*looks, *[still] * 11]) == [("stalled", True)]
    assert causes([*looks, *[still] * 10]) == [("stalled", False)]


def test_a_silent_broker_is_the_one_thing_to_complain_of() -> None:
    """Nobody gets on without a broker: the task is not blamed, and the broker has its own limit."""
    looks = [(running(LAGGING, silent=float(n)), 1.0) for n in range(31)]
    assert causes(looks) == []
    looks += [(running(LAGGING, silent=float(n)), 1.0) for n in range(31, 62)]
    assert causes(looks[:32]) == [("broker_silent", False)]
    assert causes(looks) == [("broker_silent", True)]
    assert complaints(looks)[0].text == "no answer from the broker for 61 s"


def test_a_commit_that_never_goes_through_is_a_stall() -> None:
    """Nothing lags, but what was joined is not published."""
    dirty = replace(IDLE, is_dirty=True)
    assert causes([(running(dirty), 1.0)] * 42) == [("uncommitted", True)]
    assert causes([(running(replace(dirty, cuts=n)), 1.0) for n in range(500)]) == []


def test_a_task_that_is_read_back_again_and_again_does_not_get_on() -> None:
    """A refused commit leaves a clean memory, and what is joined anew is no progress."""
    joined = replace(IDLE, lag_records=5, is_dirty=True)
    looks = []
    for turn in range(5):
        looks += [(running(replace(joined, rows=turn * 10 + n)), 1.0) for n in range(10)]
        looks += [(running(replace(joined, rest="restoring", is_dirty=False)), 1.0)] * 3
        looks += [(running(replace(joined, is_dirty=False, rows=turn * 10 + 5)), 1.0)]
    assert causes(looks) == [("uncommitted", True)]
    assert causes([*looks, (running(replace(IDLE, cuts=1)), 1.0)]) == []
    assert causes([*looks, (running(IDLE), 1.0)]) == [], "there is nothing that it waits for"


@pytest.mark.parametrize("phase", ["joining", "rebalancing"])
def test_an_assignment_that_never_comes_is_a_stall(phase: Phase) -> None:
    """The broker answers and the group does not; while a state is read back that is its own."""
    looks = [(running(phase=phase), 1.0)] * 41
    assert causes(looks) == [("unassigned", True)]
    assert causes([*looks, (running(phase="restoring"), 1.0)]) == []


def test_a_loop_that_does_not_turn_is_seen_from_outside() -> None:
    """Whoever asks says for how long there was no look."""
    assert causes([(running(IDLE), 1.0)], blocked=19.0) == []
    assert causes([(running(IDLE), 1.0)], blocked=21.0) == [("loop_blocked", False)]


def test_a_process_that_was_stopped_has_not_waited() -> None:
    """After SIGSTOP and SIGCONT one look is late: that is no time in which it could get on."""
    late = running(LAGGING, silent=3_600.0), 3_600.0
    looks = [(running(LAGGING), 1.0)] * 5 + [late]
    assert causes(looks) == []
    assert run(looks).silent_seconds < 2 * LOOK_SECONDS_MAX
    assert causes([*looks, (running(LAGGING), 1.0)]) == []


def test_the_worst_comes_first() -> None:
    """Sorted by how much of its limit is over."""
    looks = [(running(LAGGING, silent=0.0), 1.0)] * 31
    found = complaints([*looks, *[(running(LAGGING, silent=float(n)), 1.0) for n in range(60)]])
    assert [c.cause for c in found] == ["broker_silent", "stalled"]


# --- properties

SECONDS = st.floats(0, 20, allow_nan=False)
TASKS = st.builds(
    TaskSeen,
    task=st.just("t"),
    lag_records=st.integers(0, 2),
    is_fetched=st.booleans(),
    rows=st.integers(0, 2),
    cuts=st.integers(0, 2),
    is_dirty=st.booleans(),
    rest=st.sampled_from(["", "", "restoring"]),
)
LOOKS = st.lists(
    st.tuples(
        st.builds(
            Seen,
            phase=st.sampled_from(["joining", "running", "running", "rebalancing"]),
            silent_seconds=st.sampled_from([0.0, SILENT_SECONDS, 30.0]),
            tasks=st.tuples(TASKS),
        ),
        SECONDS,
    ),
    min_size=1,
    max_size=40,
)


def stalled_seconds(looks: Sequence[Look]) -> float:
    """Return by a slow way how long the one task has stalled: look back to the last progress."""
    silences = [0.0]
    for seen, elapsed in looks:
        silences.append(min(seen.silent_seconds, silences[-1] + min(elapsed, LOOK_SECONDS_MAX)))
    total = 0.0
    for at in range(len(looks) - 1, 0, -1):
        seen, elapsed = looks[at]
        task, before = seen.tasks[0], looks[at - 1][0].tasks[0]
        has_work = task.lag_records > 0 or not task.is_fetched
        if not has_work or task.rows != before.rows:
            break
        if not task.rest and silences[at + 1] <= SILENT_SECONDS:
            total += min(elapsed, LOOK_SECONDS_MAX)
    return total


@given(LOOKS)
def test_the_rule_equals_looking_back(looks: list[Look]) -> None:
    """What is carried from look to look is what a look back over all of them finds."""
    assert run(looks).tasks["t"].stalled_seconds == pytest.approx(stalled_seconds(looks))


@given(LOOKS)
def test_progress_at_the_last_look_clears_a_stall(looks: list[Look]) -> None:
    """Whatever came before: a task that has just joined something is not stalled."""
    seen, elapsed = looks[-1]
    moved = replace(seen, tasks=(replace(seen.tasks[0], rows=9),))
    assert "stalled" not in [c.cause for c in complaints([*looks, (moved, elapsed)])]


@given(LOOKS)
def test_time_with_an_excuse_changes_nothing(looks: list[Look]) -> None:
    """Looks that find the same task resting, or no broker, neither add to a wait nor end it."""
    seen, _ = looks[-1]
    resting = replace(seen, tasks=(replace(seen.tasks[0], rest="restoring", is_dirty=True),))
    silent = replace(seen, silent_seconds=30.0)
    for excused in (resting, silent):
        before = run([*looks, (excused, 5.0), (excused, 5.0)])  # silence is known after two
        after = run([*looks, *[(excused, 5.0)] * 4])
        assert after.tasks["t"].stalled_seconds == before.tasks["t"].stalled_seconds


@given(LOOKS, st.floats(0, 100, allow_nan=False))
def test_a_worker_is_unhealthy_before_it_ends(looks: list[Look], blocked: float) -> None:
    """What is fatal has been complained of, and a worker without complaints has no fatal one."""
    waits = run(looks)
    told = judge(waits, LIMITS, blocked)
    late = judge(waits, replace(LIMITS, unhealthy_ratio=1.0), blocked)
    assert {(c.cause, c.task) for c in late} <= {(c.cause, c.task) for c in told}
    assert all(c.is_fatal for c in late)
    assert [c for c in told if c.is_fatal] == list(late)


@given(LOOKS)
def test_tasks_that_left_are_forgotten(looks: list[Look]) -> None:
    """A task that moved to another worker and comes back has waited for nothing here."""
    seen, elapsed = looks[-1]
    away = replace(seen, tasks=())
    waits = run([*looks, (away, elapsed), (seen, elapsed)])
    assert waits.tasks["t"].stalled_seconds == waits.tasks["t"].uncommitted_seconds == 0.0
