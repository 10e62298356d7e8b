"""The graph questions a flow asks: order, cycles, what lies upstream.

A graph is a mapping from each node to the nodes it comes after; predecessors that are not nodes
themselves are ignored (the checks report them). Answers depend on the mapping's order alone.
"""

import heapq
from collections.abc import Mapping, Sequence

Predecessors = Mapping[str, Sequence[str]]


def topological_order(after: Predecessors) -> tuple[str, ...]:
    """Return the nodes so that each comes after its predecessors, else in the mapping's order.

    Nodes on a cycle, and those behind one, are left out: the result is shorter than the mapping
    exactly when there is a cycle.
    """
    names = list(after)
    position = {name: i for i, name in enumerate(names)}
    unmet = {name: {p for p in after[name] if p in position} for name in names}
    successors: dict[str, list[str]] = {name: [] for name in names}
    for name, predecessors in unmet.items():
        for predecessor in predecessors:
            successors[predecessor].append(name)
    # A heap of positions, so that of several nodes that are ready the file's first goes first.
    ready = [position[name] for name in names if not unmet[name]]
    order: list[str] = []
    while ready:
        name = names[heapq.heappop(ready)]
        order.append(name)
        for successor in successors[name]:
            unmet[successor].discard(name)
            if not unmet[successor]:
                heapq.heappush(ready, position[successor])
    return tuple(order)


def find_cycle(after: Predecessors) -> tuple[str, ...]:
    """Return one cycle in the direction of time, its first node repeated last; () for none."""
    ordered = set(topological_order(after))
    stuck = [node for node in after if node not in ordered]
    if not stuck:
        return ()
    walked: dict[str, None] = {}
    node = stuck[0]
    # Every stuck node has a stuck predecessor, so the walk backwards must meet itself.
    while node not in walked:
        walked[node] = None
        node = next(p for p in after[node] if p in after and p not in ordered)
    path = list(walked)
    return (node, *reversed(path[path.index(node) :]))


def upstream(after: Predecessors, node: str) -> frozenset[str]:
    """Return all nodes from which `node` can be reached, without itself unless on a cycle."""
    found: set[str] = set()
    frontier = [node]
    while frontier:
        for predecessor in after.get(frontier.pop(), ()):
            if predecessor in after and predecessor not in found:
                found.add(predecessor)
                frontier.append(predecessor)
    return frozenset(found)
