"""The pipeline's health, out of what the archive answers anyway (rows S2-28 to S2-30, S2-58).

Owns which answers health is made of: open incidents and the last states of their alerts, the
fidelity of the last minute, and the volume of the last quarter of an hour. What follows from them
is `streams.core.health`'s.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from streams.console.questions.effects import AROUND_US, handovers
from streams.console.questions.queries import Queries, Scope
from streams.console.questions.recent import recent_fidelity
from streams.console.questions.volume import volume
from streams.contract.model import Contract
from streams.core.health.graph import Graph, Traffic
from streams.core.health.indicators import Series, indicators
from streams.core.health.pipeline import (
    SILENT_US,
    Burn,
    Heard,
    PipelineHealth,
    Seen,
    health_of,
    heard,
)
from streams.core.health.troubles import Trouble, troubles_of
from streams.core.incidents.topology import Edge, Topology
from streams.runtime.global_stage import topology_of
from streams.units import SECOND_US

STEP_US: Final = 30 * SECOND_US
STEPS: Final = 30
"""A quarter of an hour: long enough to tell a trend from a wobble, short enough that what was usual
an hour ago does not hide what has become usual."""
READ_US: Final = 10 * SECOND_US
"""A trace that is closed is in the archive by then, unless worker or console are behind."""
INCIDENTS_MAX: Final = 1_000
"""More are open at once only when nobody closes them; the newest count, and `is_cut` says so."""


class Promise(NamedTuple):
    """What a contract says of health; the defaults are those of a contract that says nothing.

    Attributes:
        topology: who stands where.
        burn: rates at which error budgets are bad.
        error_ratio: the share of errors that is bad.
        count_min: below it no share is judged.
        wait_us: how long a trace may stay open.
    """

    topology: Topology = Topology()
    burn: Burn = Burn()
    error_ratio: float = 0.05
    count_min: int = 20
    wait_us: int = 30 * SECOND_US


NO_PROMISE: Final = Promise()


def promise_of(contract: Contract | None) -> Promise:
    """Return what a contract says of health."""
    if contract is None:
        return NO_PROMISE
    waits = [flow.wait_ms * 1_000 for flow in contract.flows.values()]
    return Promise(
        topology_of(contract),
        Burn(contract.slos.burn_rate_slow, contract.slos.burn_rate),
        # A ratio of 0 would call every module degraded that has ever had an error.
        contract.thresholds.error_ratio or NO_PROMISE.error_ratio,
        contract.thresholds.min_count,
        max(waits, default=NO_PROMISE.wait_us),
    )


def pipeline_health(queries: Queries, promise: Promise, now_us: int) -> dict[str, Any]:
    """Return the health of the pipeline now.

    Args:
        queries: ask the archive.
        promise: what the contract says.
        now_us: wall time.
    """
    wait_us = promise.wait_us + READ_US
    start_us = (now_us - wait_us) // STEP_US * STEP_US - STEPS * STEP_US
    fidelity = recent_fidelity(queries, now_us)
    judged_us = fidelity["window_start"] + fidelity["window_us"]
    spans, others = (_last(queries, kind, start_us, now_us) for kind in ("spans", "events"))
    seen_us = max(spans.values(), default=start_us)
    steps = max(0, (seen_us - wait_us - start_us) // STEP_US)
    series = _series(queries, start_us, steps) if steps else []
    open_ = queries.open_incidents(INCIDENTS_MAX + 1)
    troubles = _troubles(queries, open_[:INCIDENTS_MAX])
    traffic = tuple(_traffic(fidelity["scopes"], is_fresh=now_us - judged_us < SILENT_US))
    health = health_of(
        Seen(
            Graph(promise.topology, traffic, _handovers(queries, promise, traffic, now_us)),
            troubles,
            tuple(indicators(series, STEP_US, promise.error_ratio, promise.count_min)),
            heard(spans, others, max(seen_us, judged_us)),
            promise.burn,
        ),
        now_us,
    )
    end_us = start_us + steps * STEP_US
    return (
        {"timestamp": now_us, "start": start_us, "end": end_us}
        | _told(health)
        | {
            "open_incidents": len(open_[:INCIDENTS_MAX]),
            "firing_incidents": len({one.incident_id for one in troubles}),
            "is_cut": len(open_) > INCIDENTS_MAX,
        }
    )


def _troubles(queries: Queries, incidents: Sequence[Mapping[str, Any]]) -> tuple[Trouble, ...]:
    """Return what open incidents say of each place, by what their alerts said last."""
    prints = {alert["fingerprint"] for one in incidents for alert in one["alerts"]}
    return tuple(troubles_of(incidents, queries.last_alerts(prints)))


def _last(queries: Queries, kind: str, start_us: int, end_us: int) -> Heard:
    """Return when each component was heard last within [start, end)."""
    rows = queries.ask(
        f"SELECT module, component, max(timestamp) AS last FROM {kind} "
        "WHERE timestamp >= ? AND timestamp < ? AND module <> '' GROUP BY module, component",
        (start_us, end_us),
        {kind: Scope((start_us, end_us))},
    )
    return {(row["module"], row["component"]): row["last"] for row in rows}


def _series(queries: Queries, start_us: int, steps: int) -> list[Series]:
    """Return what components and flows did in some steps."""
    about = (queries, start_us, start_us + steps * STEP_US)
    step_s = STEP_US // SECOND_US
    found = []
    for one in volume(*about, "component", {}, step_s)["series"]:
        names = ("count", "errors", "duration_us")
        counts, errors, sums = _steps(one["points"], names, start_us, steps)
        means = np.divide(sums, counts, out=np.full(steps, np.nan), where=counts > 0)
        found.append(Series(one["module"], one["component"], "", counts, errors, means))
    by_flow: dict[str, list[dict[str, Any]]] = {}
    for one in volume(*about, "flow", {}, step_s)["series"]:
        if one["flow"]:
            by_flow.setdefault(one["flow"], []).append(one)
    return found + [_flow(flow, parts, start_us, steps) for flow, parts in by_flow.items()]


def _flow(flow: str, parts: Iterable[Mapping[str, Any]], start_us: int, steps: int) -> Series:
    """Return the traces of a flow, and the 95th percentiles of those that are complete."""
    counts, p95 = np.zeros(steps, np.int64), np.full(steps, np.nan)
    for one in parts:
        whole, took = _steps(one["points"], ("count", "duration_p95_us"), start_us, steps)
        counts += whole
        if one["status"] == "COMPLETE":  # the others have no end, or none that counts
            p95 = np.where(whole > 0, took, np.nan)
    return Series("", "", flow, counts, None, p95)


def _steps(
    points: Iterable[Mapping[str, Any]], names: tuple[str, ...], start_us: int, steps: int
) -> list[Any]:
    """Return values of points by step, 0 where there is no point."""
    found = [np.zeros(steps, np.int64) for _ in names]
    for point in points:
        at = (point["at"] - start_us) // STEP_US
        for values, name in zip(found, names, strict=True):
            values[at] = point[name] or 0
    return found


def _traffic(scopes: Iterable[Mapping[str, Any]], *, is_fresh: bool) -> Iterable[Traffic]:
    for one in scopes:
        if one["kind"] == "edge":
            rates = (one["burn_rate_short"], one["burn_rate_long"]) if is_fresh else (None, None)
            known = [rate if rate is not None and np.isfinite(rate) else None for rate in rates]
            edge = Edge(one["flow"], one["from_stage"], one["to_stage"])
            yield Traffic(edge, one["expected"], one["observed"], *known)


def _handovers(
    queries: Queries, promise: Promise, traffic: tuple[Traffic, ...], now_us: int
) -> tuple[tuple[str, str], ...]:
    """Return who hands over to whom, as the spans show it, where nothing else says so."""
    if promise.topology.edges or promise.topology.calls or traffic:
        return ()
    rows = handovers(queries, now_us - AROUND_US, now_us)
    return tuple((row["from"], row["to"]) for row in rows)


def _told(health: PipelineHealth) -> dict[str, Any]:
    modules = {
        name: one._asdict() | {"components": {n: c._asdict() for n, c in one.components.items()}}
        for name, one in health.module_health.items()
    }
    told = health._asdict() | {"module_health": modules}
    for name in ("dependency_graph", "predictive_indicators", "cascades"):
        told[name] = [one._asdict() for one in told[name]]
    return told
