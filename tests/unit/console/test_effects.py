"""Upstream, downstream, and how far: by the way that work goes."""

from hypothesis import given
from hypothesis import strategies as st

from streams.console.questions.effects import relations

CHAIN = [("ALPHA", "INTEGRATION"), ("INTEGRATION", "BETA"), ("BETA", "GAMMA")]


def test_a_chain() -> None:
    """What hands over to it is upstream, what it hands over to downstream."""
    assert relations(CHAIN, ["BETA"]) == {
        "BETA": ("origin", 0),
        "INTEGRATION": ("upstream", 1),
        "ALPHA": ("upstream", 2),
        "GAMMA": ("downstream", 1),
    }


def test_the_nearer_way_counts() -> None:
    """INTEGRATION stands before BETA and behind it; trouble comes from before."""
    found = relations([*CHAIN, ("BETA", "INTEGRATION"), ("INTEGRATION", "GAMMA")], ["BETA"])
    assert found["INTEGRATION"] == ("upstream", 1)
    assert found["GAMMA"] == ("downstream", 1)


def test_what_no_way_leads_to_is_left_out() -> None:
    """PHI has nothing to do with it."""
    assert "PHI" not in relations([*CHAIN, ("PHI", "EPSILON")], ["GAMMA"])


_modules = st.sampled_from("ABCDE")


@given(st.lists(st.tuples(_modules, _modules)), st.sets(_modules, min_size=1))
def test_every_module_is_as_far_as_its_shortest_way(
    edges: list[tuple[str, str]], origins: set[str]
) -> None:
    """Against all walks of the graph, step by step."""
    found = relations(edges, origins)
    for direction, step in (("upstream", -1), ("downstream", 1)):
        reached = {module: 0 for module in origins}
        for hops in range(1, 6):
            for edge in edges:
                one, other = edge[::-step]
                if reached.get(other) == hops - 1 and one not in reached:
                    reached[one] = hops
        for module, hops in reached.items():
            assert found[module][1] <= hops
            if found[module][0] == direction:
                assert found[module][1] == hops
