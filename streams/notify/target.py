"""One target at work: reads the topic, tries what is due, commits what is done.

Owns the two loops of a target and its counts. All rules are in `rules/`; what is here moves their
answers between the topic and the receiver. Invariant: targets share nothing, so that one that is
away holds no other up.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from streams.codec.records import decode_as
from streams.contract.notify import Target
from streams.errors import RecordError
from streams.monitoring.meter import Sample
from streams.notify.http import Attempt
from streams.notify.rules.book import Book
from streams.notify.rules.outbox import Entry, Outbox, Position
from streams.notify.rules.retry import Policy
from streams.notify.senders import Sender
from streams.notify.topic import Assigned, CaughtUp, Fetched, Revoked, TopicView
from streams.runtime.clock import wall_us
from streams.units import SECOND_US

TAKE_SECONDS: Final = 0.2
COMMIT_SECONDS: Final = 0.2
UNCOMMITTED_MAX: Final = 64
"""Events told and not committed yet: what a kill may repeat, besides what is in flight."""
_BREATH_SECONDS: Final = 0.02
LOOK_SECONDS: Final = 10.0
"""How often the broker is asked for the topic's end: it shows lag, and that the broker is there."""
AGAIN_SECONDS: Final = 1.0

log = structlog.get_logger()


def policy_of(target: Target) -> Policy:
    """Return how a target is tried."""
    return Policy(
        parallel=target.parallel,
        backoff_us=int(target.backoff_seconds * SECOND_US),
        backoff_us_max=int(target.backoff_seconds_max * SECOND_US),
        breaker_failures=target.breaker_failures,
        refused_attempts_max=target.refused_attempts_max,
        lone_failures_max=target.lone_failures_max,
        give_up_us=int(target.give_up_seconds * SECOND_US),
    )


@dataclass(slots=True)
class Counts:
    """What a target did since the process began.

    Attributes:
        events: events that are done, by result.
        attempts: attempts, by outcome.
        dropped: events left undelivered, by reason.
        delivery_seconds: from the topic's time of an event to its being taken.
        attempt_seconds: of one attempt.
    """

    events: Counter[str] = field(default_factory=Counter)
    attempts: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    delivery_seconds: Sample = field(default_factory=Sample)
    attempt_seconds: Sample = field(default_factory=Sample)


