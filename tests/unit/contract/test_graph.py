"""Order, cycles and upstream of small graphs, and their laws on random ones."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from streams.contract.graph import find_cycle, topological_order, upstream

NODES = "abcdef"
graphs = st.dictionaries(
    st.sampled_from(NODES), st.lists(st.sampled_from(NODES), max_size=3, unique=True), max_size=6
)


def test_of_several_ready_nodes_the_first_written_comes_first() -> None:
    """The order is the file's wherever the edges leave a choice."""
    after = {"z": [], "b": ["z"], "a": ["z"], "end": ["a", "b"]}
    assert topological_order(after) == ("z", "b", "a", "end")


def test_a_cycle_is_told_in_the_direction_of_time() -> None:
    """Stage b comes after a, c after b, a after c: a -> b -> c -> a."""
    assert find_cycle({"a": ["c"], "b": ["a"], "c": ["b"], "d": ["c"]}) == ("a", "b", "c", "a")


def test_unknown_predecessors_are_ignored() -> None:
    """They are another check's problem."""
    assert topological_order({"a": ["ghost"]}) == ("a",)
    assert upstream({"a": ["ghost"]}, "a") == frozenset()


def test_upstream_goes_all_the_way() -> None:
    """Grandparents are upstream, siblings are not."""
    after = {"a": [], "b": ["a"], "c": ["b"], "side": ["a"]}
    assert upstream(after, "c") == {"a", "b"}


@given(graphs)
def test_order_and_cycle_exclude_each_other(after: dict[str, list[str]]) -> None:
    """Either every node is placed behind its predecessors, or a real cycle is named."""
    order = topological_order(after)
    for i, node in enumerate(order):
        assert all(p in order[:i] for p in after[node] if p in after)
    cycle = find_cycle(after)
    assert bool(cycle) == (len(order) < len(after))
    for near, far in pairwise(cycle):
        assert near in after[far]
    if cycle:
        assert cycle[0] == cycle[-1]
