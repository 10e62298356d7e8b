"""Halves of a restarted context: which fragments of one record belong together, and on which edge.

Owns the pairing. Invariant: the restarts of a record are a function of the set of its fragments'
highest revisions, not of the order in which they came.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from streams.core.incidents.topology import Edge, Place, Topology


class Fragment(NamedTuple):
    """One trace of a record that closed without its flow's first or last stage; JSON-able.

    `has_first` and `has_last` both true mean that a later revision completed it: it is no half.
    `stages` are those that were seen; `partition` is where the trace lies, -1 when nobody said.
    """

    trace_id: str
    revision: int
    flow: str
    record_id: str
    batch_id: str
    has_first: bool
    has_last: bool
    first_stage: str
    last_stage: str
    start_us: int
    end_us: int
    contract_version: str
    first_span_id: str = ""
    last_span_id: str = ""
    stages: tuple[str, ...] = ()
    partition: int = -1

    @classmethod
    def of(cls, values: Iterable[Any]) -> "Fragment":
        """Return the fragment of its fields in order: lists stand for tuples, the last may lack."""
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in zip(cls._fields, values, strict=False)
        }
        return cls(**plain)

    def row(self) -> list[Any]:
        """Return the fields in order, JSON-able; `of` reads them back."""
        return [list(value) if isinstance(value, tuple) else value for value in self]


class Restart(NamedTuple):
    """A record whose trace ended on the near side of an edge and went on under another id.

    Attributes:
        edge: from the last stage of the first half to the first stage of the second.
        first: the first half.
        second: the second half.
    """

    edge: Edge
    first: Fragment
    second: Fragment


def restarts(fragments: Iterable[Fragment], topology: Topology) -> list[Restart]:
    """Pair the fragments of one record (or batch): each half goes on in at most one other.

    A half without the flow's first stage takes the latest unused half without its last stage that
    began no later; when clocks disagree and none began earlier, the earliest unused one. They must
    be of one flow, of different traces, and the second half must go on after the first.

    Args:
        fragments: the highest revision of each trace, in any order.
        topology: tells what comes after what; flows it does not know are taken at their word.

    Returns:
        The restarts by the second half's start.
    """
    ordered = sorted(fragments, key=lambda f: (not f.has_first, f.start_us, f.trace_id))
    openings = [f for f in ordered if not f.has_last]
    found: list[Restart] = []
    used: set[str] = set()
    for second in ordered:
        if second.has_first:
            continue
        candidates = [
            first
            for first in openings
            if first.trace_id not in used
            and first.trace_id != second.trace_id
            and first.flow == second.flow
            and _goes_on(first, second, topology)
        ]
        earlier = [first for first in candidates if first.start_us <= second.start_us]
        if not candidates:
            continue
        first = earlier[-1] if earlier else candidates[0]
        used.add(first.trace_id)
        edge = restart_edge(second.flow, first.last_stage, second.first_stage, topology)
        found.append(Restart(edge, first, second))
    return found


def restart_edge(flow: str, last_stage: str, first_stage: str, topology: Topology) -> Edge:
    """Return the contract's edge on which a context restarted.

    The last stage of the first half may be an optional one beside the path, and so may be the first
    stage of the second; the edge named is then the required one that both lie around. Where the
    contract has none (stages in between are lost too), the two stages themselves are named.
    """
    far = first_stage
    if topology.required and Place(flow, far) not in topology.required:
        beside = [
            stage
            for near in topology.near_stages(flow, far)
            for stage in topology.far_stages(flow, near)
            if Place(flow, stage) in topology.required
        ]
        far = beside[0] if len(set(beside)) == 1 else far
    near_stages = topology.near_stages(flow, far)
    if last_stage in near_stages:
        return Edge(flow, last_stage, far)
    before = [s for s in near_stages if topology.is_before(flow, s, last_stage)]
    if before:
        nearest = max(before, key=lambda s: (topology.depth(flow, s), s))
        return Edge(flow, nearest, far)
    return Edge(flow, last_stage, far if last_stage != far else first_stage)


def _goes_on(first: Fragment, second: Fragment, topology: Topology) -> bool:
    last, flow = first.last_stage, first.flow
    if not last or not second.first_stage:
        return False
    if not topology.far_stages(flow, last) and not topology.near_stages(flow, last):
        return True  # not a stage of the contract
    if topology.is_before(flow, last, second.first_stage):
        return True
    # An optional stage beside the path ends a half without leading on to the next one.
    near = topology.near_stages(flow, second.first_stage)
    return any(stage in topology.near_stages(flow, last) for stage in near)
