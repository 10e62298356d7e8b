"""A buffer is held exactly as long as a row lies in it."""

import numpy as np

from streams.core.traces.arena import (
    RAW_BUFFERS,
    RAW_BUFFERS_MAX,
    RAW_BYTES,
    SPARSE_MIN_BYTES,
    Arena,
)


def test_a_buffer_goes_with_its_last_row() -> None:
    """Of two buffers the one without rows is let go, and its number is used again."""
    arena = Arena()
    first, second = arena.add(b"abc", 2), arena.add(b"defg", 1)
    arena.release(np.array([first, second], np.int32))
    assert arena.held_bytes == 3
    assert arena.add(b"hi", 1) == second
    at = arena.at(np.array([first, second], np.int32), np.array([1, 0]), np.array([2, 2]))
    assert at.joined() == b"bchi"
    arena.release(np.array([first], np.int32))
    assert arena.held_bytes == 2


def test_many_buffers_are_told_apart() -> None:
    """More buffers than there was room for at first."""
    arena = Arena()
    numbers = [arena.add(bytes([i]), 1) for i in range(100)]
    assert numbers == list(range(100))
    chosen = np.array([99, 0, 50], np.int32)
    assert arena.at(chosen, np.zeros(3, np.int64), np.ones(3, np.int64)).joined() == b"\x63\x00\x32"


def test_what_came_is_bounded_in_bytes_and_in_number() -> None:
    """The bound says its name; one buffer alone is never too large, packed ones are not raw."""
    arena = Arena(raw_bytes_max=100)
    arena.add(bytes(200), 1)
    assert arena.crowded_by == ""
    last = arena.add(b"x", 1)
    assert arena.crowded_by == RAW_BYTES
    assert arena.oldest().tolist() == [0]
    arena.release(np.array([0], np.int32))
    arena.add(bytes(200), 1, packed=True)
    for _ in range(RAW_BUFFERS_MAX - 1):
        arena.add(b"x", 1)
    assert arena.crowded_by == ""
    arena.add(b"x", 1)
    assert arena.crowded_by == RAW_BUFFERS
    assert arena.oldest()[0] == last


def test_buffers_are_sparse_when_little_of_much_is_open() -> None:
    """A few megabytes are never worth moving; of more, half must be open."""
    arena = Arena()
    arena.add(bytes(SPARSE_MIN_BYTES), 1)
    assert not arena.is_sparse(0)
    arena.add(b"x", 1)
    assert arena.is_sparse(10)
    assert not arena.is_sparse(SPARSE_MIN_BYTES)


def test_packed_buffers_may_hold_less_that_is_dead() -> None:
    """They carry no keys and frames: half as much again as is open, at most."""
    arena = Arena()
    arena.add(bytes(3 * SPARSE_MIN_BYTES), 1, packed=True)
    assert not arena.is_sparse(2 * SPARSE_MIN_BYTES)
    assert arena.is_sparse(2 * SPARSE_MIN_BYTES - 1)
