"""Within the hold the order of arrival changes nothing: neither ids nor counts nor words."""

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.incidents.book import IncidentBook
from streams.core.incidents.settings import IncidentSettings
from tests.property.test_restarts_and_incidents import alerts
from tests.synthetic_pipeline import INCIDENTS, SECOND, TOPOLOGY

HOLD = 4 * SECOND
SETTINGS = IncidentSettings(
    relations=INCIDENTS.relations, quiet_us=3 * SECOND, reopen_us=99 * SECOND, hold_us=HOLD
)
WALL = ("history", "acknowledged_at", "command_at")


def told(chunks: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return what is told of chunks that come within the hold, the wall times aside."""
    book = IncidentBook(SETTINGS, TOPOLOGY)
    found = []
    for number, chunk in enumerate(chunks):
        found += book.update(chunk, 100 * SECOND + number, caught_up=True)
    assert found == [], "nothing is told before its time"
    for wait in (HOLD, 2 * HOLD, 2 * HOLD + 1, 99 * SECOND):
        found += book.update([], 100 * SECOND + wait, caught_up=True)
    assert not book.state.waiting
    return sorted(
        ({k: v for k, v in event.items() if k not in WALL} for event in found),
        key=lambda event: (event["incident_id"], event["version"]),
    )


@given(
    st.lists(alerts(), max_size=16, unique_by=lambda a: (a["fingerprint"], a["version"])),
    st.integers(0, 2**32),
)
@settings(max_examples=150)
def test_any_order_and_any_chunks_give_the_same(states: list[dict[str, Any]], seed: int) -> None:
    """States of several alerts, older after newer ones, repeated, in chunks of any size."""
    random = Random(seed)
    shuffled = states + random.sample(states, len(states) // 3)
    random.shuffle(shuffled)
    chunks: list[list[dict[str, Any]]] = [[]]
    for state in shuffled:
        chunks[-1].append(state)
        if random.random() < 0.4:
            chunks.append([])
    assert told(chunks) == told([states])
