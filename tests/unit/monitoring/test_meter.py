"""The meter of a task: sums, counts and maxima of what it measured."""

from streams.monitoring.meter import Meter, Sample
from streams.runtime.commit import OutRecord


def test_a_sample_keeps_count_sum_and_maximum() -> None:
    """Three numbers are enough for a rate, a mean and the worst."""
    sample = Sample()
    for value in (2.0, 5.0, 1.0):
        sample.add(value)
    assert (sample.count, sample.sum, sample.max) == (3, 8.0, 5.0)


def test_a_cut_is_measured_by_the_values_that_it_publishes() -> None:
    """Outputs and state count alike; a record that deletes its key has no bytes."""
    meter = Meter()
    state = [OutRecord("s", 0, b"0/0", b"12345")]
    meter.cut(0.5, [OutRecord("o", 0, None, b"abc")], state)
    meter.cut(0.25, [], [OutRecord("s", 0, b"0/0", None)])  # type: ignore[arg-type]
    assert (meter.cut_seconds.count, meter.cut_seconds.sum, meter.cut_seconds.max) == (2, 0.75, 0.5)
    assert (meter.cut_bytes.sum, meter.cut_bytes.max) == (8, 8)
