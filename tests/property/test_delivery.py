"""Delivery loses nothing, keeps the order of each incident, and repeats only what it may."""

from email.utils import format_datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streams.contract.notify import Filters
from streams.notify.rules.book import Book
from streams.notify.rules.outbox import Entry, Outbox, Position
from streams.notify.rules.retry import RETRY_AFTER_US_MAX, Policy, retry_after_us, wait_us
from streams.units import SECOND_US
from tests.oracle_delivery import committable, is_told

INCIDENTS = ("a", "b", "c")
EVENTS = ("OPENED", "UPDATED", "ACKNOWLEDGED", "RESOLVED", "REOPENED", "MERGED")
SEVERITY = "WARN"
FAILURES = ("failed", "misconfigured", "refused")


def event(incident_id: str, kind: str, severity: str) -> dict[str, Any]:
    """Return as much of an incident event as the rules look at."""
    return {
        "incident_id": incident_id, "event": kind, "severity": severity,
        "owner": "", "module": "", "channel": "",
    }  # fmt: skip


class Delivery(RuleBasedStateMachine):
    """One target, its topic and its receiver, with crashes; the receiver keeps all it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.topic: dict[int, dict[str, Any]] = {}
        self.end = 0
        self.now_us = SECOND_US
        self.received: list[int] = []
        self.dropped: set[int] = set()
        self.committed = Position(0, 0)
        self.repeats_allowed = 0
        self.flying: list[Entry] = []

    @initialize(
        parallel=st.integers(1, 4),
        breaker=st.integers(1, 4),
        refused=st.integers(1, 3),
        window=st.integers(2, 40),
    )
    def begin(self, parallel: int, breaker: int, refused: int, window: int) -> None:
        self.policy = Policy(
            parallel=parallel,
            breaker_failures=breaker,
            refused_attempts_max=refused,
            lone_failures_max=3,
            give_up_us=3600 * SECOND_US,
            window_offsets=window,
        )
        self.start()

    def start(self) -> None:
        """Begin as the shell does after an assignment."""
        position = Position.parse(self.committed.offset, self.committed.metadata())
        assert position == self.committed._replace(ahead=self.committed.ahead.rstrip(b"\0"))
        self.outbox = Outbox(self.policy, position, "target")
        self.outbox.next_offset = min(position.follow_from, position.offset)
        self.book = Book(Filters(severity=SEVERITY))
        self.told: list[int] = []
        self.done: set[int] = set()
        self.flying = []
        self.since_commit = 0

    # --- what happens ---------------------------------------------------------------------------

    @rule(
        incident_id=st.sampled_from(INCIDENTS),
        kind=st.sampled_from(EVENTS),
        severity=st.sampled_from(("INFO", "ERROR")),
        markers=st.integers(0, 2),
    )
    def write(self, incident_id: str, kind: str, severity: str, markers: int) -> None:
        self.topic[self.end] = event(incident_id, kind, severity)
        self.end += 1 + markers  # transactions leave holes

    @rule(
        incident_id=st.sampled_from(INCIDENTS), kinds=st.lists(st.sampled_from(EVENTS), max_size=5)
    )
    def storm(self, incident_id: str, kinds: list[str]) -> None:
        """Several versions of an incident, read at once and sent."""
        for kind in kinds:
            self.write(incident_id, kind, "ERROR", 1)
        self.read(6)
        self.send()

    @rule(count=st.integers(1, 6))
    def read(self, count: int) -> None:
        for offset in sorted(o for o in self.topic if o >= self.outbox.next_offset)[:count]:
            if not self.outbox.has_room:
                return
            was_done = not self.outbox.needs(offset)
            wanted = self.book.wants(offset, self.topic[offset])
            assert wanted == is_told(self.topic, offset, SEVERITY)
            if was_done or not wanted:
                self.outbox.skip(offset)
                self.book.done(offset, self.topic[offset])
                if was_done and wanted:
                    assert offset in self.received or offset in self.dropped
            else:
                self.told.append(offset)
                name = self.topic[offset]["incident_id"]
                self.outbox.offer(offset, name, None, self.now_us, self.now_us, 10)

    @rule(seconds=st.sampled_from((0, 1, 40, 4000)))
    def wait(self, seconds: int) -> None:
        self.now_us += seconds * SECOND_US

    @rule()
    def send(self) -> None:
        before = len(self.flying)
        for entry in self.outbox.due(self.now_us):
            names = [self.topic[e.offset]["incident_id"] for e in self.flying]
            assert entry.incident_id not in names, "two attempts of one incident at once"
            earlier = [
                o for o in self.told
                if o < entry.offset and o not in self.done
                and self.topic[o]["incident_id"] == entry.incident_id
            ]  # fmt: skip
            assert earlier == [], "an earlier event of the incident is not done"
            self.flying.append(entry)
        assert len(self.flying) <= self.policy.parallel
        if self.outbox.is_open and len(self.flying) > before:
            assert len(self.flying) == 1, "an open breaker lets one attempt through"

    @precondition(lambda self: self.flying)
    @rule(
        which=st.integers(0, 3),
        outcome=st.sampled_from(("delivered", "delivered", *FAILURES)),
        patience=st.sampled_from((0, 0, 5)),
    )
    def answer(self, which: int, outcome: Any, patience: int) -> None:
        entry = self.flying.pop(which % len(self.flying))
        if outcome == "delivered":
            self.take(entry)
        was_held = self.outbox.breaker.hold_us > self.now_us
        result = self.outbox.finish(entry, outcome, self.now_us, patience * SECOND_US)
        if outcome in ("delivered", "refused"):
            assert not self.outbox.is_open, "it answered"
        elif not was_held and not self.outbox.is_open and not patience:
            assert self.outbox.breaker.hold_us <= self.now_us, "a closed breaker holds nothing"
        if result != "retry":
            self.finished(entry.offset, is_dropped=result != "delivered")
        for late in self.outbox.overdue(self.now_us):
            assert self.now_us - late.written_us > self.policy.give_up_us
            self.finished(late.offset, is_dropped=True)

    @rule(seconds=st.sampled_from((31, 5_000)), is_seen=st.booleans())
    def outage(self, seconds: int, is_seen: bool) -> None:
        """Fail all that flies, before and after a while; then come back for one."""
        for _ in range(1 + is_seen):
            while self.flying:
                self.answer(0, "failed", 0)
            self.now_us += seconds * SECOND_US
            self.send()
        if self.flying:
            self.answer(0, "delivered", 0)

    def take(self, entry: Entry) -> None:
        """Be the receiver."""
        if entry.offset in self.received:
            assert self.repeats_allowed > 0, "repeated though it was committed as done"
            self.repeats_allowed -= 1
        self.received.append(entry.offset)
        self.since_commit += 1

    def finished(self, offset: int, is_dropped: bool) -> None:
        self.done.add(offset)
        self.book.done(offset, self.topic[offset])
        if is_dropped:
            self.dropped.add(offset)

    @rule()
    def commit(self) -> None:
        if self.outbox.next_offset >= self.outbox.start.offset:
            self.committed = self.outbox.position(self.book.follow_from())
            assert len(self.committed.metadata()) < 800
            self.since_commit = 0

    @rule(lost_answers=st.booleans())
    def crash(self, lost_answers: bool) -> None:
        """Die at any point; what flies may have been taken and never answered."""
        if lost_answers:
            for entry in self.flying:
                if entry.offset in self.received:
                    self.repeats_allowed -= 1
                    assert self.repeats_allowed >= 0
                self.received.append(entry.offset)
                self.since_commit += 1
        self.repeats_allowed += self.since_commit
        self.start()

    # --- what holds -----------------------------------------------------------------------------

    @invariant()
    def the_position_is_the_oracles(self) -> None:
        outbox = getattr(self, "outbox", None)
        if outbox is None or outbox.next_offset < outbox.start.offset:
            return
        low, ahead = committable(outbox.next_offset, self.told, self.done)
        position = outbox.position()
        assert position.offset == low
        for offset in range(low, outbox.next_offset):
            assert position.is_done(offset) == (offset in ahead), offset
        for offset in range(outbox.next_offset, self.end + 8):
            # Not read again yet: what was done ahead before a restart is still known.
            assert position.is_done(offset) == outbox.start.is_done(offset), offset

    def teardown(self) -> None:
        """Let the receiver be well: all that is told arrives, or was dropped with a reason."""
        if not hasattr(self, "outbox"):
            return
        for _ in range(200):
            self.read(50)
            self.now_us += 700 * SECOND_US
            self.send()
            for entry in list(self.flying):
                self.flying.remove(entry)
                self.take(entry)
                assert self.outbox.finish(entry, "delivered", self.now_us) == "delivered"
                self.finished(entry.offset, is_dropped=False)
            if not self.outbox.pending and self.outbox.next_offset > max(self.topic, default=-1):
                break
        due = {o for o in self.topic if is_told(self.topic, o, SEVERITY)}
        assert due <= set(self.received) | self.dropped
        assert set(self.received) <= due, "told what passes no filter"
        self.order_is_kept()

    def order_is_kept(self) -> None:
        """Of one incident, what came for the first time came in the topic's order.

        What was dropped has lost its place: a crash before the commit may bring it after all.
        """
        for name in INCIDENTS:
            kept = [o for o in self.received if o not in self.dropped]
            of_it = [o for o in kept if self.topic[o]["incident_id"] == name]
            first = list(dict.fromkeys(of_it))
            assert first == sorted(first)


TestDelivery = Delivery.TestCase
TestDelivery.__doc__ = "Any schedule of writes, failures, commits and crashes keeps every law."
TestDelivery.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


@given(failures=st.integers(1, 200), seed=st.text(max_size=8))
def test_a_wait_lies_between_half_and_whole(failures: int, seed: str) -> None:
    """The wait doubles up to its bound, is never nothing, and is the same for the same seed."""
    policy = Policy(backoff_us=SECOND_US, backoff_us_max=30 * SECOND_US)
    whole = min(SECOND_US * 2 ** (failures - 1), 30 * SECOND_US)
    wait = wait_us(policy, failures, seed)
    assert whole // 2 <= wait <= whole
    assert wait == wait_us(policy, failures, seed)


_WORDS = st.sampled_from(["Sun,", "06", "Nov", "1994", "08:49:37", "GMT", "-0000", "99", "2e9", ""])
_SAID = (
    st.text(max_size=12)
    | st.integers(0, 10**12).map(str)
    | st.lists(_WORDS, max_size=8).map(" ".join)
    | st.datetimes().map(format_datetime)
)


@given(header=_SAID, date=_SAID | st.none(), now_us=st.integers(0, 2**60))
def test_patience_is_bounded_whatever_a_receiver_says(
    header: str, date: str | None, now_us: int
) -> None:
    """No header makes us wait longer than the bound, or raises."""
    assert 0 <= retry_after_us(header, date, now_us) <= RETRY_AFTER_US_MAX


@given(offset=st.integers(0, 2**40), metadata=st.text(max_size=60))
def test_any_metadata_gives_a_position_that_loses_nothing(offset: int, metadata: str) -> None:
    """Metadata that somebody else wrote is not believed: the offset alone counts."""
    position = Position.parse(offset, metadata)
    assert position.offset == offset
    assert position.follow_from <= offset
