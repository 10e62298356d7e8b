"""A reader of topics for people and scripts: committed records only, no group joined, nothing kept.

Owns where a reading begins and where it ends. Invariant: what is yielded was committed, each
record at most once, per partition in its order; a reading that does not follow ends where the
topics ended when it began.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import compress
from typing import Any, Final, NamedTuple, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.errors import BrokerError, ConfigError
from streams.runtime import refusals
from streams.runtime.link import Link, open_client
from streams.runtime.transient import is_transient
from streams.runtime.watermarks import watermarks

CALL_SECONDS: Final = 10.0
ATTEMPT_SECONDS: Final = 5.0
OFFSETS_SECONDS: Final = 15.0
"""How long a group's coordinator is waited for: a call waits for one attempt."""
POLL_SECONDS: Final = 0.2
NAMES_MAX: Final = 12
"""Topics that a message names: a broker may hold thousands."""
_LOOK: Final = (
    "Operator action: start Kafka, or name the right address with --broker HOST:PORT or "
    "SPANLOOM_BROKER."
)
_HIDDEN: Final = frozenset(
    {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_TOPIC_OR_PART}
)
"""Topics that we may not see, or that were deleted as we asked, have no offsets for us."""
Place = tuple[str, int]
"""Topic and partition."""
Needed = Callable[[Sequence[str], Sequence[bytes | None]], Sequence[bool]]
"""Says which records are needed, given topics and values."""


def few_of(known: Sequence[str], wanted: Sequence[str]) -> str:
    """Return which topics there are: all of a few, of many those that look most like the wanted."""
    if len(known) <= NAMES_MAX:
        return f"there are: {', '.join(known) or 'none'}"
    alike = [one for name in wanted for one in get_close_matches(name, known, NAMES_MAX, 0.0)]
    shown = list(dict.fromkeys(alike))[:NAMES_MAX]
    return f"of {len(known)} topics these look most like it: {', '.join(shown)}"


