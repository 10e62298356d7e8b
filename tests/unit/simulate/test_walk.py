"""One record on its way."""

from collections.abc import Sequence
from random import Random
from typing import Any

from streams.contract.model import Contract
from streams.simulate.behaviour import draw_profile
from streams.simulate.faults import (
    ACKNOWLEDGMENTS_LOST,
    CONTEXT_DROPPED,
    CONTEXT_RESTARTED,
    SLOW_ENRICHMENT,
    Fault,
    FaultTable,
)
from streams.simulate.layout import read_layout
from streams.simulate.modules.model import PipelineModel
from streams.simulate.walk import Step, Unit, Walk
from tests.unit.simulate.oracle_recount import SEED_CONTRACT, START_US

LAYOUT = read_layout(SEED_CONTRACT)
REQUIRED = {s.id for s in SEED_CONTRACT.flows["record"].stages if s.required and s.when is None}
SEEDS = range(40)
LONG_US = 60_000_000


def model(faults: Sequence[Fault] = ()) -> PipelineModel:
    return PipelineModel(LAYOUT, 1, 20.0, START_US, faults)


def walk(seed: int, *faults: Fault, flow: str = "record", **profile: str) -> list[Step]:
    rng = Random(seed)
    unit = Unit(START_US, rng, Random(seed), Random(seed + 1), record_id="r")
    unit.profile = draw_profile(rng) | profile
    is_record = flow == "record"
    table = FaultTable(LAYOUT, faults)
    return Walk(unit, LAYOUT.flows[flow], table, model(faults), is_record=is_record).run()


def fault(kind: str, where: str, **more: Any) -> Fault:
    return Fault(kind, where, START_US, START_US + LONG_US, **more)


def stages(steps: list[Step]) -> list[str]:
    return [step.stage.id for step in steps]


def test_a_healthy_walk_is_one_tree_with_all_it_needs() -> None:
    """One root, every parent is a step of the walk that began no later, nothing required lacks."""
    for seed in SEEDS:
        steps = walk(seed)
        by_span = {step.span_id: step for step in steps}
        assert len(by_span) == len(steps)
        assert len({step.trace_id for step in steps}) == 1
        roots = [step.stage.id for step in steps if not step.parent_span_id]
        assert roots == ["connection"]
        assert set(stages(steps)) >= REQUIRED
        for step in steps:
            if step.parent_span_id:
                assert by_span[step.parent_span_id].start_us <= step.start_us < step.end_us


def test_a_receipt_comes_for_what_is_not_synchronous() -> None:
    """The conditional stage happens exactly when its condition is met."""
    for pattern, count in (("sync", 0), ("async", 1), ("batch", 1)):
        assert stages(walk(1, ack_pattern=pattern)).count("acknowledgment_receipt") == count


def test_a_lookup_happens_inside_the_enrichment_or_not_at_all() -> None:
    """A bypassed cache leaves no span; a lookup is the enrichment's child and ends before it."""
    assert "cache_lookup" not in stages(walk(1, cache_result="bypass"))
    by_stage = {step.stage.id: step for step in walk(1, cache_result="hit", tier="disk")}
    inner, outer = by_stage["cache_lookup"], by_stage["enrichment"]
    assert inner.parent_span_id == outer.span_id
    assert outer.start_us < inner.start_us < inner.end_us < outer.end_us


def test_a_retry_completes_in_the_same_trace() -> None:
    """A failed delivery waits in the queue and is delivered at the second attempt, in one trace."""
    retried = [steps for steps in map(walk, range(1500)) if "dead_letter" in stages(steps)]
    assert 0 < len(retried) < 30
    for steps in retried:
        of = {s: [step for step in steps if step.stage.id == s] for s in stages(steps)}
        first, second = of["delivery"]
        (kept,) = of["dead_letter"]
        assert (first.is_error, second.is_error) == (True, False)
        assert [step.dimensions["attempt"] for step in (first, second)] == ["1", "2"]
        assert kept.parent_span_id == first.span_id
        assert second.parent_span_id == kept.span_id
        assert of["acknowledgment"][0].parent_span_id == second.span_id
        assert len({step.trace_id for step in steps}) == 1


def test_a_dropped_context_is_gone_from_the_far_stage_on() -> None:
    """Before the hop all steps have the trace, from the far stage on none; the work is the same."""
    drop = fault(CONTEXT_DROPPED, "transfer_alpha_beta>schema_mapping")
    for seed in SEEDS:
        steps, healthy = walk(seed, drop), walk(seed)
        assert stages(steps) == stages(healthy)
        first = stages(steps).index("schema_mapping")
        assert all(step.trace_id for step in steps[:first])
        assert not any(step.trace_id or step.span_id for step in steps[first:])


def test_a_restarted_context_begins_a_second_tree() -> None:
    """The far stage is the root of a trace that holds all that follows, and nothing before."""
    restart = fault(CONTEXT_RESTARTED, "quality_scoring>transfer_beta_gamma")
    for seed in SEEDS:
        steps = walk(seed, restart)
        first, second = dict.fromkeys(step.trace_id for step in steps)
        of_second = [step for step in steps if step.trace_id == second]
        assert first
        assert stages(of_second)[0] == "transfer_beta_gamma"
        assert [step.parent_span_id == "" for step in of_second].count(True) == 1
        assert of_second[0].parent_span_id == ""
        assert {"rendering", "acknowledgment"} <= set(stages(of_second))


def test_a_lost_acknowledgment_loses_nothing_else() -> None:
    """The walk is the healthy one without its last stage."""
    lost = fault(ACKNOWLEDGMENTS_LOST, "delivery>acknowledgment")
    for seed in SEEDS:
        assert stages(walk(seed, lost)) == [s for s in stages(walk(seed)) if s != "acknowledgment"]


def test_only_the_slow_source_is_slow() -> None:
    """Enrichment from the slow source takes three to four deadlines, from another one as ever."""
    slow = fault(SLOW_ENRICHMENT, "BETA", dimension="enrichment_source", value="geo_lookup")
    hit = {s.stage.id: s for s in walk(1, slow, enrichment_source="geo_lookup")}["enrichment"]
    assert 750_000 <= hit.end_us - hit.start_us <= 1_000_000
    assert walk(1, slow, enrichment_source="price_list") == walk(1, enrichment_source="price_list")


def test_faults_of_a_record_edge_leave_other_flows_alone() -> None:
    """A job with an edge of the same name walks as if nothing were wrong."""
    second = {"id": "second", "module": "B", "name": "s", "after": ["first"]}
    flows = {
        name: {"entry": "first", "stages": [{"id": "first", "module": "A", "name": name}, second]}
        for name in ("record", "job")
    }
    layout = read_layout(
        Contract.model_validate(
            {
                "version": "1",
                "name": "twins",
                "modules": {"A": {}, "B": {}},
                "flows": flows,
            }
        )
    )
    table = FaultTable(layout, [fault(CONTEXT_DROPPED, "first>second")])
    has_trace = {}
    for name in ("record", "job"):
        unit = Unit(START_US, Random(1), Random(1), Random(1))
        is_record = name == "record"
        steps = Walk(unit, layout.flows[name], table, model(), is_record=is_record).run()
        has_trace[name] = [bool(step.trace_id) for step in steps]
    assert has_trace == {"record": [True, False], "job": [True, True]}
