"""What viewers are told of fidelity: sums of the newest windows, by scope."""

from pathlib import Path

from streams.console.archive.archive import Archive
from streams.console.archive.store import Store
from streams.console.archive.tail import Limits
from streams.console.news import sources
from streams.console.questions.queries import Queries
from streams.console.questions.recent import SPAN_US, summed
from streams.runtime import topics
from tests.unit.console.at_hand import SECOND, T0_US, Clock, archive_in, incident, message, window


def test_windows_of_a_scope_are_added_up() -> None:
    """Counts and causes are summed, rates and times are the newest window's."""
    windows = [
        window(
            window_start=T0_US + n * 10 * SECOND,
            expected=100,
            observed=90 + n,
            missing={"LATE": 10 - n},
            counters={"traces_unsampled": 30 + n},
        )
        for n in (1, 0)
    ]
    found = summed(windows)
    (scope,) = found["scopes"]
    assert (scope["expected"], scope["observed"], scope["ratio"]) == (200, 181, 0.905)
    assert scope["missing"] == {"LATE": 19}
    assert (scope["traces_unsampled"], scope["spans_unsampled"]) == (61, 0)
    assert scope["window_start"] == found["window_start"] == T0_US + 10 * SECOND
    assert found["span_us"] == 20 * SECOND
    assert scope["last"] == {"expected": 100, "observed": 91}


def test_no_window_is_no_news() -> None:
    """An archive without windows says so by zero, and a scope without records has no ratio."""
    assert summed([]) == {"window_start": 0, "window_us": 0, "span_us": 0, "scopes": []}
    (scope,) = summed([window(expected=0, observed=0, missing={})])["scopes"]
    assert scope["ratio"] is None


def test_only_the_last_minute_at_its_last_revision_counts(tmp_path: Path) -> None:
    """Windows older than a minute before the newest are left out, and so are revised ones."""
    archive = archive_in(tmp_path)
    starts = [T0_US + n * 10 * SECOND for n in range(12)]
    rows = [window(window_start=at, revision=1, observed=0) for at in starts]
    rows += [window(window_start=at, revision=2, expected=10, observed=9) for at in starts]
    for offset, row in enumerate(rows):
        archive.take(message(topics.STATS, offset, row))
    queries = Queries(archive, 256 << 20, 1)
    found = queries.recent_windows(T0_US + 60 * SECOND, 3_600 * SECOND, SPAN_US)
    assert sorted(one["window_start"] for one in found) == starts[-6:]
    assert {one["revision"] for one in found} == {2}


def test_a_record_of_a_topic_is_news_of_its_source(tmp_path: Path) -> None:
    """The version changes with records of the source's own topic, also under a prefix."""
    archive = Archive(Store(str(tmp_path)), Limits(), prefix="x.", clock=Clock())
    fidelity, incidents, _ = sources(archive, Queries(archive, 256 << 20, 1))
    before = fidelity.version(), incidents.version()
    archive.take(message(topics.INCIDENTS, 0, incident())._replace(topic=f"x.{topics.INCIDENTS}"))
    assert fidelity.version() == before[0]
    assert incidents.version() != before[1]
    told = incidents.read()
    assert [one["incident_id"] for one in told["open"]] == ["cd" * 16]
    assert told["recent"] == told["open"]
    assert told["open"][0]["opened_at"].endswith("Z")
