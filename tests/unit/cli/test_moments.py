"""Moments and lengths after flags."""

import pytest

from streams.cli.moments import flag_length_us, moment_us
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


def test_a_length_is_refused_by_its_flag() -> None:
    """The message has flag, text and what may be written."""
    assert flag_length_us("1.5h", "--for") == 5_400_000_000
    with pytest.raises(ConfigError, match=r"--for soon: write 90s, 15m, 2h, 30d or 4w"):
        flag_length_us("soon", "--for")
    with pytest.raises(ConfigError, match=r"--for 0d: write more than 0s and at most 36525d"):
        flag_length_us("0d", "--for")
