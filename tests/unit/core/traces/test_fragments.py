"""Halves of a record are paired by what goes on after what, on an edge of the contract."""

from typing import Any

from streams.core.incidents.topology import Edge, Place, Topology
from streams.core.traces.fragments import Fragment, restart_edge, restarts

# a -> b -> c -> d, and o beside the path after b, before nothing.
SHAPE = Topology(
    edges=(Edge("f", "a", "b"), Edge("f", "b", "o"), Edge("f", "b", "c"), Edge("f", "c", "d")),
    required=frozenset(Place("f", stage) for stage in "abcd"),
)


def half(trace: str, stages: str, start: int = 0, **fields: Any) -> Fragment:
    """Return the fragment of a trace that saw these stages."""
    known = {
        "trace_id": trace,
        "revision": 1,
        "flow": "f",
        "record_id": "r",
        "batch_id": "",
        "has_first": "a" in stages,
        "has_last": "d" in stages,
        "first_stage": stages[0],
        "last_stage": stages[-1],
        "start_us": start,
        "end_us": start + 1,
        "contract_version": "1",
    }
    return Fragment(**(known | fields))


def pairs(*fragments: Fragment) -> list[tuple[str, str, str, str]]:
    found = restarts(fragments, SHAPE)
    return [(r.first.trace_id, r.second.trace_id, *r.edge[1:]) for r in found]


def test_two_halves_are_a_restart() -> None:
    """The half with the first stage and the one that goes on after it meet on their edge."""
    assert pairs(half("x", "ab"), half("y", "cd", 5)) == [("x", "y", "b", "c")]
    assert pairs(half("y", "cd", 5), half("x", "ab")) == [("x", "y", "b", "c")]


def test_a_context_may_restart_twice() -> None:
    """A middle part ends one restart and begins the next."""
    found = pairs(half("x", "a"), half("y", "b", 5), half("z", "cd", 9))
    assert found == [("x", "y", "a", "b"), ("y", "z", "b", "c")]


def test_what_does_not_go_on_is_no_restart() -> None:
    """A second beginning, a whole trace, another flow, or an earlier stage is no second half."""
    assert pairs(half("x", "ab"), half("y", "abc", 5)) == []
    assert pairs(half("x", "abcd"), half("y", "cd", 5)) == []
    assert pairs(half("x", "ab"), half("y", "cd", 5, flow="g")) == []
    assert pairs(half("x", "abc"), half("y", "b", 5)) == []


def test_halves_pair_in_the_order_of_time() -> None:
    """Two attempts that both restarted are paired each with its own."""
    found = pairs(
        half("x1", "ab", 0), half("y1", "cd", 5), half("x2", "ab", 9), half("y2", "cd", 12)
    )
    assert [pair[:2] for pair in found] == [("x1", "y1"), ("x2", "y2")]


def test_a_clock_that_is_behind_hides_no_restart() -> None:
    """A second half that seems to begin earlier is paired all the same."""
    assert pairs(half("x", "ab", 9), half("y", "cd", 5)) == [("x", "y", "b", "c")]


def test_stages_beside_the_path_do_not_move_the_edge() -> None:
    """An optional stage at the end of a half, or at the start of one, is not where it restarted."""
    assert restart_edge("f", "o", "c", SHAPE) == Edge("f", "b", "c")
    assert restart_edge("f", "b", "o", SHAPE) == Edge("f", "b", "c")
    assert pairs(half("x", "abo"), half("y", "cd", 5)) == [("x", "y", "b", "c")]


def test_lost_stages_in_between_are_not_invented() -> None:
    """Where stages between the halves are lost too, the halves' own stages are named."""
    assert restart_edge("f", "a", "d", SHAPE) == Edge("f", "a", "d")


def test_flows_without_a_contract_are_taken_at_their_word() -> None:
    """Stages that nobody declared pair by first and last alone."""
    first, second = half("x", "ab", flow="g"), half("y", "cd", 5, flow="g")
    assert pairs(first, second) == [("x", "y", "b", "c")]
