"""From the pipeline's threads to the broker: a bounded queue, and one thread behind it.

The caller's side is an append to a deque. Everything else, encoding included, happens in a thread
of the emitter's own, which starts with the first event (and again in a child process).

Invariants: no call from the pipeline waits or raises. Each event that was handed over is in exactly
one of `sent`, `dropped` (by reason) and `waiting`; after a fork it is the parent's alone.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, Protocol

from streams.codec.w3c import BAGGAGE_BYTES_MAX, BAGGAGE_MEMBERS_MAX
from streams.sdk import forks
from streams.sdk.complaints import Complaints, warn
from streams.sdk.encode import Point, encode_batch, encode_items, event_ids
from streams.sdk.options import Options
from streams.sdk.place import Place
from streams.sdk.reports import Counts, Reports, Unsampled
from streams.sdk.span import Span
from streams.sdk.spread import Hashes, Spread
from streams.sdk.tally import Tally
from streams.sdk.waiting import LongWait

SLICE: Final = 128
"""Events that are encoded before other threads get the interpreter: about 0.3 ms."""
TAKE: Final = 8 * SLICE
"""Events that are taken from the queue together."""
_FLUSH_PAUSE_SECONDS: Final = 0.02
PLACES_MAX: Final = 1_000
"""Components whose unsampled spans are told apart; those of further ones are told as the home's."""
QUEUE_FULL, CLOSED, EXIT = "queue_full", "closed", "exit"
UNENCODABLE, NO_THREAD, NO_TOPIC = "unencodable", "no_thread", "no_topic"
FORKED: Final = "forked"
"""A span that was begun before a fork is the parent's; a child that ends it does not send it."""


class Sender(Protocol):
    """The broker's side; called by the emitter's thread alone."""

    def is_ready(self) -> bool:
        """Whether topics are known and there is room for more."""

    def partitions(self, topic: str) -> tuple[str, int] | None:
        """Return where a topic's events go, and how many partitions it has; None for nowhere."""

    def send(
        self,
        topic: str,
        partition: int,
        value: bytes,
        events: int,
        lost: Callable[[], None] | None = None,
    ) -> None:
        """Hand a message over; its events are counted when it is known what became of them.

        `lost` is called when it will not arrive.
        """

    def poll(self) -> None:
        """Hear what became of messages."""

    def close(self, seconds: float) -> None:
        """Wait so long for what is on its way, and give up the rest."""


