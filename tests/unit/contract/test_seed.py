"""The seed contract promises what the work plan of the pipeline names."""

from streams.contract.compile import compile_plan, ordered_stages
from streams.contract.loader import load_contract
from streams.core.columns import Operation

SEED = load_contract("seed")


def test_all_six_modules_are_there_and_owned() -> None:
    """Cache and orchestration emit too."""
    assert set(SEED.modules) == {"ALPHA", "BETA", "GAMMA", "EPSILON", "PHI", "INTEGRATION"}
    assert all(module.owner and module.channel for module in SEED.modules.values())


def test_a_record_goes_from_its_connection_to_its_acknowledgment() -> None:
    """The required stages of every record, in order; the last one closes the trace."""
    flow = SEED.flows["record"]
    required = [s.id for s in ordered_stages(flow) if s.required and s.when is None]
    assert required == [
        "connection", "parser", "validation", "buffer", "transfer_alpha_beta",
        "schema_mapping", "field_transformation", "enrichment", "quality_scoring",
        "transfer_beta_gamma", "rendering", "routing", "delivery", "acknowledgment",
    ]  # fmt: skip
    assert flow.entry == "connection"
    assert ordered_stages(flow)[-1].id == "acknowledgment"


def test_only_asynchronous_and_batched_deliveries_need_a_receipt() -> None:
    """The one condition of the seed, on a bit behind all stage codes."""
    plan = compile_plan(SEED)
    (condition,) = plan.conditions
    assert plan.stage_operation[condition.code] == Operation("GAMMA", "delivery", "gamma.deliver")
    assert (condition.dimension, condition.values) == ("ack_pattern", ("async", "batch"))
    assert condition.bit == len(plan.stage_operation)


def test_every_required_stage_has_a_deadline_within_the_wait() -> None:
    """A stage without one could stall unseen."""
    for flow in SEED.flows.values():
        for stage in flow.stages:
            if stage.required:
                assert stage.deadline_ms is not None, stage.id
                assert stage.deadline_ms < flow.wait_ms


def test_the_acknowledging_stages_are_marked() -> None:
    """Their loss is a missing acknowledgment."""
    marked = {s.id for flow in SEED.flows.values() for s in flow.stages if s.acknowledges}
    assert marked == {"acknowledgment", "acknowledgment_receipt", "batch_acknowledgment"}


def test_every_old_metric_name_of_the_work_plan_is_mapped() -> None:
    """The two renames that the plan spells out are taken word for word."""
    names = SEED.metric_names
    assert set(names) == {
        "alpha_parse_errors_total",
        "alpha_validation_error_rate",
        "beta_mapping_errors_total",
        "beta_transform_errors_by_schema",
        "gamma_render_errors_total",
        "gamma_delivery_latency_seconds",
    }
    assert names["alpha_parse_errors_total"] == "pipeline.alpha.parser.counter.parse_errors_total"
    assert names["alpha_validation_error_rate"] == "pipeline.alpha.validation.gauge.error_rate"
