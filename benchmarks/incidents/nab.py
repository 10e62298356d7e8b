"""How well does the anomaly rule find the labelled windows of the Numenta Anomaly Benchmark?

Every series runs through the baseline of `kind: anomaly` once, value by value, with the rule's
default score; what begins after a quiet time is one alert. No label is read before all alerts are
made. Scored as NAB does (standard profile, its raw score per series), beside the detectors whose
scores the folder has.

Run: python -m benchmarks.incidents.nab FOLDER [--json FILE]

Source: A. Lavin and S. Ahmad, "Evaluating Real-time Anomaly Detection Algorithms, the Numenta
Anomaly Benchmark" (ICMLA 2015); the scoring is that of NAB 1.1.
"""

import argparse
import csv
import gzip
import io
import json
from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from math import exp
from pathlib import Path
from typing import Any

from streams.contract.rules import ANOMALY_SCORE
from streams.core.signals.baseline import Baseline
from streams.errors import ConfigError

QUIET_VALUES = 12
"""An alert ends when so many values in a row were well: two minutes of windows of 10 s."""
PROBATION_RATIO, PROBATION_MAX = 0.15, 750
FALSE_WEIGHT, MISSED_WEIGHT = 0.11, 1.0


@dataclass(frozen=True)
class Series:
    """One file: its name as the labels spell it, times in microseconds, and values."""

    name: str
    times_us: list[int]
    values: list[float]


@dataclass(frozen=True)
class Verdict:
    """What NAB makes of the alerts of one series.

    Attributes:
        score: the raw score.
        first: by window the index of the first alert in it, None when it was missed.
        false: alerts outside of all windows.
    """

    score: float
    first: list[int | None]
    false: int


def read_series(folder: Path) -> list[Series]:
    """Return all series of a folder, each in the order of time; packed or plain."""
    out = []
    for path in sorted((*folder.glob("*/*.csv.gz"), *folder.glob("*/*.csv"))):
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
        rows = [row for row in list(csv.reader(io.StringIO(text)))[1:] if len(row) > 1 and row[1]]
        cells = ((_time_us(row[0]), number, float(row[1])) for number, row in enumerate(rows))
        values = sorted(cells)
        name = f"{path.parent.name}/{path.name.removesuffix('.gz')}"
        if values:
            out.append(Series(name, [t for t, _, _ in values], [v for _, _, v in values]))
    return out


def read_windows(folder: Path) -> dict[str, list[tuple[int, int]]]:
    """Return the labelled windows by series, as times in microseconds."""
    text = (folder / "combined_windows.json").read_text("utf-8")
    return {
        name: [(_time_us(begin), _time_us(end)) for begin, end in windows]
        for name, windows in json.loads(text).items()
    }


def alerts_of(series: Series, limit: float = ANOMALY_SCORE) -> list[int]:
    """Return the indexes of the values at which an alert begins."""
    baseline, alerts, last = Baseline(), [], -QUIET_VALUES - 1
    for at, (time_us, value) in enumerate(zip(series.times_us, series.values, strict=True)):
        if baseline.step(time_us, value).score >= limit:
            if at - last > QUIET_VALUES:
                alerts.append(at)
            last = at
    return alerts


def scaled_sigmoid(position: float) -> float:
    """Return NAB's weight of an alert by its place relative to a window; -1 far behind it."""
    return -1.0 if position > 3.0 else 2.0 / (1.0 + exp(5.0 * position)) - 1.0


def judge(series: Series, alerts: list[int], windows: list[tuple[int, int]]) -> Verdict:
    """Score the alerts of one series as NAB's standard profile does."""
    probation = min(int(PROBATION_RATIO * len(series.values)), PROBATION_MAX)
    bounds = []
    for begin_us, end_us in windows:
        left = bisect_left(series.times_us, begin_us)
        bounds.append((left, bisect_right(series.times_us, end_us) - 1))
    first: list[int | None] = [None] * len(bounds)
    score, false = 0.0, 0
    for at in alerts:
        if at < probation:
            continue
        hit = next((w for w, (left, right) in enumerate(bounds) if left <= at <= right), None)
        if hit is not None:
            first[hit] = at if first[hit] is None else first[hit]
            continue
        false += 1
        before = [bound for bound in bounds if bound[1] < at]
        if before:
            left, right = before[-1]
            score += FALSE_WEIGHT * scaled_sigmoid((at - right) / max(1, right - left))
        else:
            score -= FALSE_WEIGHT
    for (left, right), found in zip(bounds, first, strict=True):
        if found is None:
            score -= MISSED_WEIGHT
        else:
            position = -(right - found + 1) / (right - left + 1)
            score += scaled_sigmoid(position) / scaled_sigmoid(-1.0)
    return Verdict(score, first, false)


