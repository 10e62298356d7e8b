"""The verdict, and that it can be negative."""

import json
from typing import Any

import pytest

from streams.simulate.faults import (
    ACKNOWLEDGMENTS_LOST,
    CLOCK_SKEW,
    CONTEXT_DROPPED,
    DUPLICATE_STORM,
    EDGE_KINDS,
    MODULE_KINDS,
    MODULE_SILENT,
    SLOW_ENRICHMENT,
    Fault,
)
from streams.simulate.report import CAUSED_KINDS, build_report, failures, passed

HOP = ("near", "far")
EDGE = ("record", *HOP)
TRUTH: dict[str, Any] = {
    "seconds": 10.0,
    "produced": {"events": 100, "by_type": {"TRACE": 80, "LOG": 20}},
    "edges": [
        {"flow": "record", "from_stage": "near", "to_stage": "far", "expected": 50, "observed": 40},
        {"flow": "job", "from_stage": "a", "to_stage": "b", "expected": 0, "observed": 0},
    ],
    "stage_modules": {"near": "ALPHA", "far": "BETA", "next": "GAMMA"},
}
ACCOUNTING = {"accepted": 100, "joined": 78, "duplicate": 2, "untraced": 20}
DROPPED = Fault(CONTEXT_DROPPED, "near>far", 1_000_000, 2_000_000)


def alert(kind: str, module: str = "", near: str = "", far: str = "") -> dict[str, Any]:
    return {"kind": kind, "module": module, "from_stage": near, "to_stage": far}


def incident(
    *alerts: dict[str, Any], opened_at: int = 1_500_000, incident_id: str = "i1"
) -> dict[str, Any]:
    lead = alerts[0]
    return lead | {
        "incident_id": incident_id,
        "title": "t",
        "opened_at": opened_at,
        "kinds": [a["kind"] for a in alerts],
        "alerts": list(alerts),
    }


GOOD = incident(alert("fidelity_burn", "BETA", *HOP))


def report(
    *incidents: dict[str, Any],
    faults: tuple[Fault, ...] = (DROPPED,),
    accounting: dict[str, int] | None = None,
    fidelity: dict[tuple[str, str, str], tuple[int, int]] | None = None,
) -> dict[str, Any]:
    return build_report(
        TRUTH,
        faults,
        ACCOUNTING if accounting is None else accounting,
        {EDGE: (50, 40)} if fidelity is None else fidelity,
        incidents,
    )


def test_a_right_answer_passes() -> None:
    """All accounted, the fault found, fidelity as in truth; and the report is JSON."""
    good = report(GOOD)
    assert passed(good)
    assert failures(good) == []
    assert good["accounting"]["balanced"] is True
    assert good["faults"] == [
        {
            "kind": CONTEXT_DROPPED,
            "where": "near>far",
            "start_us": 1_000_000,
            "end_us": 2_000_000,
            "found": True,
            "incidents": 1,
            "incident_ids": ["i1"],
        }
    ]
    assert good["false_incidents"] == 0
    assert good["spans_per_second"] == 8.0
    assert good["fidelity"] == [
        {"edge": "job:a>b", "estimated": None, "true": None, "expected": 0},
        {"edge": "record:near>far", "estimated": 0.8, "true": 0.8, "expected": 50},
    ]
    assert json.loads(json.dumps(good, allow_nan=False)) == good


def test_every_kind_of_fault_has_kinds_it_causes() -> None:
    """No fault is beyond being found."""
    assert set(CAUSED_KINDS) == set(MODULE_KINDS + EDGE_KINDS)
    assert all(CAUSED_KINDS.values())


def test_an_event_that_was_not_accepted_fails() -> None:
    """Fewer accepted than produced does not pass even when the outcomes add up."""
    bad = report(GOOD, accounting=ACCOUNTING | {"accepted": 99, "joined": 77})
    assert bad["accounting"]["balanced"]
    assert failures(bad) == ["100 events were produced, but 99 accepted."]


def test_outcomes_that_do_not_add_up_fail() -> None:
    """An event accepted but in no outcome does not pass."""
    bad = report(GOOD, accounting=ACCOUNTING | {"joined": 77})
    assert failures(bad) == ["The outcomes do not add up to the accepted events."]


def test_a_fault_without_incident_fails() -> None:
    """Silence about a fault is a failure that names it."""
    assert failures(report()) == ["Fault context_dropped at near>far was not found."]