class Message(NamedTuple):
    """One record as it lies in a topic; `timestamp_ms` is Kafka's record time."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Span:
    """The offsets that a partition holds: [low, high); some may be markers of transactions."""

    low: int
    high: int


class Reading:
    """A connection that reads topics; use it in a `with` statement.

    Args:
        link: how to reach the broker.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._broker = link.broker
        self._who = link.settings.who
        self.ended: dict[Place, int] = {}
        """By partition, the offset at which its end was met last: markers of transactions that no
        record tells of lie before it."""
        self._consumer = open_client(
            Consumer,
            {
                **link.librdkafka(),
                "group.id": "spanloom-reading",  # never joined, never committed
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 100,
                "log_level": 0,
            },
        )

    def __enter__(self) -> Self:
        """Return the reading itself, once the broker has answered.

        Raises:
            BrokerError: it is away, is not who it should be, or does not let us in.
        """
        self._link.reach()
        return self

    def __exit__(self, *_: object) -> None:
        """Let the connection go."""
        self._consumer.close()

    def topics(self) -> dict[str, int]:
        """Return every topic there is with its partition count.

        Raises:
            BrokerError: no broker answers.
        """
        try:
            found = self._consumer.list_topics(timeout=CALL_SECONDS).topics
        except KafkaException as error:
            raise self._away(error) from error
        return {name: len(topic.partitions) for name, topic in found.items()}

    def known(self, topics: Sequence[str]) -> list[str]:
        """Return those topics that are there.

        Raises:
            BrokerError: no broker answers, or one of them may not be seen.
        """
        missing = self._missing(topics, self.topics())
        return [topic for topic in topics if topic not in missing]

    def _missing(self, topics: Sequence[str], there: Mapping[str, int]) -> list[str]:
        """Return those that are not there; one that is hidden is told only to who asks by name."""
        missing = [topic for topic in topics if topic not in there]
        for topic in missing:
            try:
                error = self._consumer.list_topics(topic, timeout=CALL_SECONDS).topics[topic].error
            except KafkaException as failure:
                raise self._away(failure) from failure
            if error is not None and refusals.is_of_right(error):
                raise refusals.of_right(error, "Describe", f"topic {topic}", self._who)
        return missing

    def spans(self, topics: Sequence[str]) -> dict[Place, Span]:
        """Return what each partition of some topics holds, up to its last committed record.

        Raises:
            BrokerError: no broker answers.
            ConfigError: a topic is not there; names those that are.
        """
        there = self.topics()
        missing = self._missing(topics, there)
        if missing:
            known = sorted(t for t in there if not t.startswith("__"))
            wanted = ", ".join(missing)
            raise ConfigError(
                f"no topic {wanted} on {self._broker}; {few_of(known, missing)}. `spanloom topics "
                "create` makes those of Spanloom, and --broker says where they are looked for"
            )
        out = {}
        for topic in topics:
            for partition in range(there[topic]):
                out[topic, partition] = self._span(topic, partition)
        return out

    def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        """Return where partitions that are read end, as far as answers to fetches have told.

        Nothing is asked: a question would wait behind a fetch, for each partition anew.
        """
        found = {}
        for topic, partition in places:
            at = TopicPartition(topic, partition)
            known = self._consumer.get_watermark_offsets(at, cached=True)
            if known is not None and known[1] >= 0:
                found[topic, partition] = int(known[1])
        return found

    def _span(self, topic: str, partition: int) -> Span:
        try:
            return Span(*watermarks(self._consumer, topic, partition, CALL_SECONDS))
        except KafkaException as error:
            reason = error.args[0]
            if refusals.is_of_right(reason):
                hidden = f"topic {topic}"
                raise refusals.of_right(reason, "Describe", hidden, self._who) from error
            raise BrokerError(
                f"the offsets of {topic}/{partition} on {self._broker} cannot be read: "
                f"{reason.str()}. {_LOOK}"
            ) from error

    def since(self, topic: str, at_ms: int) -> dict[Place, int]:
        """Return where to begin to miss no record of a time or later.

        Where nothing is so new it is the beginning: a broker that knows no times (the embedded one)
        says the same.

        Args:
            topic: the topic.
            at_ms: Kafka's record time, ms.

        Raises:
            BrokerError: no broker answers.
            ConfigError: the topic is not there.
        """
        spans = self.spans([topic])
        wanted = [TopicPartition(topic, partition, at_ms) for _, partition in spans]
        try:
            found = self._consumer.offsets_for_times(wanted, timeout=CALL_SECONDS)
        except KafkaException as error:
            raise self._away(error) from error
        first = {(at.topic, at.partition): at.offset for at in found}
        return {at: first[at] if first[at] >= 0 else span.low for at, span in spans.items()}

    def records(
        self, starts: dict[Place, int], *, follow: bool = False
    ) -> Iterator[Message | None]:
        """Yield the records from some offsets on, and None whenever nothing is new for a moment.

        Args:
            starts: where to begin, for each partition that is to be read.
            follow: wait for more; else end where the partitions end now.

        Raises:
            BrokerError: the broker went away or refuses.
        """
        ends = {} if follow else {at: self._span(*at).high for at in starts}
        left = {at for at, start in starts.items() if follow or start < ends[at]}
        if not left:
            return
        self._assign({at: starts[at] for at in left})
        heard = time.monotonic()
        while left:
            news = self._consumer.consume(500, POLL_SECONDS)
            for message in news:
                at = (message.topic(), message.partition())
                error = message.error()
                if error is not None:
                    self._judge(error, message.topic())
                    if error.code() == KafkaError._PARTITION_EOF:
                        self.ended[at] = message.offset()
                        if not follow:
                            left.discard(at)
                elif follow or message.offset() < ends[at]:
                    yield _message(message)
                if not follow and error is None and message.offset() + 1 >= ends[at]:
                    left.discard(at)
            if news:
                heard = time.monotonic()
                continue
            if not follow and time.monotonic() - heard > 3 * CALL_SECONDS:
                raise BrokerError(f"{self._broker} stopped answering. {_LOOK}")
            yield None
        self._consumer.unassign()

    def batches(
        self, starts: dict[Place, int], count: int, needed: Needed | None = None
    ) -> Iterator[list[Message]]:
        """Yield the records from some offsets on, for ever; none when nothing is new for a moment.

        Args:
            starts: where to begin, for each partition that is to be read.
            count: records of a batch, at most.
            needed: says which records are, given topics and values; all without it. The last one of
                each partition is yielded all the same: it tells how far the partition was read.

        Raises:
            BrokerError: the broker went away or refuses.
        """
        self._assign(starts)
        while True:
            yield self._polled(count, needed)

    def _polled(self, count: int, needed: Needed | None) -> list[Message]:
        """Return the next records that are needed; what came with them is held no longer."""
        good = []
        for message in self._consumer.consume(count, POLL_SECONDS):
            error = message.error()
            if error is None:
                good.append(message)
                continue
            self._judge(error, message.topic())
            if error.code() == KafkaError._PARTITION_EOF:
                self.ended[message.topic(), message.partition()] = message.offset()
        return [_message(message) for message in (_needed(good, needed) if needed else good)]

    def _assign(self, starts: dict[Place, int]) -> None:
        self._consumer.assign([TopicPartition(t, p, at) for (t, p), at in sorted(starts.items())])

    def newest(self, topic: str, partition: int, count: int) -> list[Message]:
        """Return the records within the last `count` offsets of a partition, oldest first."""
        span = self._span(topic, partition)
        start = max(span.low, span.high - count)
        return [m for m in self.records({(topic, partition): start}) if m is not None]

    def _judge(self, error: KafkaError, topic: str | None) -> None:
        if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            return  # librdkafka looks for a coordinator that a reading never needs
        if refusals.is_of_right(error):
            raise refusals.of_right(error, "Read", f"topic {topic}", self._who)
        if error.code() == KafkaError._PARTITION_EOF or is_transient(error):
            return  # whoever follows waits, whoever does not has a deadline
        raise BrokerError(f"reading failed: {error.str()}. {_LOOK}")

    def _away(self, error: KafkaException) -> BrokerError:
        reason = error.args[0].str()
        return BrokerError(f"no broker answers on {self._broker}: {reason}. {_LOOK}")


