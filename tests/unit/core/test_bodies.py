"""Bodies left in their buffers are the bytes they were, however they are put together."""

import random

import numpy as np
import pytest
from hypothesis import given, settings

from streams.core.bodies import NOTHING, Bodies, Scattered
from tests.judge_cases import randoms

SIZES = (0, 1, 7, 124, 127, 128, 129, 300, 1_000)


def some(rng: random.Random, count: int) -> list[bytes]:
    return [rng.randbytes(rng.choice(SIZES)) for _ in range(count)]


@given(randoms)
def test_bodies_of_a_list_are_that_list(rng: random.Random) -> None:
    """One by one, taken in any order, and with others behind them."""
    bodies, others = some(rng, rng.randrange(9)), some(rng, rng.randrange(9))
    made = Bodies.of(bodies)
    assert (len(made), list(made)) == (len(bodies), bodies)
    assert [made[i] for i in range(len(bodies))] == bodies
    index = np.array([rng.randrange(len(bodies)) for _ in range(5)] if bodies else [], np.int64)
    assert list(made.take(index)) == [bodies[i] for i in index]
    chosen = made.take(np.sort(index))
    runs = list(chosen.runs())
    assert b"".join(runs) == b"".join(chosen)
    assert b"".join(made.runs()) == b"".join(bodies)
    assert len(list(made.runs())) == bool(bodies), "all of them lie side by side"
    assert list(Bodies.concat([made, NOTHING, Bodies.of(others)])) == [*bodies, *others]


@settings(max_examples=60)
@given(randoms)
def test_scattered_bodies_are_joined_in_their_order(rng: random.Random) -> None:
    """From buffers of which much or little is wanted, in any order, some of them twice."""
    wasted = rng.choice((0, 3, 200_000))
    sources, places = [], []
    for number in range(rng.randint(1, 4)):
        parts = some(rng, rng.randrange(6))
        sources.append(b"".join(b"#" * rng.randrange(4) + part for part in parts))
        at = 0
        for part in parts:
            at = sources[-1].index(part, at)
            places.append((number, at, part))
        sources[-1] += b"-" * wasted
    chosen = [rng.choice(places) for _ in range(rng.randrange(12))] if places else []
    columns = np.array([(n, a, len(p)) for n, a, p in chosen], np.int64).reshape(-1, 3).T
    scattered = Scattered(sources, *columns)
    assert scattered.joined() == b"".join(part for _, _, part in chosen)
    assert list(scattered.packed()) == [part for _, _, part in chosen]


@pytest.mark.parametrize(("wasted", "is_dense"), [(0, True), (1 << 20, False)])
def test_buffers_of_which_little_is_wanted_are_not_copied_whole(
    wasted: int, is_dense: bool
) -> None:
    """A trace that closes must not cost the copy of all that came beside it."""
    body = b"x" * 100
    one = np.zeros(1, np.int64)
    scattered = Scattered([body + bytes(wasted)], one, one, np.array([100]))
    assert scattered.is_dense is is_dense
    assert scattered.joined() == body
