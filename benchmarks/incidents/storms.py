"""Storms from the simulator, through the whole engine in one process, held against the plan.

Each case is a run of its own, in simulated time: a clean head, one fault or two, a clean tail; or
no fault at all. Parameters of engine and simulator are the same for every kind and seed.
"""

import argparse
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.incidents.engine import CUT_US, SETTLE_US, Engine, Written, lab_settings
from benchmarks.incidents.score import Score, Told, hits, rank_of, ranked_causes, score
from streams.contract.loader import SHIPPED, load_contract
from streams.runtime import topics
from streams.simulate.blame import Blame, blame, candidates
from streams.simulate.layout import Layout, read_layout
from streams.simulate.pipeline import Simulation
from streams.simulate.storms import (
    Storm,
    double_storms,
    flapping_storms,
    lasting_storms,
    quiet_storm,
    single_storms,
)
from streams.units import SECOND_US

START_US: Final = 1_760_000_000 * SECOND_US
WINDOW_US: Final = SECOND_US
"""Of the worker's settings in the lab."""
SEEDS: Final = 5
QUIET_RUNS: Final = 6
"""Fault-free runs a contract; of ten minutes each."""
CONTRACTS: Final = SHIPPED


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what only this set takes."""
    parser.add_argument(
        "--seeds", type=int, default=SEEDS, help=f"seeds of each kind of fault ({SEEDS}; all: 20)"
    )
    parser.add_argument("--kind", action="append", default=[], help="only this one; repeatable")
    parser.add_argument(
        "--contract", action="append", default=[], choices=CONTRACTS, help="only this; repeatable"
    )
    parser.add_argument(
        "--quiet-runs", type=int, default=QUIET_RUNS, help="fault-free runs a contract"
    )
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="cases at once (one a core)"
    )


def run(path: Path | None, options: argparse.Namespace) -> dict[str, Any]:
    """Return the cases and totals of the storms that the options name.

    Args:
        path: not read: the simulator makes the data.
        options: as `add_options` has them; a kind may be named by its first word, "flapping",
            "lasting" or "two"; "none" has no fault.
    """
    del path
    seeds, kinds = range(1, options.seeds + 1), options.kind
    contracts = options.contract or CONTRACTS
    storms = [s for c in contracts for s in plans(c, seeds, options.quiet_runs)]
    storms = [s for s in storms if not kinds or s.kind in kinds or s.kind.split()[0] in kinds]
    if options.processes > 1:
        with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
            found = list(_watched(pool.imap(run_storm, storms), len(storms)))
    else:
        found = list(_watched(map(run_storm, storms), len(storms)))
    cases = [case for run_ in found for case in run_["cases"]]
    return {
        "cases": cases,
        "totals": totals(found),
        "by_kind": by_kind(found),
        "problems": problems(found),
    }


def _watched(runs: Iterable[dict[str, Any]], count: int) -> Iterator[dict[str, Any]]:
    """Hand runs on, and say how far they are: on a terminal each, else each hundredth."""
    for number, one in enumerate(runs, 1):
        if sys.stderr.isatty():
            print(f"\r{number} of {count} storms", end="", file=sys.stderr, flush=True)
        elif number % 100 == 0:
            print(f"{number} of {count} storms", file=sys.stderr, flush=True)
        yield one


def plans(contract_name: str, seeds: Sequence[int], quiet_runs: int) -> list[Storm]:
    """Return all storms of a contract."""
    contract = load_contract(contract_name)
    return [
        *single_storms(contract, seeds, START_US),
        *flapping_storms(contract, seeds, START_US),
        *lasting_storms(contract, seeds, START_US),
        *double_storms(contract, seeds, START_US),
        *(quiet_storm(contract, 1000 + n) for n in range(quiet_runs)),
    ]


def run_storm(storm: Storm) -> dict[str, Any]:
    """Run one storm; return its cases (one a fault) and what there is to be counted of the run."""
    contract = load_contract(storm.contract)
    layout = read_layout(contract)
    simulation = Simulation(
        contract, storm.seed, START_US, storm.seconds, storm.records_per_second, storm.faults
    )
    engine = Engine(lab_settings(storm.contract))
    now_us = START_US
    while now_us < simulation.end_us + SETTLE_US and not _is_over(simulation, engine):
        now_us += CUT_US
        engine.feed(simulation.emissions(now_us))
        engine.tick(now_us)
    alerts = engine.out[topics.ALERTS]
    told = told_incidents(layout, alerts, engine.out[topics.INCIDENTS])
    blames = [blame(layout, fault) for fault in storm.faults]
    judged = score(layout, blames, told)
    return {
        "id": storm.id,
        "kind": storm.kind,
        "cases": _cases(storm, blames, judged),
        "seconds": storm.seconds,
        "alerts": len(alerts),
        "events": len(engine.out[topics.INCIDENTS]),
        "told": Counter(_what(written) for written in engine.out[topics.INCIDENTS]),
        "incidents": len(told),
        "false": [_name(one) for one in judged.false],
        "over_merged": [_name(one) for one in judged.over_merged],
        "split": judged.split,
        "late_s": _slowest(alerts, told),
        "updates_after_s": updates_after(engine.out[topics.INCIDENTS]),
        "firing_windows": _firing_windows(alerts),
        "chance": [len(b.causes) / len(candidates(layout)) for b in blames],
    }


def _is_over(simulation: Simulation, engine: Engine) -> bool:
    """Say whether nothing can follow: all is joined and every incident has come to its end."""
    if not simulation.is_drained or engine.accounting()["open"]:
        return False
    last = {w.record["incident_id"]: w for w in engine.out[topics.INCIDENTS]}
    firing = {w.record["fingerprint"]: w for w in engine.out[topics.ALERTS]}
    ended = all(w.record["event"] in ("RESOLVED", "MERGED") for w in last.values())
    return ended and all(w.record["state"] == "RESOLVED" for w in firing.values())


def told_incidents(
    layout: Layout, alerts: Iterable[Written], events: Iterable[Written]
) -> list[Told]:
    """Return the incidents that stand at the end; one that went into another is no longer one.

    An incident's alerts are given as the alert topic has them, which says more.
    """
    known = {w.record["fingerprint"]: w.record for w in alerts}
    of: dict[str, list[Written]] = {}
    for written in events:
        of.setdefault(written.record["incident_id"], []).append(written)
    out = []
    for versions in of.values():
        last = versions[-1].record
        if last["event"] == "MERGED":
            continue
        members = [dict(a) | known.get(a["fingerprint"], {}) for a in last["alerts"]]
        incident = last | {"alerts": members}
        # What was said while it was open: at the end every alert is over, and with it the case.
        open_ = [w.record for w in versions if w.record["event"] != "RESOLVED"]
        ranked = ranked_causes(layout, open_[-1] if open_ else last)
        out.append(Told(incident, versions[0].at_us, len(versions), ranked))
    return out


def _cases(storm: Storm, blames: Sequence[Blame], judged: Score) -> list[dict[str, Any]]:
    cases = []
    for fault, one, incidents in zip(storm.faults, blames, judged.incidents, strict=True):
        # Of several incidents the one that is most the fault's own.
        ranked = list(incidents[0].ranked) if incidents else []
        first_us = min((i.first_us for i in incidents), default=None)
        right = sorted(f"{m}.{c}" for m, c in one.causes)
        detected = None if first_us is None else (first_us - fault.start_us) / SECOND_US
        cases.append(
            {
                "id": f"{storm.id}/{fault.kind}" if len(storm.faults) > 1 else storm.id,
                "kind": storm.kind,
                # Where several names are right (both ends of an edge), the one that ranks first.
                "truth": next((n for n in ranked if hits(one, n)), right[0]),
                "right": right,
                "ranked": ranked,
                "rank": rank_of(one, ranked),
                "detected_at_s": detected,
                "events": sum(i.events for i in incidents),
                "incidents": len(incidents),
            }
        )
    return cases


def _name(told: Told) -> str:
    return f"{told.incident['incident_id'][:8]} {told.incident['title']}"


def _firing_windows(alerts: Iterable[Written]) -> int:
    """Return for how many windows the alerts fired, over all of them.

    A rule engine that remembers nothing says each of them: Prometheus tells Alertmanager of every
    alert that fires at each evaluation.
    """
    ended = (w.record for w in alerts if w.record["state"] == "RESOLVED")
    spans = (alert["last_seen"] - alert["firing_since"] for alert in ended)
    return sum(max(1, -(-span // WINDOW_US)) for span in spans)


def _slowest(alerts: Sequence[Written], told: Iterable[Told]) -> float:
    """Return the longest time from an incident's first alert to its first event, seconds."""
    first: dict[str, int] = {}
    for written in alerts:
        first.setdefault(written.record["fingerprint"], written.at_us)
    waits = [
        one.first_us
        - min(first.get(a["fingerprint"], one.first_us) for a in one.incident["alerts"])
        for one in told
    ]
    return max(waits, default=0) / SECOND_US


