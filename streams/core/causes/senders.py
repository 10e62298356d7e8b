"""A fall of traffic speaks against those who send it.

A module that gets fewer requests is well; who used to send them may not be. Where all senders get
fewer themselves, theirs is the fall to explain. At an entry, which nobody in sight sends to, it
says that the world asks for less.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from streams.core.causes.evidence import Evidence
from streams.core.causes.strength import FELL, source_of
from streams.core.incidents.topology import Topology

ENTRY_WEIGHT: Final = 0.3


def laid_on_senders(evidence: Iterable[Evidence], topology: Topology) -> list[Evidence]:
    """Return the evidence with falls of traffic laid on the senders, each an equal part.

    What was laid once stays: laying is idempotent.
    """
    items = list(evidence)
    fell = {i.module for i in items if _is_fall(i)}
    laid: list[Evidence] = []
    for item in items:
        if not _is_fall(item):
            laid.append(item)
            continue
        senders = _senders(item.module, topology)
        to_stage = f"{item.module}:"
        if not senders:
            laid.append(replace(item, to_stage=to_stage, weight=item.weight * ENTRY_WEIGHT))
        elif not fell & set(senders):
            part = item.weight / len(senders)
            laid += [replace(item, module=s, to_stage=to_stage, weight=part) for s in senders]
    return laid


def _is_fall(item: Evidence) -> bool:
    return source_of(item) == FELL and not item.to_stage


def _senders(module: str, topology: Topology) -> tuple[str, ...]:
    """Return who hands over to a module by the flows' edges, else who calls it."""
    near = {
        topology.module_of(edge.flow, edge.from_stage)
        for edge in topology.edges
        if topology.module_of(edge.flow, edge.to_stage) == module
    } - {module, ""}
    callers = {name for name, info in topology.modules.items() if module in info.depends_on}
    return tuple(sorted(near or callers - {module}))
