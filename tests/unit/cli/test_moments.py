"""Moments after flags."""

import pytest

from streams.cli.moments import length_us, moment_us
from streams.errors import ConfigError


@pytest.mark.parametrize("text", ["1970-01-01T00:01Z", "1970-01-01T01:01+01:00"])
def test_an_offset_says_which_moment_it_is(text: str) -> None:
    """The same moment in two zones."""
    assert moment_us(text, "--since", "a time") == 60_000_000


@pytest.mark.parametrize(
    ("text", "why"), [("2026-01-31T12:00", "no time zone"), ("noon", "Invalid isoformat")]
)
def test_what_is_no_moment_is_refused_by_its_flag(text: str, why: str) -> None:
    """The message has flag, text, reason and what may be written."""
    with pytest.raises(ConfigError, match=f"--until {text}: .*{why}.*; write a time"):
        moment_us(text, "--until", "a time")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("2h", 7_200), ("1.5d", 129_600)]
)
def test_a_length_has_its_unit(text: str, seconds: int) -> None:
    """Seconds, minutes, hours, days."""
    assert length_us(text) == seconds * 1_000_000


@pytest.mark.parametrize("text", ["", "90", "h", "-1h", "1h30m", "1 h", "\u0661h", "1w"])
def test_what_is_no_length_is_none(text: str) -> None:
    """No sign, no sum, no digits of another script."""
    assert length_us(text) is None
