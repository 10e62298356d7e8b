"""The pipeline's shape answers for known and unknown places, with and without cycles."""

from streams.core.incidents.topology import Edge, ModuleInfo, Place, Topology

# a (A) -> b (B) -> d (C), a -> c (B, optional) -> d; module D depends on C without an edge.
SHAPE = Topology(
    modules={"D": ModuleInfo(depends_on=("C",)), "A": ModuleInfo(owner="one")},
    edges=(Edge("f", "a", "b"), Edge("f", "a", "c"), Edge("f", "b", "d"), Edge("f", "c", "d")),
    stage_module={
        Place("f", "a"): "A",
        Place("f", "b"): "B",
        Place("f", "c"): "B",
        Place("f", "d"): "C",
    },
    slo_ratio={Edge("f", "", ""): 0.99, Edge("f", "a", "b"): 0.9},
)


def test_paths_lead_down_only() -> None:
    """A stage is before what a path leads to, not before itself or what leads to it."""
    assert SHAPE.is_before("f", "a", "d")
    assert not SHAPE.is_before("f", "d", "a")
    assert not SHAPE.is_before("f", "a", "a")
    assert not SHAPE.is_before("other", "a", "d")


def test_depth_is_the_longest_path() -> None:
    """Depth counts edges from the entry; unknown stages come after all known ones."""
    assert [SHAPE.depth("f", stage) for stage in "abcd"] == [0, 1, 1, 2]
    assert SHAPE.depth("f", "unknown") > 2
    assert SHAPE.module_depth("B") == 1
    assert SHAPE.module_depth("D") > SHAPE.module_depth("C")


def test_modules_need_what_hands_over_to_them() -> None:
    """Both declared dependencies and hops of a flow make a module depend on another."""
    assert SHAPE.downstream("A") == {"B", "C", "D"}
    assert SHAPE.upstream("D") == {"A", "B", "C"}
    assert SHAPE.are_neighbours("C", "D")
    assert not SHAPE.are_neighbours("A", "C")


def test_objective_of_an_edge_beats_that_of_its_flow() -> None:
    """The nearest objective counts: edge, then flow, then the default."""
    assert SHAPE.slo("f", "a", "b", 0.5) == 0.9
    assert SHAPE.slo("f", "b", "d", 0.5) == 0.99
    assert SHAPE.slo("g", "b", "d", 0.5) == 0.5


def test_learned_labels_name_their_module() -> None:
    """A label `module:name` needs no entry; other unknown stages have no module."""
    assert SHAPE.module_of("", "orders:GET /orders") == "orders"
    assert SHAPE.module_of("f", "unknown") == ""


def test_a_cycle_ends_no_question() -> None:
    """Learned rules may hold a cycle: every question is answered all the same."""
    cycle = Topology(edges=(Edge("f", "a", "b"), Edge("f", "b", "a")))
    assert cycle.is_before("f", "a", "a")
    assert cycle.depth("f", "a") == cycle.depth("f", "b")
    assert cycle.far_stages("f", "a") == ("b",)
