"""Samples of processes and metrics are read right, and slopes are not bent by outliers."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from benchmarks.cases.proc import Usage, cpu_model, stat, tree, usage
from benchmarks.cases.samples import Sample, between, parse_metrics
from benchmarks.cases.soak import slope

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


def test_a_tree_has_the_children_of_children() -> None:
    """A grandchild is counted with its memory and files; a stranger is not."""
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
        try:
            found = {}
            for _ in range(600):
                found = tree([child.pid])
                if len(found) == 2:
                    break
                threading.Event().wait(0.05)
            assert len(found) == 2
            assert child.pid in found
            assert os.getpid() not in found
            used = usage([child.pid])
            assert used.rss_peak_bytes >= used.rss_bytes > 5_000_000
            assert used.threads >= 2
            assert used.files >= 6
        finally:
            assert child.stdin is not None
            child.stdin.write(b"\n")
    assert stat(child.pid) is None
    assert cpu_model()


def test_a_slope_survives_outliers() -> None:
    """A tenth of wild values does not move the slope of the others."""
    rng = np.random.default_rng(1)
    x = np.arange(200) / 60
    y = 5.0 * x + rng.normal(0, 0.01, 200)
    y[::10] += 1_000
    assert slope(x.tolist(), y.tolist()) == pytest.approx(5.0, abs=0.1)
