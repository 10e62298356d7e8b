"""Shares are even, whole and moved no more than they must be."""

from hypothesis import strategies as st

from streams.runtime.assignor import balanced
from tests.tiers import tried

HELD = st.dictionaries(
    st.sampled_from("abcdef"), st.sets(st.integers(0, 19), max_size=12), min_size=1
)


@tried(HELD, st.integers(0, 16), st.randoms(), few=25, many=100)
def test_shares_are_whole_even_and_sticky(
    held: dict[str, set[int]], partitions: int, chance: object
) -> None:
    """Each partition is with one member, shares differ by one, only the surplus moves."""
    found = balanced(held, partitions)
    assert sorted(p for own in found.values() for p in own) == list(range(partitions))
    sizes = [len(own) for own in found.values()]
    assert max(sizes) - min(sizes) <= 1
    mine: dict[str, set[int]] = {}
    for member in sorted(held):  # of two that have it the first
        others = set().union(*mine.values())
        mine[member] = {p for p in held[member] if p < partitions} - others
    share, larger = divmod(partitions, len(held))
    by_size = sorted((len(own) for own in mine.values()), reverse=True)
    least = sum(max(0, n - share - (i < larger)) for i, n in enumerate(by_size))
    assert sum(len(own - set(found[m])) for m, own in mine.items()) == least
    members = list(held)
    chance.shuffle(members)  # type: ignore[attr-defined]
    assert balanced({m: held[m] for m in members}, partitions) == found


def test_who_comes_back_gets_a_share() -> None:
    """Faust's own rule would leave it without one: two are within the largest share."""
    found = balanced({"back": (), "one": (0, 1), "other": (2, 3)}, 4)
    assert {member: len(own) for member, own in found.items()} == {"back": 1, "one": 2, "other": 1}
    assert found["one"] == [0, 1]


def test_a_single_partition_goes_to_who_has_least_and_stays() -> None:
    """What there is once goes where little else is, but nobody moves it for that."""
    assert balanced({"a": (), "b": ()}, 1, {"a": 2, "b": 1}) == {"a": [], "b": [0]}
    assert balanced({"a": (0,), "b": ()}, 1, {"a": 2, "b": 1}) == {"a": [0], "b": []}
