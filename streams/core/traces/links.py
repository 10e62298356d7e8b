"""Links between the traces of one record: which trace says what of which others.

Owns what follows from a record's restarts for each of its traces, and the names by which a
synthetic span is known. Invariant: the links are a function of the restarts alone, and at most one
for each (trace, relation): a later one takes the place of an earlier one.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from streams.core.incidents.topology import Edge
from streams.core.traces.fragments import Fragment, Restart

CONTEXT_RESTARTED: Final = "spanloom.context_restarted"
RECORD_RECOVERED: Final = "spanloom.record_recovered"
LINK_WITHDRAWN: Final = "spanloom.link_withdrawn"
NAMES: Final = (CONTEXT_RESTARTED, RECORD_RECOVERED, LINK_WITHDRAWN)
"""Span names that only the worker gives: spans of these names are synthetic, whoever sent them."""
COMPONENT: Final = "link"
CONTINUES_IN: Final = "continues_in"
CONTINUES_FROM: Final = "continues_from"
_OF_TRACES: Final = ";"
_OF_STAGES: Final = ","


class Other(NamedTuple):
    """Another trace of the record: its id, its span nearest to the restart, the stages it holds."""

    trace_id: str
    span_id: str
    stages: tuple[str, ...]


class Link(NamedTuple):
    """What a trace is told of the other traces of its record, in one direction.

    Attributes:
        trace_id: the trace that is told.
        relation: CONTINUES_IN for what came after it, CONTINUES_FROM for what came before.
        edge: where the context restarted, next to this trace.
        others: the other traces, the nearest one first.
        is_recovered: the second half did a stage of the first again, as a record does that comes
            back from an error queue.
        timestamp_us: where this trace ends (CONTINUES_IN) or starts: within it either way.
        parent_span_id: the last span of the trace that is told; "" for CONTINUES_FROM.
        partition: where the trace lies, -1 for where its id leads.
    """

    trace_id: str
    relation: str
    edge: Edge
    others: tuple[Other, ...]
    is_recovered: bool
    timestamp_us: int
    parent_span_id: str
    record_id: str
    batch_id: str
    partition: int

    @property
    def name(self) -> str:
        """The name of the synthetic span."""
        return RECORD_RECOVERED if self.is_recovered else CONTEXT_RESTARTED


Links = dict[tuple[str, str], Link]
"""Links by (trace id, relation)."""


def links_of(found: Iterable[Restart]) -> Links:
    """Return what the traces of one record are told of each other.

    A record whose context restarted more than once is a chain: each of its traces is told of all
    that came after, and of all that came before it.

    Args:
        found: the restarts of one record, as `fragments.restarts` gives them.
    """
    onwards = {restart.first.trace_id: restart for restart in found}
    back = {restart.second.trace_id: restart for restart in onwards.values()}
    out: Links = {}
    for trace_id, restart in onwards.items():
        later = [_later(r.second) for r in _chain(restart, onwards, forward=True)]
        out[trace_id, CONTINUES_IN] = _link(restart, CONTINUES_IN, tuple(later))
    for trace_id, restart in back.items():
        earlier = [_earlier(r.first) for r in _chain(restart, back, forward=False)]
        out[trace_id, CONTINUES_FROM] = _link(restart, CONTINUES_FROM, tuple(earlier))
    return out


def _chain(
    restart: Restart | None, by_trace: Mapping[str, Restart], *, forward: bool
) -> list[Restart]:
    """Return the restarts from one on, in one direction; clocks that disagree can make a circle."""
    out: list[Restart] = []
    seen: set[str] = set()
    while restart is not None:
        near, far = (restart.first, restart.second) if forward else (restart.second, restart.first)
        seen.add(near.trace_id)
        if far.trace_id in seen:
            break
        out.append(restart)
        restart = by_trace.get(far.trace_id)
    return out


def _later(half: Fragment) -> Other:
    return Other(half.trace_id, half.first_span_id, half.stages)


def _earlier(half: Fragment) -> Other:
    return Other(half.trace_id, half.last_span_id, half.stages)


def _link(restart: Restart, relation: str, others: tuple[Other, ...]) -> Link:
    first, second = restart.first, restart.second
    told = first if relation == CONTINUES_IN else second
    return Link(
        trace_id=told.trace_id,
        relation=relation,
        edge=restart.edge,
        others=others,
        is_recovered=not set(first.stages).isdisjoint(second.stages),
        timestamp_us=told.end_us if relation == CONTINUES_IN else told.start_us,
        parent_span_id=told.last_span_id if relation == CONTINUES_IN else "",
        record_id=told.record_id,
        batch_id=told.batch_id,
        partition=told.partition,
    )


def dimensions_of(link: Link) -> dict[str, str]:
    """Return what a synthetic span says in its dimensions; `told_by` reads it back."""
    return {
        "relation": link.relation,
        **link.edge._asdict(),
        "stages": _OF_TRACES.join(_OF_STAGES.join(other.stages) for other in link.others),
    }


class Told(NamedTuple):
    """What a synthetic span tells the join.

    Attributes:
        relation: CONTINUES_IN, CONTINUES_FROM, or anything else, which means nothing.
        stages: the stages that the other traces hold.
        is_withdrawn: what was told before under this relation no longer holds.
    """

    relation: str
    stages: frozenset[str]
    is_withdrawn: bool = False


ReadLink = Callable[[bytes], Told]
"""Reads what a synthetic span tells from its bytes."""


def tells_nothing(_body: bytes) -> Told:
    """Stand for the reader where no synthetic span is ever written."""
    return Told("", frozenset())


def told_by(event: Mapping[str, Any]) -> Told:
    """Return what a synthetic span tells; a TelemetryEvent whose name is one of `NAMES`."""
    dimensions = event["dimensions"]
    groups = dimensions.get("stages", "").split(_OF_TRACES)
    stages = frozenset(stage for group in groups for stage in group.split(_OF_STAGES) if stage)
    return Told(dimensions.get("relation", ""), stages, event["name"] == LINK_WITHDRAWN)
