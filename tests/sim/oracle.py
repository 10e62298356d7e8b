"""What the input of a run says by itself: the last revision of each trace, the counts of windows.

Uses the slow join and the slow judge. What depends on when a trace was closed is taken out of the
comparison: which cause a missing span has is knowledge of that moment.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from streams.core.columns import Operation
from tests.oracle_join import SlowJoin
from tests.oracle_judge import Verdict
from tests.sim import build
from tests.sim.build import WINDOW_US
from tests.sim.laws import Observer, demand
from tests.sim.load import MS_US, OTHER, TELEMETRY, Load, topic_of_module, trace_id
from tests.sim.tasks import TRACES

Key = tuple[int, str, str, str, str]
Missing = tuple[str, str, str, str, str, str, str]
OF_THE_MOMENT = frozenset(
    {"NEVER_ARRIVED", "LATE_SOURCE", "MODULE_SILENT", "IN_FLIGHT", "REJECTED", "ORPHANED"}
)


def verdicts(load: Load) -> dict[int, Verdict]:
    """Return the slow judge's verdict on each trace of the input."""
    join = SlowJoin(
        load.plan,
        topic_of_module(),
        other=OTHER,
        topics=len(TELEMETRY) - 1,
        wait_us=150 * MS_US,
        disorder_max_us=40 * MS_US,
    )
    join.gather([event for events in load.events.values() for event in events])
    return {trace: verdict for trace, (_, verdict) in join.final().items()}


def check_traces(observer: Observer, judged: Mapping[int, Verdict]) -> None:
    """Demand that the last revision of every trace is what the slow join makes of the input."""
    plan = observer.load.plan
    names = [*(flow.name for flow in plan.flows), ""]
    found = observer.last[TRACES]
    law = "the last revision follows from the input alone"
    demand(len(found) == len(judged), law, f"{len(found)} traces of {len(judged)}")
    for trace, verdict in judged.items():
        record = found[trace_id(trace),]
        said = (record["status"], record["flow"])
        demand(said == (verdict.status, names[verdict.flow]), law, trace, said, verdict.status)
        lost = sorted(_missing_of(row) for row in record["missing"])
        wanted = sorted(_missing_by(row) for row in verdict.missing)
        demand(lost == wanted, law, f"trace {trace} misses {lost}, not {wanted}")


def _missing_of(row: Mapping[str, Any]) -> Missing:
    names = ("span_id", "module", "component", "name", "from_stage", "to_stage")
    return (*(row[name] for name in names), _settled(row["cause"]))  # type: ignore[return-value]


def _missing_by(row: tuple[int, Operation | None, str, str, str]) -> Missing:
    span_id, operation, near, far, cause = row
    named = operation or Operation("", "", "")
    return (f"{span_id:016x}" if span_id else "", *named, near, far, _settled(cause))


def _settled(cause: str) -> str:
    return "missing" if cause in OF_THE_MOMENT else cause


# --- windows


def counted(load: Load, judged: Mapping[int, Verdict]) -> dict[Key, Counter[str]]:
    """Return expected, observed, missing and sampled out by window and scope of the input."""
    out: dict[Key, Counter[str]] = defaultdict(Counter)
    for trace, verdict in judged.items():
        start_us = min(event.at_us for event in load.events[trace]) // WINDOW_US * WINDOW_US
        out[start_us, "total", "", "", ""]["traces"] += 1
        if verdict.flow < 0:
            continue
        flow = load.plan.flows[verdict.flow]
        is_out = verdict.is_sampled_out
        of_flow = out[start_us, "flow", flow.name, "", ""]
        of_flow["sampled_out"] += is_out
        of_flow["expected"] += not is_out
        of_flow["observed"] += not is_out and verdict.has_all_required
        for index, is_observed, _, _, _ in verdict.edges:
            near, far = (flow.stage_id[i] for i in flow.edges[index].tolist())
            edge = out[start_us, "edge", flow.name, near, far]
            edge["sampled_out"] += is_out
            edge["expected"] += not is_out
            edge["observed"] += not is_out and is_observed
            edge["missing"] += not is_out and not is_observed
    return _that_count(out)


def check_windows(observer: Observer, judged: Mapping[int, Verdict]) -> None:
    """Demand that the partials say last what a plain count of the verdicts gives."""
    latest: dict[tuple[int, int], dict[str, Any]] = {}
    for partial in observer.partials:
        at = (partial["partition"], partial["window_start"])
        if partial["scopes"] and at[0] < build.RESTART_BASE:
            latest[at] = partial
    found: dict[Key, Counter[str]] = defaultdict(Counter)
    for partial in latest.values():
        for scope in partial["scopes"]:
            _add(found, partial["window_start"], scope, scope["counters"])
    _compare("the windows are a plain count", _that_count(found), counted(observer.load, judged))


