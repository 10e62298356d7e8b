"""A second, naive count of a run: from its emissions and the contract file alone."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from streams.contract.loader import contract_path, load_contract
from streams.contract.model import Contract, Stage
from streams.simulate.events import Emission

START_US = 1_700_000_000_000_000
SEED_CONTRACT = load_contract(contract_path("seed"))
Edge = tuple[str, str, str]


def spans_by_trace(emissions: Iterable[Emission]) -> dict[str, list[dict[str, Any]]]:
    """Return the distinct spans of each trace, in the order they came."""
    found: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for emission in emissions:
        event = emission.event
        if event["event_type"] == "TRACE":
            found[event["trace_id"]].setdefault(event["span_id"], event)
    return {trace_id: list(spans.values()) for trace_id, spans in found.items()}


def is_span_of(stage: Stage, event: dict[str, Any]) -> bool:
    """Say whether the event is a span of the stage."""
    return (event["module"], event["component"], event["name"]) == (
        stage.module,
        stage.component,
        stage.name,
    )


def is_due(contract: Contract, flow: str, far: Stage, spans: list[dict[str, Any]]) -> bool:
    """Say whether a trace with these spans must have the far stage."""
    if far.when is None:
        return far.required
    of = contract.flows[flow].stage(far.when.stage)
    return any(
        is_span_of(of, span) and span["dimensions"].get(far.when.dimension) in far.when.values
        for span in spans
    )


def recount_edges(contract: Contract, emissions: Iterable[Emission]) -> dict[Edge, tuple[int, int]]:
    """Return (expected, observed) of every edge that some trace had to cross."""
    counts: dict[Edge, list[int]] = defaultdict(lambda: [0, 0])
    for spans in spans_by_trace(emissions).values():
        for name, flow in contract.flows.items():
            for near_id, far_id in flow.edges:
                near, far = flow.stage(near_id), flow.stage(far_id)
                has_near = any(is_span_of(near, span) for span in spans)
                if has_near and is_due(contract, name, far, spans):
                    counts[name, near_id, far_id][0] += 1
                    counts[name, near_id, far_id][1] += any(is_span_of(far, s) for s in spans)
    return {edge: (expected, observed) for edge, (expected, observed) in counts.items()}


def true_edges(truth: dict[str, Any]) -> dict[Edge, tuple[int, int]]:
    """Return the truth's edge counts, without the edges that nothing had to cross."""
    return {
        (row["flow"], row["from_stage"], row["to_stage"]): (row["expected"], row["observed"])
        for row in truth["edges"]
        if row["expected"]
    }
