"""An answer is taken for as old as it may be."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import consumer, fetcher

from streams.codec.recordbatch import RecordBatch
from streams.runtime import fetching
from streams.runtime.fetching import FETCH_WAIT_MS, StampedFetcher, handed_out

ASKED_S = 1_000
AT, LEFT = TopicPartition("a", 0), TopicPartition("a", 1)


@pytest.mark.parametrize(
    ("took_ms", "stamp_ms"),
    [
        (3, 0),
        (FETCH_WAIT_MS, FETCH_WAIT_MS),
        (FETCH_WAIT_MS + 40_000, FETCH_WAIT_MS),
        (-1, None),
    ],
)
@pytest.mark.parametrize("is_active", [True, False])
def test_what_was_read_late_is_no_news(
    monkeypatch: pytest.MonkeyPatch, took_ms: int, stamp_ms: int | None, is_active: bool
) -> None:
    """An answer is as old as the question, or as the broker's second look if it waited."""
    clock = SimpleNamespace(time=lambda: float(ASKED_S))
    monkeypatch.setattr(fetching, "time", clock)
    states: dict[TopicPartition, Any] = {
        AT: SimpleNamespace(timestamp=None, known_ms=None, has_valid_position=True),
        LEFT: SimpleNamespace(timestamp=None, known_ms=None, has_valid_position=True),
    }

    async def answered(*_: object) -> bool:
        states[AT].timestamp = ASKED_S * 1_000 + took_ms
        return True

    monkeypatch.setattr(fetcher.Fetcher, "_proc_fetch_request", answered)
    request = SimpleNamespace(topics=[("a", [(0, 5, 100), (1, 5, 100)])])
    assignment = SimpleNamespace(active=is_active, state_value=states.__getitem__)
    made = StampedFetcher.__new__(StampedFetcher)
    assert asyncio.run(made._proc_fetch_request(assignment, 1, request)) is True
    known_ms = None if stamp_ms is None or not is_active else ASKED_S * 1_000 + stamp_ms
    assert (states[AT].known_ms, states[LEFT].known_ms) == (known_ms, None)
    assert states[AT].timestamp == ASKED_S * 1_000 + took_ms, "the broker lives as of then"


@pytest.mark.parametrize(("is_gone", "begin"), [(False, 5), (True, 9)])
def test_what_expired_is_no_hole(
    monkeypatch: pytest.MonkeyPatch, is_gone: bool, begin: int
) -> None:
    """A hole belongs to what is handed out; what expired was there, and somebody has to miss it."""
    state = SimpleNamespace(timestamp=None, has_valid_position=True, position=5, handed_to=5)

    async def answered(*_: object) -> bool:
        state.has_valid_position = not is_gone
        return True

    monkeypatch.setattr(fetcher.Fetcher, "_proc_fetch_request", answered)
    request = SimpleNamespace(topics=[("a", [(0, 5, 100)])])
    assignment = SimpleNamespace(active=True, state_value=lambda _: state)
    made = StampedFetcher.__new__(StampedFetcher)
    asyncio.run(made._proc_fetch_request(assignment, 1, request))
    state.position = 12
    polled = handed_out(state, [RecordBatch(9, 12, 0, -1, 3, b"")], 3)
    assert (polled.begin, polled.end) == (begin, 12)


def test_consumers_have_it() -> None:
    """The name by which aiokafka makes one."""
    assert consumer.Fetcher is StampedFetcher


def test_a_fetch_that_waits_to_be_tried_again_does_not_end_the_stop() -> None:
    """The client cancels it, waits for it, and is cancelled by it: nothing after it is closed."""

    async def story() -> tuple[bool, set[Any]]:
        made = StampedFetcher.__new__(StampedFetcher)
        tasks = [asyncio.create_task(asyncio.sleep(300)) for _ in range(3)]
        made._fetch_task, made._pending_tasks = tasks[0], set(tasks[1:])
        made._fetch_waiters = set()
        await asyncio.sleep(0)
        await made.close()
        return all(task.cancelled() for task in tasks), made._pending_tasks

    assert asyncio.run(story()) == (True, set())
