"""Texts in a buffer are judged as one by one, however they are looked at."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.codec.otlp.texts import are_utf8, is_utf8
from streams.codec.otlp.walk import words_of

PIECES = st.lists(
    st.one_of(
        st.text("ab", max_size=70).map(str.encode),
        st.text(max_size=300).map(str.encode),
        st.binary(max_size=20),
        st.builds(
            lambda size, at, byte: b"x" * min(at, size) + bytes([byte]) + b"y" * max(size - at, 0),
            st.integers(0, 600),
            st.integers(0, 600),
            st.sampled_from((0x7F, 0x80, 0xC3, 0xFF)),
        ),
    ),
    max_size=12,
)


@given(PIECES, st.integers(8, 15), st.sampled_from((8, 20_000)))
def test_texts_are_judged_as_one_by_one(pieces: list[bytes], lead: int, rest: int) -> None:
    """A buffer of little else is looked at by a bit of each byte, one of much else by words."""
    data = b"\x80" * lead + b"\xff".join(pieces) + b"\xff" * rest
    octets = np.frombuffer(data, np.uint8)
    size = np.array([len(piece) for piece in pieces], np.int64)
    at = lead + np.cumsum(size + 1) - size - 1
    found = are_utf8(octets, words_of(octets), at, size)
    assert found.tolist() == [is_utf8(piece) for piece in pieces]


SIZES = (*range(10), *range(55, 60), *range(112, 117), *range(226, 232))
"""About where a word, two words and the last of four end."""


@pytest.mark.parametrize("rest", [8, 2_000_000], ids=["by bits", "by words"])
@pytest.mark.parametrize("lead", range(8, 16))
def test_a_byte_that_is_no_text_is_seen_wherever_it_is(lead: int, rest: int) -> None:
    """And none beside a text is taken for one of its own."""
    pieces = [b"x" * size for size in SIZES]
    pieces += [b"x" * at + b"\x80" + b"x" * (size - at - 1) for size in SIZES for at in range(size)]
    octets = np.frombuffer(b"\x80" * lead + b"".join(pieces) + b"\xff" * rest, np.uint8)
    size = np.array([len(piece) for piece in pieces], np.int64)
    at = lead + np.cumsum(size) - size
    # Told twice, they are many for the bytes that they lie in.
    found = are_utf8(octets, words_of(octets), np.tile(at, 2), np.tile(size, 2))
    assert found.tolist() == 2 * [is_utf8(piece) for piece in pieces]
