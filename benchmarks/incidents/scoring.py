"""Holds incidents against labelled faults.

A fault is detected by the first incident that opens within `WITHIN_US` of its start, or, when none
does, by one that is already open and says something new in that time. What counts is the last
ranking that was told in that time. Two faults in one incident are an over-merge; two incidents for
one fault a split; an incident for no fault is false.
"""

from dataclasses import dataclass
from typing import Any

from benchmarks.incidents.replay import Incident, Recording
from streams.units import HOUR_US, MINUTE_US, SECOND_US

WITHIN_US = 5 * MINUTE_US


@dataclass(frozen=True)
class Fault:
    """One label: its id, kind, the module at fault, and when it began."""

    fault_id: str
    kind: str
    truth: str
    at_us: int


def result(faults: list[Fault], incidents: list[Incident], recording: Recording) -> dict[str, Any]:
    """Return cases and totals, in the shape of the report file."""
    ends = _ends(faults)
    found = [_matching(fault, end, incidents) for fault, end in zip(faults, ends, strict=True)]
    cases = [
        _case(fault, end, own[0] if own else None)
        for fault, end, own in zip(faults, ends, found, strict=True)
    ]
    used = [id(own[0]) for own in found if own]
    times = [s.at_us for s in recording.samples]
    if not recording.spans.is_empty():
        times += [
            int(recording.spans["timestamp_us"].min()),  # type: ignore[arg-type]
            int(recording.spans["timestamp_us"].max()),  # type: ignore[arg-type]
        ]
    hours = (max(times) - min(times)) / HOUR_US if times else 0.0
    spans = list(zip([f.at_us for f in faults], ends, strict=True))
    false = sum(not any(a <= i.opened_us < b for a, b in spans) for i in incidents)
    totals = totals_of(cases, len(recording.modules))
    totals.update(
        over_merged=len(used) - len(set(used)),
        split=sum(max(0, len(own) - 1) for own in found),
        false_per_hour=round(false / hours, 3) if hours else 0.0,
        alerts=sum(i.alerts for i in incidents),
        incidents=len(incidents),
    )
    return {"cases": cases, "totals": totals}


def totals_of(cases: list[dict[str, Any]], candidates: int) -> dict[str, Any]:
    """Return counts over cases; `candidates` places could have been named."""
    ranks = [rank_of(case) for case in cases]
    return {
        "cases": len(cases),
        "top1": sum(r == 1 for r in ranks),
        "top3": sum(0 < r <= 3 for r in ranks),
        "top5": sum(0 < r <= 5 for r in ranks),
        "missed": sum(case["detected_at_s"] is None for case in cases),
        "over_merged": 0,
        "split": 0,
        "false_per_hour": 0.0,
        "alerts": 0,
        "incidents": 0,
        "chance_top1": round(len(cases) / candidates, 3) if candidates else 0.0,
    }


def rank_of(case: dict[str, Any]) -> int:
    """Return the true place's rank; 0 when it was not named."""
    return case["ranked"].index(case["truth"]) + 1 if case["truth"] in case["ranked"] else 0


def _ends(faults: list[Fault]) -> list[int]:
    starts = sorted(f.at_us for f in faults)
    later = [[s for s in starts if s > f.at_us] for f in faults]
    return [min([f.at_us + WITHIN_US, *after[:1]]) for f, after in zip(faults, later, strict=True)]


def _matching(fault: Fault, end_us: int, incidents: list[Incident]) -> list[Incident]:
    fresh = [i for i in incidents if fault.at_us <= i.opened_us < end_us]
    if fresh:
        return fresh
    return [
        i
        for i in incidents
        if i.opened_us < fault.at_us and any(fault.at_us <= t.at_us < end_us for t in i.told)
    ][:1]


def _case(fault: Fault, end_us: int, incident: Incident | None) -> dict[str, Any]:
    told = [t for t in incident.told if fault.at_us <= t.at_us < end_us] if incident else []
    return {
        "id": fault.fault_id,
        "kind": fault.kind,
        "truth": fault.truth,
        "ranked": told[-1].ranked if told else [],
        "detected_at_s": (told[0].at_us - fault.at_us) / SECOND_US if told else None,
        "events": len(told),
        "causes": [
            {
                "name": cause.module or cause.kind,
                "kind": cause.kind,
                "probability": round(cause.probability, 3),
                "evidence": list(cause.evidence[:3]),
            }
            for cause in (told[-1].causes[:5] if told else [])
        ],
    }
