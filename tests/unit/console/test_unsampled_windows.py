"""What was not sampled is told by the archive as by the topic, and older files stay readable."""

from pathlib import Path
from typing import Any

import pyarrow.parquet

from streams.console.archive.archive import Archive
from streams.console.archive.files import HOUR_US
from streams.console.archive.kinds import UNSAMPLED
from streams.console.archive.retention import DAY_US
from streams.console.archive.rollup import roll_up
from streams.console.archive.tiers import Keep
from streams.console.questions.queries import Queries
from streams.console.questions.windowseries import fidelity
from streams.runtime import topics
from tests.unit.console.at_hand import SECOND, T0_US, Clock, archive_in, message, window
from tests.unit.console.test_questions import ask_of

START_US = T0_US // HOUR_US * HOUR_US
BETA = {"kind": "module", "flow": "", "from_stage": "", "to_stage": "", "module": "BETA"}


def take(archive: Archive, n: int, **counters: int) -> None:
    """Take in the nth window of BETA, with counters."""
    one = window(**BETA, window_start=START_US + n * 10 * SECOND, counters=counters)
    archive.take(message(topics.STATS, n, one, timestamp_ms=one["window_start"] // 1000))


def told(archive: Archive) -> list[tuple[Any, ...]]:
    """Return what BETA's windows say of it."""
    asked = fidelity(Queries(archive, 256 << 20, 1), START_US, START_US + HOUR_US, [], 100)
    windows = [one for series in asked["series"] for one in series["windows"]]
    return [tuple(one[name] for name in UNSAMPLED) for one in windows]


def sum_up(archive: Archive) -> None:
    """Let what there is be summed up: its partition has gone on to a later hour."""
    take(archive, 9 * 360)
    archive.write_due(all_of_it=True)
    for hour in (2, 4, 8):
        at_us = START_US + DAY_US + hour * HOUR_US
        roll_up(archive, Keep({"fidelity": 1.0}, {}, {}), [], at_us)


def forget_columns(folder: Path) -> None:
    """Make a file one of before there were the columns."""
    (path,) = (folder / "fidelity").rglob("*.parquet")
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(path).drop(list(UNSAMPLED)), path)


def test_windows_tell_what_was_not_sampled(tmp_path: Path) -> None:
    """In memory, in files, over HTTP, and as sums of what retention removed."""
    archive = archive_in(tmp_path, Clock())
    take(archive, 0, spans_unsampled=24, traces_unsampled=3)
    take(archive, 1, errors=1)
    assert told(archive) == [(24, 3), (0, 0)]
    archive.write_due(all_of_it=True)
    assert told(archive) == [(24, 3), (0, 0)]
    with ask_of(archive) as ask:
        path = "/api/v1/fidelity?start=2025-01-01&end=2035-01-01&kind=module"
        (series,) = ask(path, None).json()["series"]
    assert [one["spans_unsampled"] for one in series["windows"]] == [24, 0]
    sum_up(archive)
    assert told(archive) == [(24, 3)]


def test_what_older_files_do_not_tell_is_null(tmp_path: Path) -> None:
    """Beside newer ones, merged with them, and summed up with them: these hold what is known."""
    archive = archive_in(tmp_path, Clock())
    take(archive, 0, spans_unsampled=24, traces_unsampled=3)
    archive.write_due(all_of_it=True)
    forget_columns(tmp_path)
    assert told(archive) == [(None, None)]
    take(archive, 1, spans_unsampled=8, traces_unsampled=1)
    archive.write_due(all_of_it=True)
    assert told(archive) == [(None, None), (8, 1)]
    assert archive.merge(START_US + DAY_US) == 1
    assert told(archive) == [(None, None), (8, 1)]
    sum_up(archive)
    assert told(archive) == [(8, 1)]