@pytest.mark.parametrize(
    "wrong",
    [
        incident(alert("fidelity_burn", "BETA", *HOP), opened_at=-1_000_001),
        incident(alert("fidelity_burn", "BETA", *HOP), opened_at=17_000_001),
        incident(alert("fidelity_burn", "GAMMA", "far", "next")),
        incident(alert("fidelity_burn", "BETA", "far", "near")),
        incident(alert("duplicate_rate", "BETA", *HOP)),
        incident(alert("deadline_missed", "BETA"), alert("fidelity_burn", "GAMMA", "far", "next")),
    ],
    ids=["too early", "too late", "next edge", "wrong way", "wrong kind", "kind and place apart"],
)
def test_an_incident_elsewhere_is_false_and_finds_nothing(wrong: dict[str, Any]) -> None:
    """Time, place and kind must all be right; what is not, counts against the engine twice."""
    bad = report(wrong)
    assert bad["faults"][0]["found"] is False
    assert [found["incident_id"] for found in bad["false_incident_list"]] == ["i1"]
    assert len(failures(bad)) == 2


def test_both_ends_of_the_time_count() -> None:
    """An incident may open with the fault's start and until 15 s after its end."""
    for opened_at in (1_000_000, 17_000_000):
        assert passed(report(GOOD | {"opened_at": opened_at}))


def test_an_alert_inside_an_incident_finds_the_fault() -> None:
    """The place may be a joined alert's when another alert leads."""
    mixed = incident(alert("error_spans", "GAMMA"), alert("fidelity_burn", "BETA", *HOP))
    assert passed(report(mixed))


def test_an_incident_too_many_fails() -> None:
    """One right incident does not excuse a second one that no fault explains."""
    extra = incident(alert("error_spans", "GAMMA"), incident_id="i2")
    bad = report(GOOD, extra)
    assert bad["faults"][0]["found"]
    assert failures(bad) == ["Incident i2 (t) has no fault behind it."]


@pytest.mark.parametrize(
    ("fault", "claims", "is_found"),
    [
        (Fault(MODULE_SILENT, "BETA", 1, 2), alert("module_silent", "BETA"), True),
        (Fault(MODULE_SILENT, "BETA", 1, 2), alert("fidelity_burn", "BETA", *HOP), True),
        (Fault(MODULE_SILENT, "BETA", 1, 2), alert("fidelity_burn", "GAMMA", "far", "next"), True),
        (Fault(MODULE_SILENT, "BETA", 1, 2), alert("module_silent", "ALPHA"), False),
        (Fault(SLOW_ENRICHMENT, "BETA", 1, 2), alert("deadline_missed", "BETA"), True),
        (Fault(SLOW_ENRICHMENT, "BETA", 1, 2), alert("deadline_missed", "GAMMA"), False),
        (Fault(DUPLICATE_STORM, "BETA", 1, 2), alert("duplicate_rate", "BETA"), True),
        (Fault(DUPLICATE_STORM, "BETA", 1, 2), alert("fidelity_burn", "BETA", *HOP), False),
        (Fault(CLOCK_SKEW, "near>far", 1, 2), alert("clock_skew", "BETA"), True),
        (Fault(CLOCK_SKEW, "near>far", 1, 2), alert("clock_skew", "ALPHA"), False),
        (Fault(CLOCK_SKEW, "near>far", 1, 2), alert("deadline_missed", "BETA"), False),
        (
            Fault(ACKNOWLEDGMENTS_LOST, "near>far", 1, 2),
            alert("missing_acknowledgment", "BETA", *HOP),
            True,
        ),
    ],
)
def test_each_kind_is_found_at_its_place(
    fault: Fault, claims: dict[str, Any], is_found: bool
) -> None:
    """A fault of a module is found by the module, one of an edge by the edge."""
    found = report(incident(claims, opened_at=2), faults=(fault,))
    assert found["faults"][0]["found"] is is_found


@pytest.mark.parametrize(
    ("estimated", "is_close"),
    [((50, 40), True), ((1000, 801), True), ((1000, 802), False), ((50, 50), False)],
)
def test_fidelity_may_be_off_by_a_tenth_of_a_point(
    estimated: tuple[int, int], is_close: bool
) -> None:
    """0.001 is still right, more is not."""
    assert passed(report(GOOD, fidelity={EDGE: estimated})) is is_close


def test_an_edge_that_only_one_side_knows_fails() -> None:
    """A missing estimate and an invented edge are both wrong."""
    assert not passed(report(GOOD, fidelity={}))
    invented = {EDGE: (50, 40), ("record", "far", "next"): (10, 10)}
    assert failures(report(GOOD, fidelity=invented)) == [
        "Fidelity of record:far>next: estimated 1.0, truly None."
    ]
