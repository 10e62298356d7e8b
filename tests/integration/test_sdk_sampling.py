"""Sampling by the SDK on a real broker: what was never sent is counted, and never called lost."""

from collections import Counter
from typing import Any

import pytest

from streams.codec.records import decode
from streams.contract.loader import load_contract
from streams.sdk import Telemetry
from streams.sdk.span import ERROR
from tests.fault.checks import ALERTS
from tests.fault.harness import TRACES, Deployment, Event, highest, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

STATS = "fidelity.stats.v1"
RECORDS = 200
RATIO = 0.25
WINDOW_SECONDS = 2


class Truth:
    """What the pipeline did, by its own account.

    Attributes:
        sampled, unsampled: traces.
        in_parts: traces that are not sampled, of which an audit entry was sent.
        spans_unsampled: spans that were not sent, by module.
    """

    def __init__(self) -> None:
        self.sampled = self.unsampled = self.in_parts = 0
        self.spans_unsampled: Counter[str] = Counter()


def run_pipeline(broker: str) -> Truth:
    """Let two programs handle records; each decides by itself, and failures are sent all the same.

    Of every second record there is an audit entry, of every tenth the delivery fails.
    """
    truth = Truth()
    flow = load_contract("seed").flows["record"]
    stages = [one for one in flow.stages if one.required and one.when is None]
    assert len(stages) == 14
    bounds: dict[str, Any] = {"sample_ratio": RATIO, "report_seconds": 1, "exit_seconds_max": 30}
    first = Telemetry("ALPHA", "connection", broker, **bounds)
    second = Telemetry("GAMMA", "rendering", broker, **bounds)
    for number in range(RECORDS):
        parent = None
        for stage in stages:
            program = second if stage.module == "GAMMA" else first
            if program is second and parent is not None and parent.place.module != "GAMMA":
                parent = second.extract(first.inject({}, parent))
            at = program.module(stage.module, stage.component)
            with at.span(stage.name, parent=parent, record_id=f"r-{number}") as span:
                if stage.id == "delivery" and number % 10 == 0:
                    span.fail(ConnectionError())
                if stage.id == "routing" and number % 2 == 0:
                    at.audit("record_routed", "ROUTE")
            is_sent = span.is_sampled or span.status == ERROR
            truth.spans_unsampled[stage.module] += not is_sent
            parent = span
        assert parent is not None
        truth.sampled += parent.is_sampled
        truth.unsampled += not parent.is_sampled
        truth.in_parts += not parent.is_sampled and number % 2 == 0
    for program in (first, second):
        assert program.flush(60)
        counts = program.close()
        assert (counts.dropped, counts.waiting) == ({}, 0)
    return truth


def windows(deployment: Deployment) -> list[Event]:
    """Return the valid rows of the windows."""
    rows: dict[Any, Event] = {}
    names = ("window_start", "kind", "flow", "from_stage", "to_stage", "module")
    for row in deployment.read_by(STATS, decode):
        if row["window_us"] == WINDOW_SECONDS * 1_000_000:
            rows[tuple(row[name] for name in names)] = row
    return list(rows.values())


def summed(rows: list[Event], kind: str, name: str, **of: str) -> int:
    """Return a number of the rows of one kind, added up."""
    mine = [r for r in rows if r["kind"] == kind and all(r[k] == v for k, v in of.items())]
    return sum(r[name] if name in r else r["counters"].get(name, 0) for r in mine)


def test_what_is_not_sampled_is_counted_and_not_lost(deployment: Deployment) -> None:
    """All that was sampled is seen, whole; how much was not is said exactly; nothing is alerted."""
    deployment.contract = "seed"
    deployment.create_topics()
    worker = deployment.worker(settings={"window_seconds": WINDOW_SECONDS})
    worker.wait_until_restored(deployment.partitions)
    truth = run_pipeline(deployment.broker)
    assert 0 < truth.in_parts < truth.unsampled < RECORDS

    def is_told() -> bool:
        rows = windows(deployment)
        traces = summed(rows, "total", "traces")
        told = summed(rows, "total", "traces_unsampled")
        return traces >= truth.sampled + truth.in_parts and told >= truth.unsampled

    wait_for(is_told, 150, lambda: f"{len(windows(deployment))}: {worker.tail()}", worker)
    rows = windows(deployment)
    assert summed(rows, "total", "traces") == truth.sampled + truth.in_parts
    assert summed(rows, "total", "sampled_out") == truth.in_parts
    assert summed(rows, "total", "complete") == truth.sampled
    assert summed(rows, "total", "traces_unsampled") == truth.unsampled
    assert summed(rows, "total", "spans_unsampled") == truth.spans_unsampled.total()
    for module, spans in truth.spans_unsampled.items():
        assert summed(rows, "module", "spans_unsampled", module=module) == spans, module
    flow = {"flow": "record"}
    assert summed(rows, "flow", "expected", **flow) == truth.sampled
    assert summed(rows, "flow", "observed", **flow) == truth.sampled
    assert all(row["ratio"] == 1 for row in rows if row["kind"] == "edge" and row["expected"])
    assert not any(row["missing"] for row in rows)
    check_traces(deployment, truth)
    alerts = [decode(message.value) for message in deployment.read(ALERTS)]
    assert [a["kind"] for a in alerts if a["kind"].startswith("fidelity")] == []
    check_command(deployment, truth)


def check_traces(deployment: Deployment, truth: Truth) -> None:
    """A trace of which only an audit entry or a failure came is no broken one."""
    traces = highest(deployment.read_by(TRACES, decode)).values()
    found = Counter(trace["status"] for trace in traces)
    assert found == {"COMPLETE": truth.sampled, "INCOMPLETE": truth.in_parts}
    causes = {missing["cause"] for trace in traces for missing in trace["missing"]}
    assert causes <= {"SAMPLED_OUT"}


def check_command(deployment: Deployment, truth: Truth) -> None:
    """A person is told the same, and that every objective is met."""
    done = deployment.cli("fidelity", "--window", WINDOW_SECONDS, "--since", "1h")
    assert done.returncode == 0, done.stderr
    assert f"traces: {truth.sampled} seen, {truth.sampled} of them complete" in done.stdout
    assert f"{truth.unsampled} not sampled" in " ".join(done.stdout.split())
