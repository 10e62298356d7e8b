"""How an archive is compared with its topics: every planted difference is found, by its name."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.fault.comparing import Difference, difference

ROWS = st.lists(st.sampled_from("abcde"), max_size=12)


@given(ROWS)
def test_what_is_equal_has_no_difference(rows: list[str]) -> None:
    """In whatever order."""
    assert difference(rows, reversed(rows)) == Difference(0, 0, 0, len(rows))


@given(ROWS, ROWS, ROWS)
def test_each_planted_difference_is_counted(
    kept: list[str], lost: list[str], strange: list[str]
) -> None:
    """Rows that are missing, that are there twice, that nobody wrote."""
    twice = [row for row in set(kept)]
    found = difference([*kept, *lost], [*kept, *twice, *(f"x{row}" for row in strange)])
    again = sum((Counter(twice) - Counter(lost)).values())
    missing = sum((Counter(lost) - Counter(twice)).values())
    assert found == Difference(missing, again, len(strange), len(kept) + len(lost))
