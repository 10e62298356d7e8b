"""The lineage of records whose way is known: from the simulator, and by hand."""

import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.lineage import Lineage, Node, lineage, linked_traces

T0_US = 1_760_000_000_000_000


def event(name: str, at: int, **fields: Any) -> dict[str, Any]:
    """Return a span `name` (module.operation) that began `at` us after the start."""
    module = name.split(".", maxsplit=1)[0].upper()
    return {
        "event_id": f"event-{fields.get('trace_id', 'a')}-{name}",
        "trace_id": "a",
        "span_id": name,
        "parent_span_id": "",
        "timestamp": T0_US + at,
        "module": module,
        "event_type": "TRACE",
        "name": name,
        "dimensions": {},
        "record_id": "rec-1",
        "span_kind": "INTERNAL",
        "links": [],
    } | fields


def way() -> list[dict[str, Any]]:
    """Return the spans of one record from its source to its destination."""
    return [
        event("alpha.connect", 0, dimensions={"source_system": "orders"}),
        event("alpha.parse", 1, parent_span_id="alpha.connect"),
        event(
            "integration.transfer", 2, parent_span_id="alpha.parse", span_kind="PRODUCER",
        ),
        event("beta.map", 3, parent_span_id="integration.transfer"),
        event(
            "beta.enrich", 4, parent_span_id="beta.map", dimensions={"enrichment_source": "geo"},
        ),
        event("gamma.deliver", 5, parent_span_id="beta.enrich", dimensions={"destination": "crm"}),
    ]  # fmt: skip


def labels(found: Lineage) -> list[str]:
    """Return the labels of the nodes in their order."""
    return [node.label for node in found.nodes]


def test_a_way_without_gaps() -> None:
    """Everything that row S2-62 asks for, in order."""
    found = lineage(way(), [], "forward")
    assert labels(found) == [
        "orders", "alpha.connect", "alpha.parse", "integration.transfer", "beta.map", "geo",
        "beta.enrich", "gamma.deliver", "crm",
    ]  # fmt: skip
    assert [node.kind for node in found.nodes] == [
        "source", "ingestion", "ingestion", "transfer", "transformation", "enrichment_source",
        "enrichment", "delivery", "destination",
    ]  # fmt: skip
    assert found.source_systems == ["orders"]
    assert found.ingested_at == T0_US
    assert [node.label for node in found.transformations] == ["beta.map", "beta.enrich"]
    assert found.enrichment_sources == ["geo"]
    assert found.destinations == ["crm"]
    assert [edge.kind for edge in found.edges] == [
        "read", "step", "step", "step", "step", "enrich", "step", "deliver",
    ]  # fmt: skip


def test_backward_is_the_other_way_round() -> None:
    """The same graph, the destination first."""
    there, back = lineage(way(), [], "forward"), lineage(way(), [], "backward")
    assert back.nodes == there.nodes[::-1]
    assert set(back.edges) == set(there.edges)
    assert back.transformations == there.transformations


def test_a_missing_span_stands_where_it_should_be() -> None:
    """A child that names a parent that never came is behind a gap, not cut off."""
    events = [one for one in way() if one["name"] != "beta.map"]
    missing = lost("beta.map", "transfer", "map", span_id="beta.map")
    found = lineage(events, [("a", missing)], "forward")
    assert found.nodes[labels(found).index("beta.map")].kind == "missing"
    assert ("a/beta.map", "a/beta.enrich", "gap") in found.edges


def test_the_last_span_may_be_missing() -> None:
    """What never came after the last operation stands behind it."""
    events = [one for one in way() if one["name"] != "gamma.deliver"]
    missing = lost("gamma.deliver", "enrichment", "delivery")
    found = lineage(events, [("a", missing)], "forward")
    assert ("a/beta.enrich", "a/gamma.deliver", "gap") in found.edges
    assert found.destinations == []


