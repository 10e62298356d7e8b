"""Samples of metrics are read right."""

from benchmarks.cases.proc import Usage
from benchmarks.cases.samples import Sample, between, parse_metrics

TEXT = """# HELP spanloom_records_total Input records by account.
# TYPE spanloom_records_total counter
spanloom_records_total{account="accepted",task="join-0"} 100.0
spanloom_records_total{account="accepted",task="join-1"} 50.0
spanloom_records_total{account="late",task="join-1"} 2.0
spanloom_open_traces{task="join-0"} 7.0
spanloom_open_traces{task="join-1"} 1.0
"""


def test_metrics_are_added_up_over_tasks() -> None:
    """Tasks are summed, accounts kept apart."""
    assert parse_metrics(TEXT) == {
        "spanloom_records_total:accepted": 150.0,
        "spanloom_records_total:late": 2.0,
        "spanloom_open_traces": 8.0,
    }


def test_a_stretch_is_the_difference_of_two_samples() -> None:
    """Spans, seconds and CPU seconds between, and nothing of before."""
    values = parse_metrics(TEXT)
    later = {**values, "spanloom_records_total:accepted": 1_150.0}
    first = Sample(10.0, Usage(cpu_s=3.0), 0.0, values)
    last = Sample(12.0, Usage(cpu_s=3.5), 0.0, later)
    stretch = between(first, last)
    assert (stretch.spans, stretch.seconds, stretch.cpu_s) == (1_000, 2.0, 0.5)
    assert (stretch.spans_per_s, stretch.spans_per_cpu_s) == (500.0, 2_000.0)
