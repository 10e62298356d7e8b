"""Replaying: speed, place and key of what is sent, and words instead of a traceback."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.errors import BrokerError, ConfigError, RightError
from streams.runtime import replaying, topics
from streams.runtime.build import load_pipeline
from streams.runtime.link import Link
from streams.settings import load_settings
from tests.unit.codec.codec_cases import T0_US, event


class NearLink(Link):
    """A link whose broker always answers: what is sent goes no further than a fake producer."""

    def reach(self) -> None:
        return


LINK = NearLink.plain("127.0.0.1:9092")


class NoSuchTopic:
    """A producer whose client knows already that the topic is not there."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def produce(self, *_args: object, **_kwargs: object) -> None:
        raise KafkaException(KafkaError(KafkaError._UNKNOWN_TOPIC))

    def poll(self, _seconds: float) -> None:
        pass


def test_a_missing_topic_is_named_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event whose topic is not there ends the replay with the topic and the command to run."""
    monkeypatch.setattr(replaying, "Producer", NoSuchTopic)
    monkeypatch.setattr(replaying, "encode", lambda *_: b"")
    replay = replaying.Replay(load_pipeline(load_settings()), LINK, "max", show=False)
    event = {"timestamp": 1, "module": "shop", "trace_id": "ab" * 16, "component": ""}
    with pytest.raises(BrokerError, match=r"telemetry\.other\.v1 .*spanloom topics create"):
        replay.send([event])


def test_no_topic_appears_by_being_sent_to(embedded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that makes what is asked for is not asked: its partition count is not ours."""
    monkeypatch.setattr(replaying, "_PROPAGATION_MS", 0)
    pipeline = load_pipeline(load_settings(contract="seed"))
    replay = replaying.Replay(pipeline, Link.plain(embedded), "max", show=False)
    with pytest.raises(BrokerError, match=r"telemetry\.beta\.v1 .*spanloom topics create"):
        replay.send([event()])
    there = topics.partition_counts(topics.admin({"bootstrap.servers": embedded}))
    assert "telemetry.beta.v1" not in there


class Taker:
    """A producer that takes everything; records fail on delivery where `error` is set."""

    error: KafkaError | None = None
    left = 0

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.sent: list[tuple[str, bytes]] = []
        self.waited_seconds = 0.0

    def produce(
        self, topic: str, _value: bytes, key: bytes, *, on_delivery: Callable[..., None]
    ) -> None:
        self.sent.append((topic, key))
        on_delivery(self.error, SimpleNamespace(topic=lambda: topic))

    def poll(self, seconds: float) -> None:
        self.waited_seconds += seconds

    def flush(self, _seconds: float) -> int:
        return self.left


@pytest.fixture
def taker(monkeypatch: pytest.MonkeyPatch) -> type[Taker]:
    """Return the class of producers that replays send through, this test's own."""
    mine = type("Mine", (Taker,), {})
    monkeypatch.setattr(replaying, "Producer", mine)
    return mine


def replay_of(speed: str) -> replaying.Replay:
    """Return a replay with the seed contract."""
    return replaying.Replay(load_pipeline(load_settings(contract="seed")), LINK, speed, show=False)


def producer_of(replay: replaying.Replay) -> Taker:
    """Return the producer that a replay sends through."""
    producer = replay._producer
    assert isinstance(producer, Taker)
    return producer


@pytest.mark.parametrize("speed", ["0", "-1", "fast", "", "nan", "inf", "-inf"])
def test_a_speed_that_is_none_is_refused(taker: type[Taker], speed: str) -> None:
    """Only numbers above 0 and `max` are speeds; the message names the flag and what to give."""
    with pytest.raises(ConfigError, match=r"--speed .*: give a number above 0, or max"):
        replay_of(speed)


def test_events_go_where_their_module_lives_keyed_by_trace(taker: type[Taker]) -> None:
    """Spans of a trace share a key, events without one go by module and component."""
    replay = replay_of("max")
    span = event()
    events = [span, event(module="SHOP"), event(trace_id="", event_type="METRIC")]
    assert replay.send(events) == 3
    trace_id = span["trace_id"].encode()
    assert producer_of(replay).sent == [
        ("telemetry.beta.v1", trace_id),
        ("telemetry.other.v1", trace_id),
        ("telemetry.beta.v1", b"BETA.enrichment"),
    ]


def test_records_are_spread_as_other_producers_spread_them(taker: type[Taker]) -> None:
    """The partitioner is Java's: a trace from several senders stays in one partition."""
    assert producer_of(replay_of("max")).config["partitioner"] == "murmur2_random"


def test_a_pace_is_kept(taker: type[Taker], monkeypatch: pytest.MonkeyPatch) -> None:
    """At ten times real time, events 20 s apart leave 2 s apart; at `max` nothing waits."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(replaying, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def poll(_self: Taker, seconds: float) -> None:
        clock.now += seconds

    monkeypatch.setattr(taker, "poll", poll)
    events = [event(timestamp=T0_US + seconds * 1_000_000) for seconds in (0, 20, 20, 30)]
    assert replay_of("10").send(events) == 4
    assert clock.now == pytest.approx(103.0)
    assert replay_of("max").send(events) == 4
    assert clock.now == pytest.approx(103.0)


def test_an_unacknowledged_event_fails_the_replay(taker: type[Taker]) -> None:
    """What the broker did not confirm is not claimed to be sent."""
    taker.left = 2
    with pytest.raises(BrokerError, match=r"2 events were not acknowledged"):
        replay_of("max").send([event()])
    taker.left = 0
    taker.error = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(BrokerError, match=r"may not Write topic telemetry\.beta\.v1 .*action"):
        replay_of("max").send([event()])
    taker.error = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
    with pytest.raises(BrokerError, match=r"not acknowledged .*too large.*Operator action"):
        replay_of("max").send([event()])


class NoProducerId:
    """A producer that the broker gives no id, which only its callback hears, some polls later."""

    silent = 0

    def __init__(self, settings: dict[str, Any]) -> None:
        self.hear = settings["error_cb"]
        self.polls = 0

    def produce(self, *_args: object, on_delivery: Callable[..., None]) -> None:
        raise KafkaException(KafkaError(KafkaError._FATAL))

    def poll(self, _seconds: float) -> None:
        self.polls += 1
        if self.polls > self.silent:
            self.hear(KafkaError(KafkaError.CLUSTER_AUTHORIZATION_FAILED))

    def flush(self, _seconds: float) -> int:
        return 0


class LostOnTheWay(NoProducerId):
    """The same, of a client that took the event before it broke."""

    def produce(self, *_args: object, on_delivery: Callable[..., None]) -> None:
        on_delivery(KafkaError(KafkaError._FATAL), SimpleNamespace(topic=lambda: "a"))


@pytest.mark.parametrize("kind", [NoProducerId, LostOnTheWay])
@pytest.mark.parametrize("silent", [0, 1, 3])
def test_who_may_write_nothing_is_told_which_right(
    monkeypatch: pytest.MonkeyPatch, kind: type[NoProducerId], silent: int
) -> None:
    """The client says "fatal error" and no more: the right is what mends it."""
    monkeypatch.setattr(replaying, "Producer", type("Mine", (kind,), {"silent": silent}))
    monkeypatch.setattr(replaying, "encode", lambda *_: b"")
    replay = replaying.Replay(load_pipeline(load_settings()), LINK, "max", show=False)
    event = {"timestamp": 1, "module": "shop", "trace_id": "ab" * 16, "component": ""}
    with pytest.raises(RightError, match=r"may not Write topic telemetry\.other\.v1 "):
        replay.send([event])
