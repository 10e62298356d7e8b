"""The whole run: who is born, what is delivered, and what each fault does to it."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from streams.codec.records import encode
from streams.errors import ConfigError
from streams.simulate.events import Emission
from streams.simulate.faults import (
    ACKNOWLEDGMENTS_LOST,
    CLOCK_SKEW,
    CONTEXT_DROPPED,
    CONTEXT_RESTARTED,
    DUPLICATE_STORM,
    MODULE_SILENT,
    SLOW_ENRICHMENT,
    Fault,
)
from streams.simulate.pipeline import DELAY_US_MAX, STORM_REPEAT_US, Simulation
from streams.simulate.plan import plan_faults
from streams.units import SECOND_US
from tests.unit.simulate.oracle_recount import SEED_CONTRACT, START_US, spans_by_trace

SEED = 11
SECONDS = 10
FROM_US, TO_US = START_US + 4 * SECOND_US, START_US + 6 * SECOND_US


def simulation(*faults: Fault, seed: int = SEED, seconds: float = SECONDS) -> Simulation:
    return Simulation(SEED_CONTRACT, seed, START_US, seconds, faults=faults)


def run(*faults: Fault, seed: int = SEED) -> list[Emission]:
    return list(simulation(*faults, seed=seed).drain())


def fault(kind: str, where: str, **more: Any) -> Fault:
    return Fault(kind, where, FROM_US, TO_US, **more)


def as_bytes(emissions: Sequence[Emission]) -> list[tuple[str, str, bytes, int]]:
    return [(t, k, encode("telemetry_event", event), at) for t, k, event, at in emissions]


def true_end_us(event: dict[str, Any]) -> int:
    return int(event["timestamp"] + event["duration_us"])


@pytest.fixture(scope="module")
def clean() -> list[Emission]:
    return run()


def test_the_same_seed_gives_the_same_bytes(clean: list[Emission]) -> None:
    """Two runs agree to the last byte, with faults too; another seed gives other traces."""
    assert as_bytes(run()) == as_bytes(clean)
    faults = plan_faults(SEED, 60, SEED_CONTRACT, START_US)
    first, second = (
        Simulation(SEED_CONTRACT, SEED, START_US, 60, 5, faults).drain() for _ in range(2)
    )
    assert as_bytes(list(first)) == as_bytes(list(second))
    other = run(seed=SEED + 1)
    assert not spans_by_trace(other).keys() & spans_by_trace(clean).keys()


def test_slices_do_not_matter(clean: list[Emission]) -> None:
    """However the time is cut, the same events come in the same order, each in its slice."""
    sliced = simulation()
    found: list[Emission] = []
    until_us, step_us = START_US, 1
    while not sliced.is_drained:
        before_us, until_us = until_us, until_us + step_us
        part = list(sliced.emissions(until_us))
        assert all(before_us <= emission.emit_us < until_us for emission in part)
        found += part
        step_us = step_us * 3 % 777_777 + 1
    assert found == clean


def test_a_slice_ends_before_its_end(clean: list[Emission]) -> None:
    """What is due exactly at the end of a slice belongs to the next one."""
    at_us = clean[len(clean) // 2].emit_us
    cut = simulation()
    assert max(emission.emit_us for emission in cut.emissions(at_us)) < at_us
    assert next(cut.emissions(at_us + 1)).emit_us == at_us


def test_emissions_come_in_order_after_what_they_tell(clean: list[Emission]) -> None:
    """Times of emission do not go back, and an event is sent when its span is over."""
    times = [emission.emit_us for emission in clean]
    assert times == sorted(times)
    first = {e.event["event_id"]: e for e in reversed(clean)}
    for emission in first.values():
        assert 0 <= emission.emit_us - true_end_us(emission.event) <= DELAY_US_MAX


def test_topic_and_key_follow_from_the_event(clean: list[Emission]) -> None:
    """A module has its topic, a trace its key; what has no trace goes by its place."""
    for topic, key, event, _ in clean:
        assert topic == SEED_CONTRACT.topic(event["module"])
        assert key == (event["trace_id"] or f"{event['module']}.{event['component']}")
    assert {emission.topic for emission in clean} == set(SEED_CONTRACT.topics())
    assert {e.event["event_type"] for e in clean} == {"METRIC", "LOG", "TRACE", "AUDIT"}


def test_every_clean_trace_is_whole(clean: list[Emission]) -> None:
    """One root, every parent seen, every required stage in it."""
    traces = spans_by_trace(clean)
    by_entry = {
        flow.stage(flow.entry).name: {
            stage.name for stage in flow.stages if stage.required and stage.when is None
        }
        for flow in SEED_CONTRACT.flows.values()
    }
    flows: Counter[str] = Counter()
    for spans in traces.values():
        seen = {span["span_id"] for span in spans}
        (root,) = [span for span in spans if not span["parent_span_id"]]
        assert {span["parent_span_id"] for span in spans} <= seen | {""}
        assert {span["name"] for span in spans} >= by_entry[root["name"]]
        flows[root["name"]] += 1
    assert flows == {"alpha.connect": 400, "integration.assemble_batch": 25, "phi.schedule": 34}


def test_a_batch_links_to_its_records(clean: list[Emission]) -> None:
    """The first span of a batch links to the transfer spans of the records that carry its id."""
    spans = [e.event for e in clean if e.event["event_type"] == "TRACE"]
    transfers = {
        (s["batch_id"], s["trace_id"], s["span_id"])
        for s in spans
        if s["name"] == "integration.transfer_alpha_beta"
    }
    linked = [
        (s["batch_id"], link["trace_id"], link["span_id"]) for s in spans for link in s["links"]
    ]
    assert sorted(transfers) == sorted(set(linked))
    assert {s["name"] for s in spans if s["links"]} == {"integration.assemble_batch"}


def test_the_last_records_are_batched_too() -> None:
    """Ten records fill no batch of sixteen; the run's end sends what there is."""
    emissions = list(Simulation(SEED_CONTRACT, SEED, START_US, 2, 5).drain())
    batches = [e.event["links"] for e in emissions if e.event["links"]]
    assert [len(links) for links in batches] == [10]


