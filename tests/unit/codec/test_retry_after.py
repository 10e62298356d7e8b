"""`Retry-After` in each form that HTTP has for it."""

import pytest

from streams.codec.retry_after import patience_us
from streams.units import SECOND_US

THEN_US = 784_111_777 * SECOND_US
"""1994-11-06T08:49:37Z, as RFC 9110 writes it in its three forms."""
NOW_US = 1_790_000_000 * SECOND_US


def test_seconds_are_read() -> None:
    """At once is a patience too; what is written longer than any patience is cut, not refused."""
    assert patience_us("7", None, NOW_US) == 7 * SECOND_US
    assert patience_us(" 0 ", None, NOW_US) == 0
    assert patience_us("1" * 400, None, NOW_US) == 111_111_111 * SECOND_US


@pytest.mark.parametrize(
    "header", [None, "", "-1", "1.5", "soon", "Wed, 99 Oct 2015 07:28:00 GMT", "\u0663"]
)
def test_nonsense_asks_for_nothing(header: str | None) -> None:
    """It is told apart from a patience of no time."""
    assert patience_us(header, None, NOW_US) is None


@pytest.mark.parametrize(
    "until",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        " Sun, 06 Nov 1994 08:49:37 GMT ",
    ],
)
def test_a_date_is_read_by_the_clock_that_wrote_it(until: str) -> None:
    """By the sender's where it says what that shows, by ours where not; one that is over is now."""
    assert patience_us(until, None, THEN_US - 30 * SECOND_US) == 30 * SECOND_US
    assert patience_us(until, "soon", THEN_US - 30 * SECOND_US) == 30 * SECOND_US
    assert patience_us(until, "Sun, 06 Nov 1994 08:49:00 GMT", NOW_US) == 37 * SECOND_US
    assert patience_us(until, None, THEN_US + 1) == 0
