"""The ledger counts each state once; reduction is told with its error."""

import pytest

from streams.core.incidents.ledger import DAY_US, Ledger, reduction


def test_a_row_is_of_a_day_a_rule_and_an_owner() -> None:
    """The day is the event time's, UTC; what changed is published whole, once."""
    ledger = Ledger(max_days=2)
    ledger.take(DAY_US - 1, "r", "x", "joined", 2)
    ledger.take(DAY_US, "r", "x", "silenced", 1)
    ledger.tell(DAY_US, "r", "x", "OPENED")
    ledger.tell(DAY_US, "r", "x", "RESOLVED")
    first, second = (row for _, row in ledger.publish())
    assert (first["day"], first["alerts"], first["became"]) == ("1970-01-01", 2, {"joined": 2})
    assert (second["day"], second["incidents"]) == ("1970-01-02", 1)
    assert second["events"] == {"OPENED": 1, "RESOLVED": 1}
    assert ledger.publish() == []
    ledger.take(DAY_US, "r", "x", "silenced", 1)
    assert [row["alerts"] for _, row in ledger.publish()] == [2]


def test_old_days_go_once_they_are_published() -> None:
    """What nobody was told yet is kept, however old."""
    ledger = Ledger(max_days=2)
    for day in range(4):
        ledger.take(day * DAY_US, "r", "", "joined", 1)
    assert ledger.forget(3 * DAY_US) == []
    ledger.publish()
    assert [key.day_us for key in ledger.forget(3 * DAY_US)] == [0, DAY_US]


def test_reduction_is_of_events_per_alert_state() -> None:
    """95 of 100; nothing without alerts; never below nothing."""
    assert reduction(100, 5) == pytest.approx(0.95)
    assert reduction(0, 0) == 0.0
    assert reduction(2, 5) == 0.0