def test_each_span_of_a_gap_is_a_node() -> None:
    """A gap of several stages is a chain of as many, in the order in which they are told."""
    events = way()[:4]
    names = ["beta.enrich", "gamma.render", "gamma.deliver"]
    missing = [("a", lost(name, "map", "enrichment")) for name in names]
    found = lineage(events, missing, "forward")
    assert labels(found)[-3:] == names
    chain = ["beta.map", *names]
    edges = [(f"a/{a}", f"a/{b}", "gap") for a, b in pairwise(chain)]
    assert [tuple(edge) for edge in found.edges][-3:] == edges
    assert labels(lineage(events, missing, "backward"))[:3] == names[::-1]


def test_what_is_missing_at_the_begin_stands_there() -> None:
    """Where the first stages never came, they lead to what came first, and follow nothing."""
    events = [event("beta.map", 3, parent_span_id="integration.transfer"), event("beta.enrich", 4)]
    names = ["alpha.connect", "alpha.parse"]
    missing = [("a", lost(name, "", "connect")) for name in names]
    found = lineage(events, missing, "forward")
    assert labels(found) == [*names, "beta.map", "beta.enrich"]
    edges = [("a/alpha.connect", "a/alpha.parse", "gap"), ("a/alpha.parse", "a/beta.map", "gap")]
    assert [tuple(edge) for edge in found.edges][:2] == edges
    child = lost("integration.transfer", "", "connect", span_id="integration.transfer")
    found = lineage(events, [*missing, ("a", child)], "forward")
    assert labels(found)[:4] == [*names, "integration.transfer", "beta.map"]
    assert ("a/integration.transfer", "a/beta.map", "gap") in found.edges


def lost(name: str, near: str, far: str, span_id: str = "") -> dict[str, Any]:
    """Return a span that is missing between two stages."""
    module = name.split(".", maxsplit=1)[0].upper()
    return {
        "span_id": span_id, "name": name, "from_stage": near, "to_stage": far, "module": module,
    }  # fmt: skip


def test_where_no_context_reached_a_log_line_tells() -> None:
    """A module without instruments says by a log line of the record what it did."""
    events = way()
    events[3] |= {"event_type": "LOG", "trace_id": "", "span_id": ""}
    found = lineage(events, [], "forward")
    assert [node.label for node in found.transformations] == ["beta.map", "beta.enrich"]
    assert ("a/integration.transfer", "a/beta.enrich", "gap") in found.edges


def test_links_lead_from_trace_to_trace() -> None:
    """A batch links to the records that went into it."""
    batch = event(
        "integration.assemble", 6, trace_id="b", record_id="",
        links=[{"trace_id": "a", "span_id": "integration.transfer"}],
    )  # fmt: skip
    found = lineage([*way(), batch], [], "forward")
    assert ("a/integration.transfer", "b/integration.assemble", "link") in found.edges
    assert linked_traces([batch]) == ["a"]


def test_nothing_gives_nothing() -> None:
    """No event is no lineage, and no fault."""
    assert lineage([], [], "forward") == Lineage([], [], [], 0, [], [], [])


@given(st.randoms(use_true_random=False), st.sets(st.integers(0, 5)))
def test_order_and_repeats_change_nothing(chance: random.Random, lost: set[int]) -> None:
    """The graph follows from which events there are; its edges have both ends in it."""
    events = [one for n, one in enumerate(way()) if n not in lost]
    shuffled = [*events, *chance.choices(events, k=3)] if events else []
    chance.shuffle(shuffled)
    found = lineage(shuffled, [], "forward")
    assert found == lineage(events, [], "forward")
    known = {node.id for node in found.nodes}
    assert all(edge.from_id in known and edge.to_id in known for edge in found.edges)
    assert len(known) == len(found.nodes)


@pytest.mark.parametrize("loop", ["alpha.connect", "alpha.parse"])
def test_a_span_that_is_its_own_ancestor_ends(loop: str) -> None:
    """Wrong parents make edges, never an endless walk."""
    events = way()
    events[0]["parent_span_id"] = loop
    found = lineage(events, [], "forward")
    assert isinstance(found.nodes[0], Node)
    assert all(edge.from_id != edge.to_id for edge in found.edges)
