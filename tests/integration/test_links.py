"""A record that goes on under a new trace id: its traces name each other, whatever is killed."""

import json
import time
from typing import Any

import pytest

from streams.codec.records import decode
from streams.contract.loader import load_contract
from streams.contract.model import Contract
from tests.fault.harness import (
    TRACES,
    Deployment,
    Event,
    Feeder,
    Message,
    WorkerProcess,
    assert_revisions_are_whole,
    balance,
    highest,
    wait_for,
)
from tests.integration.traces import event_of

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

FRAGMENTS, LINKS = "traces.fragments.v1", "spanloom.links.v1"
RESTARTED = "spanloom.context_restarted"
RECORDS = 12
SLOW_CUTS = {"cut_interval_seconds": 2.0}
"""Seconds between the cut of one task and the next one's: a kill falls in between."""


def walk(contract: Contract, record: int, start_us: int) -> list[tuple[str, Event]]:
    """Return the required spans of a record, with its topics; half way the trace id changes."""
    stages = [s for s in contract.flows["record"].stages if s.required and s.when is None]
    out = []
    for n, stage in enumerate(stages):
        is_second = n >= len(stages) // 2
        trace = 2 * record + is_second + 1
        begins = n in (0, len(stages) // 2)
        span = event_of(trace, n + 1, start_us + 10_000 * n)
        span |= {
            "module": stage.module,
            "component": stage.component,
            "name": stage.name,
            "parent_span_id": "" if begins else f"{n:016x}",
            "record_id": f"record-{record}",
            "dimensions": {"ack_pattern": "sync"},
        }
        out.append((contract.topic(stage.module), span))
    return out


def count(deployment: Deployment, topic: str) -> int:
    return len(deployment.read(topic))


def kill_when(deployment: Deployment, worker: WorkerProcess, topic: str) -> None:
    """Kill the worker as soon as something stands in a topic."""
    wait_for(lambda: count(deployment, topic) > 0, 90, lambda: f"{topic}: {worker.tail()}", worker)
    worker.kill()


@pytest.mark.parametrize(
    ("killed_at", "state"),
    [([], "kept"), ([FRAGMENTS], "kept"), ([LINKS], "lost"), ([FRAGMENTS, LINKS], "lost")],
)
def test_both_traces_of_a_restarted_record_name_the_other(
    deployment: Deployment, killed_at: list[str], state: str
) -> None:
    """Revision 2 of each half holds one synthetic span, and what the other holds is not lost."""
    deployment.contract = "seed"
    deployment.create_topics()
    contract = load_contract("seed")
    worker = deployment.worker(settings=SLOW_CUTS, instance="only")
    start_us = time.time_ns() // 1000 - 1_000_000
    fed = [e for n in range(RECORDS) for e in walk(contract, n, start_us + n)]
    with Feeder(deployment.broker) as feeder:
        for topic, event in fed:
            feeder.send(topic, event)
    for topic in killed_at:
        kill_when(deployment, worker, topic)
        if state == "lost":
            deployment.lose_state()
        worker = deployment.worker(settings=SLOW_CUTS, instance="only")

    def all_linked() -> bool:
        valid = highest(deployment.read_by(TRACES, decode)).values()
        return sum(any(s["name"] == RESTARTED for s in t["spans"]) for t in valid) == 2 * RECORDS

    wait_for(all_linked, 120, lambda: f"all linked: {worker.tail()}", worker)
    # What was written twice would come now: another cut of every task, and a restart.
    worker.terminate()
    assert worker.wait(60) == 0, worker.tail()
    last = deployment.worker("--exit-after", len(fed), "--drain-seconds", 60, settings=SLOW_CUTS)
    assert last.wait(90) == 0, last.tail()
    check(deployment, last, contract)


def check(deployment: Deployment, worker: WorkerProcess, contract: Contract) -> None:
    """Hold what is committed to what was fed."""
    traces = deployment.read_by(TRACES, decode)
    assert assert_revisions_are_whole(traces) == 4 * RECORDS
    links = deployment.read(LINKS)
    spans = [decode(message.value) for message in links]
    assert len(spans) == len({(s["trace_id"], s["span_id"]) for s in spans}) == 2 * RECORDS
    places = {t.key: t.partition for t in deployment.read(TRACES)}
    assert all(places[m.key] == m.partition for m in links)
    valid = highest(traces)
    stages = [s.id for s in contract.flows["record"].stages if s.required and s.when is None]
    half = len(stages) // 2
    for record in range(RECORDS):
        first, second = (f"{2 * record + n:032x}" for n in (1, 2))
        for mine, other, relation, lost in (
            (first, second, "continues_in", stages[half:]),
            (second, first, "continues_from", stages[:half]),
        ):
            trace = valid[mine]
            (link,) = (s for s in trace["spans"] if s["name"] == RESTARTED)
            assert [entry["trace_id"] for entry in link["links"]] == [other]
            assert link["dimensions"] == {
                "relation": relation,
                "flow": "record",
                "from_stage": stages[half - 1],
                "to_stage": stages[half],
                "stages": ",".join(lost),
            }
            assert (trace["revision"], trace["status"]) == (2, "INCOMPLETE")
            assert trace["span_count"] == len(trace["spans"]) - 1 == len(stages) - len(lost)
            assert (trace["annotation_count"], trace["root_count"], trace["orphan_count"]) == (
                (0, 1, 0)
            )
            assert [m["cause"] for m in trace["missing"]] == ["CONTEXT_RESTARTED"] * len(lost)
    assert balance(worker.accounting()) == 0
    assert worker.accounting()["joined"] == worker.accounting()["accepted"]
    restarted = sum(
        scope["counters"].get("restarted", 0)
        for partial in _latest(deployment.read("fidelity.partials.v1"))
        for scope in partial["scopes"]
    )
    assert restarted == RECORDS
    print(json.dumps({"links": len(links), "accounting": worker.accounting()}))


def _latest(messages: list[Message]) -> list[dict[str, Any]]:
    """Return the last partial of each window and source."""
    last: dict[tuple[int, int], dict[str, Any]] = {}
    for message in messages:
        partial = decode(message.value)
        last[partial["window_start"], partial["partition"]] = partial
    return list(last.values())
