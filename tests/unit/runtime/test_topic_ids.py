"""A topic that was made again is told from the one before, where the broker has ids."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.errors import RightError, StateError
from streams.runtime import topic_ids as ids_module
from streams.runtime.topic_ids import BrokerTopicIds, check_same, no_ids
from tests.unit.runtime.shell_cases import Shell

Answer = str | int | None
"""An id, or the code of an error."""
LATE = "late"
"""No answer within the time that a request may take."""


class Admin:
    """An admin client that gives the answers of a test, topic by topic."""

    def __init__(self, **answers: list[Answer]) -> None:
        self._answers = answers

    def describe_topics(self, names: Any, request_timeout: float) -> dict[str, Any]:
        return {name: SimpleNamespace(result=self._result(name)) for name in names}

    def _result(self, name: str) -> Callable[[float], Any]:
        def result(_seconds: float) -> Any:
            answer = self._answers[name].pop(0)
            if answer == LATE:
                raise TimeoutError
            if isinstance(answer, int):
                raise KafkaException(KafkaError(answer))
            return SimpleNamespace(topic_id=answer)

        return result


def asked(monkeypatch: pytest.MonkeyPatch, **answers: list[Answer]) -> dict[str, str]:
    """Return the ids that are found when a broker answers so."""
    monkeypatch.setattr(ids_module, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(ids_module, "TopicCollection", list)
    monkeypatch.setattr(ids_module.topics, "admin", lambda _base: Admin(**answers))
    return dict(BrokerTopicIds({})(list(answers)))


def test_what_a_broker_does_not_tell_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brokers before 2.8 give none or zero; others are asked again when that may help."""
    found = asked(
        monkeypatch,
        a=["JQG4Fj+sTQur5e7oMZgPEQ"],
        old=[None],
        zero=["AAAAAAAAAAAAAAAAAAAAAA"],
        simple=[KafkaError.UNSUPPORTED_VERSION],
        busy=[KafkaError._TRANSPORT, KafkaError._TIMED_OUT, "b"],
    )
    assert found == {"a": "JQG4Fj+sTQur5e7oMZgPEQ", "busy": "b"}
    assert no_ids(["a"]) == {}


def test_a_broker_that_does_not_answer_in_time_tells_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It ended a worker that restored while its broker was away, as if its state were broken."""
    assert asked(monkeypatch, a=[LATE], b=["B"]) == {"b": "B"}


def test_a_missing_right_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be missing for ever."""
    with pytest.raises(RightError, match="Operator action"):
        asked(monkeypatch, a=[KafkaError.TOPIC_AUTHORIZATION_FAILED])


def test_another_topic_of_the_same_name_is_refused() -> None:
    """What nobody knows is no difference."""
    check_same("join-0", {}, {"a": "1"})
    check_same("join-0", {"a": "1", "gone": "2"}, {"a": "1", "new": "3"})
    with pytest.raises(StateError, match=r"a: deleted and made again since task join-0.*Operator"):
        check_same("join-0", {"a": "1", "b": "2"}, {"a": "3", "b": "2"})


def test_a_state_remembers_whose_positions_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids are kept with the first cut that a broker with ids sees, and compared from then on."""
    first = Shell(monkeypatch)
    assert first.runner.topic_ids == {}
    first.broker.segments.append(first.runner.collect(1)[1])
    second = Shell(monkeypatch, broker=first.broker, ids={"a": "1", "other": "9"})
    assert second.runner.topic_ids == {"a": "1"}
    first.broker.segments.append(second.runner.collect(2)[1])
    assert Shell(monkeypatch, broker=first.broker).runner.topic_ids == {"a": "1"}
    with pytest.raises(StateError, match="a: deleted and made again"):
        Shell(monkeypatch, broker=first.broker, ids={"a": "2"})
