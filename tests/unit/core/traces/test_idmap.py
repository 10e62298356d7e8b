"""The map of trace ids is a dictionary, whatever the ids have in common."""

import random

import numpy as np
from hypothesis import given

from streams.core.traces.idmap import ABSENT, TraceIdMap, first_of_each, halves, key_bytes
from streams.units import I64, U64
from tests.judge_cases import randoms
from tests.tiers import tried

Id = tuple[int, int]


def columns(ids: list[Id]) -> tuple[U64, U64]:
    both = np.array(ids, np.uint64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


@tried(randoms, few=15, many=60)
def test_the_map_is_a_dictionary(rng: random.Random) -> None:
    """Ids come and go in blocks, through growth and places used again; look-ups never differ."""
    few = rng.choice((3, 40, 5_000))
    every = list({(rng.randrange(3), rng.randrange(few)) for _ in range(few)})
    hi, lo = np.zeros((2, 80_000), np.uint64)
    made, model, number = TraceIdMap(), dict[Id, int](), 0
    if rng.random() < 0.5:  # the ids are kept by whoever numbers them
        made = TraceIdMap(lambda numbers: (hi[numbers], lo[numbers]))
    for _ in range(rng.randint(1, 15)):
        asked = [rng.choice(every) for _ in range(rng.randrange(2 * few))]
        assert made.find(*columns(asked)).tolist() == [model.get(i, -1) for i in asked]
        new = [i for i in dict.fromkeys(asked) if i not in model]
        hi[number : number + len(new)], lo[number : number + len(new)] = columns(new)
        made.put(*columns(new), np.arange(number, number + len(new)))
        model |= {i: number + n for n, i in enumerate(new)}
        number += len(new)
        gone = list(dict.fromkeys(rng.choice(every) for _ in range(rng.randrange(few))))
        made.remove(*columns(gone))
        for one in gone:
            model.pop(one, None)
        assert len(made) == len(model)
    assert made.find(*columns(every)).tolist() == [model.get(i, -1) for i in every]


def test_a_map_whose_ids_come_and_go_stays_as_large_as_it_is() -> None:
    """700 ids, of which the oldest 70 go when 70 come: places used again never double it."""
    made, places = TraceIdMap(), set()
    for first in range(0, 70 * 200, 70):
        made.put(*columns([(0, n) for n in range(first, first + 70)]), np.arange(first, first + 70))
        if first >= 700:
            made.remove(*columns([(0, n - 700) for n in range(first, first + 70)]))
            places.add(len(made._value))
    assert len(made) == 700
    assert places == {2048}


def test_a_column_is_found_in_few_looks_however_full_the_map_is() -> None:
    """Two thirds of the places are taken: no id is at the end of a run of taken places."""
    n, looks = 43_600, 0
    random = np.random.default_rng(5)
    hi, lo = random.integers(1, 1 << 63, (2, n), np.uint64)

    def ids_of(numbers: I64) -> tuple[U64, U64]:
        nonlocal looks
        looks += 1
        return hi.take(numbers), lo.take(numbers)

    made = TraceIdMap(ids_of)
    made.put(hi[:32_000], lo[:32_000], np.arange(32_000))
    made.put(hi[32_000:], lo[32_000:], np.arange(32_000, n))
    assert 0.65 < n / len(made._value) < 0.67
    looks = 0
    assert np.array_equal(made.find(hi, lo), np.arange(n))
    assert (made.find(lo, hi) == ABSENT).all()
    assert looks < 90


def test_ids_that_all_want_one_place_are_told_apart() -> None:
    """Ids that differ in bits which the place does not depend on: every one is found."""
    made = TraceIdMap()
    inverse = pow(0x9E3779B97F4A7C15, -1, 1 << 64)
    ids = [((n << 60) * inverse % (1 << 64), 0) for n in range(1, 9)]
    made.put(*columns(ids), np.arange(8))
    assert made.find(*columns(ids)).tolist() == list(range(8))
    made.remove(*columns(ids[::2]))
    assert made.find(*columns(ids)).tolist() == [-1, 1, -1, 3, -1, 5, -1, 7]


@given(randoms)
def test_each_row_names_the_first_with_its_id(rng: random.Random) -> None:
    """The first row of an id names itself."""
    ids = [(rng.randrange(2), rng.randrange(5)) for _ in range(rng.randrange(40))]
    assert first_of_each(*columns(ids)).tolist() == [ids.index(i) for i in ids]


def test_ids_are_bytes_and_halves() -> None:
    """High half first, as text has them."""
    key = bytes(range(16))
    hi, lo = halves([key])
    assert (int(hi[0]), int(lo[0])) == (0x0001020304050607, 0x08090A0B0C0D0E0F)
    assert key_bytes(hi, lo) == [key]
    assert [len(half) for half in halves([])] == [0, 0]
