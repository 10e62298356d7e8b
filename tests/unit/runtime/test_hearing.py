"""Hearing: only an answer is a sign of life, not a connection that was made."""

import time

from streams.runtime.hearing import Hearing
from tests.unit.runtime.fake_link import Connection


def test_an_answer_is_heard() -> None:
    """The latest stamp of any connection is when a broker last answered."""
    hearing = Hearing()
    start = hearing.at_seconds
    one, two = Connection(start + 1), Connection(start + 2)
    assert hearing.listen([one, two]) == start, "they were only made"
    one._last_action = start + 7
    assert hearing.listen([one, two]) == start + 7
    two._last_action = start + 5
    assert hearing.listen([one, two]) == start + 7


def test_connections_that_are_made_again_and_again_are_silence() -> None:
    """A stopped broker's kernel still accepts: each try looks new, and none of them answers."""
    hearing = Hearing()
    start = hearing.at_seconds
    for n in range(1, 50):
        assert hearing.listen([Connection(start + 40 * n)]) == start


def test_a_broker_that_is_gone_leaves_the_last_answer() -> None:
    """Without any connection nothing is forgotten, and nothing new is heard."""
    hearing = Hearing()
    start = hearing.at_seconds
    one = Connection(start + 1)
    hearing.listen([one])
    one._last_action = start + 3
    hearing.listen([one])
    assert hearing.listen([]) == start + 3
    assert start <= time.monotonic()
