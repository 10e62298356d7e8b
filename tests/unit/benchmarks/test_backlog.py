"""The steady part of a run is where as many traces were open as the run ever had."""

from benchmarks.cases.backlog import full_stretch
from benchmarks.cases.proc import Usage
from benchmarks.cases.samples import Sample


def sample(at_s: float, accepted: int, open_traces: int) -> Sample:
    values = {
        "spanloom_records_total:accepted": float(accepted),
        "spanloom_open_traces": float(open_traces),
    }
    return Sample(at_s, Usage(cpu_s=at_s / 2), 0.0, values)


def test_ramp_and_drain_are_left_out() -> None:
    """Only what lies between the first and the last full sample counts."""
    samples = [
        sample(0, 0, 0),
        sample(1, 100, 500),
        sample(2, 300, 950),
        Sample(2.5, Usage(), 0.0),  # no answer in time
        sample(3, 400, 1_000),
        sample(5, 700, 910),
        sample(6, 710, 80),
    ]
    stretch = full_stretch(samples)
    assert (stretch.spans, stretch.seconds, stretch.cpu_s) == (400, 3, 1.5)


def test_a_run_that_nobody_saw_full_has_no_steady_part() -> None:
    """One full sample is no stretch, and neither is a run without open traces."""
    assert full_stretch([sample(0, 0, 0), sample(1, 5, 9), sample(2, 9, 0)]).spans == 0
    assert full_stretch([sample(0, 0, 0), sample(1, 5, 0)]).spans == 0
    assert full_stretch([]).spans == 0
