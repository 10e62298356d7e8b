"""Stream time of one partition over several topics: how far each topic has certainly come.

Owns one number per topic, its *progress*: no event older than it is still expected from that
topic. Progress comes from the events themselves, row by row, so it does not depend on where the
stream was cut into chunks; and, once a topic is read to its end, from the clock, so that silence
is an answer too. A timestamp from the future never moves it: nothing happened after it was
recorded, so a row counts up to its record time, and one that lies far beyond it says nothing at
all. Consumer lag holds progress back.

Invariant: progress never goes back.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streams.units import I64, MINUTE_US, SECOND_US, U8, TimesUs

NEVER = np.iinfo(np.int64).min // 4
"""Progress of a topic that was never read; far below any time, with room for arithmetic."""
FUTURE_US = 5 * MINUTE_US
"""How far an event time may lie ahead of Kafka's record time before it is held to be wrong.

In a replay of old data the record time itself is far ahead of the stream: a wrong clock must not
take the stream there.
"""


@dataclass(frozen=True, slots=True)
class ProgressSettings:
    """Bounds of what is learned about a topic.

    Attributes:
        disorder_max_us: lateness beyond this is an outlier, not the topic's habit.
        delay_max_us: how much longer than the quickest topic a topic may take to deliver before
            traces stop waiting for it (they close with cause LATE_SOURCE).
    """

    disorder_max_us: int = 5 * SECOND_US
    delay_max_us: int = 10 * SECOND_US


class Progress:
    """Progress of the topics of one partition.

    Source: Kafka Streams' stream time and Flink's idle sources, per topic instead of per task; the
    disorder and delay allowances are this project's.
    """

    __slots__ = (
        "_settings",
        "_silent",
        "clock_us",
        "disorder_us",
        "event_us",
        "kafka_at_max_us",
        "max_us",
    )

    def __init__(
        self, topics: int, settings: ProgressSettings | None = None, silent: Sequence[int] = ()
    ) -> None:
        """Begin without any knowledge.

        Args:
            topics: how many there are.
            settings: bounds of what is learned.
            silent: topics whose events say nothing of how far the stream has come.
        """
        self._settings = settings or ProgressSettings()
        self._silent = frozenset(silent)
        self.max_us = np.full(topics, NEVER, np.int64)
        self.kafka_at_max_us = np.full(topics, NEVER, np.int64)
        self.disorder_us = np.zeros(topics, np.int64)
        self.event_us = np.full(topics, NEVER, np.int64)
        self.clock_us = np.full(topics, NEVER, np.int64)

    def advance(self, topic: U8, timestamp_us: TimesUs, kafka_us: TimesUs) -> I64:
        """Take in the rows of a chunk and return the progress of each topic after each row.

        Args:
            topic: (n,) topic index of each row.
            timestamp_us: (n,) event times, any order.
            kafka_us: (n,) Kafka's record times.

        Returns:
            (topics, n) progress of every topic after row i; (topics, 0) for an empty chunk.
        """
        n = len(topic)
        out = np.repeat(self.progress_us()[:, None], n, axis=1)
        for t in sorted(set(np.unique(topic).tolist()) - self._silent):
            rows = np.flatnonzero(topic == t)
            after = self._advance_one(t, timestamp_us[rows], kafka_us[rows])
            if len(rows) == n:
                out[t] = np.maximum(out[t], after)
                break
            # Between its own rows a topic keeps the progress of the last one.
            steps = np.searchsorted(rows, np.arange(n), side="right")
            known = steps > 0
            out[t, known] = np.maximum(out[t, known], after[steps[known] - 1])
        return out

    def _advance_one(self, topic: int, timestamp_us: TimesUs, kafka_us: TimesUs) -> I64:
        bounded = np.minimum(timestamp_us, kafka_us)
        is_wrong = timestamp_us > kafka_us + FUTURE_US
        # A topic whose clock is always wrong must not stand still for ever: its first row counts.
        is_wrong[0] &= self.max_us[topic] > NEVER
        bounded[is_wrong] = NEVER
        seen = np.maximum.accumulate(np.maximum(bounded, self.max_us[topic]))
        lateness = seen - bounded
        lateness[is_wrong | (lateness > self._settings.disorder_max_us)] = 0
        disorder = np.maximum.accumulate(np.maximum(lateness, self.disorder_us[topic]))
        progress = np.maximum.accumulate(np.maximum(seen - disorder, self.event_us[topic]))
        if seen[-1] > self.max_us[topic]:
            self.kafka_at_max_us[topic] = kafka_us[int(np.argmax(seen == seen[-1]))]
        self.max_us[topic] = seen[-1]
        self.disorder_us[topic] = disorder[-1]
        self.event_us[topic] = progress[-1]
        return progress

    def excess_delay_us(self) -> I64:
        """Return how much longer than the quickest topic each one takes to deliver; (topics,)."""
        known = self.max_us > NEVER
        if not known.any():
            return np.zeros(len(self.max_us), np.int64)
        delay = np.where(known, self.kafka_at_max_us - self.max_us, 0)
        return np.where(known, delay - delay[known].min(), 0)

    def late_sources(self) -> np.ndarray:
        """Return which topics are caught up, yet deliver too old events; (topics,) bool."""
        late = self.excess_delay_us() > self._settings.delay_max_us
        return np.asarray(late & (self.clock_us > self.event_us))

    def tick(self, caught_up_us: Sequence[int]) -> None:
        """Let the clock move the topics that are read to their end.

        Args:
            caught_up_us: per topic the latest time at which its position had reached the end
                offset of a fetch answered after that time; 0 while it is behind.
        """
        known = self.max_us > NEVER
        if not known.any():
            return
        base = int((self.kafka_at_max_us - self.max_us)[known].min())
        allowed = np.minimum(self.excess_delay_us(), self._settings.delay_max_us)
        caught_up = np.asarray(caught_up_us, np.int64)
        clock = caught_up - base - allowed - self.disorder_us
        self.clock_us = np.where(caught_up > 0, np.maximum(self.clock_us, clock), self.clock_us)

    def progress_us(self) -> I64:
        """Return the progress of each topic; (topics,), `NEVER` where nothing is known."""
        return np.maximum(self.event_us, self.clock_us)

    def held_topics(self, caught_up_us: Sequence[int], ahead_us: int) -> list[int]:
        """Return the topics that run more than `ahead_us` ahead of the slowest one still behind."""
        behind = np.asarray(caught_up_us) == 0
        if not behind.any():
            return []
        progress = self.progress_us()
        # A topic that is behind and yet unread has no progress: it holds nobody, it has no event.
        known = behind & (progress > NEVER)
        if not known.any():
            return []
        slowest = progress[known].min()
        # A topic without events has nothing to hold.
        ahead = (progress > slowest + ahead_us) & (self.max_us > NEVER)
        return [int(t) for t in np.flatnonzero(ahead)]

    def snapshot(self) -> dict[str, list[int]]:
        """Return the whole state, JSON-able."""
        return {
            name: getattr(self, name).tolist()
            for name in ("max_us", "kafka_at_max_us", "disorder_us", "event_us", "clock_us")
        }