def committed_offsets(link: Link, group: str) -> dict[Place, int]:
    """Return the next offset of a group for every partition it has committed; none if unknown.

    A consumer asks, and joins nothing: an admin client that is told that the group's coordinator
    is another one, as by a broker that has just started, reads through a null pointer, and takes
    the process with it (librdkafka's issue 5040).

    Raises:
        BrokerError: the broker does not answer or refuses.
    """
    settings = {
        **link.librdkafka(),
        "group.id": group,  # never joined, never committed
        "enable.auto.commit": False,
        "isolation.level": "read_uncommitted",  # waits for no transaction that is under way
        "log_level": 0,
    }
    consumer = open_client(Consumer, settings)
    deadline = time.monotonic() + OFFSETS_SECONDS
    try:
        while True:
            try:
                return _committed(consumer)
            except KafkaException as error:
                # Why there is no coordinator is said to whoever polls, and to nobody else.
                told = consumer.poll(0)
                reason = told.error() if told is not None else None
                if reason is not None and refusals.is_of_right(reason):
                    raise _no_offsets(reason, link, group) from error
                if not is_transient(error.args[0]) or time.monotonic() > deadline:
                    raise _no_offsets(error.args[0], link, group) from error
            time.sleep(POLL_SECONDS)
    finally:
        consumer.close()


def _committed(consumer: Consumer) -> dict[Place, int]:
    """Return the committed offsets of all partitions that the broker shows.

    Raises:
        KafkaException: it does not answer, or not for all of them.
    """
    there = consumer.list_topics(timeout=CALL_SECONDS).topics
    wanted = [TopicPartition(name, at) for name, topic in there.items() for at in topic.partitions]
    found = consumer.committed(wanted, timeout=ATTEMPT_SECONDS) if wanted else []
    for at in found:
        if at.error is not None and at.error.code() not in _HIDDEN:
            raise KafkaException(at.error)
    return {(at.topic, at.partition): at.offset for at in found if at.offset >= 0}


def _no_offsets(error: KafkaError, link: Link, group: str) -> BrokerError:
    if refusals.is_of_right(error):
        return refusals.of_right(error, "Describe", f"group {group}", link.settings.who)
    return BrokerError(f"the offsets of group {group} cannot be read: {error.str()}. {_LOOK}")


def _needed(found: Sequence[Any], needed: Needed) -> list[Any]:
    """Return the records that are needed, and the last one of each partition; in their order."""
    topics = [record.topic() for record in found]
    chosen = list(needed(topics, [record.value() for record in found]))
    places = zip(topics, [record.partition() for record in found], strict=True)
    for i in {at: i for i, at in enumerate(places)}.values():
        chosen[i] = True
    return list(compress(found, chosen))


def _message(message: object) -> Message:
    m = message
    return Message(
        m.topic(),  # type: ignore[attr-defined]
        m.partition(),  # type: ignore[attr-defined]
        m.offset(),  # type: ignore[attr-defined]
        m.timestamp()[1],  # type: ignore[attr-defined]
        m.key(),  # type: ignore[attr-defined]
        m.value(),  # type: ignore[attr-defined]
    )
