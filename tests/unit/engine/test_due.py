"""When a trace is due, and whose progress has to say so; in seconds, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from streams.core.fidelity.plan import Plan
from streams.core.traces.progress import NEVER
from streams.engine.due import Deadlines, DueRule
from streams.units import SECOND_US
from tests.join_cases import LINKS, OTHER, TOPIC_OF_MODULE, TOPICS, three_stages

LEARNED = 7


def deadline(
    seen: str,
    *,
    first: float = 0,
    last: float = 2,
    plan: Plan | None = None,
    fixed: float | None = None,
    shared: tuple[int, ...] = (),
) -> Deadlines:
    """Return the deadline of one trace that has seen some stages of a, b, c."""
    plan = plan or three_stages()
    fixed_us = None if fixed is None else round(fixed * SECOND_US)
    rule = DueRule(
        plan,
        TOPICS,
        TOPIC_OF_MODULE,
        other=OTHER,
        silent=(LINKS,),
        shared=shared,
        fixed_wait_us=fixed_us,
    )
    mask = plan.mask(["abc".index(s) for s in seen])[None]
    entry = np.array([0 if "a" in seen else -1], np.int32)
    times = [np.array([round(t * SECOND_US)]) for t in (first, last)]
    return rule.deadlines(mask, entry, *times, LEARNED * SECOND_US)


def seconds(of: Deadlines) -> float:
    return float(of.deadline_us[0]) / SECOND_US


def topics(of: Deadlines) -> list[int]:
    return np.flatnonzero(of.waits_for[0]).tolist()


def test_a_trace_waits_for_what_it_lacks() -> None:
    """With a seen, b and c are lacking: 30 s from the first event, for BETA and GAMMA alone."""
    due = deadline("a")
    assert (seconds(due), topics(due), due.is_met[0]) == (30, [1, 2], False)


def test_a_trace_waits_for_topics_that_carry_any_module() -> None:
    """What it lacks may come by them too."""
    assert topics(deadline("a", shared=(OTHER,))) == [1, 2, OTHER]
    assert topics(deadline("abc", shared=(OTHER,))) == [0, 1, 2, OTHER]


def test_a_trace_whose_contract_is_met_settles() -> None:
    """200 ms after its last event; optional stages could come by any topic of its flow."""
    due = deadline("abc", last=2)
    assert (seconds(due), topics(due), due.is_met[0]) == (2.2, [0, 1, 2], True)


def test_without_a_settling_time_a_trace_is_due_at_once() -> None:
    """It waits for no topic: what is passed is asked of nobody."""
    plan = three_stages()
    plan = replace(plan, flows=tuple(replace(flow, settle_us=0) for flow in plan.flows))
    due = deadline("abc", last=2, plan=plan)
    assert (topics(due), due.is_met[0]) == ([], True)
    assert due.passed(np.full(len(TOPICS), NEVER)).all()
    lacking = deadline("ab", plan=plan)
    assert (seconds(lacking), topics(lacking)) == (30, [2])


def test_settling_never_outlasts_the_wait() -> None:
    """The last stage came at 29.9 s: the wait ends at 30 s all the same."""
    assert seconds(deadline("abc", last=29.9)) == 30


def test_a_trace_of_no_flow_waits_for_everybody() -> None:
    """Nothing says what it lacks: the learned wait from its last event, all topics but links."""
    due = deadline("", last=2)
    assert (due.flow[0], seconds(due), topics(due)) == (-1, 2 + LEARNED, [0, 1, 2, 3])


def test_a_trace_without_its_root_is_known_by_its_stages() -> None:
    """Stage b is in one flow only: that flow's wait, and a is awaited as well as c."""
    due = deadline("b", first=1)
    assert (due.flow[0], seconds(due), topics(due)) == (0, 31, [0, 2])


def test_a_flow_that_requires_nothing_waits_all_the_same() -> None:
    """It lacks nothing, which is no reason to close it at once."""
    due = deadline("a", plan=three_stages(optional="abc"))
    assert (seconds(due), topics(due), due.is_met[0]) == (30, [0, 1, 2], False)


@pytest.mark.parametrize("seen", ["a", ""])
def test_a_fixed_wait_is_for_every_trace(seen: str) -> None:
    """From its first event, whatever flow it is of."""
    assert seconds(deadline(seen, first=3, last=9, fixed=5)) == 8


def test_stream_time_has_to_pass_the_deadline_in_every_awaited_topic() -> None:
    """BETA and GAMMA past 30 s: due; at 30 s it is not, and the other topics do not matter."""
    due = deadline("a")
    past, at_it = 30 * SECOND_US + 1, 30 * SECOND_US
    assert due.passed(np.array([0, past, past, 0, 0])).tolist() == [True]
    assert due.passed(np.array([past, past, at_it, past, past])).tolist() == [False]


def test_progress_may_be_given_for_each_trace() -> None:
    """A column for each: this trace is judged by its own."""
    due = deadline("a")
    progress = np.full((len(TOPICS), 1), 31 * SECOND_US)
    assert due.passed(progress).tolist() == [True]
