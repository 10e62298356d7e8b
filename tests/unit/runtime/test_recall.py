"""What cannot be read back yet is asked for again; only what is gone is given up."""

from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from streams.codec.recalled import TraceReader
from streams.errors import BrokerError
from streams.runtime import recall as module
from streams.runtime.recall import VISIBLE_MS, recall, settled

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


class Stalled:
    """A consumer of a topic whose last stable offset stands still: there is more, unreadable."""

    def __init__(self, _settings: object) -> None:
        self.polls = 0
        self.is_closed = False

    def get_watermark_offsets(self, _at: object, timeout: float) -> tuple[int, int]:
        return 0, 10

    def offsets_for_times(self, at: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [TopicPartition(at[0].topic, at[0].partition, 3)]

    def assign(self, _at: object) -> None:
        """Take any."""

    def position(self, _at: object) -> list[TopicPartition]:
        return [TopicPartition("t", 0, 3)]

    def consume(self, _count: int, _seconds: float) -> list[Any]:
        self.polls += 1
        return []

    def close(self) -> None:
        self.is_closed = True


def test_a_recall_ends_with_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a dead worker's open transaction it waited on, and a stop took longer than it may.

    Nor is a trace that was not seen by then given up: it may be there.
    """
    made: list[Stalled] = []

    def stalled(_kind: object, settings: object) -> Stalled:
        made.append(Stalled(settings))
        return made[-1]

    monkeypatch.setattr(module, "open_client", stalled)
    told = _yes_after(2)
    wanted = [(TRACE, NOW_MS - VISIBLE_MS - 1, 1), (bytes([1]) * 16, NOW_MS, 1)]
    with pytest.raises(BrokerError, match="before the worker ended"):
        recall({}, "t", 0, wanted, TraceReader(), can_seek_time=True, is_over=lambda: next(told))
    assert (made[0].polls, made[0].is_closed) == (2, True)


def _yes_after(times: int) -> Iterator[bool]:
    yield from [False] * times
    while True:
        yield True
