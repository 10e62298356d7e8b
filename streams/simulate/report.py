"""The verdict: what the engine derived, held against what truly happened.

Pure: mappings in, one mapping out. Owns the rule that says when an incident found a fault.
Invariant: an incident that found no fault is a false one, and `passed` knows no exceptions.

How an incident belongs to a fault. All three must hold:

1. *Time*: it opened in [start - 2 s, end + 15 s] of the fault: windows count by trace start.
2. *Kind*: the incident as a whole, or one of its alerts, is of a kind that the fault can cause
   (`CAUSED_KINDS`); a burning fidelity is no proof of a duplicate storm.
3. *Place*: what is of such a kind stands at the fault's place. For a fault of an edge that is the
   edge (`from_stage` and `to_stage`), for a skewed clock also a `clock_skew` of the far stage's
   module. For a fault of a module it is the module; a silent module also owns the edges that lead
   out of it, since what it does not say is missed on both sides.

An incident may belong to several faults when its alerts name the places of several.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from streams.simulate.faults import (
    ACKNOWLEDGMENTS_LOST,
    CLOCK_SKEW,
    CONTEXT_DROPPED,
    CONTEXT_RESTARTED,
    DUPLICATE_STORM,
    MODULE_SILENT,
    SLOW_ENRICHMENT,
    Fault,
)
from streams.units import SECOND_US

Edge = tuple[str, str, str]
"""(flow, from_stage, to_stage)."""

FOUND_WITHIN_US: Final = 15 * SECOND_US
"""How long after a fault's end an incident may still open for it."""
EARLY_US: Final = 2 * SECOND_US
"""Windows count by the start of a trace, which may lie before the fault that hit its tail."""
FIDELITY_ERROR_MAX: Final = 0.001
"""Largest difference of an edge's estimated and true fidelity: 0.1 percentage points."""
CAUSED_KINDS: Final[dict[str, frozenset[str]]] = {
    MODULE_SILENT: frozenset({"module_silent", "fidelity_burn", "missing_acknowledgment"}),
    CONTEXT_DROPPED: frozenset({"fidelity_burn"}),
    SLOW_ENRICHMENT: frozenset({"deadline_missed"}),
    ACKNOWLEDGMENTS_LOST: frozenset({"missing_acknowledgment", "fidelity_burn"}),
    DUPLICATE_STORM: frozenset({"duplicate_rate"}),
    CONTEXT_RESTARTED: frozenset({"context_restarted", "fidelity_burn"}),
    CLOCK_SKEW: frozenset({"clock_skew", "deadline_missed"}),
}
OUTCOMES: Final = ("joined", "duplicate", "late", "untraced", "rejected", "evicted", "open")
"""What can become of an accepted record; together they are all of them."""


def build_report(
    truth: Mapping[str, Any],
    faults: Sequence[Fault],
    accounting: Mapping[str, int],
    fidelity: Mapping[Edge, tuple[int, int]],
    incidents: Sequence[Mapping[str, Any]],
    elapsed_s: float | None = None,
) -> dict[str, Any]:
    """Return the report of one run as a JSON-able mapping.

    Args:
        truth: `Truth.as_dict()` of the drained simulation.
        faults: the faults that were planted.
        accounting: the engine's counts over all partitions: accepted and each of `OUTCOMES`.
        fidelity: the engine's (expected, observed) of each edge, over all windows.
        incidents: the highest version of each incident, in the shape of IncidentEvent.
        elapsed_s: how long the engine took; None for the simulated time.

    Returns:
        produced (a count; `produced_by` splits it), accounting (with `balanced`), faults,
        false_incidents (a count; `false_incident_list` names them), fidelity and
        spans_per_second; `fidelity` compares every edge of truth and engine, ratios are None
        where nothing was expected.
    """
    modules: Mapping[str, str] = truth["stage_modules"]
    found = [_incidents_of(fault, incidents, modules) for fault in faults]
    claimed = {incident_id for ids in found for incident_id in ids}
    false = [
        {key: incident[key] for key in ("incident_id", "title", "opened_at")}
        for incident in incidents
        if incident["incident_id"] not in claimed
    ]
    counts = {name: accounting.get(name, 0) for name in ("accepted", *OUTCOMES)}
    balanced = counts["accepted"] == sum(counts[name] for name in OUTCOMES)
    spans = truth["produced"]["by_type"].get("TRACE", 0)
    return {
        "produced": truth["produced"]["events"],
        "produced_by": {k: v for k, v in truth["produced"].items() if k != "events"},
        "accounting": counts | {"balanced": balanced},
        "faults": [
            {
                "kind": fault.kind,
                "where": fault.where,
                "start_us": fault.start_us,
                "end_us": fault.end_us,
                "found": bool(ids),
                "incidents": len(ids),
                "incident_ids": ids,
            }
            for fault, ids in zip(faults, found, strict=True)
        ],
        "false_incidents": len(false),
        "false_incident_list": false,
        "fidelity": _compare(truth["edges"], fidelity),
        "spans_per_second": spans / (elapsed_s or truth["seconds"]),
    }


