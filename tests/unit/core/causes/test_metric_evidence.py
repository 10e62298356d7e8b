"""Series: robust scores, spikes and episodes, and whose fault a slow call is."""

import pytest

from streams.core.causes.metric_evidence import CLIENT, SERVER, MetricBaseline, Sample, Series
from streams.core.causes.metric_kinds import (
    ERRORS,
    HOST,
    LATENCY,
    OTHER,
    RESOURCE,
    SUCCESS,
    TRAFFIC,
    metric_kind,
)
from streams.core.causes.parameters import PARAMETERS
from streams.units import MINUTE_US

CPU = Series("cart", "CpuUsageRate(%)")


def fed(values: list[float], series: Series = CPU) -> tuple[MetricBaseline, int]:
    """Return a baseline after one value a minute, and the time of the last."""
    baseline = MetricBaseline(PARAMETERS)
    for minute, value in enumerate(values):
        baseline.observe([Sample(series, minute * MINUTE_US, value)])
    return baseline, (len(values) - 1) * MINUTE_US


@pytest.mark.parametrize(
    ("name", "signal"),
    [
        ("PodServerLatencyP90(s)", LATENCY),
        ("NodeCpuUsageRate(%)", HOST),
        ("PodSuccessRate(%)", SUCCESS),
        ("pipeline.alpha.parser.counter.parse_errors_total", ERRORS),
        ("http_5xx_ratio", ERRORS),
        ("MemoryUsage(Mi)", RESOURCE),
        ("PodWorkload(Ops)", TRAFFIC),
        ("latency", LATENCY),
        ("availability", SUCCESS),
        ("frobnication", OTHER),
    ],
)
def test_names_tell_the_signal(name: str, signal: str) -> None:
    """A metric's golden signal is read from the words of its name."""
    assert metric_kind(name).signal == signal


def test_a_steady_series_is_no_evidence() -> None:
    """Values within the usual scatter say nothing."""
    baseline, now_us = fed([1.0, 1.2, 0.9, 1.1] * 10)
    assert baseline.evidence(now_us) == []


def test_a_lasting_shift_is_evidence_and_one_sample_is_not_lasting() -> None:
    """The second sample far out makes the shift a lasting one."""
    baseline, now_us = fed([1.0, 1.2, 0.9, 1.1] * 10 + [95.0])
    assert [e.module for e in baseline.evidence(now_us)] == ["cart"]
    assert baseline.evidence(now_us, lasting=True) == []
    baseline, now_us = fed([1.0, 1.2, 0.9, 1.1] * 10 + [95.0, 97.0])
    (found,) = baseline.evidence(now_us, lasting=True)
    assert found.score > 50
    assert found.since_us == now_us - MINUTE_US


def test_a_series_that_spikes_is_not_in_trouble_when_it_does() -> None:
    """Lone spikes become part of the past, and the next one is no news."""
    quiet = [1.0, 1.2, 0.9, 1.1] * 4
    baseline, now_us = fed([*quiet, 60.0] * 3)
    assert all(e.score < 4 for e in baseline.evidence(now_us))


def test_an_episode_is_not_learned() -> None:
    """After an episode of four samples a second one is as unusual as the first."""
    quiet = [1.0, 1.2, 0.9, 1.1] * 5
    baseline, now_us = fed([*quiet, 95, 96, 97, 95, *quiet, 95, 96])
    assert baseline.evidence(now_us)[0].score > 50


def test_a_series_that_stays_has_a_new_normal() -> None:
    """A level that is kept for long becomes the past."""
    stays = [95.0, 97.0, 96.0] * (PARAMETERS.metric_samples // 2)
    baseline, now_us = fed([1.0, 1.2, 0.9, 1.1] * 5 + stays)
    assert baseline.evidence(now_us) == []


def test_no_measurement_is_no_news() -> None:
    """NaN neither scores nor is learned."""
    baseline, _ = fed([1.0, 1.1] * 10 + [float("nan")] * 5)
    assert len(baseline.series[CPU].past) == 20


def test_a_fall_of_latency_is_no_fault() -> None:
    """Only the direction that can be a fault counts."""
    series = Series("cart", "latency p50")
    baseline, now_us = fed([100.0, 110.0, 90.0, 100.0] * 5 + [1.0, 1.0], series)
    assert baseline.evidence(now_us) == []


def test_time_on_the_way_is_laid_on_the_module_whose_calls_are_all_slow() -> None:
    """Of frontend with one slow call of two, and cart with its only call slow, cart is blamed."""
    baseline = MetricBaseline(PARAMETERS)
    for minute in range(20):
        late = 0.4 if minute >= 18 else 0.0
        samples = []
        for callee, more in (("cart", late), ("email", 0.0)):
            at_us = minute * MINUTE_US
            near = Series("frontend", "latency p50", peer=callee, side=CLIENT)
            far = Series(callee, "latency p50", peer="frontend", side=SERVER)
            samples += [Sample(near, at_us, 0.0051 + more), Sample(far, at_us, 0.005)]
        baseline.observe(samples)
    (found,) = baseline.evidence(19 * MINUTE_US)
    assert (found.module, found.weight) == ("cart", 1.0)


def test_a_past_from_elsewhere_is_forgotten_when_it_does_not_fit() -> None:
    """A primed series whose first own sample is far away starts without a past."""
    baseline = MetricBaseline(PARAMETERS)
    baseline.prime(CPU, 10.0, 1.0)
    baseline.observe([Sample(CPU, 0, 90.0)])
    assert len(baseline.series[CPU].past) == 1
    baseline.prime(CPU, 90.0, 1.0)
    baseline.observe([Sample(CPU, MINUTE_US, 91.0)])
    assert baseline.evidence(MINUTE_US) == []
