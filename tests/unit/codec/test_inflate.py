"""Inflating gives back what was compressed, whole or not at all, and never more than the cap."""

import gzip
import random
import tracemalloc
import zlib
from contextlib import suppress

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from streams.codec.inflate import GIVEN_BYTES, MEMBERS_MAX, Coding, inflate
from streams.errors import RecordError

COMPRESS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd.compress,
    "identity": bytes,
}
SKIPPED = bytes.fromhex("502a4d1800000000")
"""A frame of zstd that says nothing (RFC 8878, 3.1.2)."""
codings = st.sampled_from(["gzip", "deflate", "zstd"])


@given(
    st.sampled_from(["gzip", "zstd"]), st.lists(st.binary(max_size=2_000), min_size=1, max_size=3)
)
def test_members_come_back_together(coding: Coding, parts: list[bytes]) -> None:
    """A file may have several members or frames."""
    body = b"".join(COMPRESS[coding](part) for part in parts)
    whole = b"".join(parts)
    assert inflate(coding, body, max(1, len(whole))) == whole
    if len(whole) > 1:
        with pytest.raises(RecordError) as caught:
            inflate(coding, body, len(whole) - 1)
        assert caught.value.reason == "inflated_too_large"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_what_is_given_in_several_turns_comes_back(coding: Coding) -> None:
    """Bytes that do not become fewer, and ends of members at and around where a turn ends."""
    chance = random.Random(7)
    for size in (GIVEN_BYTES // 2, GIVEN_BYTES - 40, 3 * GIVEN_BYTES + 1):
        part = chance.randbytes(size)
        one = COMPRESS[coding](part)
        assert inflate(coding, one, size) == part
        if coding != "deflate":
            assert inflate(coding, one * 5, 5 * size) == part * 5
        with pytest.raises(RecordError, match="it ends too early"):
            inflate(coding, one[:-1], size)
        with pytest.raises(RecordError):
            inflate(coding, one + b"x", size)


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_members_have_a_bound(coding: Coding) -> None:
    """Empty ones count against no cap of bytes; a body of 2 MB of them took 45 seconds of CPU."""
    empty = COMPRESS[coding](b"")
    assert inflate(coding, empty * (MEMBERS_MAX - 1) + COMPRESS[coding](b"a"), 1) == b"a"
    for body in (empty * (MEMBERS_MAX + 1), SKIPPED * (MEMBERS_MAX + 1)):
        if coding == "zstd" or body.startswith(empty):
            with pytest.raises(RecordError, match="more than 1024 files") as caught:
                inflate(coding, body, 1 << 20)
            assert caught.value.reason == "invalid_compression"


@given(st.binary(max_size=2_000), st.binary(min_size=1, max_size=40))
def test_deflate_is_one_stream(data: bytes, more: bytes) -> None:
    """The format of zlib has no members: what lies behind its end is no part of it."""
    body = zlib.compress(data)
    assert inflate("deflate", body, 2_000) == data
    with pytest.raises(RecordError, match="bytes behind its end"):
        inflate("deflate", body + more, 2_000)


@given(codings, st.binary(min_size=1, max_size=2_000), st.integers(min_value=1, max_value=40))
def test_what_ends_too_early_is_refused(coding: Coding, data: bytes, cut: int) -> None:
    """A part is never taken for the whole."""
    body = COMPRESS[coding](data)
    with pytest.raises(RecordError) as caught:
        inflate(coding, body[: max(0, len(body) - cut)], 1 << 20)
    assert caught.value.reason == "invalid_compression"


@given(codings, st.binary(max_size=200))
def test_bytes_that_are_no_file_are_refused_or_read(coding: Coding, data: bytes) -> None:
    """Nothing but our own error leaves."""
    with suppress(RecordError):
        assert len(inflate(coding, data, 1_000)) <= 1_000


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_a_bomb_never_unfolds(coding: Coding) -> None:
    """100 MiB of zeros take no more memory than the cap and a few pieces."""
    body = COMPRESS[coding](bytes(100 << 20))
    tracemalloc.start()
    with pytest.raises(RecordError):
        inflate(coding, body, 1 << 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


def test_a_plain_body_has_the_same_cap() -> None:
    """Identity is a coding like the others."""
    assert inflate("identity", b"abc", 3) == b"abc"
    with pytest.raises(RecordError):
        inflate("identity", b"abcd", 3)
