"""What an incident did before and behind its place, in one answer (row S2-72).

Owns which module is upstream and which downstream: by the way that the traces of the same time
went, as their spans name their parents, so that it needs no contract.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from streams.codec.records import Record
from streams.console.questions.queries import ALL, Queries, Scope, last_of
from streams.console.questions.widths import KEYS, MARGIN_US, once
from streams.units import SECOND_US

AROUND_US: Final = 300 * SECOND_US
"""Looked at before an incident and after it: its cause may be older, its effects may last."""
ROWS_MAX: Final = 1_000
ORIGIN: Final = "origin"
UPSTREAM: Final = "upstream"
DOWNSTREAM: Final = "downstream"
BESIDE: Final = "beside"


def relations(
    edges: Iterable[tuple[str, str]], origins: Iterable[str]
) -> dict[str, tuple[str, int]]:
    """Return how each module lies to some, and over how many hand-overs.

    Args:
        edges: from module to module, the way that work goes.
        origins: the modules that trouble is in.

    Returns:
        By module: origin, upstream or downstream, whichever is nearer (upstream when both are
        alike, since trouble comes from there), and the number of edges between. Modules that no
        way connects are left out.
    """
    after: dict[str, set[str]] = {}
    before: dict[str, set[str]] = {}
    for one, other in edges:
        after.setdefault(one, set()).add(other)
        before.setdefault(other, set()).add(one)
    start = sorted(set(origins))
    found = {module: (ORIGIN, 0) for module in start}
    for relation, neighbours in ((UPSTREAM, before), (DOWNSTREAM, after)):
        for module, hops in _distances(start, neighbours).items():
            if module not in found or hops < found[module][1]:
                found[module] = relation, hops
    return found


def _distances(start: Sequence[str], neighbours: Mapping[str, set[str]]) -> dict[str, int]:
    found = dict.fromkeys(start, 0)
    queue = deque(start)
    while queue:
        module = queue.popleft()
        for other in sorted(neighbours.get(module, ())):
            if other not in found:
                found[other] = found[module] + 1
                queue.append(other)
    return found


def effects(queries: Queries, incident_id: str) -> dict[str, Any] | None:
    """Return what the modules around an incident did in its time; None for one that is unknown."""
    found = queries.incident(incident_id)
    if found is None:
        return None
    incident = found[0]
    start_us = incident["opened_at"] - AROUND_US
    end_us = max(incident["resolved_at"], incident["timestamp"]) + AROUND_US
    origins = [m for m in (incident["module"], *_modules(incident["alerts"])) if m]
    edges = handovers(queries, start_us, end_us)
    by_module = relations(((row["from"], row["to"]) for row in edges), origins)
    facts = _facts(queries, start_us, end_us)
    return {
        "incident_id": incident_id,
        "start": start_us,
        "end": end_us,
        "edges": edges,
        "modules": [
            {"module": module, "relation": relation, "hops": hops} | facts.get(module, _nothing())
            for module, (relation, hops) in sorted(
                {m: by_module.get(m, (BESIDE, -1)) for m in {*by_module, *facts}}.items(),
                key=lambda item: _order(item[0], *item[1]),
            )
        ],
    }


def _modules(alerts: Iterable[Record]) -> list[str]:
    return [alert["module"] for alert in alerts if alert.get("module")]


def _order(module: str, relation: str, hops: int) -> tuple[int, str]:
    """Return where a module stands: farthest upstream first, farthest downstream last."""
    at = {UPSTREAM: -hops, ORIGIN: 0, DOWNSTREAM: hops, BESIDE: 1 << 30}
    return at[relation], module


def _nothing() -> dict[str, Any]:
    return {"spans": 0, "errors": 0, "fidelity_ratio": None, "alerts": [], "incidents": []}


def handovers(queries: Queries, start_us: int, end_us: int) -> list[dict[str, Any]]:
    """Return how often a module handed over to another."""
    return queries.ask(
        'SELECT above.module AS "from", below.module AS "to", '
        "count(DISTINCT below.event_id) AS spans FROM spans below JOIN spans above "
        "ON above.trace_id = below.trace_id AND above.span_id = below.parent_span_id "
        "WHERE below.timestamp >= ? AND below.timestamp < ? AND above.module <> below.module "
        'GROUP BY ALL ORDER BY "from", "to"',
        (start_us, end_us),
        {"spans": Scope((start_us - AROUND_US, end_us))},
    )


def _facts(queries: Queries, start_us: int, end_us: int) -> dict[str, dict[str, Any]]:
    """Return what there was in each module: spans, errors, fidelity, alerts, incidents."""
    found: dict[str, dict[str, Any]] = {}
    within = (start_us, end_us)
    for row in queries.ask(
        "SELECT module, count(DISTINCT event_id) AS spans, "
        "count(DISTINCT event_id) FILTER (severity IN ('ERROR', 'CRITICAL')) AS errors "
        "FROM spans WHERE timestamp >= ? AND timestamp < ? GROUP BY module",
        within,
        {"spans": Scope(within)},
    ):
        found.setdefault(row.pop("module"), _nothing()).update(row)
    last = last_of("fidelity", "revision", ", ".join(KEYS))
    for row in queries.ask(
        "SELECT module, sum(observed) / nullif(sum(expected), 0) AS fidelity_ratio "
        f"FROM ({once(f'SELECT *, 0 AS tier FROM ({last})')}) "
        "WHERE kind = 'module' AND window_start >= ? AND window_start < ? GROUP BY module",
        within,
        {"fidelity": Scope((start_us, end_us + MARGIN_US))},
    ):
        found.setdefault(row.pop("module"), _nothing()).update(row)
    for name, sql in _LISTS.items():
        for row in queries.ask(f"{sql} LIMIT ?", (end_us, start_us, ROWS_MAX), {name: ALL}):
            found.setdefault(row.pop("module"), _nothing())[name].append(row)
    found.pop("", None)
    return found


_LISTS: Final = {
    "alerts": (
        "SELECT module, fingerprint, kind, name, severity, state, firing_since, last_seen "
        f"FROM ({last_of('alerts', 'version', 'fingerprint')}) "
        "WHERE firing_since < ? AND (last_seen >= ? OR state = 'FIRING') "
        "ORDER BY firing_since, fingerprint"
    ),
    "incidents": (
        "SELECT module, incident_id, event, severity, title, opened_at, resolved_at "
        f"FROM ({last_of('incidents', 'version', 'incident_id')}) "
        "WHERE opened_at < ? AND (resolved_at >= ? OR resolved_at = 0) "
        "ORDER BY opened_at, incident_id"
    ),
}
