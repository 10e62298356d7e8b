"""Reads the topics into the archive, in a thread, for as long as the console lives.

Owns the connection and what becomes of its failures: a broker that is away is waited for, a disk
that is full too, and nothing is read meanwhile. What cannot be mended ends the console.
"""

import threading
import time
from collections.abc import Sequence
from typing import Final

import structlog

from streams.codec.panics import FAILURES
from streams.console.archive.archive import Archive
from streams.console.archive.eventcolumns import are_rows
from streams.errors import BrokerError, RightError, SpanloomError, StateError, said_of
from streams.runtime.link import Link
from streams.runtime.reading import Message, Place, Reading, Span
from streams.runtime.sent_events import EXPORTER_TOPICS

AGAIN_SECONDS: Final = 2.0
BATCH: Final = 5_000
"""Records that are decoded together; each call has a price of its own."""
LOOK_SECONDS: Final = 1.0
TOPICS_SECONDS: Final = 10.0
"""So often it is asked whether topics or partitions came or went."""
_LOOKED_FOR: Final = tuple(topic for topic in EXPORTER_TOPICS if "span" not in topic)

log = structlog.get_logger()


class Reader:
    """The reader; `start` begins, `stop` ends it once all is written.

    Args:
        archive: what it fills.
        link: how to reach the broker.
    """

    def __init__(self, archive: Archive, link: Link) -> None:
        self._archive, self._link = archive, link
        self._events = frozenset(archive.telemetry)
        self._ending = threading.Event()
        self._ends: dict[Place, int] = {}
        self._met: dict[Place, int] = {}
        self._told_of: set[str] = set()
        self.waits_for = "the first look at the broker"
        """Why nothing is read at the moment; "" while it is."""
        self.failed: SpanloomError | None = None
        self._thread = threading.Thread(target=self._run, name="spanloom-archive", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """Write what is in memory and end; return whether that was done in time."""
        self._ending.set()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    @property
    def is_alive(self) -> bool:
        """Whether it still reads, or waits to."""
        return self._thread.is_alive()

    def lag(self) -> int:
        """Return how many offsets lie between what was taken in and the topics' ends."""
        return sum(max(0, end - next_) for next_, end in self.lags().values())

    def lags(self) -> dict[Place, tuple[int, int]]:
        """Return, by partition, the offset that is read next and the end of the topic."""
        next_ = self._archive.next_offsets
        return {
            at: (max(next_.get(at, 0), self._met.get(at, 0)), end) for at, end in self._ends.items()
        }

    def _run(self) -> None:
        with self._archive.writing_beside():
            self._read()

    def _read(self) -> None:
        try:
            while not self._ending.is_set():
                try:
                    self._follow()
                except RightError:
                    raise
                except BrokerError as error:
                    self._wait("the broker", str(error))
            self._written(all_of_it=True)
        except SpanloomError as error:
            self.failed = error
            log.error("archive_failed", error=str(error))
        except FAILURES as error:
            self.failed = StateError(
                f"the archive's reader failed: {said_of(error)}. Operator action: "
                "report this with the log; nothing is lost, the next start reads on."
            )
            log.exception("archive_failed", error=str(self.failed))

    def _wait(self, what: str, why: str) -> None:
        if self.waits_for != what:
            log.warning("archive_waits", what=what, why=why)
        self.waits_for = what
        self._ending.wait(AGAIN_SECONDS)

    def _follow(self) -> None:
        """Read until the end is asked for or the broker fails."""
        with Reading(self._link) as reading:
            spans = self._spans(reading)
            starts = self._archive.starts({at: (s.low, s.high) for at, s in spans.items()})
            self.waits_for = ""
            looked = asked = time.monotonic()
            for messages in reading.batches(starts, BATCH, self._needed):
                if self._ending.is_set():
                    return
                self._take(messages)
                if time.monotonic() - looked > LOOK_SECONDS:
                    self._written(all_of_it=False)
                    self._ends |= reading.ends(starts)
                    self._met = dict(reading.ended)
                    looked = time.monotonic()
                if time.monotonic() - asked > TOPICS_SECONDS:
                    there, topics = reading.topics(), self._topics(reading)
                    if {(t, p) for t in topics for p in range(there.get(t, 0))} != starts.keys():
                        return  # a topic or a partition came or went: begin with what there is
                    asked = time.monotonic()

    def _needed(self, topics: Sequence[str], values: Sequence[bytes | None]) -> Sequence[bool]:
        """Return which records the archive has a use for, given their topics and values.

        Most are spans that name a trace: they come once more, in the trace that the workers make
        of them.
        """
        of_events = [i for i, topic in enumerate(topics) if topic in self._events]
        if len(of_events) == len(topics):
            return are_rows(values)
        needed = [True] * len(topics)
        for i, is_row in zip(of_events, are_rows([values[i] for i in of_events]), strict=True):
            needed[i] = is_row
        return needed

    def _spans(self, reading: Reading) -> dict[Place, Span]:
        """Return what there is to read, and note its ends.

        Raises:
            BrokerError: as `_topics`.
        """
        spans = reading.spans(self._topics(reading))
        self._ends = {at: span.high for at, span in spans.items()}
        return spans

    def _topics(self, reading: Reading) -> list[str]:
        """Return the topics that are there.

        Raises:
            BrokerError: a derived topic is missing, which a telemetry topic may be.
        """
        topics = reading.known([*self._archive.derived, *self._archive.telemetry])
        missing = sorted(set(self._archive.derived) - set(topics))
        if missing:
            raise BrokerError(
                f"topics are missing: {', '.join(missing)}. Operator action: run `spanloom "
                "topics create --broker HOST:PORT` with the same --contract and --derived-prefix; "
                "where they should be there already, one of these is mistyped."
            )
        self._tell_unread(reading)
        return topics

    def _tell_unread(self, reading: Reading) -> None:
        """Say once which topics OpenTelemetry's exporter writes by default, and nobody named.

        What lies in them would be missed, and nobody would know why. Of spans nothing is: they come
        with their traces.
        """
        there, named = reading.topics(), {*self._archive.telemetry, *self._told_of}
        unread = [topic for topic in _LOOKED_FOR if topic in there and topic not in named]
        if unread:
            self._told_of |= set(unread)
            log.warning(
                "otlp_topics_unread",
                topics=unread,
                fix="name them by --otlp-topics or SPANLOOM_OTLP_TOPICS, as the workers' are",
            )

    def _take(self, messages: list[Message]) -> None:
        while not self._ending.is_set():
            try:
                self._archive.take(*messages)
                self.waits_for = ""
                return
            except OSError as error:
                self._wait("room or access at the archive", str(error))

    def _written(self, *, all_of_it: bool) -> None:
        try:
            self._archive.write_due(all_of_it=all_of_it)
        except OSError as error:
            # The tail stays in memory, and its records in Kafka: a restart reads them again.
            self._wait("room or access at the archive", str(error))