def test_noise_stays_noise(clean: list[Emission]) -> None:
    """Errors and repeats are few; 600 to 850 events a second beside the metrics, small ones."""
    spans = [e.event for e in clean if e.event["event_type"] == "TRACE"]
    errors = sum(span["status"] == "ERROR" for span in spans)
    assert 0 < errors < 0.005 * len(spans)
    repeats = len(clean) - len({e.event["event_id"] for e in clean})
    assert 0 < repeats < 0.003 * len(clean)
    metrics = sum(e.event["event_type"] == "METRIC" for e in clean)
    assert 600 < (len(clean) - metrics) / SECONDS < 850
    assert sum(len(value) for _, _, value, _ in as_bytes(clean)) / len(clean) < 350


@pytest.mark.parametrize(
    "planted",
    [
        fault(MODULE_SILENT, "GAMMA"),
        fault(CONTEXT_DROPPED, "transfer_alpha_beta>schema_mapping", share=0.3),
        fault(SLOW_ENRICHMENT, "BETA", dimension="enrichment_source", value="geo_lookup"),
        fault(ACKNOWLEDGMENTS_LOST, "delivery>acknowledgment", share=0.5),
        fault(DUPLICATE_STORM, "EPSILON", share=0.5),
        fault(CONTEXT_RESTARTED, "buffer>transfer_alpha_beta", share=0.4),
        fault(CLOCK_SKEW, "transfer_beta_gamma>rendering", skew_us=-300_000),
    ],
    ids=lambda planted: planted.kind,
)
def test_a_fault_leaves_the_clean_rest_untouched(clean: list[Emission], planted: Fault) -> None:
    """Records that are over before a fault, or begin after it, are the same, times included."""
    broken = run(planted)
    assert broken != clean
    last_us: dict[str, int] = {}
    first_us: dict[str, int] = {}
    for emission in clean:
        record_id = emission.event["record_id"]
        first_us.setdefault(record_id, emission.event["timestamp"])
        last_us[record_id] = max(last_us.get(record_id, 0), true_end_us(emission.event))
    apart = {r for r in last_us if r and (last_us[r] < FROM_US or first_us[r] >= TO_US)}
    assert 200 < len(apart) < 400
    # Absent values are one NaN object, so that equal events compare equal.
    assert [e for e in broken if e.event["record_id"] in apart] == [
        e for e in clean if e.event["record_id"] in apart
    ]


def test_a_silent_module_is_silent(clean: list[Emission]) -> None:
    """Exactly the module's events of the time are gone, metrics included."""
    broken = {e.event["event_id"] for e in run(fault(MODULE_SILENT, "GAMMA"))}
    gone = [e.event for e in clean if e.event["event_id"] not in broken]
    in_time = [
        e.event
        for e in clean
        if e.event["module"] == "GAMMA" and FROM_US <= true_end_us(e.event) < TO_US
    ]
    assert gone == in_time
    assert {event["event_type"] for event in gone} >= {"METRIC", "TRACE", "AUDIT"}
    assert broken <= {e.event["event_id"] for e in clean}


def test_a_wrong_clock_shifts_one_module(clean: list[Emission]) -> None:
    """Only GAMMA's timestamps of the time move, all by the skew, and nothing else changes."""
    broken = run(fault(CLOCK_SKEW, "transfer_beta_gamma>rendering", skew_us=-300_000))
    shifts = set()
    for right, wrong in zip(clean, broken, strict=True):
        shift = wrong.event["timestamp"] - right.event["timestamp"]
        is_hit = right.event["module"] == "GAMMA" and FROM_US <= right.event["timestamp"] < TO_US
        assert shift == (-300_000 if is_hit else 0)
        assert wrong._replace(event={}) == right._replace(event={})
        shifts.add(shift)
    assert shifts == {0, -300_000}


def test_a_storm_repeats_half_of_a_module(clean: list[Emission]) -> None:
    """About half of the module's events of the time come twice, shortly after; no other does."""
    stormy = run(fault(DUPLICATE_STORM, "ALPHA", share=0.5))
    repeats = Counter(e.event["event_id"] for e in stormy)
    usual = Counter(e.event["event_id"] for e in clean)
    extra = repeats - usual
    candidates = {
        e.event["event_id"]
        for e in clean
        if e.event["module"] == "ALPHA" and FROM_US <= true_end_us(e.event) < TO_US
    }
    assert extra.keys() <= candidates
    assert set(extra.values()) == {1}
    assert 0.4 < len(extra) / len(candidates) < 0.6
    for event_id in [each for each in extra if usual[each] == 1]:
        first, second = (e for e in stormy if e.event["event_id"] == event_id)
        assert second.event == first.event
        assert STORM_REPEAT_US[0] <= second.emit_us - first.emit_us <= STORM_REPEAT_US[1]


def test_an_impossible_run_is_refused() -> None:
    """No time or no records: the message says which settings must be over 0."""
    for seconds, rate in ((0, 40), (10, 0), (-1, 40)):
        with pytest.raises(ConfigError, match="must both be over 0"):
            Simulation(SEED_CONTRACT, 1, START_US, seconds, rate)
