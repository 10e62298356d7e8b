"""Events of recent halves: found once, in the right revision, and never beyond the bound."""

from streams.engine.halves import RecentHalves
from streams.units import SECOND_US
from tests.join_cases import BEGIN_US, World, at, three_stages, trace_key


def halves(*traces: int, bytes_max: int = 1 << 20) -> tuple[RecentHalves, World]:
    """Return what is kept of traces that closed with their first stage only."""
    world, kept = World(three_stages()), RecentHalves(bytes_max)
    for trace in traces:
        kept.keep(world.feed([at("a", trace, 0)]))
        kept.keep(world.tick(BEGIN_US + 40 * SECOND_US))
    return kept, world


def test_the_events_of_a_half_are_there_once() -> None:
    """As they were published; taken, they are gone."""
    kept, world = halves(1)
    assert len(kept) == 1
    assert kept.take(trace_key(1), 1) == list(world.final()[1].bodies)
    assert kept.take(trace_key(1), 1) is None
    assert len(kept) == 0


def test_another_revision_is_not_given() -> None:
    """Events of an older revision would make a trace that lacks some."""
    kept, _ = halves(1)
    assert kept.take(trace_key(1), 2) is None


def test_a_whole_trace_is_not_kept() -> None:
    """Nobody will ask for it: it is no half."""
    world, kept = World(three_stages()), RecentHalves(1 << 20)
    world.feed([at("a", 1, 0), at("b", 1, 1), at("c", 1, 2)])
    kept.keep(world.tick(BEGIN_US + 40 * SECOND_US))
    assert world.final().keys() == {1}
    assert len(kept) == 0


def test_the_oldest_go_beyond_the_bound() -> None:
    """As many stay as fit, the latest ones, and those that went are counted."""
    _, world = halves(1)
    size = sum(map(len, world.final()[1].bodies))
    kept, _ = halves(1, 2, 3, bytes_max=2 * size)
    assert (len(kept), kept.forgotten) == (2, 1)
    assert kept.take(trace_key(1), 1) is None
    assert kept.take(trace_key(3), 1) is not None
    nothing, _ = halves(1, bytes_max=0)
    assert (len(nothing), nothing.forgotten) == (0, 1)
