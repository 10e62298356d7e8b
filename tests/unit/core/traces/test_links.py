"""What the traces of a record are told of each other, by hand."""

from streams.core.incidents.topology import Edge
from streams.core.traces.fragments import restarts
from streams.core.traces.links import (
    CONTEXT_RESTARTED,
    CONTINUES_FROM,
    CONTINUES_IN,
    LINK_WITHDRAWN,
    RECORD_RECOVERED,
    Link,
    Told,
    dimensions_of,
    links_of,
    tells_nothing,
    told_by,
)
from tests.unit.core.traces.test_fragments import SHAPE, half


def told(*halves: tuple[str, str, int]) -> dict[tuple[str, str], Link]:
    """Return the links of a record whose traces are (id, stages seen, start)."""
    found = [
        half(trace, stages, start)._replace(
            stages=tuple(stages),
            first_span_id=f"{trace}{stages[0]}",
            last_span_id=f"{trace}{stages[-1]}",
            partition=ord(trace) % 4,
        )
        for trace, stages, start in halves
    ]
    return links_of(restarts(found, SHAPE))


def test_each_half_is_told_of_the_other() -> None:
    """The first where it goes on and after which span, the second where it comes from."""
    links = told(("x", "ab", 3), ("y", "cd", 7))
    assert list(links) == [("x", CONTINUES_IN), ("y", CONTINUES_FROM)]
    onwards, back = links.values()
    assert onwards.others == (("y", "yc", ("c", "d")),)
    assert back.others == (("x", "xb", ("a", "b")),)
    assert onwards.edge == back.edge == Edge("f", "b", "c")
    assert (onwards.timestamp_us, onwards.parent_span_id, onwards.partition) == (4, "xb", 0)
    assert (back.timestamp_us, back.parent_span_id, back.partition) == (7, "", 1)
    assert onwards.name == back.name == CONTEXT_RESTARTED


def test_a_chain_is_told_whole() -> None:
    """A context that restarted twice: each part knows all parts before and after it."""
    links = told(("x", "a", 0), ("y", "b", 5), ("z", "cd", 9))
    named = {key: [other.trace_id for other in link.others] for key, link in links.items()}
    assert named == {
        ("x", CONTINUES_IN): ["y", "z"],
        ("y", CONTINUES_IN): ["z"],
        ("y", CONTINUES_FROM): ["x"],
        ("z", CONTINUES_FROM): ["y", "x"],
    }


def test_each_half_goes_on_in_one_other_at_most() -> None:
    """Two second halves of one first half: the earlier is its continuation, the other nobody's."""
    links = told(("x", "ab", 0), ("y", "cd", 5), ("z", "cd", 6))
    assert set(links) == {("x", CONTINUES_IN), ("y", CONTINUES_FROM)}


def test_a_stage_done_again_is_a_recovery() -> None:
    """The second half begins with the stage that failed: the record came from an error queue."""
    links = told(("x", "abc", 0), ("y", "cd", 50))
    assert {link.name for link in links.values()} == {RECORD_RECOVERED}
    assert links["x", CONTINUES_IN].edge == Edge("f", "b", "c")


def test_clocks_that_disagree_make_no_endless_chain() -> None:
    """Two parts that could each go on in the other are told of each other once."""
    links = told(("x", "c", 5), ("y", "c", 5))
    assert all(len(link.others) == 1 for link in links.values())


def test_what_a_span_says_is_read_back() -> None:
    """Relation and all stages that the others hold; a withdrawal names its relation alone."""
    (link, *_) = told(("x", "a", 0), ("y", "b", 5), ("z", "cd", 9)).values()
    said = dimensions_of(link)
    assert said == {
        "relation": "continues_in",
        "flow": "f",
        "from_stage": "a",
        "to_stage": "b",
        "stages": "b;c,d",
    }
    event = {"name": link.name, "dimensions": said}
    assert told_by(event) == Told("continues_in", frozenset("bcd"))
    gone = {"name": LINK_WITHDRAWN, "dimensions": {"relation": "continues_in"}}
    assert told_by(gone) == Told("continues_in", frozenset(), is_withdrawn=True)


def test_a_foreign_span_of_that_name_tells_nothing() -> None:
    """Whoever takes the reserved name without the dimensions says nothing by it."""
    assert told_by({"name": CONTEXT_RESTARTED, "dimensions": {}}) == tells_nothing(b"")
