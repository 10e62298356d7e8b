"""Every chain of causes begins somewhere, and a circle goes with what explains it from outside."""

import itertools
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from streams.core.incidents.forest import chain, forest

AGE = dict(zip("abcdef", range(6), strict=True))


def test_the_strongest_relation_is_the_cause() -> None:
    """The least weight counts: rank first, then how near the beginnings are."""
    found = forest({"b": [(3, 5, "a"), (1, 90, "c")], "c": [(3, 1, "a")]}, AGE)
    assert found.cause == {"b": "c", "c": "a"}
    assert found.circled == frozenset()
    assert chain("b", found.cause) == ["b", "c", "a"]


def test_a_circle_goes_with_what_explains_one_of_it_from_outside() -> None:
    """Even where that relation is a weaker one."""
    found = forest({"b": [(0, 1, "c"), (9, 9, "a")], "c": [(0, 1, "b")]}, AGE)
    assert found.cause == {"b": "a", "c": "b"}
    assert found.circled == {"b", "c"}


def test_a_circle_that_nothing_explains_begins_with_its_oldest() -> None:
    """What only follows from the circle is no way out of it."""
    causes = {"b": [(0, 1, "d"), (1, 1, "e")], "c": [(0, 1, "b")], "d": [(0, 1, "c")],
              "e": [(0, 1, "c")]}  # fmt: skip
    found = forest(causes, AGE)
    assert found.cause == {"c": "b", "d": "c", "e": "c"}


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[tuple[int, int, str]]]:
    return {
        name: [
            (draw(st.integers(0, 2)), draw(st.integers(0, 3)), other)
            for other in draw(st.sets(st.sampled_from([o for o in AGE if o != name])))
        ]
        for name in draw(st.sets(st.sampled_from(sorted(AGE))))
    }


@given(graphs(), st.integers(0, 2**32))
def test_chains_end_and_order_does_not_matter(
    causes: dict[str, list[tuple[int, int, str]]], seed: int
) -> None:
    """Each step of a chain is a relation that there is; one without relations begins."""
    found = forest(causes, AGE)
    for name in AGE:
        path = chain(name, found.cause)
        assert len(set(path)) == len(path)
        for effect, cause in itertools.pairwise(path):
            assert cause in [other for _, _, other in causes[effect]]
    without = {name for name, weights in causes.items() if weights} - found.cause.keys()
    assert without <= found.circled, "only the head of a circle loses its cause"
    names = list(causes)
    Random(seed).shuffle(names)
    assert forest({name: causes[name][::-1] for name in names}, AGE) == found
