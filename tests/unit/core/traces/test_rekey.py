"""Cutting events into messages, against a loop that takes them one by one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.core.traces.rekey import cut

EVENTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30)), max_size=60)


def slowly(events: list[tuple[int, int]], bytes_max: int) -> list[tuple[int, list[int]]]:
    """Return (partition, rows) of each message, by a rule for one event at a time."""
    messages: list[tuple[int, list[int]]] = []
    for partition in sorted({p for p, _ in events}):
        rows: list[int] = []
        held = 0
        for row, (target, size) in enumerate(events):
            if target != partition:
                continue
            if rows and held + size > bytes_max:
                messages.append((partition, rows))
                rows, held = [], 0
            rows.append(row)
            held += size
        messages.append((partition, rows))
    return messages


@given(EVENTS, st.integers(0, 80))
def test_messages_are_those_of_a_loop(events: list[tuple[int, int]], bytes_max: int) -> None:
    """Each event once, in order, in a message of its partition that is as full as it may be."""
    partition = np.array([p for p, _ in events], np.int64)
    size = np.array([s for _, s in events], np.int64)
    found = cut(partition, size, bytes_max)
    rows = [found.order[a:b].tolist() for a, b in zip(found.start, found.start[1:], strict=False)]
    assert list(zip(found.partition.tolist(), rows, strict=True)) == slowly(events, bytes_max)
    assert sorted(found.order.tolist()) == list(range(len(events)))


def test_no_events_make_no_message() -> None:
    """The empty step."""
    nothing = np.zeros(0, np.int64)
    assert len(cut(nothing, nothing, 10).partition) == 0
