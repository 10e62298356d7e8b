"""Topics that are gone are named; a broker that is away is no sign of that."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from structlog.testing import capture_logs

from streams.errors import BrokerError, StateError
from streams.runtime import topics
from streams.runtime.vanished import Vanished


def looked(monkeypatch: pytest.MonkeyPatch, there: dict[str, int] | None) -> Vanished:
    """Return what has looked for "a" and "b" once, among these; None for a broker that is away."""

    def counts(_client: Any) -> dict[str, int]:
        if there is None:
            raise BrokerError("no broker answers")
        return there

    monkeypatch.setattr(topics, "admin", lambda _base: None)
    monkeypatch.setattr(topics, "partition_counts", counts)
    pool = ThreadPoolExecutor(1)
    watch = Vanished({}, ("a", "b"), pool)
    watch.look()
    pool.shutdown(wait=True)
    return watch


def test_a_topic_that_is_gone_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has its task any more, and no lag tells."""
    error = looked(monkeypatch, {"a": 1, "c": 1}).error
    assert isinstance(error, StateError)
    assert str(error).startswith("b: deleted while this worker ran")
    assert "Operator action: make them with `spanloom topics create`" in str(error)


def test_topics_that_are_there_are_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others may come and go."""
    assert looked(monkeypatch, {"a": 1, "b": 7, "c": 1}).error is None


def test_a_broker_that_is_away_has_deleted_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long that may last is judged elsewhere; it is said here."""
    with capture_logs() as lines:
        assert looked(monkeypatch, None).error is None
    assert [line["event"] for line in lines] == ["topics_not_looked_at"]


def test_without_names_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded broker makes what it is asked for."""
    monkeypatch.setattr(topics, "admin", lambda _base: pytest.fail("asked"))
    pool = ThreadPoolExecutor(1)
    watch = Vanished({}, {}, pool)
    watch.look()
    pool.shutdown(wait=True)
    assert watch.error is None
