"""Sends events into the telemetry topics, keyed and partitioned as producers should."""

import math
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from streams.codec.records import encode
from streams.errors import BrokerError, ConfigError
from streams.runtime import refusals, topics
from streams.runtime.build import Pipeline
from streams.runtime.link import MAKES_NO_TOPICS, Link, open_client
from streams.runtime.sending import hear_why, turned
from streams.units import SECOND_US, counted

SHOW_EVERY = 2_000
_NO_TOPIC = (KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART)
_PROPAGATION_MS = 5_000
"""How long a topic that was just created may be unknown to a broker."""


class Replay:
    """Sends events in their order, at a multiple of their own pace.

    Args:
        pipeline: says which topic carries a module.
        link: how to reach the broker.
        speed: "max", or how many times real time.
        show: show progress on the terminal.

    Raises:
        ConfigError: the speed is neither.
    """

    def __init__(self, pipeline: Pipeline, link: Link, speed: str, *, show: bool) -> None:
        try:
            self._speed = 0.0 if speed == "max" else float(speed)
        except ValueError:
            self._speed = -1.0
        if speed != "max" and not 0 < self._speed < math.inf:  # not for nan either
            raise ConfigError(f"--speed {speed}: give a number above 0, or max")
        contract = pipeline.contract
        self._topic = {m: contract.topic(m) for m in contract.modules} if contract else {}
        self._privacy = pipeline.privacy
        self._show = show
        self._failed: str = ""
        self._failed_count = 0
        self._missing: tuple[str, KafkaError] | None = None
        self._error: KafkaError | None = None
        self._refused: KafkaError | None = None
        self._topic_refused: str = ""
        self._asked: str = ""
        self._link = link
        self._who = link.settings.who
        self._producer = open_client(
            Producer,
            {
                **link.librdkafka(),
                **MAKES_NO_TOPICS,
                "partitioner": "murmur2_random",  # as Java and aiokafka do
                "enable.idempotence": True,
                "compression.type": "lz4",
                "linger.ms": 20,
                "queue.buffering.max.messages": 200_000,
                "message.timeout.ms": 60_000,
                "topic.metadata.propagation.max.ms": _PROPAGATION_MS,
                "error_cb": self._hear,
                "log_level": 2,
            },
        )

    def send(self, events: Iterable[dict[str, Any]]) -> int:
        """Send the events and return how many; every one is acknowledged when this returns.

        Raises:
            BrokerError: the broker refused or did not answer.
            ConfigError: as reading the events raises it, once those before are acknowledged; says
                how many these were.
        """
        sent = 0
        began = time.monotonic()
        first_us = 0
        with self._progress() as progress:
            bar = progress.add_task("sending", total=None)
            for event in self._read(events):
                if not sent:  # the events may be no file at all, which the broker need not know
                    self._link.reach()
                first_us = first_us or event["timestamp"]
                if self._speed:
                    self._pace(began, (event["timestamp"] - first_us) / SECOND_US)
                self._send_one(event)
                sent += 1
                if sent % SHOW_EVERY == 0:
                    progress.update(bar, completed=sent, description=f"{sent:,} events sent")
            said = f"{counted(sent, 'event')} sent"
            progress.update(bar, completed=sent, total=sent, description=said)
        self._settle()
        return sent

    def _read(self, events: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield the events; where the next one cannot be read, settle those before."""
        sent = 0
        try:
            for event in events:
                yield event
                sent += 1
        except ConfigError as error:
            if not sent:
                raise
            self._settle()
            raise ConfigError(f"{error}. Before it, {counted(sent, 'event')} went out") from error

    def _settle(self) -> None:
        """Wait until every event that was handed over is acknowledged.

        Raises:
            BrokerError: as `send`.
        """
        left = turned(lambda: self._producer.flush(60), self._hear)
        hear_why(self._producer, self._error, self._hear, self._is_refused)
        if self._refused is not None:
            what = f"topic {self._topic_refused}"
            raise refusals.of_right(self._refused, "Write", what, self._who)
        lost = left + self._failed_count
        if self._missing is not None:
            raise _no_topic(*self._missing, lost)
        if left or self._failed:
            raise BrokerError(
                f"{counted(lost, 'event')} {'was' if lost == 1 else 'were'} not acknowledged "
                f"{self._failed}. Operator action: check the broker, and that the topics exist "
                "(spanloom topics create)."
            )

    def _send_one(self, event: dict[str, Any]) -> None:
        topic = self._topic.get(event["module"], topics.OTHER)
        key = event["trace_id"] or f"{event['module']}.{event['component']}"
        kept = event if self._privacy is None else self._privacy.event(event)
        value = encode("telemetry_event", kept)
        self._asked = topic
        while True:
            try:
                self._producer.produce(topic, value, key.encode(), on_delivery=self._delivered)
                break
            except BufferError:
                self._turn(0.1)
            except KafkaException as error:  # the client knows already that there is no such topic
                hear_why(self._producer, error.args[0], self._hear, self._is_refused)
                reason = self._refused or error.args[0]
                if refusals.is_of_right(reason):
                    what = f"topic {topic}"
                    raise refusals.of_right(reason, "Write", what, self._who) from error
                raise _no_topic(topic, error.args[0]) from error
        self._turn(0)

    def _is_refused(self) -> bool:
        return self._refused is not None

    def _turn(self, seconds: float) -> None:
        turned(lambda: self._producer.poll(seconds), self._hear)

    def _hear(self, error: KafkaError) -> None:
        """Take in that the broker gives no producer id: to whom may write to no topic at all.

        Whether this or the topic's own refusal comes first is chance. (Kafka's KIP-679)
        """
        if refusals.is_of_right(error):
            self._refused, self._topic_refused = error, self._asked
        elif error.fatal():
            self._error, self._failed = error, f"({error.str()})"

    def _delivered(self, error: KafkaError | None, message: Any) -> None:
        if error is not None:
            self._error = error
            self._failed = f"({error.str()})"
            self._failed_count += 1
            if refusals.is_of_right(error):
                self._refused, self._topic_refused = error, message.topic()
            elif error.code() in _NO_TOPIC:
                self._missing = message.topic(), error

    def _pace(self, began: float, due_seconds: float) -> None:
        ahead = due_seconds / self._speed - (time.monotonic() - began)
        while ahead > 0:
            self._turn(min(ahead, 0.2))
            ahead = due_seconds / self._speed - (time.monotonic() - began)

    def _progress(self) -> Progress:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        console = Console(file=sys.stderr)
        return Progress(*columns, console=console, disable=not (self._show and console.is_terminal))


def _no_topic(topic: str, error: KafkaError, lost: int = 0) -> BrokerError:
    of = f" ({counted(lost, 'event')} not acknowledged)" if lost else ""
    return BrokerError(
        f"{topic} takes no events: {error.str()}{of}. Operator action: run "
        "`spanloom topics create` with the same --contract, and check --broker."
    )
