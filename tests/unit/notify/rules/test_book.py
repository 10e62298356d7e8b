"""Whom a target is told of: filters, and that who heard of the beginning hears of the end."""

from streams.contract.notify import Filters
from streams.notify.rules.book import Book, matches
from tests.notify_events import incident


def test_filters_look_at_severity_owner_module_and_channel() -> None:
    """Each list must hold the incident's own; an empty list lets all through."""
    event = incident(severity="ERROR", owner="o", module="M", channel="#c")
    assert matches(Filters(), event)
    assert matches(Filters(severity="ERROR", owners=("o",), modules=("M",)), event)
    assert not matches(Filters(severity="CRITICAL"), event)
    assert not matches(Filters(owners=("p",)), event)
    assert not matches(Filters(modules=("N",)), event)
    assert not matches(Filters(channels=("#d",)), event)


def test_a_severity_of_the_future_is_never_filtered_away() -> None:
    """What this version cannot rank counts as the worst."""
    assert matches(Filters(severity="CRITICAL"), incident(severity="ERROR") | {"severity": "FATAL"})


def test_an_end_reaches_who_was_told_even_when_it_passes_no_filter() -> None:
    """The incident became milder and went to another owner before it ended."""
    book = Book(Filters(severity="CRITICAL", owners=("o",)))
    assert book.wants(0, incident(version=1, severity="CRITICAL", owner="o"))
    assert book.wants(1, incident(version=2, event="UPDATED", severity="INFO", owner="p"))
    assert book.follow_from() == 0
    end = incident(version=3, event="RESOLVED", severity="INFO", owner="p")
    assert book.wants(2, end)
    assert book.follow_from() == 0  # until the end is done, a restart must know of the beginning
    book.done(2, end)
    assert book.follow_from() is None
    assert not book.wants(3, incident(version=4, event="REOPENED", severity="INFO", owner="p"))


def test_a_reopening_before_the_end_is_done_is_followed_from_itself() -> None:
    """Both are under way; the end that is done ends the first life only."""
    book = Book(Filters())
    end = incident(version=2, event="RESOLVED")
    assert book.wants(5, incident(version=1))
    assert book.wants(6, end)
    assert book.wants(7, incident(version=3, event="REOPENED"))
    book.done(6, end)
    assert book.follow_from() == 7
    assert book.followed == 1


def test_kinds_of_event_that_are_not_listed_are_not_told() -> None:
    """A list of kinds is taken by its word; without one, a kind of the future is told too."""
    book = Book(Filters(events=("OPENED",)))
    assert book.wants(0, incident())
    assert not book.wants(1, incident(version=2, event="RESOLVED"))
    assert Book(Filters()).wants(0, incident() | {"event": "SILENCED"})


def test_an_end_whose_beginning_was_before_our_time_is_told_and_followed_no_further() -> None:
    """A receiver may know of the incident by another way; the end does no harm."""
    book = Book(Filters())
    assert book.wants(0, incident(version=9, event="RESOLVED"))
    assert book.followed == 0