def updates_after(events: Iterable[Written]) -> dict[str, list[float]]:
    """Return how long after an incident's first event each update came, seconds, by its reason."""
    opened: dict[str, int] = {}
    found: dict[str, list[float]] = {}
    for written in events:
        first_us = opened.setdefault(written.record["incident_id"], written.at_us)
        if written.record["event"] == "UPDATED":
            after_s = (written.at_us - first_us) / SECOND_US
            found.setdefault(written.record["reason"], []).append(after_s)
    return found


def _together(runs: Iterable[dict[str, Any]]) -> dict[str, list[float]]:
    """Return the updates of all runs by reason, the most frequent first, the soonest first."""
    found: dict[str, list[float]] = {}
    for one in runs:
        for reason, after in one["updates_after_s"].items():
            found.setdefault(reason, []).extend(after)
    ordered = sorted(found, key=lambda reason: (-len(found[reason]), reason))
    return {reason: sorted(found[reason]) for reason in ordered}


def _what(written: Written) -> str:
    """Say what an event tells, and why: "UPDATED worse"."""
    return f"{written.record['event']} {written.record['reason']}"


def totals(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what all runs together come to: numbers of cases; shares are called ratios.

    Three shares say how few: events of alert states (`fewer_ratio`), what it could be at best, with
    a beginning and an end of each incident and nothing between, and incidents of alert states.
    """
    cases = [case for one in runs for case in one["cases"]]
    alerts, events = sum(r["alerts"] for r in runs), sum(r["events"] for r in runs)
    incidents = sum(r["incidents"] for r in runs)
    hours = sum(r["seconds"] for r in runs) / 3600
    firing = sum(r["firing_windows"] for r in runs)
    false = sum(len(r["false"]) for r in runs)
    over_merged = sum(len(r["over_merged"]) for r in runs)
    split = sum(r["split"] for r in runs)
    chances = [chance for one in runs for chance in one["chance"]]
    quiet = [one for one in runs if not one["cases"]]
    pairs = [one["cases"] for one in runs if len(one["cases"]) == 2]
    both = sum(all(0 < c["rank"] <= 3 for c in pair) for pair in pairs)
    count = len(cases)

    def top(k: int) -> int:
        return sum(0 < c["rank"] <= k for c in cases)

    return {
        "cases": count,
        "top1": top(1),
        "top3": top(3),
        "top5": top(5),
        "top1_ratio": top(1) / count if count else None,
        "top3_ratio": top(3) / count if count else None,
        "pairs": len(pairs),
        "both_top3": both,
        "both_top3_ratio": both / len(pairs) if pairs else None,
        "missed": sum(not c["incidents"] for c in cases),
        "over_merged": over_merged,
        "over_merged_ratio": over_merged / incidents if incidents else 0.0,
        "split": split,
        "split_ratio": split / count if count else 0.0,
        "false_per_hour": false / hours if hours else 0.0,
        "quiet_hours": sum(r["seconds"] for r in quiet) / 3600,
        "quiet_incidents": sum(r["incidents"] for r in quiet),
        "alerts": alerts,
        "events": events,
        "incidents": incidents,
        "told": dict(sum((Counter(r["told"]) for r in runs), Counter()).most_common()),
        "fewer_ratio": 1 - events / alerts if alerts else None,
        "fewer_at_best_ratio": 1 - 2 * incidents / alerts if alerts else None,
        "fewer_incidents_ratio": 1 - incidents / alerts if alerts else None,
        "firing_windows": firing,
        "fewer_than_firing_ratio": 1 - events / firing if firing else None,
        "first_event_s_max": max((r["late_s"] for r in runs), default=0.0),
        "updates_after_s": _together(runs),
        "chance_top1": sum(chances),
    }


def problems(runs: Sequence[dict[str, Any]]) -> list[str]:
    """Return what was wrong with which run, a line each."""
    out = []
    for one in runs:
        out += [f"{what}: {one['id']}: {i}" for what in ("false", "over_merged") for i in one[what]]
        out += [f"split: {one['id']}: {one['split']} too many"] * bool(one["split"])
        out += [f"missed: {case['id']}" for case in one["cases"] if not case["incidents"]]
    return out


def by_kind(runs: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the totals of each kind, by name."""
    kinds = Counter(one["kind"] for one in runs)
    return {kind: totals([r for r in runs if r["kind"] == kind]) for kind in sorted(kinds)}
