"""What happened to a record: its entries in order, and its lineage.

Owns how far a question reaches: over all traces of the record, and for lineage over the traces that
its own link to, or that link to them, from one to the next.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from streams.codec.records import Record
from streams.console.questions.queries import Queries
from streams.core.lineage import Direction, lineage, linked_traces

TRACES_MAX: Final = 1_000
EVENTS_MAX: Final = 10_000
STEPS_MAX: Final = 8
"""From trace to trace, by links."""


def history(queries: Queries, record_id: str) -> dict[str, Any] | None:
    """Return all that is known of a record; None for one that is unknown.

    Its entries are the spans, log lines, audit entries and metrics that name it, and those of its
    traces that name no record; each once, the oldest first.
    """
    traces = queries.traces_of_record(record_id, TRACES_MAX)
    events = queries.events_of_record(record_id, EVENTS_MAX)
    if not traces and not events:
        return None
    trace_ids = [trace["trace_id"] for trace in traces]
    return {
        "record_id": record_id,
        "traces": [
            {name: t[name] for name in ("trace_id", "revision", "status", "start", "missing")}
            for t in traces
        ],
        "entries": _own(record_id, traces, events),
        "incidents": queries.incidents_of(record_id, trace_ids, TRACES_MAX),
        "is_cut": len(traces) == TRACES_MAX or len(events) == EVENTS_MAX,
    }


def record_lineage(queries: Queries, record_id: str, direction: Direction) -> dict[str, Any] | None:
    """Return the lineage of a record; None for one that is unknown.

    Forward it reaches to what its traces were handed on to, backward to what they came from.
    """
    own = queries.traces_of_record(record_id, TRACES_MAX)
    events = queries.events_of_record(record_id, EVENTS_MAX)
    if not own and not events:
        return None
    entries = _own(record_id, own, events)
    if direction == "backward":
        others = _closure(own, lambda traces: queries.traces_of(_linked(traces), TRACES_MAX))
    else:
        others = _closure(own, lambda t: queries.traces_linking_to(_ids(t), TRACES_MAX))
    further = [event for trace in others for event in trace["spans"]]
    missing = [(t["trace_id"], span) for t in own for span in t["missing"]]
    found = lineage([*entries, *further], missing, direction)
    return {
        "record_id": record_id,
        "direction": direction,
        "source_system": next(iter(found.source_systems), ""),
        "source_systems": found.source_systems,
        "ingested_at": found.ingested_at,
        "transformations": [node._asdict() for node in found.transformations],
        "enrichment_sources": found.enrichment_sources,
        "destinations": found.destinations,
        "nodes": [node._asdict() for node in found.nodes],
        "edges": [{"from": e.from_id, "to": e.to_id, "kind": e.kind} for e in found.edges],
    }


def _own(record_id: str, traces: Iterable[Record], events: Iterable[Record]) -> list[Record]:
    """Return the entries of a record, each once, in order."""
    within = (
        event
        for trace in traces
        for event in trace["spans"]
        if event["record_id"] in ("", record_id)
    )
    # Of one event id there may be several: not each sender gives each event its own.
    found = {
        (event["event_id"], event["timestamp"], event["trace_id"], event["span_id"]): event
        for event in (*events, *within)
    }
    return sorted(found.values(), key=lambda e: (e["timestamp"], e["span_id"], e["event_id"]))


def _closure(
    own: Sequence[Record], beside: Callable[[Sequence[Record]], list[Record]]
) -> list[Record]:
    """Return the traces that some lead to, step by step, without these."""
    known = set(_ids(own))
    found: list[Record] = []
    frontier = list(own)
    for _ in range(STEPS_MAX):
        if not frontier or len(found) >= TRACES_MAX:
            break
        frontier = [trace for trace in beside(frontier) if trace["trace_id"] not in known]
        known.update(_ids(frontier))
        found += frontier
    return found


def _ids(traces: Iterable[Record]) -> list[str]:
    return [trace["trace_id"] for trace in traces]


def _linked(traces: Iterable[Record]) -> list[str]:
    return linked_traces(event for trace in traces for event in trace["spans"])
