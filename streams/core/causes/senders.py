"""A shift of traffic speaks of those who send it.

A module that gets fewer or more requests is well; who sends them may not be. Where all senders get
fewer, or more, themselves, theirs is the shift to explain. At an entry, which nobody in sight sends
to, it says that the world asks for less, or more.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from streams.core.causes.evidence import Evidence
from streams.core.causes.metric_kinds import TRAFFIC
from streams.core.causes.strength import FELL, source_of
from streams.core.incidents.topology import Topology

ENTRY_WEIGHT: Final = 0.3
_TRAFFIC_SOURCES: Final = frozenset({FELL, TRAFFIC})


def laid_on_senders(evidence: Iterable[Evidence], topology: Topology) -> list[Evidence]:
    """Return the evidence with shifts of traffic laid on the senders, each an equal part.

    What was laid once stays: laying is idempotent.
    """
    items = list(evidence)
    shifted: dict[str, set[str]] = {source: set() for source in _TRAFFIC_SOURCES}
    for item in items:
        if _is_traffic(item):
            shifted[source_of(item)].add(item.module)
    laid: list[Evidence] = []
    for item in items:
        if not _is_traffic(item):
            laid.append(item)
            continue
        senders = _senders(item.module, topology)
        to_stage = f"{item.module}:"
        if not senders:
            laid.append(replace(item, to_stage=to_stage, weight=item.weight * ENTRY_WEIGHT))
        elif not shifted[source_of(item)] & set(senders):
            part = item.weight / len(senders)
            laid += [replace(item, module=s, to_stage=to_stage, weight=part) for s in senders]
    return laid


def _is_traffic(item: Evidence) -> bool:
    return source_of(item) in _TRAFFIC_SOURCES and not item.to_stage


def _senders(module: str, topology: Topology) -> tuple[str, ...]:
    """Return who hands over to a module by the flows' edges, else who calls it."""
    near = {
        topology.module_of(edge.flow, edge.from_stage)
        for edge in topology.edges
        if topology.module_of(edge.flow, edge.to_stage) == module
    } - {module, ""}
    callers = {name for name, info in topology.modules.items() if module in info.depends_on}
    return tuple(sorted(near or callers - {module}))
