"""Lineage of a record: where it came from, what was done to it, where it went.

Owns the graph and the rules that name its nodes. Pure: a function of the events alone. Events are
mappings with the fields of `telemetry_event`; times are microseconds (UTC).

A node is an operation (a span, or a log line where no context reached and no span was opened), a
system outside (source, enrichment source, destination), or a span that is missing. Edges go the way
that the data went: from parent to child, from a span to the span that links to it, from a source
into the operation that read it, from a delivery to its destination.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple

Event = Mapping[str, Any]
Direction = Literal["forward", "backward"]

SOURCE_SYSTEM: Final = "source_system"
ENRICHMENT_SOURCE: Final = "enrichment_source"
DESTINATION: Final = "destination"
"""Dimensions of an event that name a system outside (rows S2-31, S2-38, S2-41)."""


class Node(NamedTuple):
    """A node.

    Attributes:
        id: of its own, the same whenever the same events are given.
        kind: source, ingestion, transfer, transformation, enrichment, enrichment_source, delivery,
            destination or missing.
        label: what it is called.
        module: "" for a system outside.
        at: when it began, in us; 0 when that is not known.
        trace_id: of its event, "" for a system outside.
        record_id: of its event.
    """

    id: str
    kind: str
    label: str
    module: str
    at: int
    trace_id: str = ""
    record_id: str = ""


class Edge(NamedTuple):
    """An edge: `kind` is step, link, read, enrich, deliver or gap (something is missing there)."""

    from_id: str
    to_id: str
    kind: str


class Lineage(NamedTuple):
    """The graph, and what people ask of it first.

    Attributes:
        nodes: by time, the way of the direction.
        edges: in the order of their ends.
        source_systems: the names of where it was read, in order.
        ingested_at: when the first operation began, in us; 0 without any.
        transformations: the nodes of what was done to it, enrichment among them, by time.
        enrichment_sources: the names of what was asked, in order.
        destinations: the names of where it went, in order.
    """

    nodes: list[Node]
    edges: list[Edge]
    source_systems: list[str]
    ingested_at: int
    transformations: list[Node]
    enrichment_sources: list[str]
    destinations: list[str]


def lineage(
    events: Iterable[Event], missing: Iterable[tuple[str, Mapping[str, Any]]], direction: Direction
) -> Lineage:
    """Return the lineage that some events tell.

    Args:
        events: of the record and of the traces that its direction leads to; any order, an event
            may come twice.
        missing: spans that are missing, each with the id of its trace (`assembled_trace.missing`).
        direction: forward lists from source to destination, backward the other way round.
    """
    operations = _operations(events)
    nodes, edges = _of_operations(operations)
    outside, more = _of_systems(operations)
    nodes += outside
    edges |= more
    gaps, more, place = _of_missing(missing, operations)
    nodes += gaps
    edges |= more
    first = {node.id: node for node in nodes}
    in_order = sorted(first.values(), key=lambda node: _order(node, place))
    ordered = in_order[::-1] if direction == "backward" else in_order
    position = {node.id: n for n, node in enumerate(ordered)}
    return Lineage(
        ordered,
        sorted(edges, key=lambda e: (position[e.from_id], position[e.to_id], e.kind)),
        _named(operations, SOURCE_SYSTEM),
        operations[0]["timestamp"] if operations else 0,
        [node for node in in_order if node.kind in ("transformation", "enrichment")],
        _named(operations, ENRICHMENT_SOURCE),
        _named(operations, DESTINATION),
    )


def linked_traces(events: Iterable[Event]) -> list[str]:
    """Return the ids of the traces that some events link to: where they came from."""
    return sorted({link["trace_id"] for event in events for link in event["links"]})


def _order(node: Node, place: Mapping[str, tuple[int, int]]) -> tuple[int, int, int, str]:
    """Return where a node stands: a system just before or after what met it, a gap in its place."""
    beside = {"source": -1, "enrichment_source": -1, "destination": 1}
    side, turn = place.get(node.id, (beside.get(node.kind, 0), 0))
    return node.at, side, turn, node.id


def _operations(events: Iterable[Event]) -> list[Event]:
    """Return what was done, each once, by time; a log line counts where it has no trace."""
    found = {
        event["event_id"]: event
        for event in events
        if event["event_type"] == "TRACE"
        or (event["event_type"] == "LOG" and not event["trace_id"])
    }
    return sorted(found.values(), key=lambda e: (e["timestamp"], e["trace_id"], e["event_id"]))


def _id(event: Event) -> str:
    return f"{event['trace_id']}/{event['span_id']}" if event["trace_id"] else event["event_id"]


def _kind(event: Event, ingesting: str) -> str:
    """Return what an operation is to the record.

    What names an enrichment source is enrichment, what names a destination delivery, what hands
    over (span kind PRODUCER, as OpenTelemetry has it) a transfer; what the module did that read the
    source is ingestion; all else changes it.
    """
    if ENRICHMENT_SOURCE in event["dimensions"]:
        return "enrichment"
    if DESTINATION in event["dimensions"]:
        return "delivery"
    if event["span_kind"] == "PRODUCER":
        return "transfer"
    return "ingestion" if event["module"] == ingesting else "transformation"


def _of_operations(operations: Sequence[Event]) -> tuple[list[Node], set[Edge]]:
    """Return the operations as nodes, and the edges between them."""
    nodes, edges = [], set()
    known = {_id(event) for event in operations}
    reading = (e for e in operations if SOURCE_SYSTEM in e["dimensions"])
    ingesting = next(reading, operations[0])["module"] if operations else ""
    before: dict[str, str] = {}  # by trace: its operation that began last
    for event in operations:
        id_, trace_id = _id(event), event["trace_id"]
        kind = _kind(event, ingesting)
        nodes.append(
            Node(
                id_,
                kind,
                event["name"],
                event["module"],
                event["timestamp"],
                trace_id,
                event["record_id"],
            )
        )
        parent = f"{trace_id}/{event['parent_span_id']}"
        if event["parent_span_id"] and parent in known and parent != id_:
            edges.add(Edge(parent, id_, "step"))
        elif trace_id in before and before[trace_id] != id_:
            edges.add(Edge(before[trace_id], id_, "gap"))
        before[trace_id] = id_
        for link in event["links"]:
            other = f"{link['trace_id']}/{link['span_id']}"
            if other in known and other != id_:
                edges.add(Edge(other, id_, "link"))
    return nodes, edges


_SYSTEMS: Final = (
    (SOURCE_SYSTEM, "source", "read"),
    (ENRICHMENT_SOURCE, "enrichment_source", "enrich"),
    (DESTINATION, "destination", "deliver"),
)


def _of_systems(operations: Sequence[Event]) -> tuple[list[Node], set[Edge]]:
    """Return the systems outside, at the time that each was first (a destination: last) met."""
    met: dict[tuple[str, str], int] = {}
    edges = set()
    for event in operations:
        for dimension, kind, verb in _SYSTEMS:
            name = event["dimensions"].get(dimension)
            if not name:
                continue
            system, at = f"{kind}:{name}", event["timestamp"]
            if kind == "destination":
                met[kind, name] = max(met.get((kind, name), at), at)
                edges.add(Edge(_id(event), system, verb))
            else:
                met[kind, name] = min(met.get((kind, name), at), at)
                edges.add(Edge(system, _id(event), verb))
    nodes = [Node(f"{kind}:{name}", kind, name, "", at) for (kind, name), at in met.items()]
    return nodes, edges


def _of_missing(
    missing: Iterable[tuple[str, Mapping[str, Any]]], operations: Sequence[Event]
) -> tuple[list[Node], set[Edge], dict[str, tuple[int, int]]]:
    """Return the spans that are missing: those of one gap one after the other, as they are told.

    Also returns of each whether it stands before (-1) or after (1) what has its time, and its turn.

    A child that names its missing parent is behind it. A gap at the begin of a flow leads to the
    first operation of its trace; any other comes after the last one that is known before it.
    """
    children: dict[str, list[Event]] = {}
    of_trace: dict[str, list[Event]] = {}
    for event in operations:
        children.setdefault(f"{event['trace_id']}/{event['parent_span_id']}", []).append(event)
        of_trace.setdefault(event["trace_id"], []).append(event)
    nodes: list[Node] = []
    edges: set[Edge] = set()
    place: dict[str, tuple[int, int]] = {}
    for trace_id, gap in _gaps(missing):
        ids = [f"{trace_id}/{span['span_id'] or span['name'] or span['to_stage']}" for span in gap]
        below = {id_: children.get(id_, []) for id_ in ids}
        edges |= {Edge(id_, _id(event), "gap") for id_ in ids for event in below[id_]}
        edges |= {Edge(a, b, "gap") for a, b in pairwise(ids) if a != b}
        behind = sorted(
            (event for events in below.values() for event in events), key=lambda e: e["timestamp"]
        )
        known = of_trace.get(trace_id, [])
        is_begin = bool(gap[0]["to_stage"]) and not gap[0]["from_stage"]
        if is_begin and known and not below[ids[-1]]:
            edges.add(Edge(ids[-1], _id(known[0]), "gap"))
            behind = known[:1]
        elif not is_begin and not behind and known:
            edges.add(Edge(_id(known[-1]), ids[0], "gap"))
        at = behind[0]["timestamp"] if behind else known[-1]["timestamp"] if known else 0
        side = -1 if behind else 1
        for id_, span in zip(ids, gap, strict=True):
            place[id_] = (side, len(place))
            label = span["name"] or span["to_stage"]
            nodes.append(Node(id_, "missing", label, span["module"], at, trace_id))
    return nodes, edges, place


def _gaps(
    missing: Iterable[tuple[str, Mapping[str, Any]]],
) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """Yield the spans that are missing between the same two stages of a trace, with its id."""
    found: dict[Any, list[Mapping[str, Any]]] = {}
    for n, (trace_id, span) in enumerate(missing):
        # Of spans of no flow nothing says that one comes after the other.
        alone = -1 if span["to_stage"] else n
        found.setdefault((trace_id, span["from_stage"], span["to_stage"], alone), []).append(span)
    yield from ((key[0], gap) for key, gap in found.items())


def _named(operations: Iterable[Event], dimension: str) -> list[str]:
    """Return the values of a dimension, in the order in which they were met."""
    names = (event["dimensions"].get(dimension) for event in operations)
    return list(dict.fromkeys(name for name in names if name))
