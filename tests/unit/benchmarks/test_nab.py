"""NAB's scoring, by hand, and a run over a folder laid out as the data."""

import csv
import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks.incidents.nab import Series, corpus_score, judge, run, scaled_sigmoid
from streams.errors import ConfigError

COUNT = 400


def plain(count: int = COUNT) -> Series:
    return Series("s", list(range(count)), [0.0] * count)


def test_silence_scores_zero_and_perfection_a_hundred() -> None:
    """Each missed window costs 1; an alert at a window's first value earns 1."""
    windows = [(100, 149), (300, 349)]
    assert corpus_score(judge(plain(), [], windows).score, 2) == 0.0
    assert corpus_score(judge(plain(), [100, 300], windows).score, 2) == pytest.approx(100.0)


def test_only_the_first_alert_in_a_window_counts_and_later_ones_earn_less() -> None:
    """The middle of a window earns less than its begin; a second alert in it changes nothing."""
    early, late = (judge(plain(), [at], [(100, 149)]).score for at in (101, 125))
    assert 0 < late < early < 1
    assert judge(plain(), [101, 125], [(100, 149)]).score == early


def test_a_false_alert_costs_more_the_farther_it_is_behind_a_window() -> None:
    """Just behind it costs little, far behind 0.11; before the first window 0.11 too."""
    base = judge(plain(), [100], [(100, 149)]).score
    near, far, before = (
        base - judge(plain(), sorted([100, at]), [(100, 149)]).score for at in (151, 390, 80)
    )
    assert 0 < near < 0.02
    assert far == pytest.approx(0.11)
    assert before == pytest.approx(0.11)
    assert scaled_sigmoid(4.0) == -1.0


def test_the_probation_period_is_free() -> None:
    """15 % of the series: no alert in it counts."""
    verdict = judge(plain(), [10, 59], [])
    assert (verdict.score, verdict.false) == (0.0, 0)


def test_a_folder_is_run_and_told_by_window(tmp_path: Path) -> None:
    """A spike in the second of two windows: one found in time, one missed, none false."""
    (tmp_path / "real").mkdir()
    start = datetime(2020, 1, 1, tzinfo=UTC)
    times = [start + timedelta(minutes=5 * n) for n in range(1_000)]
    with gzip.open(tmp_path / "real" / "one.csv.gz", "wt", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["timestamp", "value"])
        for n, at in enumerate(times):
            writer.writerow([f"{at:%Y-%m-%d %H:%M:%S}", 500.0 if n == 800 else 10.0 + n % 7])
    labels = {"real/one.csv": [
        [f"{times[a]:%Y-%m-%d %H:%M:%S.%f}", f"{times[b]:%Y-%m-%d %H:%M:%S.%f}"]
        for a, b in ((400, 440), (790, 830))
    ]}  # fmt: skip
    (tmp_path / "combined_windows.json").write_text(json.dumps(labels), "utf-8")
    result = run(tmp_path)
    assert [case["id"] for case in result["cases"]] == ["real/one.csv#0", "real/one.csv#1"]
    assert [case["detected_at_s"] for case in result["cases"]] == [None, 10 * 300.0]
    assert (result["totals"]["missed"], result["totals"]["false_per_hour"]) == (1, 0.0)
    assert (result["precision"], result["recall"]) == (1.0, 0.5)
    assert result["peers"] == {}


def test_a_folder_without_labels_or_series_is_refused(tmp_path: Path) -> None:
    """A file of labels that name no series here would score nothing, and say so of everything."""
    with pytest.raises(ConfigError, match="no combined_windows"):
        run(tmp_path)
    (tmp_path / "combined_windows.json").write_text('{"real/one.csv": []}', "utf-8")
    with pytest.raises(ConfigError, match="labels name"):
        run(tmp_path)


def test_a_folder_with_holes_is_run(tmp_path: Path) -> None:
    """Plain files, rows in any order, an empty file, and a window of which no value is there."""
    (tmp_path / "real").mkdir()
    rows = [f"2020-01-01 {n // 60:02}:{n % 60:02}:00,{n % 7}" for n in range(600)]
    head = "timestamp,value\n"
    (tmp_path / "real" / "one.csv").write_text(head + "\n".join(rows[::-1]) + "\n,\n")
    (tmp_path / "real" / "none.csv").write_text(head)
    labels = {
        "real/one.csv": [["2020-01-01 08:00:00", "2020-01-01 09:00:00"],
                         ["2020-01-03 08:00:00", "2020-01-03 09:00:00"]],
        "real/none.csv": [["2020-01-01 08:00:00", "2020-01-01 09:00:00"]],
    }  # fmt: skip
    (tmp_path / "combined_windows.json").write_text(json.dumps(labels))
    found = run(tmp_path)
    assert [case["id"] for case in found["cases"]] == ["real/one.csv#0", "real/one.csv#1"]
    assert found["totals"]["missed"] == 2