def corpus_score(raw: float, windows: int) -> float:
    """Return NAB's score: 100 for a perfect detector, 0 for one that never speaks."""
    return 100.0 * (raw + windows) / (2.0 * windows)


def peers(folder: Path, windows: int) -> dict[str, float]:
    """Return the scores of the detectors that the folder has, the best first."""
    path = folder / "peers_standard_scores.csv"
    if not path.is_file():
        return {}
    raw: dict[str, float] = defaultdict(float)
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            raw[row["detector"]] += float(row["score"])
    scored = {name: corpus_score(value, windows) for name, value in raw.items()}
    return dict(sorted(scored.items(), key=lambda entry: -entry[1]))


def run(path: str | Path) -> dict[str, Any]:
    """Run all series of a folder.

    Returns:
        cases: one per labelled window, in the order of the label file; totals; the score, those of
        the peers, and precision and recall of alerts.

    Raises:
        ConfigError: there is no label file, or no series that it labels.
    """
    folder = Path(path)
    if not (folder / "combined_windows.json").is_file():
        raise ConfigError(f"{folder}: no combined_windows.json; give the folder of NAB's data")
    read = {series.name: series for series in read_series(folder)}
    alerts = {name: alerts_of(series) for name, series in read.items()}
    windows = {name: of for name, of in read_windows(folder).items() if name in read}
    if not windows:
        raise ConfigError(f"{folder}: no <group>/<series>.csv.gz of those that the labels name")
    verdicts = {name: judge(read[name], alerts[name], windows.get(name, [])) for name in read}
    cases: list[dict[str, Any]] = []
    for name, of_series in windows.items():
        for at, (begin_us, _) in enumerate(of_series):
            first = verdicts[name].first[at]
            detected_s = None if first is None else (read[name].times_us[first] - begin_us) / 1e6
            cases.append(
                {
                    "id": f"{name}#{at}",
                    "kind": name.split("/")[0],
                    "truth": name,
                    "ranked": [] if first is None else [name],
                    "detected_at_s": detected_s,
                    "events": int(first is not None),
                }
            )
    found = sum(case["events"] for case in cases)
    false = sum(verdict.false for verdict in verdicts.values())
    hours = sum(series.times_us[-1] - series.times_us[0] for series in read.values()) / 3.6e9
    raw = sum(verdict.score for verdict in verdicts.values())
    return {
        "set": "nab",
        "cases": cases,
        "totals": {
            "cases": len(cases), "top1": found, "top3": found, "top5": found,
            "missed": len(cases) - found, "over_merged": 0, "split": 0,
            "false_per_hour": false / hours if hours else 0.0,
            "alerts": sum(map(len, alerts.values())), "incidents": found + false,
            "chance_top1": 0.0,
        },
        "score": corpus_score(raw, len(cases)) if cases else None,
        "precision": found / (found + false) if found + false else None,
        "recall": found / len(cases) if cases else None,
        "series": {
            name: {"score": v.score, "alerts": len(alerts[name]), "false": v.false}
            for name, v in verdicts.items()
        },
        "peers": peers(folder, len(cases)) if cases else {},
    }  # fmt: skip


def _time_us(text: str) -> int:
    """Return a time of the data, which has no zone, as Unix microseconds."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    result = run(args.folder)
    if args.json:
        args.json.write_text(json.dumps(result, indent=2), "utf-8")
    for name, row in result["series"].items():
        print(f"{name:60} {row['score']:6.2f}  {row['alerts']:3} alerts  {row['false']:3} false")
    totals = result["totals"]
    print(
        f"{totals['top1']} of {totals['cases']} windows found, precision "
        f"{result['precision']:.2f}, recall {result['recall']:.2f}"
    )
    own = {"spanloom": result["score"]}
    for name, score in sorted((result["peers"] | own).items(), key=lambda entry: -entry[1]):
        print(f"  {'*' if name in own else ' '} {name:24} {score:5.1f}")


if __name__ == "__main__":
    main()
