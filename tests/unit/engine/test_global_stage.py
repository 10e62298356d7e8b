"""From partials to incidents: every kind of fault is found at its place, and nothing else is."""

from functools import cache
from random import Random
from typing import Any

import pytest

from tests.synthetic_pipeline import EPOCH, SECOND, Fault, Pipeline, Run, run

SILENT = Fault("module_silent", "GAMMA", 10, 15)
DROPPED = Fault("context_dropped", "transfer_alpha_beta>schema_mapping", 10, 15)
SLOW = Fault("slow", "enrichment", 10, 15)
LOST = Fault("acknowledgments_lost", "delivery>acknowledgment", 10, 15)
STORM = Fault("duplicate_storm", "ALPHA", 10, 15, share=0.5)
RESTARTED = Fault("context_restarted", "schema_mapping>enrichment", 10, 15)
SKEWED = Fault("clock_skew", "quality_scoring>transfer_beta_gamma", 10, 15)
KIND_OF = {
    "module_silent": "module_silent",
    "context_dropped": "fidelity_burn",
    "slow": "deadline_missed",
    "acknowledgments_lost": "missing_acknowledgment",
    "duplicate_storm": "duplicate_rate",
    "context_restarted": "context_restarted",
    "clock_skew": "clock_skew",
}
SEVEN = [
    Fault("context_dropped", "transfer_alpha_beta>schema_mapping", 10, 15),
    Fault("acknowledgments_lost", "delivery>acknowledgment", 11, 15),
    Fault("duplicate_storm", "ALPHA", 20, 25, share=0.5),
    Fault("context_restarted", "schema_mapping>enrichment", 22, 27),
    Fault("clock_skew", "quality_scoring>transfer_beta_gamma", 31, 36),
    Fault("slow", "enrichment", 40, 45),
    Fault("module_silent", "GAMMA", 48, 53),
]


@cache
def seven() -> Run:
    return run(Pipeline(SEVEN))


def is_about(incident: dict[str, Any], fault: Fault) -> bool:
    """An alert of the incident is of the fault's kind, at its place, and began with it."""
    near, arrow, far = fault.where.partition(">")
    for alert in incident["alerts"]:
        place = {
            "module_silent": alert["module"] == fault.where,
            "duplicate_storm": alert["module"] == fault.where,
            "slow": alert["to_stage"] == fault.where,
        }.get(fault.kind, bool(arrow) and (alert["from_stage"], alert["to_stage"]) == (near, far))
        began = (alert["firing_since"] - EPOCH) / SECOND
        if alert["kind"] == KIND_OF[fault.kind] and place:
            assert fault.start - 2 <= began <= fault.end
            return True
    return False


def check_life(events: list[dict[str, Any]]) -> None:
    """Versions count from 1 without gaps, and an event's time never goes back."""
    seen: dict[str, tuple[int, int]] = {}
    for event in events:
        version, at = seen.get(event["incident_id"], (0, 0))
        assert event["version"] == version + 1
        assert event["timestamp"] >= at
        assert (event["event"] == "OPENED") == (version == 0)
        seen[event["incident_id"]] = (event["version"], event["timestamp"])


def test_a_healthy_stream_raises_nothing() -> None:
    """Start, end, stray errors and stray duplicates of a healthy pipeline are no alert."""
    assert run(Pipeline([], seconds=30)).alerts == []


@pytest.mark.parametrize(
    "fault", [SILENT, DROPPED, SLOW, LOST, STORM, RESTARTED, SKEWED], ids=lambda fault: fault.kind
)
def test_each_fault_is_one_incident_at_its_place(fault: Fault) -> None:
    """One fault is one incident with the right kind and place, owned, and resolved in the end."""
    out = run(Pipeline([fault], seconds=25))
    assert len(out.incidents) == 1
    incident = out.incidents[0]
    assert is_about(incident, fault)
    assert incident["event"] == "RESOLVED"
    assert incident["kinds"][0] == KIND_OF[fault.kind], "the cause leads, not its effects"
    assert incident["owner"]
    assert incident["playbook"]
    check_life(out.events)


@pytest.mark.parametrize("module", ["ALPHA", "BETA", "INTEGRATION", "EPSILON", "PHI"])
def test_a_silent_module_leads_its_incident(module: str) -> None:
    """Whichever module falls silent, the losses around it join one incident that it leads."""
    out = run(Pipeline([Fault("module_silent", module, 10, 15)], seconds=25))
    assert [incident["module"] for incident in out.incidents] == [module]
    assert out.incidents[0]["title"] == f"Module {module} is silent"


def test_seven_faults_are_seven_incidents() -> None:
    """Faults of all kinds within a minute, some at once, are told apart: an incident each."""
    out = seven()
    check_life(out.events)
    found = [[i["incident_id"] for i in out.incidents if is_about(i, fault)] for fault in SEVEN]
    assert [len(ids) for ids in found] == [1] * 7
    assert len({ids[0] for ids in found}) == 7
    assert len(out.incidents) == 7
    assert {incident["event"] for incident in out.incidents} == {"RESOLVED"}


@pytest.mark.parametrize("seed", [2, 3])
def test_unrelated_faults_at_one_time_stay_apart(seed: int) -> None:
    """Faults that begin at the same second at unrelated places are not thrown together."""
    faults = [DROPPED, LOST, STORM, Fault("module_silent", "PHI", 10, 15)]
    out = run(Pipeline(faults, seconds=25, seed=seed))
    assert len(out.incidents) == 4
    for fault in faults:
        assert sum(is_about(incident, fault) for incident in out.incidents) == 1


def test_noise_is_accounted_for() -> None:
    """Every alert state is counted once, and those that caused no event as suppressed."""
    out = seven()
    assert sum(incident["alerts_in"] for incident in out.incidents) == len(out.alerts)
    told = [event for event in out.events if event["event"] != "RESOLVED"]
    suppressed = sum(incident["alerts_suppressed"] for incident in out.incidents)
    assert suppressed == len(out.alerts) - len(told)
    assert suppressed >= 0.3 * len(out.alerts)


def outcome(out: Run) -> tuple[list[Any], list[Any], list[Any]]:
    return out.events, out.alerts, [str(row) for row in out.stats]


def test_restarts_change_nothing() -> None:
    """Tasks that are saved as JSON and read back again and again say the same."""
    pipeline = [SKEWED, RESTARTED]
    straight = run(Pipeline(pipeline, seconds=20))
    assert straight.events
    assert outcome(run(Pipeline(pipeline, seconds=20), restart_every=3)) == outcome(straight)


@pytest.mark.parametrize("seed", range(2))
def test_the_order_of_alerts_in_a_step_changes_nothing(seed: int) -> None:
    """Shuffled alerts give the same incident events."""
    straight = seven()
    assert run(Pipeline(SEVEN), shuffle_alerts=Random(seed)).events == straight.events