class TargetRunner:
    """Tells one target until it is stopped.

    Args:
        target: whom.
        view: the topic, for this target alone.
        sender: how it is told.
        pool: threads in which the topic is asked; one is taken for as long as the target runs.
        counts: to go on from; they outlive a restart of the target.
    """

    def __init__(
        self,
        target: Target,
        view: TopicView,
        sender: Sender,
        pool: Executor,
        counts: Counts | None = None,
    ) -> None:
        self.target = target
        self.counts = counts or Counts()
        self.lag: int | None = None
        self.answered_at = time.monotonic()
        """When the broker was last heard, monotonic seconds."""
        self._view, self._sender, self._pool = view, sender, pool
        self._policy = policy_of(target)
        self._outbox: Outbox | None = None
        self._book = Book(target.filters)
        self._wake = asyncio.Event()
        self._stopping = False
        self._attempts: set[asyncio.Task[None]] = set()
        self._failed: BaseException | None = None
        self._committed = 0
        """How many of the deliveries of the outbox are in a committed position."""
        self._was_open = False
        self._is_caught_up = False
        self._log = log.bind(target=target.id)

    @property
    def is_assigned(self) -> bool:
        """Say whether this process tells the target; a spare of the same group may do so."""
        return self._outbox is not None

    async def run(self) -> None:
        """Tell until `stop`; then finish what is in flight and commit it.

        Raises:
            BrokerError: the broker refuses.
        """
        async with self._sender:
            await self._ask(self._view.subscribe)
            read = asyncio.create_task(self._read())
            loops = (self._send(), self._commit(), self._say_again(), self._look())
            others = [asyncio.create_task(loop) for loop in loops]
            try:
                await asyncio.wait([read, *others], return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._stopping = True
                # A thread may be in the topic: it is not left there, nor closed under its feet.
                await asyncio.wait([read])
                for task in others:
                    task.cancel()
                ended = await asyncio.gather(*others, return_exceptions=True)
                if self._attempts:
                    await asyncio.wait(self._attempts, timeout=self.target.timeout_seconds)
                await self._leave()
        for error in (self._failed, read.exception(), *ended):
            if isinstance(error, Exception):
                raise error

    def stop(self) -> None:
        """Ask for the end."""
        self._stopping = True
        self._wake.set()

    async def _leave(self) -> None:
        def leave() -> None:
            position = self._view.position
            if position is not None:
                self._view.commit(position)
            self._view.close()

        self._note_position()
        try:
            await self._ask(leave)
        except Exception as error:  # what is not committed is told again; the stop goes on
            self._log.warning("notify_stop_uncommitted", error=type(error).__name__)

    async def _ask(self, call: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *args)

    # --- reading --------------------------------------------------------------------------------

    async def _read(self) -> None:
        while not self._stopping:
            is_paused = self._outbox is not None and not self._outbox.has_room
            happened = await self._ask(self._view.take, TAKE_SECONDS, is_paused)
            for one in happened:
                if isinstance(one, Fetched):
                    self._fetched(one)
                elif isinstance(one, Assigned):
                    self._assigned(one)
                elif isinstance(one, CaughtUp):
                    self._is_caught_up = True
                elif isinstance(one, Revoked):
                    self._revoked()
            if happened:
                self.answered_at = time.monotonic()
                self._wake.set()
            self._note_position()

    def _assigned(self, assigned: Assigned) -> None:
        position = assigned.position
        self._outbox = Outbox(self._policy, position, self.target.id)
        # What was told before is read again from `follow_from` on, and not told again.
        self._outbox.next_offset = min(position.follow_from, position.offset)
        self._book = Book(self.target.filters)
        self._committed = 0
        self._is_caught_up = False
        self._sender.forget()
        self._log.info(
            "notify_target_assigned",
            offset=position.offset,
            follow_from=position.follow_from,
            is_new=assigned.is_new,
        )
        if assigned.is_anew:
            self._log.error("notify_topic_made_again", topic=self._view.topic)
        if assigned.lost:
            self.counts.dropped["lost_to_retention"] += assigned.lost
            self._log.error("notify_events_lost_to_retention", offsets=assigned.lost)

    def _revoked(self) -> None:
        self._outbox = None
        self._log.info("notify_target_revoked")

    def _fetched(self, record: Fetched) -> None:
        outbox = self._outbox
        if outbox is None or record.offset < outbox.next_offset:
            return
        is_told = not outbox.needs(record.offset)
        try:
            event = decode_as("incident_event", record.value)
        except RecordError as error:
            outbox.skip(record.offset)
            if not is_told:
                self._dropped("unreadable", record.offset, "", error.reason)
            return
        is_wanted = self._book.wants(record.offset, event)
        if is_wanted:
            # Whatever was told before a crash and not committed is behind us once the topic is
            # read to its end: from then on nothing older is said again.
            self._sender.note(event)
        if is_told or not is_wanted:
            outbox.skip(record.offset)
            self._book.done(record.offset, event)
            if not is_told:
                self.counts.events["filtered"] += 1
            return
        size = len(record.value or b"")
        outbox.offer(record.offset, event["incident_id"], event, record.written_us, wall_us(), size)

    # --- telling --------------------------------------------------------------------------------

    async def _send(self) -> None:
        while not self._stopping:
            outbox, wait_seconds = self._outbox, 1.0
            if outbox is not None and outbox.delivered - self._committed < UNCOMMITTED_MAX:
                for entry in outbox.due(wall_us()):
                    task = asyncio.create_task(self._try(outbox, self._book, entry))
                    self._attempts.add(task)
                    task.add_done_callback(self._ended)
                next_us = outbox.next_due_us()
                if next_us is not None:
                    wait_seconds = min(1.0, max(0.0, (next_us - wall_us()) / SECOND_US))
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), wait_seconds)
            except TimeoutError:
                continue

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._attempts.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failed = task.exception()  # a fault of ours: the event would never be done
            self.stop()

    async def _try(self, outbox: Outbox, book: Book, entry: Entry) -> None:
        attempt = await self._attempt(entry.event)
        now = wall_us()
        result = outbox.finish(entry, attempt.outcome, now, attempt.retry_after_us, attempt.why)
        self.counts.attempts[attempt.outcome] += 1
        self.counts.attempt_seconds.add(attempt.seconds)
        if result == "delivered":
            self.counts.events["delivered"] += 1
            self.counts.delivery_seconds.add(max(0.0, (now - entry.written_us) / SECOND_US))
        elif result != "retry":
            self._dropped(result, entry.offset, entry.incident_id, attempt.why)
        if result != "retry":
            book.done(entry.offset, entry.event)
        for late in outbox.overdue(now):
            self._dropped("gave_up", late.offset, late.incident_id, attempt.why)
            book.done(late.offset, late.event)
        self._note_breaker(outbox, attempt.why)
        self._note_position()
        self._wake.set()

    async def _attempt(self, event: Any) -> Attempt:
        try:
            return await self._sender.send(event)
        except Exception as error:
            # An incident that cannot be written must not stop the others: it is refused by us.
            self._log.exception("notify_event_not_written")
            return Attempt("refused", f"cannot be written: {type(error).__name__}")

    async def _say_again(self) -> None:
        while not self._stopping:
            if self._outbox is not None and self._is_caught_up:
                await self._sender.again()
            await asyncio.sleep(AGAIN_SECONDS)

    def _dropped(self, reason: str, offset: int, incident_id: str, why: str) -> None:
        self.counts.dropped[reason] += 1
        self.counts.events["dropped"] += 1
        self._log.error(
            "notify_event_dropped",
            reason=reason,
            topic=self._view.topic,
            offset=offset,
            incident_id=incident_id,
            why=why,
        )

    def _note_breaker(self, outbox: Outbox, why: str) -> None:
        if outbox.is_open and not self._was_open:
            self._log.error("notify_target_down", why=why, pending=outbox.pending)
        elif self._was_open and not outbox.is_open:
            self._log.warning("notify_target_up", pending=outbox.pending)
        self._was_open = outbox.is_open

    # --- the position ---------------------------------------------------------------------------

    def _note_position(self) -> None:
        """Say what may be committed, for a take-over that cannot ask."""
        if self._outbox is not None and self._view.position is not None:
            self._view.position = self._position(self._outbox)

    def _position(self, outbox: Outbox) -> Position:
        if outbox.next_offset < outbox.start.offset:
            return outbox.start  # still reading what was told before
        return outbox.position(self._book.follow_from())

    async def _commit(self) -> None:
        """Commit what is done, at the latest when so much is not committed that telling waits."""
        committed_at = 0.0
        while not self._stopping:
            await asyncio.sleep(_BREATH_SECONDS)
            outbox, position = self._outbox, self._view.position
            if outbox is None or position is None:
                continue
            delivered = outbox.delivered
            is_held = delivered - self._committed >= UNCOMMITTED_MAX
            if not is_held and time.monotonic() - committed_at < COMMIT_SECONDS:
                continue
            committed_at = time.monotonic()
            if await self._ask(self._view.commit, position) and outbox is self._outbox:
                self._committed = delivered
                if is_held:
                    self._wake.set()

    async def _look(self) -> None:
        while not self._stopping:
            ends = await self._ask(self._view.ends)
            if ends is not None:
                self.answered_at = time.monotonic()
                outbox = self._outbox
                self.lag = max(0, ends[1] - outbox.next_offset) if outbox is not None else None
            await asyncio.sleep(LOOK_SECONDS)

    def status(self) -> dict[str, Any]:
        """Return what the pages show of this target: copies, safe to read in another thread."""
        outbox = self._outbox
        breaker = outbox.breaker if outbox is not None else None
        oldest_us = outbox.oldest_us() if outbox is not None else 0
        now = wall_us()
        return {
            "target": self.target.id,
            "kind": self.target.kind,
            "is_assigned": outbox is not None,
            "is_down": outbox is not None and outbox.is_open,
            "down_seconds": (now - breaker.since_us) / SECOND_US
            if breaker is not None and outbox is not None and outbox.is_open
            else 0.0,
            "failures": breaker.failures if breaker is not None else 0,
            "reason": breaker.reason if breaker is not None else "",
            "pending": outbox.pending if outbox is not None else 0,
            "pending_bytes": outbox.bytes if outbox is not None else 0,
            "oldest_seconds": (now - oldest_us) / SECOND_US if oldest_us else 0.0,
            "lag": self.lag or 0,
            "followed": self._book.followed,
            "events": dict(self.counts.events),
            "attempts": dict(self.counts.attempts),
            "dropped": dict(self.counts.dropped),
            "delivery_seconds": copy_of(self.counts.delivery_seconds),
            "attempt_seconds": copy_of(self.counts.attempt_seconds),
            "replicas": self._sender.replicas(),
            "silent_seconds": time.monotonic() - self.answered_at,
        }


def copy_of(sample: Sample) -> Sample:
    """Return a sample that does not change any more."""
    return Sample(sample.count, sample.sum, sample.max)
