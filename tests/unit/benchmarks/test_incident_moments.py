"""Times of recordings: with and without a zone, as text and as numbers."""

import pytest

from benchmarks.incidents.moments import number_us, second_us
from streams.units import SECOND_US

AT_US = 1_674_981_669 * SECOND_US  # 2023-01-29 08:41:09 UTC


@pytest.mark.parametrize(
    "text",
    [
        "2023-01-29 08:41:09",
        "2023-01-29 08:41:09.043078357 +0000 UTC m=+0.119240217",
        "2023-01-29 16:41:09.043078357 +0800 CST m=+0.119240217",
        "2023-01-29T03:11:09-05:30",
        "2023-01-29T08:41:09.5Z",
        "1674981669",
        "1674981669.9",
        "1674981669043",
        "1674981669043078",
        "1674981669043078357",
    ],
)
def test_one_second_has_many_spellings(text: str) -> None:
    """A zone is taken into account, none is UTC; a number's size tells its unit."""
    assert second_us(text) == AT_US


def test_midnight_belongs_to_the_day_that_begins() -> None:
    """A day's first second, with and without seconds."""
    assert second_us("1970-01-02 00:00:00") == second_us("1970-01-02 00:00") == 86_400 * SECOND_US


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("yesterday", "could not convert"),
        ("", "could not convert"),
        ("-5", "no time since 1970"),
        ("nan", "no time since 1970"),
        ("2023-13-01 00:00:00", "does not match format"),
    ],
)
def test_what_is_no_time_is_refused(text: str, words: str) -> None:
    """Rather than played in 1970."""
    with pytest.raises(ValueError, match=words):
        second_us(text)


def test_a_fraction_of_a_second_is_kept_in_a_number() -> None:
    """Seconds may have decimals."""
    assert number_us(1_674_981_669.25) == AT_US + SECOND_US // 4
