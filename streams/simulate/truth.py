"""What truly happened: counted while the telemetry is made, never read back from it.

Owns the counts that a report holds the engine's answers against. Invariant: once a simulation is
drained, the counts describe exactly the events that it has yielded.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from streams.simulate.events import Emission
from streams.simulate.faults import FaultTable
from streams.simulate.layout import FlowSpec, Layout
from streams.simulate.walk import Unit

SpansByStage = Mapping[str, list[dict[str, str]]]
"""Of one trace: the dimensions of each delivered span, by stage id."""

FORMAT: Final = 1
"""Version of the mapping that `as_dict` returns."""


class Truth:
    """The exact counts of one simulation.

    An edge's counts follow the definition of edge fidelity: of the traces with a span at the near
    stage that must cross (the far stage is required for them), those whose far span carries the
    same trace. A restarted record leaves two traces, and each is judged for itself.

    Attributes:
        events: events yielded, repeats included.
        by_topic, by_type: the same, by topic and by event type.
        with_trace, without_trace: the same, by whether they have a trace id.
        duplicates_with_trace, duplicates_without_trace: repeats among them.
        records, traces: records begun; distinct traces that left at least one span, by flow.
        expected, observed: per (flow, from_stage, to_stage).
        effects: per fault, what it changed: events, records and traces.
    """

    def __init__(self, layout: Layout, table: FaultTable, seconds: float) -> None:
        self._layout = layout
        self._table = table
        self._seconds = seconds
        self.events = 0
        self.by_topic: Counter[str] = Counter()
        self.by_type: Counter[str] = Counter()
        self.with_trace = 0
        self.without_trace = 0
        self.duplicates_with_trace = 0
        self.duplicates_without_trace = 0
        self.records = 0
        self.traces: Counter[str] = Counter()
        edges = [(flow.name, *edge) for flow in layout.flows.values() for edge in flow.edges]
        self.expected: dict[tuple[str, str, str], int] = dict.fromkeys(edges, 0)
        self.observed: dict[tuple[str, str, str], int] = dict.fromkeys(edges, 0)
        self.effects: list[Counter[str]] = [
            Counter({"events": 0, "records": 0, "traces": 0}) for _ in table.faults
        ]

    def count_emission(self, emission: Emission, is_duplicate: bool) -> None:
        """Count one event that leaves for the broker."""
        self.events += 1
        self.by_topic[emission.topic] += 1
        self.by_type[emission.event["event_type"]] += 1
        if emission.event["trace_id"]:
            self.with_trace += 1
            self.duplicates_with_trace += is_duplicate
        else:
            self.without_trace += 1
            self.duplicates_without_trace += is_duplicate

    def count_trace(self, flow: FlowSpec, spans: SpansByStage) -> None:
        """Count a trace's edges, from the spans that it delivers."""
        self.traces[flow.name] += 1
        for near, far in flow.edges:
            if near in spans and _is_due(flow, far, spans):
                self.expected[flow.name, near, far] += 1
                self.observed[flow.name, near, far] += far in spans

    def count_effects(self, unit: Unit, trace_ids: Iterable[str]) -> None:
        """Count what the faults did to a unit; `trace_ids` are those that its work was given."""
        traces = len(set(trace_ids))
        for number, events in unit.effects.items():
            self.effects[number]["events"] += events
            self.effects[number]["records"] += bool(unit.record_id)
            self.effects[number]["traces"] += traces

    def as_dict(self) -> dict[str, Any]:
        """Return the truth as a JSON-able mapping, faults with what they changed."""
        faults = zip(self._table.faults, self.effects, strict=True)
        return {
            "format": FORMAT,
            "contract_version": self._layout.version,
            "seconds": self._seconds,
            "produced": {
                "events": self.events,
                "by_topic": dict(sorted(self.by_topic.items())),
                "by_type": dict(sorted(self.by_type.items())),
                "with_trace": self.with_trace,
                "without_trace": self.without_trace,
                "duplicates_with_trace": self.duplicates_with_trace,
                "duplicates_without_trace": self.duplicates_without_trace,
            },
            "records": self.records,
            "traces": dict(sorted(self.traces.items())),
            "edges": [
                {
                    "flow": flow,
                    "from_stage": near,
                    "to_stage": far,
                    "expected": count,
                    "observed": self.observed[flow, near, far],
                }
                for (flow, near, far), count in self.expected.items()
            ],
            "faults": [fault.as_dict() | {"affected": dict(effect)} for fault, effect in faults],
            "stage_modules": self._layout.stage_modules(),
        }


def _is_due(flow: FlowSpec, far: str, spans: SpansByStage) -> bool:
    """Say whether a trace with these spans must have the far stage."""
    stage = flow.stage(far)
    assert stage is not None, far  # edges are made from the flow's own stages
    if stage.when is None:
        return stage.is_required
    of, dimension, values = stage.when
    return any(dimensions.get(dimension) in values for dimensions in spans.get(of, ()))
