"""Replaying into a broker that refuses: people read what to do, not a traceback."""

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.errors import BrokerError
from streams.runtime import replaying
from streams.runtime.build import load_pipeline
from streams.settings import load_settings


class NoSuchTopic:
    """A producer whose client knows already that the topic is not there."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def produce(self, *_args: object, **_kwargs: object) -> None:
        raise KafkaException(KafkaError(KafkaError._UNKNOWN_TOPIC))


def test_a_missing_topic_is_named_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event whose topic is not there ends the replay with the topic and the command to run."""
    monkeypatch.setattr(replaying, "Producer", NoSuchTopic)
    monkeypatch.setattr(replaying, "encode", lambda *_: b"")
    replay = replaying.Replay(load_pipeline(load_settings()), "max", show=False)
    event = {"timestamp": 1, "module": "shop", "trace_id": "ab" * 16, "component": ""}
    with pytest.raises(BrokerError, match=r"telemetry\.other\.v1 .*spanloom topics create"):
        replay.send([event])
