"""What one target has still to be told: the topic is the outbox, and this is a view of it.

Owns order, retries, the breaker, what is given up, and the position that is committed. Pure: the
clock is an argument. Nothing is kept on disk: an event is done when the position says so, and a
restart reads everything that is not.

Invariants: one attempt at a time of each incident, and in the order of the topic; a position never
passes an event that is not done; an event leaves undelivered only with a reason of `Dropped`.
"""

import base64
import heapq
import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Self

from streams.notify.rules.retry import Outcome, Policy, wait_us

Dropped = Literal["gave_up", "refused", "refused_alone"]
"""gave_up: too old when an attempt failed. refused: the receiver called it wrong again and again.
refused_alone: it failed again and again while others went through."""
Result = Literal["delivered", "retry"] | Dropped
_VERSION: Final = 1


class Position(NamedTuple):
    """What is committed for a target.

    Attributes:
        offset: everything before it is done.
        follow_from: where reading must begin to know which incidents the target was told of.
        ahead: offsets from `offset` on that are done too, one bit each, the lowest first.
    """

    offset: int
    follow_from: int
    ahead: bytes = b""

    def is_done(self, offset: int) -> bool:
        """Say whether an offset needs no more telling."""
        if offset < self.offset:
            return True
        byte, bit = divmod(offset - self.offset, 8)
        return byte < len(self.ahead) and bool(self.ahead[byte] >> bit & 1)

    def metadata(self) -> str:
        """Return what goes beside the committed offset; less than 800 characters."""
        ahead = base64.b64encode(self.ahead.rstrip(b"\0")).decode()
        return json.dumps({"v": _VERSION, "from": self.follow_from, "ahead": ahead})

    @classmethod
    def parse(cls, offset: int, metadata: str) -> Self:
        """Return the position of a committed offset; metadata of another version counts as none.

        Then what was done ahead is told again, and incidents told before `offset` are not known.
        """
        try:
            read = json.loads(metadata or "{}")
            if read.get("v") != _VERSION:
                return cls(offset, offset)
            ahead = base64.b64decode(read["ahead"], validate=True)
            return cls(offset, min(int(read["from"]), offset), ahead)
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls(offset, offset)


@dataclass(slots=True)
class Entry:
    """An event on its way.

    Attributes:
        offset: its place in the topic.
        incident_id: names its lane.
        event: what is told.
        size_bytes: of the record.
        written_us: when the topic took it; its age counts from there.
        due_us: not tried before.
        attempts, refusals, lone_failures: so far.
    """

    offset: int
    incident_id: str
    event: Any
    size_bytes: int
    written_us: int
    due_us: int
    attempts: int = 0
    refusals: int = 0
    lone_failures: int = 0
    is_in_flight: bool = False
    seen_delivered: int = 0


@dataclass(slots=True)
class Breaker:
    """Failures of a target in a row; open from `Policy.breaker_failures` on.

    Attributes:
        failures: in a row.
        since_us: of the first of them; 0 while the target answers.
        hold_us: nothing is tried before.
        reason: the last failure, in words.
    """

    failures: int = 0
    since_us: int = 0
    hold_us: int = 0
    reason: str = ""


