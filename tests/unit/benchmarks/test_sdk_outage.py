"""The case `sdk-outage` calls wrong what does not add up, and only that."""

from collections import Counter
from typing import Any

import pytest

from benchmarks.cases.sdk_outage import faults

FOUND = {
    "begun": 10, "made": 10, "sent": 6, "waiting": 0, "is_flushed": True,
    "dropped": {"queue_full": 3, "delivery_timeout": 1},
}  # fmt: skip
TOLD = Counter(
    {"events_sent": 6, "events_droppedqueue_full": 3, "events_droppeddelivery_timeout": 1}
)


def held(spans: int) -> Counter[str]:
    return Counter({f"{n:016x}": 1 for n in range(spans)})


def test_what_adds_up_is_right() -> None:
    """Also where an event that timed out arrived all the same."""
    assert faults(FOUND, held(6), TOLD) == []
    assert faults(FOUND, held(7), TOLD) == []


@pytest.mark.parametrize(
    ("found", "spans", "told", "words"),
    [
        ({"waiting": 1}, 6, {}, "still wait"),
        ({"begun": 11}, 6, {}, "begun 11"),
        ({"made": 11, "begun": 11}, 6, {}, "made 11"),
        ({}, 5, {}, "holds 5"),
        ({}, 8, {}, "holds 8"),
        ({}, 6, {"events_sent": 5}, "tell 5 sent"),
        ({}, 6, {"events_droppedqueue_full": 2}, "other drops"),
    ],
)
def test_what_does_not_is_named(
    found: dict[str, Any], spans: int, told: dict[str, int], words: str
) -> None:
    """One span, in any of the accounts."""
    assert any(words in one for one in faults(FOUND | found, held(spans), Counter(TOLD | told)))


def test_a_span_that_is_held_twice_is_named() -> None:
    """However right the sums are."""
    twice = held(6) + Counter({f"{0:016x}": 1})
    assert faults(FOUND, twice, TOLD) == ["1 spans are held twice"]
