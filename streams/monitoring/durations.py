"""Histograms of durations."""

from bisect import bisect_left
from collections.abc import Iterable
from typing import Any, Final

from prometheus_client.core import HistogramMetricFamily, Metric

from streams.monitoring.metrics import Entry, Row

BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Of durations: what the requirements name (0.2, 1, 2, 5 and 10 s) and between."""


class Durations:
    """A histogram of durations."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """Take in one."""
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self._sum += seconds

    def buckets(self) -> tuple[list[tuple[str, float]], float]:
        """Return (upper bound, how many up to it) and the sum, as the exposition wants them."""
        found, total = [], 0
        for bound, count in zip((*BOUNDS_S, "+Inf"), self._counts, strict=True):
            total += count
            found.append((str(bound), float(total)))
        return found, self._sum


def histogram(name: str, entry: Entry, rows: Iterable[Row]) -> Metric:
    """Return a metric of a catalogue whose values are `Durations`."""
    made: Any = HistogramMetricFamily(name, entry.text, labels=entry.labels)
    for labels, value in rows:
        buckets, total = value.buckets()
        made.add_metric([str(label) for label in labels], buckets, total)
    metric: Metric = made
    return metric
