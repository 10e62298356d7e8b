"""The outbox by hand: a target that is away for five minutes, a wrong event, a lone one."""

from streams.notify.rules.outbox import Outbox, Position
from streams.notify.rules.retry import Policy, of_status, retry_after_us
from streams.units import MINUTE_US, SECOND_US

NOW = 1_000 * SECOND_US


def outbox(policy: Policy | None = None) -> Outbox:
    """Return an outbox at the beginning of a topic."""
    return Outbox(policy or Policy(), Position(0, 0), "target")


def test_a_receiver_that_is_down_for_five_minutes_gets_each_event_once() -> None:
    """One event a second through an outage of 300 s: none lost, none twice, back within 31 s."""
    box = outbox()
    down = range(60, 360)
    received: dict[int, int] = {}
    attempts_while_down = 0
    for second in range(600):
        now = NOW + second * SECOND_US
        box.offer(second, f"incident {second % 7}", second, now, now)
        while entries := box.due(now):
            for entry in entries:
                if second in down:
                    attempts_while_down += 1
                    assert box.finish(entry, "failed", now) == "retry"
                else:
                    assert entry.offset not in received
                    received[entry.offset] = second
                    assert box.finish(entry, "delivered", now) == "delivered"
    assert set(received) == set(range(600))
    assert min(s for offset, s in received.items() if offset in down) <= 360 + 31
    # Five tries to open the breaker, then one each wait, of which the longest is 30 s.
    assert attempts_while_down < 40
    assert box.position() == Position(600, 600)


def test_events_of_a_target_that_is_away_for_too_long_are_given_up_with_a_reason() -> None:
    """Beyond the bound they are dropped, the old ones first, and the young ones are kept."""
    box = outbox(Policy(give_up_us=10 * MINUTE_US, breaker_failures=1, parallel=1))
    box.offer(0, "a", "old", NOW, NOW)
    box.offer(1, "b", "old too", NOW, NOW)
    now = NOW + 10 * MINUTE_US
    box.offer(2, "c", "young", now, now)
    (first,) = box.due(now)
    assert box.finish(first, "failed", now + 1) == "gave_up"
    assert [late.event for late in box.overdue(now + 1)] == ["old too"]
    assert box.position().offset == 2


def test_what_is_given_up_lets_what_follows_it_through() -> None:
    """The next event of the same incident is young enough to be told."""
    box = outbox(Policy(give_up_us=10 * MINUTE_US, breaker_failures=1, parallel=1))
    box.offer(0, "a", "tried", NOW, NOW)
    box.offer(1, "b", "old", NOW, NOW)
    now = NOW + 10 * MINUTE_US
    box.offer(2, "b", "young", now, now)
    (entry,) = box.due(now)
    assert box.finish(entry, "failed", now + 1) == "gave_up"
    assert [late.event for late in box.overdue(now + 1)] == ["old"]
    (entry,) = box.due(now + MINUTE_US)
    assert entry.event == "young"


def test_a_breaker_opens_for_one_and_closes_for_all() -> None:
    """Open: one attempt at a time, after a wait. The first answer lets all others go at once."""
    box = outbox(Policy(breaker_failures=2, parallel=3))
    for offset in range(6):
        box.offer(offset, f"incident {offset}", offset, NOW, NOW)
    for entry in box.due(NOW):
        box.finish(entry, "failed", NOW, why="no answer")
    assert box.is_open
    assert box.breaker.since_us == NOW
    assert box.due(NOW) == []
    now = NOW + MINUTE_US
    (probe,) = box.due(now)
    assert box.due(now) == []
    assert box.finish(probe, "delivered", now) == "delivered"
    assert not box.is_open
    assert box.breaker.since_us == 0
    assert len(box.due(now)) == 3


def test_a_refusal_is_an_answer() -> None:
    """A receiver that calls an event wrong is there: the breaker closes for it, too."""
    box = outbox(Policy(breaker_failures=1))
    box.offer(0, "a", 0, NOW, NOW)
    (entry,) = box.due(NOW)
    box.finish(entry, "failed", NOW)
    (entry,) = box.due(NOW + MINUTE_US)
    box.finish(entry, "refused", NOW + MINUTE_US)
    assert not box.is_open


