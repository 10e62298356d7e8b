"""What cannot be read back yet is asked for again; only what is gone is given up."""

from streams.runtime.recall import VISIBLE_MS, settled

NOW_MS = 1_760_000_000_000
TRACE = bytes(16)


def test_what_was_found_is_an_answer_at_once() -> None:
    """The events of a revision never change."""
    wanted = [(TRACE, NOW_MS, 1)]
    assert settled({TRACE: [b"a"]}, wanted, NOW_MS) == {TRACE: [b"a"]}


def test_a_trace_of_the_cut_in_flight_is_not_lost() -> None:
    """Its cut may not be committed, or not be visible to readers of committed records."""
    wanted = [(TRACE, NOW_MS - 5, 1)]
    assert settled({TRACE: None}, wanted, NOW_MS) == {}


def test_a_trace_that_stays_unseen_is_given_up() -> None:
    """The topic's retention, or its owner, has removed it."""
    wanted = [(TRACE, NOW_MS - VISIBLE_MS - 1, 1)]
    assert settled({TRACE: None}, wanted, NOW_MS) == {TRACE: None}
