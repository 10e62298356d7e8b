"""Which closed traces may be halves of a restarted context, by hand."""

from dataclasses import replace

import numpy as np

from streams.core.columns import Operation
from streams.units import SECOND_US, span_id_text
from tests.join_cases import BEGIN_US, Event, World, at, three_stages


def fragments(*events: Event, late: tuple[Event, ...] = ()) -> list[dict[str, object]]:
    """Return what is said of one trace after its wait, and after what came late."""
    world = World(three_stages())
    world.feed(events)
    world.tick(BEGIN_US + 40 * SECOND_US)
    if late:
        world.cut()
        world.feed(late)
        world.cut()
        world.recall()
        world.tick(BEGIN_US + 41 * SECOND_US)
    return world.fragments


def test_a_whole_trace_is_no_fragment() -> None:
    """First and last stage seen: nobody has to look for another half."""
    assert fragments(at("a", 1, 0), at("b", 1, 1), at("c", 1, 2)) == []


def test_a_trace_without_its_end_is_a_first_half() -> None:
    """Stages a and b: it names the last span it has, by which the other half is known."""
    (half,) = fragments(at("a", 1, 0), at("b", 1, 1))
    assert (half["has_first"], half["has_last"]) == (True, False)
    assert (half["first_stage"], half["last_stage"]) == ("a", "b")
    assert (half["first_span_id"], half["last_span_id"]) == (span_id_text(1), span_id_text(2))
    assert (half["record_id"], half["revision"], half["flow"]) == ("r1", 1, "f")


def test_a_trace_without_its_beginning_is_a_second_half() -> None:
    """Stages b and c, without a: the record went on under another trace id."""
    (half,) = fragments(at("b", 1, 1), at("c", 1, 2))
    assert (half["has_first"], half["has_last"], half["first_stage"]) == (False, True, "b")


def test_a_lost_stage_in_the_middle_is_no_fragment() -> None:
    """First and last stage are there: b is lost, the context is not."""
    assert fragments(at("a", 1, 0), at("c", 1, 2)) == []


def test_a_half_that_was_completed_says_so() -> None:
    """The late end gives revision 2, which is told too, with both ends."""
    first, second = fragments(at("a", 1, 0), at("b", 1, 1), late=(at("c", 1, 2, came=41),))
    assert (first["revision"], first["has_last"]) == (1, False)
    assert (second["revision"], second["has_last"], second["has_first"]) == (2, True, True)


def test_a_fragment_says_which_stages_it_holds() -> None:
    """By name, each once, in the contract's order."""
    again = replace(at("a", 1, 2), number=9)
    (half,) = fragments(at("b", 1, 1), at("a", 1, 0), again)
    assert half["stages"] == ["a", "b"]


def test_a_half_that_is_of_no_flow_any_more_says_so() -> None:
    """A late root of something else: the old half must not go on waiting for the other one."""
    plan = three_stages()
    stranger = replace(at("a", 1, 0, came=41), number=8, operation=Operation("X", "x", "y"))
    other = replace(
        plan.flows[0],
        name="g",
        stage_code=np.array([3]),
        stage_id=("y",),
        entry=0,
        is_required=np.array([False]),
        required_bit=np.array([-1]),
        min_count=np.array([1]),
        deadline_us=np.array([0]),
        edges=np.zeros((0, 2), np.int64),
    )
    world = World(
        replace(
            plan,
            stage_operation=(*plan.stage_operation, Operation("X", "x", "y")),
            flows=(*plan.flows, other),
        )
    )
    world.feed([at("b", 1, 1)])
    world.tick(BEGIN_US + 40 * SECOND_US)
    world.cut()
    world.feed([replace(stranger, parent=1)])
    world.cut()
    world.recall()
    world.tick(BEGIN_US + 80 * SECOND_US)
    first, second = world.fragments
    assert (first["flow"], first["has_first"], first["stages"]) == ("f", False, ["b"])
    assert (second["revision"], second["flow"], second["stages"]) == (2, "", [])
    assert second["has_first"]
    assert second["has_last"]