def failures(report: Mapping[str, Any]) -> list[str]:
    """Return what keeps the report from passing, one sentence each; none when it passes."""
    problems = []
    produced, accepted = report["produced"], report["accounting"]["accepted"]
    if produced != accepted:
        problems.append(f"{produced} events were produced, but {accepted} accepted.")
    if not report["accounting"]["balanced"]:
        problems.append("The outcomes do not add up to the accepted events.")
    problems += [
        f"Fault {fault['kind']} at {fault['where']} was not found."
        for fault in report["faults"]
        if not fault["found"]
    ]
    problems += [
        f"Incident {incident['incident_id']} ({incident['title']}) has no fault behind it."
        for incident in report["false_incident_list"]
    ]
    problems += [
        f"Fidelity of {row['edge']}: estimated {row['estimated']}, truly {row['true']}."
        for row in report["fidelity"]
        if not _agrees(row["estimated"], row["true"])
    ]
    return problems


def passed(report: Mapping[str, Any]) -> bool:
    """Say whether every event was accounted for, every fault found, and nothing else claimed."""
    return not failures(report)


def _incidents_of(
    fault: Fault, incidents: Sequence[Mapping[str, Any]], modules: Mapping[str, str]
) -> list[str]:
    return [
        incident["incident_id"]
        for incident in incidents
        if fault.start_us - EARLY_US <= incident["opened_at"] <= fault.end_us + FOUND_WITHIN_US
        and (
            any(_is_caused(fault, alert, [alert["kind"]], modules) for alert in incident["alerts"])
            or _is_caused(fault, incident, incident["kinds"], modules)
        )
    ]


def _is_caused(
    fault: Fault,
    claim: Mapping[str, Any],
    kinds: Sequence[str],
    modules: Mapping[str, str],
) -> bool:
    """Say whether an alert or incident is of the fault's kind and at the fault's place."""
    if not CAUSED_KINDS[fault.kind] & set(kinds):
        return False
    if fault.edge is not None:
        if (claim["from_stage"], claim["to_stage"]) == fault.edge:
            return True
        is_skew = fault.kind == CLOCK_SKEW and "clock_skew" in kinds
        return is_skew and claim["module"] == modules[fault.edge[1]]
    if claim["module"] == fault.where:
        return True
    return fault.kind == MODULE_SILENT and modules.get(claim["from_stage"]) == fault.where


def _compare(
    edges: Sequence[Mapping[str, Any]], fidelity: Mapping[Edge, tuple[int, int]]
) -> list[dict[str, Any]]:
    """Return estimated and true fidelity of every edge that either side knows."""
    true: dict[Edge, tuple[int, int]] = {
        (edge["flow"], edge["from_stage"], edge["to_stage"]): (edge["expected"], edge["observed"])
        for edge in edges
    }
    rows = []
    for key in sorted(true.keys() | fidelity.keys()):
        flow, near, far = key
        estimated_counts, true_counts = fidelity.get(key, (0, 0)), true.get(key, (0, 0))
        rows.append(
            {
                "edge": f"{flow}:{near}>{far}",
                "estimated": _ratio(*estimated_counts),
                "true": _ratio(*true_counts),
                "expected": true_counts[0],
            }
        )
    return rows


def _ratio(expected: int, observed: int) -> float | None:
    return observed / expected if expected else None


def _agrees(estimated: float | None, true: float | None) -> bool:
    if estimated is None or true is None:
        return estimated is None and true is None
    return math.isclose(estimated, true, rel_tol=0, abs_tol=FIDELITY_ERROR_MAX + 1e-12)
