"""Lengths of time as people write them, and how many there are of something."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.units import LENGTH_FORM, counted, length_us

SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
CENTURY_SECONDS = 36_525 * 86_400


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("2h", 7_200), ("1.5d", 129_600), ("4w", 2_419_200)],
)
def test_a_length_has_its_unit(text: str, seconds: int) -> None:
    """Seconds, minutes, hours, days, weeks."""
    assert length_us(text) == seconds * 1_000_000


def test_the_form_that_messages_name_is_understood() -> None:
    """Whoever writes as a refusal says is not refused again."""
    named = LENGTH_FORM.replace(" or ", ", ").split(", ")
    assert {text[-1] for text in named} == set(SECONDS)
    assert all(length_us(text) > 0 for text in named)


@given(st.decimals(0, 10**9, places=6), st.sampled_from(sorted(SECONDS)))
def test_a_length_is_its_number_times_its_unit(number: Decimal, unit: str) -> None:
    """To the microsecond, up to a century and above nothing; the rest is refused."""
    exact = number * SECONDS[unit]
    text = f"{number:f}{unit}"
    if 0 < exact <= CENTURY_SECONDS:
        assert abs(length_us(text) - exact * 1_000_000) <= 1
    else:
        with pytest.raises(ValueError, match="more than 0s and at most 36525d"):
            length_us(text)


@pytest.mark.parametrize(
    "text", ["", "90", "h", "-1h", "1h30m", "1 h", "1h\n", "\u0661h", "1y", "1e3s", "0.0000001s"]
)
def test_what_is_no_length_is_refused(text: str) -> None:
    """No sign, no sum, no digits of another script."""
    with pytest.raises(ValueError, match=f"^write {LENGTH_FORM}$"):
        length_us(text)


@pytest.mark.parametrize("text", ["0s", "0.0d", "36525.1d", "9999999999w"])
def test_a_length_has_bounds(text: str) -> None:
    """Nothing is no length, and no date is centuries away."""
    with pytest.raises(ValueError, match="more than 0s and at most 36525d"):
        length_us(text)


def test_one_is_one_and_several_are_several() -> None:
    """People read "1 alert", not "1 alerts"."""
    said = [counted(number, "alert state") for number in (0, 1, 2, 1_907)]
    assert said == ["0 alert states", "1 alert state", "2 alert states", "1,907 alert states"]
    assert [counted(number, "batch", "batches") for number in (1, 2)] == ["1 batch", "2 batches"]