class Emitter:
    """Takes finished events; see the module's docstring.

    Args:
        options: bounds.
        make_sender: makes the broker's side, given the emitter, in the emitter's thread.
        treat: takes out of an event what is personal; None for nothing.
    """

    def __init__(
        self,
        options: Options,
        make_sender: Any,
        treat: Callable[[Span | Point], Span | Point] | None = None,
    ) -> None:
        self.options = options
        self._treat = treat
        self.characters_max = options.queue_characters_max
        self.reports = Reports(self)
        self._make_sender = make_sender
        self._room = options.queue_events_max // 2
        self.born_ns = 0
        self._reset()
        forks.EMITTERS.add(self)

    def _reset(self) -> None:
        """Begin anew, without anything: at first, and in a child process."""
        self.queue: deque[Span | Point] = deque()
        self.room = 0  # beyond it `crowded` is called, which starts the thread
        self.queued_characters = 0
        self.cut = 0
        self.baggage_cut = 0
        self.refused = 0
        self.sent = 0
        self.unsampled_by: dict[bytes, Unsampled] = {}
        self._lost: Counter[str] = Counter()
        self._refusals = {reason: Tally() for reason in (CLOSED, FORKED, NO_THREAD, QUEUE_FULL)}
        self._taken = 0
        self._lost_taken = 0
        self.complain = Complaints().complain
        self.waits_told = 0
        options = self.options
        self._long_wait = LongWait(
            options.wait_told_seconds, options.wait_told_again_seconds, time.monotonic()
        )
        # An RLock: a signal handler of the pipeline may make a span while we are in here.
        self._lock = threading.RLock()
        self._wakes: SimpleQueue[None] = SimpleQueue()
        self._is_woken = False
        self._thread: threading.Thread | None = None
        self._is_closing = False
        self._is_closed = False
        self._deadline = 0.0
        self._pid = os.getpid()
        self._hashes = Hashes()
        self.sender: Sender | None = None

    def forked(self) -> None:
        """Begin anew in a child process: what waits is the parent's, and so is its connection."""
        if self.sender is not None:
            forks.abandon(self.sender)
        self._reset()
        self.born_ns = time.perf_counter_ns()
        self.reports.forked()

    # --- the pipeline's threads

    def put(self, item: Span | Point) -> None:
        """Take an event; never waits, never raises."""
        if item.characters:
            self.weigh(item.characters)
        if len(self.queue) < self.room:
            self.queue.append(item)
        else:
            self.crowded(item)

    def crowded(self, item: Span | Point) -> None:
        """Take an event where the queue is half full or nobody reads it yet, or drop it."""
        is_started = self._is_closing or self.start()
        is_full = len(self.queue) >= self.options.queue_events_max
        # From here on nothing is called until it is in: no other thread can close in between, and
        # leave it in a queue that nobody empties any more.
        if self._is_closing:
            self._refuse(item, CLOSED)
        elif not is_started:
            self._refuse(item, NO_THREAD)
        elif is_full or self.queued_characters > self.characters_max:
            self._refuse(item, QUEUE_FULL)
            self.wake()
        else:
            self.queue.append(item)
            self.wake()

    def baggage_left_out(self, members: int) -> None:
        """Count members of a baggage that do not go on, since it is too large."""
        self.baggage_cut += members
        self.start()
        self.complain(
            "baggage",
            f"{members} entries of a baggage were left out: {BAGGAGE_BYTES_MAX} bytes and "
            f"{BAGGAGE_MEMBERS_MAX} entries go over a hop, and names that are tokens",
        )

    def unsampled(self, place: Place, *, is_root: bool, is_sent: bool) -> None:
        """Count a span whose trace is not sampled, and the trace where it began it."""
        found = self.unsampled_by.get(place.key)
        if found is None:
            found = self._first_unsampled(place)
        if not is_sent:
            found.spans += 1
        if is_root:
            found.traces += 1

    def of_parent(self) -> None:
        """Drop a span that the process began from which this one was forked: that one sends it."""
        self._refusals[FORKED].add()

    def _first_unsampled(self, place: Place) -> Unsampled:
        """Return where a place's unsampled spans are counted; see that somebody tells of them."""
        self.start()
        key, home = place.key, self.reports.home
        if len(self.unsampled_by) >= PLACES_MAX and home is not None:
            key, place = home.key, home
        return self.unsampled_by.setdefault(key, Unsampled(place))

    def weigh(self, characters: int) -> None:
        """Add to the characters that wait; beyond their bound `crowded` looks at each event."""
        self.queued_characters += characters
        if self.queued_characters > self.characters_max:
            self.room = 0

    def _refuse(self, item: Span | Point, reason: str) -> None:
        self.queued_characters -= item.characters
        self._refusals[reason].add()

    def start(self) -> bool:
        """Start the thread where there is none yet; return whether there is one."""
        if self._thread is not None:
            return True
        with self._lock:
            return self._start()

    def _start(self) -> bool:
        if self._thread is not None:  # by another one, while we waited
            return True
        # Before it runs: a signal handler that comes in between must not start a second one.
        self._thread = thread = threading.Thread(
            target=self._run, name="spanloom-telemetry", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # the interpreter ends, or no thread can be had
            self._thread = None
            self.complain(NO_THREAD, f"no thread for telemetry: {error}")
            return False
        except BaseException:  # an interrupt: then the next event starts one
            if thread.ident is None:
                self._thread = None
            raise
        self.room = 0 if self._is_closing else self._room
        forks.at_end_of_child()
        return True

    def wake(self) -> None:
        """Let the thread look at the queue now; safe in a signal handler, as Event.set is not."""
        if not self._is_woken:
            self._is_woken = True
            self._wakes.put(None)

    def _sleep(self) -> None:
        with suppress(Empty):
            self._wakes.get(timeout=self.options.linger_seconds)
        self._is_woken = False

    # --- whoever looks on

    def counts(self) -> Counts:
        """Return what became of the events so far."""
        with self._lock:
            unsampled = list(self.unsampled_by.values())
            refusals = {reason: n.value() for reason, n in self._refusals.items()}
            dropped = self._lost + Counter(refusals)
            # Each is read once: events go in, and arrive, while we count.
            handed_over, sent = self._taken + len(self.queue), self.sent
            return Counts(
                made=sum(refusals.values()) + handed_over,
                sent=sent,
                dropped=dict(dropped),
                waiting=handed_over - sent - self._lost_taken,
                unsampled=sum(one.spans for one in unsampled),
                unsampled_traces=sum(one.traces for one in unsampled),
                cut=self.cut,
                baggage_cut=self.baggage_cut,
                refused=self.refused,
                waits_told=self.waits_told,
            )

    def flush(self, seconds: float) -> bool:
        """Wait until nothing waits; return whether that was so within the time."""
        deadline = time.monotonic() + seconds
        pause = 0.001
        while self.counts().waiting:
            if time.monotonic() > deadline:
                return False
            self.wake()
            time.sleep(pause)
            pause = min(2 * pause, _FLUSH_PAUSE_SECONDS)
        return True

    def begin_close(self, seconds: float | None = None) -> None:
        """Let the thread send what waits, within a bound, and end; what comes later is dropped."""
        limit = self.options.exit_seconds_max if seconds is None else seconds
        self._deadline = time.monotonic() + limit
        self._is_closing = True
        self.room = 0
        self.wake()

    def close(self, seconds: float | None = None) -> Counts:
        """Send what waits, within a bound; what comes later is dropped. May be repeated."""
        if not self._is_closing or seconds is not None:
            self.begin_close(seconds)
        thread = self._thread
        if thread is not None and self._pid == os.getpid():
            # What is left is given up within a second.
            thread.join(max(0.0, self._deadline - time.monotonic()) + 2.0)
        found = self.counts()
        is_first, self._is_closed = not self._is_closed, True
        if is_first and (found.dropped or found.waiting):
            warn("telemetry: %s made, %s sent, dropped %s", *found[:3])
        return found

    # --- the emitter's thread

    def arrived(self, events: int) -> None:
        """Count events that the broker has."""
        self.sent += events

    def lost(self, events: int, reason: str) -> None:
        """Count events that were taken from the queue and will not arrive."""
        if events:
            with self._lock:
                self._lost[reason] += events
                self._lost_taken += events

    def _run(self) -> None:
        if threading.current_thread() is not self._thread:
            return  # one that an interrupt took for one that would not run: there is another
        while not self._is_closing:
            self._sleep()
            self._guarded(self._turn)
            self._tell_of_wait()
        while self.queue and time.monotonic() < self._deadline:
            self._guarded(self._turn)
            if self.queue:
                time.sleep(0.01)
        self._guarded(partial(self._report, is_last=True))
        self._guarded(self._close_sender)
        self._give_up()
        self._tell_of_wait()  # where the broker came back with the last events

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # whatever it is, the pipeline goes on and hears of it
            self.complain("turn", f"{type(error).__name__}: {error}")
            time.sleep(0.1)

    def _close_sender(self) -> None:
        if self.sender is not None:
            self.sender.close(max(0.0, self._deadline - time.monotonic()))

    def _turn(self) -> None:
        """Encode and hand over what waits."""
        if self.sender is None:
            self.sender = self._make_sender(self)
        sender = self.sender
        sender.poll()
        while self.queue and sender.is_ready():
            self._take(sender, min(len(self.queue), TAKE))
            sender.poll()
        self._report(is_last=False)

    def _tell_of_wait(self) -> None:
        """Log for how long the broker has taken nothing: the client says it once, at the start."""
        waiting = self.counts().waiting
        told = self._long_wait.look(waiting, self.sent, self._lost_taken, time.monotonic())
        if told is None:
            return
        since = time.strftime("%H:%M:%S", time.gmtime(time.time() - told.seconds))
        if told.is_over:
            # A warning too: whoever saw that events wait is to see that they do no longer.
            warn(
                "telemetry: the broker takes events again: it took none since %s UTC (%.0f s), up "
                "to %s events waited",
                *(since, told.seconds, f"{told.events:,}"),
            )
            return
        self.waits_told += 1
        warn(
            "telemetry: %s events wait since %s UTC (%.0f s): the broker takes none of them; "
            "each is dropped with reason delivery_timeout %.0f s after it was handed to the "
            "client, and new ones with reason %s while the queue is full",
            *(f"{told.events:,}", since, told.seconds),
            *(self.options.delivery_seconds_max, QUEUE_FULL),
        )

    def _take(self, sender: Sender, count: int) -> None:
        """Take so many events from the queue, as messages by topic and partition."""
        items = self._taken_out(count)
        spread = Spread(sender.partitions, self._hashes)
        ids = event_ids(os.urandom(16))
        for begin in range(0, len(items), SLICE):
            if begin:
                time.sleep(0)
            some = items[begin : begin + SLICE]
            try:
                self._spread(some, spread, ids)
            except Exception:  # one of them: the others are sent all the same
                for item in some:
                    self._spread_alone(item, spread, ids)
        self.lost(len(spread.nowhere), NO_TOPIC)
        for at, bodies in spread.batches.items():
            self._send(sender, at, bodies)
        is_over = self._is_closing or self.queued_characters > self.characters_max
        self.room = 0 if is_over else self._room

    def _taken_out(self, count: int) -> list[Span | Point]:
        """Take so many events from the queue; who counts meanwhile sees all of it or nothing."""
        pop = self.queue.popleft
        with self._lock:
            items = [pop() for _ in range(min(count, len(self.queue)))]
            self._taken += len(items)
        # Summed before it is taken off: what is added meanwhile would be overwritten.
        characters = sum([item.characters for item in items])
        self.queued_characters -= characters
        return items

    def _spread(self, items: list[Span | Point], spread: Spread, event_ids: Iterator[str]) -> None:
        """Encode events, and put each where it goes: all of them, or raise and change nothing."""
        treat = self._treat
        treated = items if treat is None else [treat(item) for item in items]
        bodies = encode_items(treated, event_ids)
        self._hashes.learn([item.trace_id for item in treated])
        where = [spread[i.place.topic, i.trace_id or i.place.key] for i in treated]
        for batch, body in zip(where, bodies, strict=True):
            batch.append(body)

    def _spread_alone(self, item: Span | Point, spread: Spread, event_ids: Iterator[str]) -> None:
        try:
            self._spread([item], spread, event_ids)
        except Exception as error:  # a value of the pipeline that nobody foresaw
            self.complain(UNENCODABLE, f"an event cannot be encoded: {type(error).__name__}")
            self.lost(1, UNENCODABLE)

    def _send(self, sender: Sender, at: tuple[str, int], bodies: list[str]) -> None:
        """Send the events of one partition, in messages of bounded size."""
        begin = size = 0
        for n, body in enumerate(bodies):
            if size and size + len(body) > self.options.batch_bytes_max:
                self._hand_over(sender, at, bodies[begin:n])
                begin, size = n, 0
            size += len(body)
        self._hand_over(sender, at, bodies[begin:])

    def _hand_over(self, sender: Sender, at: tuple[str, int], bodies: list[str]) -> None:
        try:
            value = encode_batch(bodies, self.options.batch_schema_id)
            sender.send(*at, value, len(bodies))
        except Exception as error:  # else its events would wait for ever
            self.complain(UNENCODABLE, f"a message cannot be made: {type(error).__name__}")
            self.lost(len(bodies), UNENCODABLE)

    def _report(self, *, is_last: bool) -> None:
        """Tell of ourselves when it is time; these events are in no count."""
        sender = self.sender
        if sender is None or not self.reports.is_due(is_last=is_last) or not sender.is_ready():
            return
        spread = Spread(sender.partitions, self._hashes)
        untells: dict[tuple[str, int], list[Callable[[], None]]] = {}
        for point, untell in self.reports.points():
            at = spread.place(point.place.topic, point.place.key)
            if at is None:
                untell()
            else:
                self._spread([point], spread, event_ids(os.urandom(16)))
                untells.setdefault(at, []).append(untell)
        for at, bodies in spread.batches.items():
            value = encode_batch(bodies, self.options.batch_schema_id)
            sender.send(*at, value, 0, partial(_untell, untells[at]))

    def _give_up(self) -> None:
        """Drop what is still in the queue."""
        self.lost(len(self._taken_out(len(self.queue))), EXIT)


def _untell(told: list[Callable[[], None]]) -> None:
    for untell in told:
        untell()


atexit.register(forks.close_all)
if hasattr(sys, "_is_gil_enabled") and not sys._is_gil_enabled():
    warn("telemetry: counts may be off by a few without the interpreter's lock")
