"""Which topic a name stands for: a topic that was deleted and made again has another id.

Owns the question to the broker, and the refusal to go on from positions of another topic. Offsets
alone do not tell: of a topic that holds more records than before, every old position is there.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicCollection

from streams.errors import StateError
from streams.runtime import refusals, topics
from streams.runtime.transient import is_transient

log = structlog.get_logger()
ASK_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 0.2
_NONE: Final = "AAAAAAAAAAAAAAAAAAAAAA"
"""The id of a topic that has none."""
TopicIds = Callable[[Sequence[str]], Mapping[str, str]]
"""Returns the ids of topics; those that have none are left out."""


def no_ids(_names: Sequence[str]) -> Mapping[str, str]:
    """Return no id: the broker is known to give none."""
    return {}


class BrokerTopicIds:
    """Asks a broker for the ids of topics; one client for all threads, made when first needed.

    Args:
        base: client settings.
    """

    def __init__(self, base: Mapping[str, object]) -> None:
        self._base = base
        self._lock = threading.Lock()
        self._client: Any = None

    def __call__(self, names: Sequence[str]) -> Mapping[str, str]:
        """Return the ids of topics; blocking. What the broker does not tell is left out.

        Brokers have ids since Kafka 2.8. Without them nothing is compared.

        Raises:
            RightError: a topic may not be described.
        """
        with self._lock:
            if self._client is None:
                self._client = topics.admin(self._base)
        asked = self._client.describe_topics(
            TopicCollection(list(names)), request_timeout=ASK_SECONDS
        )
        found = {}
        for name, answer in asked.items():
            topic_id = self._answer(name, answer)
            if topic_id not in ("", _NONE):
                found[name] = topic_id
        return found

    def _answer(self, name: str, answer: Any) -> str:
        deadline = time.monotonic() + ASK_SECONDS
        while True:
            try:
                return str(answer.result(ASK_SECONDS).topic_id or "")
            except TimeoutError:  # as long as a request may take: the broker is away
                log.info("topic_id_unknown", topic=name, error="no answer")
                return ""
            except KafkaException as error:
                reason: KafkaError = error.args[0]
                if refusals.is_of_right(reason):
                    raise refusals.of_right(reason, "Describe", f"topic {name}") from error
                if not is_transient(reason) or time.monotonic() > deadline:
                    log.info("topic_id_unknown", topic=name, error=reason.str())
                    return ""
            time.sleep(RETRY_SECONDS)
            again = TopicCollection([name])
            answer = self._client.describe_topics(again, request_timeout=ASK_SECONDS)[name]


def check_same(task: str, was: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Pass when the topics are those that a state was made from, as far as anybody knows.

    Args:
        task: whose state.
        was: ids of its sources, as the state remembers them.
        now: ids as the broker gives them.

    Raises:
        StateError: a topic is another one now.
    """
    other = sorted(topic for topic in was.keys() & now.keys() if was[topic] != now[topic])
    if other:
        raise StateError(
            f"{', '.join(other)}: deleted and made again since task {task} read it. Its offsets "
            "are others now: records would be left out. Operator action: start a new group "
            "(--group), which reads all topics from their beginning."
        )
