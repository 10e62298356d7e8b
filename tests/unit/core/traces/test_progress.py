"""Stream time of one topic against clocks that are wrong."""

import numpy as np

from streams.core.traces.progress import FUTURE_US, Progress
from streams.units import MINUTE_US, SECOND_US

T0_US = 1_800_000_000 * SECOND_US
DAY_US = 86_400 * SECOND_US


def advance(progress: Progress, *rows: tuple[int, int]) -> list[int]:
    """Take in (event time, record time) rows of topic 0, relative to T0; return the progress."""
    event, kafka = (np.array(column, np.int64) + T0_US for column in zip(*rows, strict=True))
    after = progress.advance(np.zeros(len(rows), np.uint8), event, kafka)
    return [int(at) - T0_US for at in after[0]]


def test_a_timestamp_from_the_future_moves_nothing() -> None:
    """Rows before and after it have the progress that they would have without it."""
    rows = [(0, 10), (100, 110), (DAY_US, 120), (200, 210)]
    assert advance(Progress(1), *rows) == [0, 100, 100, 200]


def test_a_wrong_clock_in_a_replay_does_not_take_the_stream_to_today() -> None:
    """The record times are a day after the events; an event of next year stays alone."""
    rows = [(0, DAY_US), (366 * DAY_US, DAY_US + 1), (100, DAY_US + 2)]
    assert advance(Progress(1), *rows) == [0, 0, 100]


def test_a_clock_that_is_a_little_fast_counts_up_to_the_record_time() -> None:
    """Nothing happened after it was recorded: a minute ahead is no minute of stream time."""
    assert advance(Progress(1), (0, 10), (MINUTE_US, 20)) == [0, 20]


def test_a_topic_whose_clock_is_always_wrong_does_not_stand_without_progress() -> None:
    """Its first row counts up to its record time, so that the clock can take over from there."""
    progress = Progress(1)
    assert advance(progress, (FUTURE_US + 20, 10), (FUTURE_US + 40, 30)) == [10, 10]
    progress.tick([T0_US + 500])
    assert int(progress.progress_us()[0]) == T0_US + 500


def test_where_the_stream_is_cut_decides_about_no_clock() -> None:
    """Row by row and all at once give the same progress, wrong clocks included."""
    rows = [(0, 10), (DAY_US, 20), (50, 60), (MINUTE_US, 70), (2 * DAY_US, 80), (90, 100)]
    one_by_one = Progress(1)
    assert [advance(one_by_one, row)[0] for row in rows] == advance(Progress(1), *rows)
