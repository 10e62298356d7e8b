"""What people hear of an alert that flips fifty times: at most three events, whatever the pace.

Each case is one pace (seconds between two flips) with or without another fault beside it; time is
simulated, nothing sleeps. The state is written as JSON and read back after every flip: damping must
not live in memory alone.

Run: python -m benchmarks.incidents.flap [--json FILE]
"""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.incidents.scoring import totals_of
from streams.core.fidelity.merge import MergeSettings
from streams.core.incidents.settings import IncidentSettings
from streams.core.incidents.topology import ModuleInfo, Topology
from streams.engine.incidents import IncidentTask
from streams.units import MINUTE_US, SECOND_US

EPOCH_US = 1_700_000_000 * SECOND_US
FLIPS = 50
EVENTS_MAX = 3
PACES_S = (0.5, 1, 2, 5, 10, 20, 30, 60, 90, 119, 121, 150, 200, 240, 299)
"""Faster and slower than the quiet time of two minutes, up to the half-life of five."""
SETTINGS = IncidentSettings.matching(
    MergeSettings(), 2 * MINUTE_US, hold_us=SECOND_US, update_us=30 * SECOND_US
)
TOPOLOGY = Topology(modules={"ALPHA": ModuleInfo("alpha-team"), "OMEGA": ModuleInfo("omega-team")})
Alert = dict[str, Any]


def state(module: str, version: int, began_us: int, last_us: int, is_firing: bool) -> Alert:
    """Return a state of the one alert of a module."""
    return {
        "fingerprint": f"{ord(module[0]):032x}",
        "version": version,
        "kind": "deadline_missed",
        "state": "FIRING" if is_firing else "RESOLVED",
        "severity": "ERROR",
        "flow": "",
        "module": module,
        "component": "",
        "from_stage": "",
        "to_stage": "",
        "name": module,
        "firing_since": began_us,
        "last_seen": last_us,
        "count": 5,
        "value": 0.2,
        "threshold": 0.05,
        "unit": "ratio",
        "explanation": "A fifth of the deadlines are missed.",
        "trace_ids": [],
        "record_ids": [],
        "batch_ids": [],
        "contract_version": "1",
    }


def case(pace_s: float, is_alone: bool) -> dict[str, Any]:
    """Return what was told of an alert that flips at a pace."""
    task = IncidentTask(SETTINGS, TOPOLOGY)
    events: list[dict[str, Any]] = []
    alerts = 0

    def step(at_us: int, *found: Alert) -> None:
        nonlocal task, alerts
        alerts += len(found)
        outputs = task.step(found, at_us, True)
        events.extend(o.record for o in outputs if o.topic_kind == "incidents")
        saved = json.loads(json.dumps(task.snapshot()))
        task = IncidentTask.restore(SETTINGS, TOPOLOGY, saved)

    pace_us = round(pace_s * SECOND_US)
    at_us = EPOCH_US
    for number in range(FLIPS):
        at_us = EPOCH_US + number * pace_us
        is_firing = number % 2 == 0
        began_us = at_us if is_firing else at_us - pace_us
        beside = [state("OMEGA", 1, at_us, at_us, True)] if number == 10 and not is_alone else []
        step(at_us, state("ALPHA", number + 1, began_us, at_us, is_firing), *beside)
        step(at_us + min(pace_us, 3 * SECOND_US) - 1)
    for _ in range(120):
        at_us += 30 * SECOND_US
        step(at_us)
    told = Counter(event["module"] for event in events)
    mine = [event for event in events if event["module"] == "ALPHA"]
    return {
        "id": f"a flip every {pace_s:g} s" + ("" if is_alone else ", beside another fault"),
        "kind": "flap",
        "truth": "ALPHA",
        "ranked": [cause["module"] for cause in mine[-1]["causes"] if cause["module"]],
        "detected_at_s": (mine[0]["timestamp"] - EPOCH_US) / SECOND_US,
        "events": told["ALPHA"],
        "names": [event["event"] for event in mine],
        "open_at_end": mine[-1]["event"] != "RESOLVED",
        "beside": told["OMEGA"],
        "alerts": alerts,
        "incidents": len({event["incident_id"] for event in events}),
    }


def run(path: Path | None = None) -> dict[str, Any]:
    """Return the cases and totals of the set `flap`.

    Args:
        path: not used: the flips are made here.
    """
    del path
    cases = [case(pace_s, is_alone) for pace_s in PACES_S for is_alone in (True, False)]
    ranks = totals_of(cases, len(TOPOLOGY.modules))
    alerts, events = (sum(c[name] for c in cases) for name in ("alerts", "events"))
    return {
        "cases": cases,
        "totals": {
            **{name: ranks[name] for name in ("cases", "top1", "top3", "top5", "chance_top1")},
            "alerts": alerts,
            "incidents": sum(c["incidents"] for c in cases),
            "events_max": max(c["events"] for c in cases),
            "missed": sum(not c["events"] for c in cases)
            + sum("beside" in c["id"] and not c["beside"] for c in cases),
            "open_at_end": sum(c["open_at_end"] for c in cases),
            "reduction": 1 - events / alerts,
            "passed": all(0 < c["events"] <= EVENTS_MAX and not c["open_at_end"] for c in cases),
        },
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = run()
    for one in found["cases"]:
        print(f"{one['id']:<45} {one['events']} events: {', '.join(one['names'])}")
    print(json.dumps(found["totals"]))
    if given.json:
        given.json.write_text(json.dumps(found, indent=2), "utf-8")
