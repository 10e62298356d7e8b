"""Holds incidents against labelled faults.

A fault is detected by the incident that alarms longest while the fault lasts (`LASTS_US`), or,
when none does, by the first one that opens soon after (`WITHIN_US`). What counts is the last
ranking told while the fault lasts, or else the first told after. Two faults in one incident are an
over-merge; two incidents opened for one fault a split. An incident that opens in no fault's time is
false, even when it is still open as a fault begins; `EARLY_US` before a label's time is its fault's
time too: in half of TrainTicket's labels the named code fails up to a minute before their time.
"""

from dataclasses import dataclass
from typing import Any

from benchmarks.incidents.replay import Incident, Recording, Told
from streams.units import HOUR_US, MINUTE_US, SECOND_US

LASTS_US = 3 * MINUTE_US
WITHIN_US = 5 * MINUTE_US
EARLY_US = MINUTE_US


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
    false = sum(not any(a - EARLY_US <= i.opened_us < b for a, b in spans) for i in incidents)
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
    """Return the incident that stands for a fault, and then the others that opened in its time."""
    over_us = min(end_us, fault.at_us + LASTS_US)
    during = [i for i in incidents if i.opened_us < over_us and i.last_us >= fault.at_us]
    soon = [i for i in incidents if over_us <= i.opened_us < end_us]
    if not during:
        return soon[:1]
    first = max(
        during,
        key=lambda i: (min(i.last_us, over_us) - max(i.opened_us, fault.at_us), -i.opened_us),
    )
    opened = [i for i in during if i is not first and i.opened_us >= fault.at_us]
    return [first, *opened]


def _case(fault: Fault, end_us: int, incident: Incident | None) -> dict[str, Any]:
    told = [t for t in incident.told if t.at_us < end_us] if incident else []
    in_time = [t for t in told if t.at_us <= fault.at_us + LASTS_US]
    at_us = max(fault.at_us, incident.opened_us) if incident else 0
    case = told_case(fault, in_time or told[:1], at_us - fault.at_us)
    case["events"] = sum(t.at_us >= fault.at_us for t in told)
    return case


def told_case(fault: Fault, told: list[Told], after_us: int) -> dict[str, Any]:
    """Return the case of a fault whose last ranking counts; empty rankings mean it was missed."""
    final = told[-1:]
    return {
        "id": fault.fault_id,
        "kind": fault.kind,
        "truth": fault.truth,
        "ranked": final[0].ranked if final else [],
        "detected_at_s": after_us / SECOND_US if told else None,
        "events": len(told),
        "causes": [
            {
                "name": cause.module or cause.kind,
                "kind": cause.kind,
                "probability": round(cause.probability, 3),
                "evidence": list(cause.evidence[:3]),
            }
            for cause in (final[0].causes[:5] if final else [])
        ],
    }
