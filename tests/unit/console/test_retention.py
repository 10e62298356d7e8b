"""Old files go, but not what is held, nor what says where reading goes on."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.console.archive.archive import REMOVE_SECONDS
from streams.console.archive.files import HOUR_US, Segment, hour_of, positions
from streams.console.archive.retention import DAY_US, Hold, expired, growth, read_holds
from streams.console.archive.upkeep import Upkeep
from streams.console.settings import load_console_settings
from streams.errors import ConfigError
from streams.runtime import topics
from tests.unit.console.at_hand import HOUR_MS, T0_US, Clock, archive_in, message, trace

NOW_US = T0_US + 10 * DAY_US
HOLDS = """
- start: 2025-10-09T00:00:00Z
  end: 2025-10-09T12:00:00Z
  kinds: [spans]
  reason: case 17
- start: 2025-11-01
  end: 2025-11-02
"""


def file(n: int, kind: str = "spans") -> Segment:
    """Return the nth hour's file."""
    return Segment(kind, hour_of(T0_US + n * HOUR_US), "t", 0, 10 * n, 10 * n + 9)


def test_whole_hours_go_once_all_of_them_is_old() -> None:
    """Of kinds that are named; and never the last file of a partition."""
    files = [file(n) for n in range(48)] + [file(0, "events"), file(1, "events")]
    assert expired(files, {}, [], NOW_US) == []
    gone = expired(files, {"spans": 9}, [], NOW_US)
    assert gone == [file(n) for n in range(23)]
    assert expired(files, {"spans": 1}, [], NOW_US) == [file(n) for n in range(47)]


def test_what_is_held_stays() -> None:
    """By hour and kind."""
    holds = read_holds(HOLDS)
    assert holds[0] == Hold("2025-10-09T00", "2025-10-09T12", frozenset(["spans"]), "case 17")
    files = [file(n, kind) for kind in ("spans", "events") for n in range(20)]
    gone = expired(files, {"spans": 1, "events": 1}, holds, NOW_US)
    assert [one for one in gone if one.kind == "events"] == [file(n, "events") for n in range(19)]
    spans = [one for one in gone if one.kind == "spans"]
    assert spans == [file(n) for n in range(5, 19)]  # T0 is 08:53


@given(st.lists(st.integers(0, 30), max_size=40), st.floats(0.01, 3), st.integers(0, 40))
def test_the_position_stays(hours: list[int], days: float, now: int) -> None:
    """Whatever goes, reading goes on where it would have."""
    files = [
        file(0)._replace(hour=hour_of(T0_US + h * HOUR_US), first=n, last=n)
        for n, h in enumerate(hours)
    ]
    gone = expired(files, {"spans": days}, [], T0_US + now * HOUR_US)
    assert positions(set(files) - set(gone)) == positions(files)
    for one in gone:
        assert one.hour < hour_of(T0_US + now * HOUR_US - int(days * DAY_US))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "YAML"),
        ("start: 1", "no list"),
        ("- start: 2025-10-09", "`end`"),
        ("- {start: 2025-10-09, end: 2025-10-08}", "before start"),
        ("- {start: 2025-10-09, end: soon}", "no time"),
        ("- {start: 2025-10-09, end: 2025-10-10, kinds: [span]}", "kinds"),
        ("- {start: 2025-10-09, end: 2025-10-10, until: x}", "hold 1"),
    ],
)
def test_a_wrong_list_of_holds_is_told(text: str, says: str) -> None:
    """Naming the entry."""
    with pytest.raises(ConfigError, match=says):
        read_holds(text)


def test_the_console_removes_and_holds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The files are gone from answers at once and from the disk later; a broken list keeps all."""
    clock, folder, holds = Clock(), tmp_path / "archive", tmp_path / "holds.yaml"
    archive = archive_in(folder, clock)
    for n in range(4):
        at_ms = T0_US // 1000 + n * HOUR_MS
        archive.take(message(topics.TRACES, n, trace(), timestamp_ms=at_ms))
    archive.write_due(all_of_it=True)
    holds.write_text("- {start: 2025-10-09T09:00:00Z, end: 2025-10-09T09:30:00Z}")
    upkeep = Upkeep(archive, 60, {"traces": 1}, holds)
    holds.write_text("nonsense")
    upkeep._look(NOW_US)
    assert len(archive.look("traces").files) == 4
    holds.write_text("- {start: 2025-10-09T09:00:00Z, end: 2025-10-09T09:30:00Z}")
    upkeep._look(NOW_US)
    left = ["2025-10-09T09", "2025-10-09T11"]
    assert [one.hour for one in archive.look("traces").files] == left
    assert len(archive.look("spans").files) == 4
    clock.now += REMOVE_SECONDS
    upkeep._look(NOW_US)
    assert len(list(folder.glob("traces/*/*.parquet"))) == 2
    assert archive_in(folder).starts({(topics.TRACES, 0): (0, 9)}) == {(topics.TRACES, 0): 4}
    with pytest.raises(ConfigError, match="SPANLOOM_CONSOLE_HOLDS"):
        Upkeep(archive, 60, {}, tmp_path / "none")


def test_growth_is_of_whole_hours() -> None:
    """Of the last day, scaled to one when there is less; the days until the disk is 80 % full."""
    sizes = {file(n): 100 for n in range(5)}
    now_us = T0_US + 4 * HOUR_US
    found = growth(sizes, (500, 10_000), now_us)
    assert found == (500, 2_400.0, (8_000 - 500) / 2_400, 0.05)
    assert growth(sizes, (9_000, 10_000), now_us).days_until_full == 0
    assert growth(sizes, None, now_us)[2:] == (None, None)
    assert growth({}, (0, 10), now_us) == (0, 0.0, None, 0.0)


@pytest.mark.parametrize("keep", [{"span": 3}, {"spans": 0}, {"spans": float("inf")}])
def test_days_of_no_kind_are_refused(keep: dict[str, float]) -> None:
    """Naming the setting and what may be given."""
    with pytest.raises(ConfigError, match="SPANLOOM_CONSOLE_KEEP_DAYS"):
        load_console_settings(keep_days=keep)