def _add(
    found: dict[Key, Counter[str]], start_us: int, scope: Mapping[str, Any], counts: Any
) -> None:
    kind = scope["kind"]
    if kind not in ("total", "flow", "edge"):
        return
    names = ("traces",) if kind == "total" else ("expected", "observed", "sampled_out")
    key = (start_us, kind, scope["flow"], scope["from_stage"], scope["to_stage"])
    for name, n in counts.items():
        if name in names:
            found[key][name] += n
        elif name.startswith("missing.") and kind == "edge":
            found[key]["missing"] += n


def check_statistics(observer: Observer, judged: Mapping[int, Verdict]) -> None:
    """Demand that the published statistics say last what a plain count of the verdicts gives."""
    wanted = counted(observer.load, judged)
    found: dict[Key, Counter[str]] = defaultdict(Counter)
    for row in observer.last[build.STATS].values():
        if row["window_us"] != WINDOW_US:
            continue
        counts = {name: row[name] for name in ("expected", "observed", "sampled_out")}
        counts |= {f"missing.{cause}": n for cause, n in row["missing"].items()}
        if row["kind"] == "total":
            counts = {"traces": row["counters"].get("traces", 0)}
        _add(found, row["window_start"], row, counts)
    _compare("the statistics are a plain count", _that_count(found), wanted)


def _that_count(counts: Mapping[Key, Counter[str]]) -> dict[Key, Counter[str]]:
    kept = {key: Counter({n: c for n, c in of.items() if c}) for key, of in counts.items()}
    return {key: of for key, of in kept.items() if of}


def _compare(law: str, found: Mapping[Key, Any], wanted: Mapping[Key, Any]) -> None:
    differ = [key for key in {**wanted, **found} if found.get(key) != wanted.get(key)]
    facts = [
        f"{key}: {dict(found.get(key, {}))}, not {dict(wanted.get(key, {}))}" for key in differ
    ]
    demand(not differ, law, *facts[:3])


# --- two schedules of one input


def said_in_the_end(observer: Observer) -> dict[str, Any]:
    """Return what every schedule of the input must say last, by topic and identity."""
    return {
        "traces": {
            identity: _without(record, ("revision", "closed_by", "missing"))
            for identity, record in observer.last[TRACES].items()
        },
        "statistics": {
            identity: row
            for identity, record in observer.last[build.STATS].items()
            if (row := _row(record)) and any(row.values())
            # Where a partition never brought anything, nothing ends the minutes but new windows.
            if observer.all_reported or record["window_us"] == WINDOW_US
        },
        "restarts": {
            (partial["partition"], partial["window_start"], *_names(scope)): scope["counters"]
            for partial in _latest(observer.partials)
            if partial["partition"] >= build.RESTART_BASE
            for scope in partial["scopes"]
            if any(scope["counters"].values())
        },
    }


def _latest(partials: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    return {(p["partition"], p["window_start"]): p for p in partials}.values()


def _names(scope: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(scope[name] for name in ("kind", "flow", "from_stage", "to_stage", "module"))


def _row(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of statistics without its revision and what only tells how it came about."""
    of_the_way = {"late", "revisions", "rejected"}
    counters = {n: c for n, c in record["counters"].items() if c and n not in of_the_way}
    return {
        "ratio": _number(record["ratio"]),
        "burn_rate_short": _number(record["burn_rate_short"]),
        "burn_rate_long": _number(record["burn_rate_long"]),
        "expected": record["expected"],
        "observed": record["observed"],
        "missing": sum(record["missing"].values()),
        "sampled_out": record["sampled_out"],
        "duplicate": record["duplicate"],
        **counters,
    }


def _number(value: float) -> float | None:
    """Return a ratio, None for "nothing was expected", which equals nothing, not even itself."""
    return None if math.isnan(value) else round(value, 9)


def _without(record: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in names}


def compare_schedules(one: Observer, other: Observer) -> None:
    """Demand that two schedules of one input say the same in the end."""
    told, expected = said_in_the_end(one), said_in_the_end(other)
    for kind, wanted in expected.items():
        found = told[kind]
        differ = [key for key in {**wanted, **found} if found.get(key) != wanted.get(key)]
        facts = [f"{key}: {found.get(key)}, not {wanted.get(key)}" for key in differ[:2]]
        demand(not differ, f"two schedules say the same {kind}", *facts)