@dataclass(slots=True)
class Outbox:
    """The events of one target between reading and being done.

    Args:
        policy: how it is tried.
        start: the position that was committed last.
        seed: name of the target; decides its jitter.
    """

    policy: Policy
    start: Position
    seed: str = ""
    breaker: Breaker = field(default_factory=Breaker)
    delivered: int = 0
    next_offset: int = 0
    bytes: int = 0
    _pending: dict[int, Entry] = field(default_factory=dict)
    _lanes: dict[str, deque[Entry]] = field(default_factory=dict)
    _waiting: list[tuple[int, int]] = field(default_factory=list)
    _in_flight: int = 0

    def __post_init__(self) -> None:
        """Begin where the position stands."""
        self.next_offset = self.start.offset

    # --- taking in ------------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Say whether the next event may be taken in."""
        return (
            self.next_offset - self._low() < self.policy.window_offsets
            and len(self._pending) < self.policy.pending_max
            and (self.bytes < self.policy.pending_bytes_max or not self._pending)
        )

    @property
    def pending(self) -> int:
        """Return how many events are not done."""
        return len(self._pending)

    def oldest_us(self) -> int:
        """Return when the topic took the oldest event that is not done; 0 for none."""
        return self._pending[self._low()].written_us if self._pending else 0

    def needs(self, offset: int) -> bool:
        """Say whether the event at an offset is still to be told; one read twice is not."""
        return offset >= self.next_offset and not self.start.is_done(offset)

    def skip(self, offset: int) -> None:
        """Take note of an event that this target is not told of, or was told before."""
        self.next_offset = max(self.next_offset, offset + 1)

    def offer(
        self,
        offset: int,
        incident_id: str,
        event: Any,
        written_us: int,
        now_us: int,
        size_bytes: int = 0,
    ) -> None:
        """Take in an event that `needs` says is to be told."""
        assert offset >= self.next_offset, (offset, self.next_offset)
        self.next_offset = offset + 1
        entry = Entry(offset, incident_id, event, size_bytes, written_us, now_us)
        self._pending[offset] = entry
        self.bytes += size_bytes
        lane = self._lanes.setdefault(incident_id, deque())
        lane.append(entry)
        if len(lane) == 1:
            heapq.heappush(self._waiting, (entry.due_us, offset))

    # --- trying ---------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Say whether the breaker is open: one attempt at a time, to see whether it is over."""
        return self.breaker.failures >= self.policy.breaker_failures

    def due(self, now_us: int) -> list[Entry]:
        """Return the events to try now, the longest due first; each must come back to `finish`."""
        limit = 1 if self.is_open else self.policy.parallel
        if now_us < self.breaker.hold_us:
            return []
        found: list[Entry] = []
        while self._waiting and self._in_flight < limit and self._waiting[0][0] <= now_us:
            _, offset = heapq.heappop(self._waiting)
            entry = self._pending[offset]
            entry.is_in_flight = True
            entry.attempts += 1
            self._in_flight += 1
            found.append(entry)
        return found

    def next_due_us(self) -> int | None:
        """Return when `due` may have something, None while only `finish` or `offer` can say."""
        limit = 1 if self.is_open else self.policy.parallel
        if not self._waiting or self._in_flight >= limit:
            return None
        return max(self._waiting[0][0], self.breaker.hold_us)

    def finish(
        self, entry: Entry, outcome: Outcome, now_us: int, retry_after_us: int = 0, why: str = ""
    ) -> Result:
        """Take note of how an attempt ended.

        Args:
            entry: as `due` gave it.
            outcome: of the attempt.
            now_us: the clock.
            retry_after_us: patience that the receiver asked for, for all events of this target.
            why: the failure in words, for people.
        """
        assert entry.is_in_flight, entry.offset
        entry.is_in_flight = False
        self._in_flight -= 1
        if retry_after_us:
            self.breaker.hold_us = max(self.breaker.hold_us, now_us + retry_after_us)
        if outcome == "delivered":
            self.delivered += 1
            self._done(entry, now_us)
            self._answered(now_us)
            return "delivered"
        if outcome == "refused":
            entry.refusals += 1
            if entry.refusals >= self.policy.refused_attempts_max:
                self._done(entry, now_us)
                self._answered(now_us)
                return "refused"
            self._answered(now_us)
        else:
            self._failed(now_us, why)
            if entry.seen_delivered != self.delivered and entry.attempts > 1:
                entry.lone_failures += 1
                if entry.lone_failures >= self.policy.lone_failures_max:
                    self._done(entry, now_us)
                    return "refused_alone"
            if now_us - entry.written_us > self.policy.give_up_us:
                self._done(entry, now_us)
                return "gave_up"
        entry.seen_delivered = self.delivered
        self._retry(entry, now_us)
        return "retry"

    def overdue(self, now_us: int) -> list[Entry]:
        """Return the waiting events that are dropped (`gave_up`) now: the target itself is away.

        Asked after each failure, so that a target that is away for longer than it may does not
        hold its backlog up with an attempt each.
        """
        if not self.is_open:
            return []
        limit = now_us - self.policy.give_up_us
        late = [e for e in self._pending.values() if e.written_us < limit and not e.is_in_flight]
        for entry in late:
            was_first = self._lanes[entry.incident_id][0] is entry
            self._drop(entry)
            lane = self._lanes.get(entry.incident_id)
            if was_first and lane:
                self._waiting.append((lane[0].due_us, lane[0].offset))
        if late:
            self._rebuild()
        return late

    # --- the position ---------------------------------------------------------------------------

    def position(self, follow_from: int | None = None) -> Position:
        """Return what may be committed now.

        Args:
            follow_from: the earliest event that a restart must read to know whom was told what.
        """
        low = self._low()
        bits = bytearray((self.next_offset - low + 7) // 8)
        for offset in range(low, self.next_offset):
            if offset not in self._pending:
                bits[(offset - low) // 8] |= 1 << (offset - low) % 8
        if self.next_offset <= self.start.offset + 8 * len(self.start.ahead):
            self._carry(bits, low)
        begin = low if follow_from is None else min(follow_from, low)
        return Position(low, begin, bytes(bits).rstrip(b"\0"))

    def _carry(self, bits: bytearray, low: int) -> None:
        """Keep what was done ahead before the restart and has not been read again yet."""
        for at in range(self.next_offset, self.start.offset + 8 * len(self.start.ahead)):
            if self.start.is_done(at):
                byte, bit = divmod(at - low, 8)
                bits.extend(b"\0" * (byte + 1 - len(bits)))
                bits[byte] |= 1 << bit

    # --- within ---------------------------------------------------------------------------------

    def _low(self) -> int:
        # Insertion order is offset order, and entries leave but never come back.
        return next(iter(self._pending), self.next_offset)

    def _answered(self, now_us: int) -> None:
        """Note that the target is there: what waited for it is tried again.

        The event that it answered is among what waits only after this.
        """
        was_open = self.is_open
        self.breaker.failures, self.breaker.since_us, self.breaker.reason = 0, 0, ""
        if was_open:
            for _, offset in self._waiting:
                self._pending[offset].due_us = now_us
            self._rebuild()

    def _failed(self, now_us: int, why: str) -> None:
        breaker = self.breaker
        breaker.failures += 1
        breaker.reason = why
        breaker.since_us = breaker.since_us or now_us
        if self.is_open:
            beyond = breaker.failures - self.policy.breaker_failures + 1
            wait = wait_us(self.policy, beyond, self.seed)
            breaker.hold_us = max(breaker.hold_us, now_us + wait)

    def _retry(self, entry: Entry, now_us: int) -> None:
        seed = f"{self.seed}|{entry.offset}"
        entry.due_us = now_us + wait_us(self.policy, entry.attempts, seed)
        heapq.heappush(self._waiting, (entry.due_us, entry.offset))

    def _done(self, entry: Entry, now_us: int) -> None:
        self._drop(entry)
        lane = self._lanes.get(entry.incident_id)
        if lane:
            heapq.heappush(self._waiting, (min(lane[0].due_us, now_us), lane[0].offset))

    def _drop(self, entry: Entry) -> None:
        del self._pending[entry.offset]
        self.bytes -= entry.size_bytes
        lane = self._lanes[entry.incident_id]
        lane.remove(entry)
        if not lane:
            del self._lanes[entry.incident_id]

    def _rebuild(self) -> None:
        waiting = (self._pending.get(offset) for _, offset in self._waiting)
        self._waiting = [(entry.due_us, entry.offset) for entry in waiting if entry is not None]
        heapq.heapify(self._waiting)
