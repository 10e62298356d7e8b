"""The layout of topics: each has its own count, remembered beside the buffer."""

import json
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from streams.collector import layout
from streams.collector.layout import FILE, partitions_of
from streams.errors import BrokerError, StateError
from streams.runtime import topics

ALPHA, OTHER, REJECTED = "telemetry.alpha.v1", "telemetry.other.v1", "telemetry.rejected.v1"
TELEMETRY = [ALPHA, OTHER]
FOUR = {ALPHA: 4, OTHER: 4, REJECTED: 4}
GROWN = FOUR | {ALPHA: 9}
ALL_NINE = dict.fromkeys(FOUR, 9)


class Broker:
    """A broker that has topics, or is away; stands for a link."""

    def __init__(self, there: dict[str, int] | None) -> None:
        self.there = there

    def reach(self) -> None:
        if self.there is None:
            raise BrokerError("nobody answers")

    def librdkafka(self) -> dict[str, object]:
        return {}


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what asks a broker that has some topics, or none that is away, for their counts."""

    def asking(there: dict[str, int] | None, *, holds_events: bool = False) -> dict[str, int]:
        broker: Any = Broker(there)
        monkeypatch.setattr(topics, "admin", lambda _: broker)
        monkeypatch.setattr(topics, "partition_counts", lambda client: client.there)
        return partitions_of(broker, TELEMETRY, REJECTED, tmp_path, holds_events=holds_events)

    return asking


def test_equal_counts_need_no_word(ask: Any) -> None:
    """They are what the broker has, and what is told while it is away."""
    with capture_logs() as said:
        assert ask(FOUR) == FOUR
    assert said == []
    with capture_logs() as said:
        assert ask(None) == FOUR
    assert [one["event"] for one in said] == ["kafka_is_away"]


def test_a_topic_that_has_grown_is_named_with_what_workers_must_do(ask: Any) -> None:
    """The collector goes on, with the count of each; while Kafka is away too."""
    with capture_logs() as said:
        assert ask(GROWN) == GROWN
    (warning,) = said
    assert warning["event"] == "partition_counts_differ"
    assert warning["log_level"] == "warning"
    assert warning["partitions"] == {ALPHA: 9}
    assert warning["others"] == 4
    assert f"--rekey {ALPHA}," in warning["action"]
    assert ask(None) == GROWN


def test_a_buffer_is_sent_into_topics_that_have_grown(ask: Any) -> None:
    """Workers place those anew, or do not start: any partition is right for them."""
    ask(FOUR)
    assert ask(GROWN, holds_events=True) == GROWN
    assert ask(FOUR | {REJECTED: 9}, holds_events=True)[REJECTED] == 9


@pytest.mark.parametrize(
    "now", [ALL_NINE, FOUR | {ALPHA: 3}, FOUR | {REJECTED: 3}, {**ALL_NINE, ALPHA: 12}]
)
def test_a_buffer_whose_traces_would_be_torn_is_refused(ask: Any, now: dict[str, int]) -> None:
    """All have the same new count, so nobody places anew; or a partition is no more."""
    ask(FOUR)
    with pytest.raises(StateError, match="let a collector with the old topics send them first"):
        ask(now, holds_events=True)
    assert ask(None, holds_events=True) == FOUR
    assert ask(now) == now  # the buffer was moved away


def test_counts_by_which_a_buffer_was_placed_are_kept_until_it_is_empty(ask: Any) -> None:
    """However often the collector starts meanwhile."""
    ask(FOUR)
    for _ in range(2):
        assert ask(GROWN, holds_events=True) == GROWN
    with pytest.raises(StateError, match=f"{ALPHA} had 4 and has 9"):
        ask(ALL_NINE, holds_events=True)
    assert ask(GROWN) == GROWN
    assert ask(ALL_NINE) == ALL_NINE


def test_files_of_older_collectors_are_read(ask: Any, tmp_path: Path) -> None:
    """They had one count for all."""
    old = {"topics": [*TELEMETRY, REJECTED], "partitions": 4}
    (tmp_path / FILE).write_text(json.dumps(old), "utf-8")
    assert ask(None) == FOUR
    with pytest.raises(StateError):
        ask(ALL_NINE, holds_events=True)
    assert ask(GROWN, holds_events=True) == GROWN


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"topics": 7}', '{"topics": {"a": "many"}}'])
def test_without_anything_remembered_the_broker_is_needed(
    ask: Any, tmp_path: Path, text: str
) -> None:
    """A file that is damaged is none, and a broker makes it whole."""
    if text:
        (tmp_path / FILE).write_text(text, "utf-8")
    with pytest.raises(BrokerError, match="nobody answers"):
        ask(None)
    assert ask(FOUR) == FOUR
    assert ask(None) == FOUR


def test_topics_that_are_missing_are_named(ask: Any) -> None:
    """With the command that makes them."""
    with pytest.raises(BrokerError, match=f"topics are missing: {ALPHA}.*spanloom topics create"):
        ask({OTHER: 4, REJECTED: 4})


def test_a_topic_that_is_new_in_the_contract_is_not_remembered(ask: Any, tmp_path: Path) -> None:
    """Nothing says how many partitions it has while Kafka is away."""
    (tmp_path / FILE).write_text(json.dumps({"topics": {OTHER: 4, REJECTED: 4}}), "utf-8")
    with pytest.raises(BrokerError):
        ask(None)


def test_a_folder_that_cannot_be_written_is_told(ask: Any, tmp_path: Path) -> None:
    """With what to do."""
    (tmp_path / f"{FILE}.unfinished").mkdir()
    with pytest.raises(StateError, match="let the collector write its folder"):
        ask(FOUR)
    assert layout.FILE not in {path.name for path in tmp_path.iterdir()}
