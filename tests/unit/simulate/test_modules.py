"""The models of the modules: queues, breakers, cascades, and noise that no fault touches."""

import pytest

from streams.contract.loader import SHIPPED, load_contract
from streams.simulate.blame import blame
from streams.simulate.faults import BACK_PRESSURE, BUFFER_FULL, SLOW_DEPENDENCY, Fault
from streams.simulate.layout import Layout, read_layout
from streams.simulate.modules.model import PipelineModel
from streams.simulate.modules.parts import CLOSED, HALF_OPEN, OPEN, Breaker, Queue, Second
from streams.simulate.storms import component_faults
from streams.units import SECOND_US

SEED = read_layout(load_contract("seed"))
START_US = 1_700_000_000 * SECOND_US
FROM_S, TO_S = 10, 26


def struck(kind: str, where: str, dimension: str = "", value: str = "", flap_s: int = 0) -> Fault:
    begin_us, end_us = START_US + FROM_S * SECOND_US, START_US + TO_S * SECOND_US
    return Fault(
        kind, where, begin_us, end_us, 1.0, dimension, value, flap_us=flap_s * SECOND_US
    )  # fmt: skip


def seconds(*faults: Fault, layout: Layout = SEED, count: int = 45) -> list[Second]:
    model = PipelineModel(layout, 3, 20.0, START_US, faults)
    return [model.at(START_US + number * SECOND_US) for number in range(count)]


def series(made: list[Second], name: str, *labels: str) -> list[float]:
    return [
        next(p.value for p in s.points if (p.name, p.labels) == (name, labels)) for s in made
    ]  # fmt: skip


def first_over(found: list[float], level: float) -> int:
    """Return the first second in which a series is over a level."""
    return next(second for second, value in enumerate(found) if value > level)


def test_a_queue_keeps_what_cannot_be_served_and_drops_what_it_cannot_hold() -> None:
    """By hand: 10 a second into a queue of 20 that serves 4."""
    queue = Queue(20.0)
    passed = [queue.step(10.0, 4.0) for _ in range(4)]
    assert [p.served for p in passed] == [4.0] * 4
    assert [p.dropped for p in passed] == [0.0, 0.0, 0.0, 4.0]
    assert queue.level == 20.0
    assert passed[1].wait_s == pytest.approx(12 / 4)


def test_a_full_queue_stays_full_until_the_low_watermark() -> None:
    """Over 70 % it is full, and no longer at 30 %; in between it is what it was."""
    queue = Queue(10.0)
    crossed, full = [], []
    for arriving, served in ((6.0, 0.0), (1.5, 0.0), (0.0, 3.0), (0.0, 2.0)):
        queue.step(arriving, served)
        crossed.append(queue.crossings)
        full.append(queue.is_full)
    assert full == [False, True, True, False]
    assert crossed == [0, 1, 0, 0]


def test_a_breaker_opens_tries_again_and_closes() -> None:
    """Errors open it, time half-opens it, and what it then sees decides."""
    breaker = Breaker(opens_at=0.5, open_seconds=2)
    states = []
    for errors in (0.4, 0.6, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1):
        breaker.step(errors)
        states.append(breaker.state)
    assert states == [CLOSED, OPEN, OPEN, HALF_OPEN, OPEN, OPEN, HALF_OPEN, CLOSED]


def test_a_slow_consumer_is_felt_upstream_step_by_step() -> None:
    """Rendering is slow: its queue fills, then BETA's, then ALPHA's buffer; in that order."""
    made = seconds(struck(BACK_PRESSURE, "GAMMA.rendering"))
    gamma = first_over(series(made, "pipeline.gamma.rendering.gauge.queue_depth"), 20)
    signal = "pipeline.integration.back_pressure.gauge.signal_active"
    pressed = first_over(series(made, signal, "beta_gamma"), 0.5)
    beta = first_over(series(made, "pipeline.beta.transform.gauge.queue_depth"), 20)
    further = first_over(series(made, signal, "alpha_beta"), 0.5)
    alpha = first_over(series(made, "pipeline.alpha.buffer.gauge.buffer_depth"), 10)
    assert FROM_S <= gamma < pressed < beta < further < alpha < TO_S


def test_a_slow_source_opens_its_breaker_and_no_other() -> None:
    """Timeouts open the source's breaker; then the fallback is used and completeness falls."""
    made = seconds(struck(SLOW_DEPENDENCY, "BETA.enrichment", "enrichment_source", "geo_lookup"))
    state = "pipeline.beta.enrichment.gauge.breaker_state"
    assert OPEN in series(made, state, "geo_lookup")
    assert set(series(made, state, "price_list")) == {CLOSED}
    score = series(made, "pipeline.beta.quality.gauge.dimension_score", "completeness")
    assert min(score[FROM_S:TO_S]) < 0.95 < min(score[:FROM_S])
    changes = [h for s in made for h in s.happenings if h.name == "circuit_state_changed"]
    assert {h.dimensions["enrichment_source"] for h in changes} == {"geo_lookup"}
    assert changes[0].dimensions["to"] == "OPEN"
    assert changes[0].value > 0


def test_what_overflows_is_counted_as_such() -> None:
    """A buffer that cannot be emptied fills, crosses its watermark and drops records."""
    made = seconds(struck(BUFFER_FULL, "ALPHA.buffer"))
    assert series(made, "pipeline.alpha.buffer.counter.overflows_total")[-1] > 10
    category = "pipeline.alpha.error_log.counter.errors_total"
    assert series(made, category, "Buffer Overflow")[-1] > 10
    assert series(made, "pipeline.alpha.buffer.counter.high_watermark_crossings_total")[-1] >= 1


@pytest.mark.parametrize("name", SHIPPED)
def test_a_fault_changes_nothing_before_it_and_everything_recovers(name: str) -> None:
    """Runs with and without a fault are the same until it begins, and again when it has passed."""
    layout = read_layout(load_contract(name))
    without = seconds(layout=layout, count=70)
    for fault in {(f.kind, f.where): f for f in component_faults(layout)}.values():
        placed = struck(fault.kind, fault.where, fault.dimension, fault.value)
        made = seconds(placed, layout=layout, count=70)
        assert made[:FROM_S] == without[:FROM_S], fault
        assert made[-1].slow == made[-1].fails == {}, fault
        measured = [
            (p.name, p.value, q.value)
            for p, q in zip(made[-1].points, without[-1].points, strict=True)
            if ".counter." not in p.name and abs(p.value - q.value) > 0.1 * abs(q.value) + 1e-6
        ]
        assert measured == [], fault


def test_a_flapping_fault_is_on_and_off_in_turns() -> None:
    """It strikes for the first flap, not for the second, and so on to its end."""
    fault = struck(BACK_PRESSURE, "GAMMA.rendering", flap_s=3)
    on = [fault.is_on(START_US + n * SECOND_US) for n in range(FROM_S - 1, TO_S + 1)]
    assert on == [
        False, *[True] * 3, *[False] * 3, *[True] * 3, *[False] * 3, *[True] * 3, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize("name", SHIPPED)
def test_a_fault_is_first_felt_where_it_is(name: str) -> None:
    """Nothing shows at another component before the fault shows at its own."""
    layout = read_layout(load_contract(name))
    for fault in {(f.kind, f.where): f for f in component_faults(layout)}.values():
        placed = struck(fault.kind, fault.where, fault.dimension, fault.value)
        found = blame(layout, placed)
        (cause,) = found.causes
        assert found.reached[cause] == min(found.reached.values()), fault
