"""What a pattern means, against a slow reading of the same words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.patterns import fits

WORDS = st.text(st.sampled_from("ab[]*?!-"), max_size=6)


def slowly(text: str, pattern: str) -> bool:
    """Return the same, character by character."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(slowly(text[at:], pattern[1:]) for at in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and slowly(text[1:], pattern[1:])


@given(WORDS, WORDS)
def test_stars_and_question_marks_stand_for_characters(text: str, pattern: str) -> None:
    """And nothing else does."""
    assert fits(text, pattern) == slowly(text, pattern)


@pytest.mark.parametrize(
    ("text", "pattern", "is_meant"),
    [
        ("[ERROR] no route", "[ERROR] *", True),
        ("E no route", "[ERROR]*", False),
        ("queue[0]", "queue[?]", True),
        ("Queue", "queue", False),
    ],
)
def test_brackets_are_themselves(text: str, pattern: str, is_meant: bool) -> None:
    """As the lines of many logs have them."""
    assert fits(text, pattern) is is_meant
