"""Which way trouble goes between components, and how far."""

import itertools

import pytest

from streams.core.incidents.propagation import Component, Propagation, Spot

IN, OUT = ("LINK", "transfer"), ("LINK", "transfer")
A, B, C, D = (("M", name) for name in "abcd")
CACHE, DISK, ROOM = ("CACHE", "cache"), ("CACHE", "disk"), ("CACHE", "room")
LOG = ("M", "log")


def at(component: Component, stage: str) -> Spot:
    return Spot(component, ("f", stage))


# a -> transfer (in) -> b -> transfer (out) -> c -> d
FLOW = [at(A, "a"), at(IN, "in"), at(B, "b"), at(OUT, "out"), at(C, "c"), at(D, "d")]
KNOWN = Propagation(
    {B: (CACHE,), CACHE: (DISK,), DISK: (ROOM,)},
    tuple(itertools.pairwise(FLOW)),
    frozenset({LOG}),
)


def test_trouble_comes_from_what_is_needed_and_down_the_flow() -> None:
    """Two steps at most, of either kind."""
    assert KNOWN.sources(at(B, "b")) == {IN, A, CACHE, DISK}
    assert KNOWN.sources(Spot(CACHE)) == {DISK, ROOM}


def test_some_of_it_fails_who_needs_it() -> None:
    """The first step from it is a need; what else comes are records, whoever needs whom then."""
    assert KNOWN.failing(at(B, "b")) == {CACHE, DISK}
    assert KNOWN.failing(at(OUT, "out")) == {CACHE}, "b in between may hand over what it lacks"
    assert KNOWN.failing(at(C, "c")) == frozenset()
    fed = Propagation({C: (B,)}, KNOWN.handovers)
    assert fed.failing(Spot(C)) == {B}, "who feeds b comes by records: it fails nobody"
    assert {IN, B} <= fed.sources(Spot(C))


def test_what_comes_in_by_one_stage_does_not_go_out_by_another() -> None:
    """One component serves both hops; c is fed by the second only."""
    assert KNOWN.sources(at(C, "c")) == {OUT, B}
    assert KNOWN.sources(at(IN, "in")) == {A}
    assert KNOWN.sources(Spot(IN)) == {A, B, CACHE}, "an alert of no stage is about both"


def test_a_jam_goes_up_the_flow_and_to_nobody_who_is_only_needed() -> None:
    """Work piles up before who does not take it."""
    assert KNOWN.jams(at(A, "a")) == {IN, B}
    assert KNOWN.jams(Spot(CACHE)) == frozenset()


def test_a_reporter_tells_of_its_module_and_all_that_comes_before_it() -> None:
    """And of no other reporter."""
    assert KNOWN.told_of("M") == {A, B, C, D, IN}
    assert KNOWN.told_of("LINK") == {A, B, IN}
    assert KNOWN.told_of("ELSEWHERE") == frozenset()


@pytest.mark.parametrize(("component", "is_known"), [(A, True), (ROOM, True), (("M", "z"), False)])
def test_it_knows_what_is_named_anywhere(component: Component, is_known: bool) -> None:
    """As one that needs, is needed, has a stage, or reports."""
    assert KNOWN.knows(component) is is_known
    assert not Propagation().knows(component)
