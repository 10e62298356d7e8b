"""A backlog gives the traces that reading live gives, and no topic that lags makes one incomplete.

SPANLOOM_BACKLOG_SECONDS sets how long the simulated pipeline ran (60).
"""

import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest

from streams.codec.records import decode
from streams.contract.loader import contract_path, load_contract
from streams.simulate import Emission, Fault, Simulation
from tests.fault.harness import (
    TRACES,
    Deployment,
    Event,
    Feeder,
    assert_revisions_are_whole,
    balance,
    highest,
)

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

SECONDS = int(os.environ.get("SPANLOOM_BACKLOG_SECONDS", "60"))
RECORDS_PER_SECOND = 20.0
LIVE_SECONDS = 20.0
START_US = 1_700_000_000_000_000
SEED = 20_240
CONTRACT = load_contract(contract_path("seed"))
BALLAST_ROWS = 60_000
SLOW_MODULE = "GAMMA"
FAULTS = (
    Fault(
        "context_dropped", "field_transformation>enrichment", START_US, START_US + 20_000_000, 0.3
    ),
    Fault("acknowledgments_lost", "delivery>acknowledgment", START_US, START_US + 40_000_000, 0.2),
)


@dataclass
class Life:
    """What the simulated pipeline sent.

    Attributes:
        emissions: in the order of delivery.
        spans: span ids by trace id, over all events that have both.
        names: (module, component, name) of the spans by trace id.
    """

    emissions: list[Emission]
    spans: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    names: dict[str, set[tuple[str, str, str]]] = field(default_factory=lambda: defaultdict(set))


def life_of(faults: tuple[Fault, ...]) -> Life:
    simulation = Simulation(CONTRACT, SEED, START_US, SECONDS, RECORDS_PER_SECOND, faults)
    life = Life(list(simulation.drain()))
    for emission in life.emissions:
        event = emission.event
        if event["trace_id"] and event["event_type"] == "TRACE":
            life.spans[event["trace_id"]].add(event["span_id"])
            name = event["module"], event["component"], event["name"]
            life.names[event["trace_id"]].add(name)
    return life


def ballast() -> list[tuple[str, Event]]:
    """Return metrics of one module, all from the first moment, that make its topic slow to read."""
    topic = CONTRACT.topic(SLOW_MODULE)
    simulation = Simulation(CONTRACT, SEED, START_US, 1, 1)
    metric = next(
        e.event
        for e in simulation.drain()
        if e.event["module"] == SLOW_MODULE and e.event["event_type"] == "METRIC"
    )
    return [
        (topic, {**metric, "timestamp": START_US, "component": f"c{n % 16}"})
        for n in range(BALLAST_ROWS)
    ]


def valid_traces(deployment: Deployment, rows: int) -> tuple[list[Event], dict[str, int]]:
    """Run a worker to the end of `rows` records; return all revisions and its accounts."""
    worker = deployment.workers[-1]
    assert worker.wait(240) == 0, worker.tail()
    print("backlog:", worker.said("RESULT"), worker.accounting())
    traces = deployment.read_by(TRACES, decode)
    assert_revisions_are_whole(traces)
    accounting = worker.accounting()
    assert accounting["accepted"] == rows
    assert balance(accounting) == 0
    return traces, accounting


def content(trace: Event) -> dict[str, Any]:
    """Return what must not depend on when and how the events were read."""
    spans = sorted((s["span_id"], s["event_id"]) for s in trace["spans"])
    missing = sorted(
        (m["from_stage"], m["to_stage"], m["module"], m["span_id"], m["cause"])
        for m in trace["missing"]
    )
    kept = ("flow", "status", "span_count", "annotation_count", "error_count", "root_count")
    return {"spans": spans, "missing": missing, **{name: trace[name] for name in kept}}


def assert_missing_never_came(traces: list[Event], life: Life) -> None:
    """Fail when a trace misses a span that was sent for it."""
    wrong = [
        (trace["trace_id"], trace["revision"], missing)
        for trace in traces
        for missing in trace["missing"]
        if (missing["module"], missing["component"], missing["name"])
        in life.names[trace["trace_id"]]
    ]
    assert wrong == [], f"{len(wrong)} spans called missing that were sent: {wrong[:2]}"


def assert_spans_match(traces: list[Event], life: Life) -> None:
    """Fail unless the valid revisions hold all spans that were sent, each once."""
    got = {
        trace_id: Counter(s["span_id"] for s in trace["spans"] if s["event_type"] == "TRACE")
        for trace_id, trace in highest(traces).items()
    }
    assert {t: set(ids) for t, ids in got.items() if ids} == dict(life.spans)
    assert all(n == 1 for ids in got.values() for n in ids.values())


def test_a_backlog_gives_what_reading_live_gives(deployment: Deployment) -> None:
    """The valid revisions of a full backlog and of a paced run hold the same spans and verdicts."""
    life = life_of(FAULTS)
    deployment.contract = "seed"
    events = [(e.topic, e.event) for e in life.emissions]
    rows = len(events)
    found = []
    for pace in (0.0, rows / LIVE_SECONDS):
        run = Deployment(
            deployment.broker,
            deployment.folder / f"pace-{pace:.0f}",
            f"{deployment.group}-{pace:.0f}",
            "seed",
            workers=deployment.workers,
        )
        run.start_anew()
        if pace:
            worker = run.worker("--exit-after", rows, "--drain-seconds", 240)
            worker.wait_until_restored(run.partitions)
            run.feed(events, pace)
        else:
            run.feed(events)
            run.worker("--exit-after", rows, "--drain-seconds", 240)
        traces, accounting = valid_traces(run, rows)
        assert_spans_match(traces, life)
        assert_missing_never_came(list(highest(traces).values()), life)
        assert accounting["late"] == accounting["rejected"] == 0
        found.append({t: content(trace) for t, trace in highest(traces).items()})
    backlog, live = found
    assert backlog.keys() == live.keys()
    different = [t for t in backlog if backlog[t] != live[t]]
    assert different == [], f"{len(different)} differ: {backlog[different[0]], live[different[0]]}"
    print("backlog:", Counter(t["status"] for t in backlog.values()), "of", len(backlog), "traces")


def test_a_topic_that_is_slow_to_read_makes_no_trace_incomplete(deployment: Deployment) -> None:
    """While one topic is far behind the others wait: not even a first revision misses a span."""
    life = life_of(())
    deployment.contract = "seed"
    deployment.create_topics()
    with Feeder(deployment.broker) as feeder:
        for topic, event in ballast():
            feeder.send(topic, event)
        for emission in life.emissions:
            feeder.send(emission.topic, emission.event)
    deployment.worker("--exit-after", feeder.count, "--drain-seconds", 240)
    traces, _ = valid_traces(deployment, feeder.count)
    assert_spans_match(traces, life)
    assert_missing_never_came(traces, life)
    status = Counter(trace["status"] for trace in traces if trace["flow"])
    print("slow topic:", status, "in", len(traces), "revisions")
    assert set(status) == {"COMPLETE"}