def test_a_wrong_event_is_dropped_after_its_attempts_and_holds_nobody_up() -> None:
    """The receiver refuses one event; the next of the same incident goes out after it."""
    box = outbox(Policy(refused_attempts_max=3, parallel=1))
    box.offer(0, "a", "wrong", NOW, NOW)
    box.offer(1, "a", "right", NOW, NOW)
    box.offer(2, "b", "other", NOW, NOW)
    results = []
    delivered = []
    for step in range(400):
        now = NOW + step * SECOND_US
        for entry in box.due(now):
            if entry.event == "wrong":
                results.append(box.finish(entry, "refused", now))
            else:
                box.finish(entry, "delivered", now)
                delivered.append(entry.event)
    assert results == ["retry", "retry", "refused"]
    assert delivered == ["other", "right"]


def test_an_event_that_alone_fails_is_dropped_in_the_end() -> None:
    """A receiver that breaks on one event and takes all others does not block its topic."""
    box = outbox(Policy(lone_failures_max=4, parallel=2))
    box.offer(0, "poison", "poison", NOW, NOW)
    results = []
    for step in range(1, 2_000):
        now = NOW + step * SECOND_US
        if box.has_room:
            box.offer(step, f"incident {step}", "well", now, now)
        for entry in box.due(now):
            if entry.event == "poison":
                results.append(box.finish(entry, "failed", now))
            else:
                assert box.finish(entry, "delivered", now) == "delivered"
    assert results == ["retry"] * 4 + ["refused_alone"]


def test_a_target_that_asks_for_patience_gets_it() -> None:
    """After `Retry-After: 120` nothing is tried for two minutes, of no incident."""
    box = outbox()
    box.offer(0, "a", 0, NOW, NOW)
    box.offer(1, "b", 1, NOW, NOW)
    first, second = box.due(NOW)
    box.finish(first, "failed", NOW, retry_after_us("120", None, NOW))
    box.finish(second, "delivered", NOW)
    assert box.due(NOW + 119 * SECOND_US) == []
    assert box.next_due_us() == NOW + 120 * SECOND_US
    assert [e.offset for e in box.due(NOW + 120 * SECOND_US)] == [0]


def test_memory_is_bounded_while_a_target_is_away() -> None:
    """Reading stops at the bounds on events, bytes and distance; one event always fits."""
    box = outbox(Policy(pending_max=3, pending_bytes_max=1_000))
    assert box.has_room
    box.offer(0, "a", 0, NOW, NOW, size_bytes=2_000)
    assert not box.has_room
    box = outbox(Policy(pending_max=3))
    for offset in range(3):
        assert box.has_room
        box.offer(offset, "a", offset, NOW, NOW)
    assert not box.has_room
    box = outbox(Policy(window_offsets=10))
    box.offer(0, "a", 0, NOW, NOW)
    box.skip(9)
    assert not box.has_room


def test_a_status_says_who_has_to_act() -> None:
    """2xx took it, busy and broken ones are tried again, and what is wrong is told apart."""
    assert {of_status(code) for code in (200, 202, 204)} == {"delivered"}
    assert {of_status(code) for code in (408, 409, 425, 429, 500, 503, 599)} == {"failed"}
    assert {of_status(code) for code in (400, 413, 422)} == {"refused"}
    assert {of_status(code) for code in (301, 302, 307, 308, 401, 403, 404)} == {"misconfigured"}


def test_patience_has_an_end() -> None:
    """An hour is cut to ten minutes, however it is written; nonsense is no patience."""
    assert retry_after_us("7", None, NOW) == 7 * SECOND_US
    assert retry_after_us("3600", None, NOW) == 600 * SECOND_US
    assert retry_after_us("Sun, 06 Nov 1994 08:49:37 GMT", None, 0) == 600 * SECOND_US
    assert retry_after_us("soon", None, NOW) == 0
    assert retry_after_us(None, None, NOW) == 0
