"""The fragment task: halves of traces meet under their record id; restarts are counted and told.

Owns the halves that wait and the restarts counted by window and edge. Invariant: counts are
absolute and a function of the fragments taken, in any order, as long as none of them expired; and
so are the links that hold: what was told is what follows from the restarts that are known.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from streams.core.fidelity.merge import RESTART_PARTITION_BASE
from streams.core.incidents.topology import Edge, Topology
from streams.core.traces.fragments import Fragment, Restart, restarts
from streams.core.traces.links import links_of
from streams.engine.link_spans import link_event, withdrawal_event
from streams.engine.outputs import Output, Outputs
from streams.errors import StateError
from streams.units import MINUTE_US, SECOND_US

_FORMAT: Final = 2
_FORMATS: Final = (1, _FORMAT)
"""Format 1 has fragments without span ids, stages and partition; their defaults stand for that."""
_SWEEPS_PER_RETENTION: Final = 16


@dataclass(frozen=True, slots=True)
class FragmentSettings:
    """Where the task stands, and how long a half waits for the other.

    Attributes:
        partition: partition of the fragments' topic that the task reads.
        partitions_total: how many the topic has.
        window_us: width of the windows that restarts are counted in; that of `MergeSettings`.
        retention_us: how long, in event time, a half waits for the other.
        max_records: bound on the records with a waiting half; beyond it the oldest go.
        max_fragments: bound on the fragments of one record.
        max_samples: restarts kept as samples by window and edge.
        future_us: a fragment further ahead of the clock than this does not move event time.
        tells_links: the traces of a restart are told of each other, by synthetic spans.
    """

    partition: int = 0
    partitions_total: int = 1
    window_us: int = 10 * SECOND_US
    retention_us: int = 5 * MINUTE_US
    max_records: int = 20_000
    max_fragments: int = 64
    max_samples: int = 5
    future_us: int = 5 * MINUTE_US
    tells_links: bool = True


@dataclass(slots=True)
class _EdgeCount:
    """Restarts on one edge in one window, with the first samples by time."""

    count: int
    samples: list[list[Any]]


class FragmentTask:
    """Finds contexts that restarted and tells how many, by window and edge."""

    def __init__(self, settings: FragmentSettings, topology: Topology) -> None:
        self.settings = settings
        self.topology = topology
        self.records: dict[str, dict[str, Fragment]] = {}
        self.settled: dict[int, dict[Edge, _EdgeCount]] = {}
        self.sequence = 0
        self.stream_us = 0
        self.swept_us = 0
        self.discarded: Counter[str] = Counter()
        self._restarts: dict[str, list[Restart]] = {}
        self._by_window: dict[int, set[str]] = {}
        self._told: dict[str, list[Restart]] = {}
        """By record, in the step that runs: the restarts that its traces were last told of."""
        self._links: list[Output] = []

    def step(self, fragments: Sequence[dict[str, Any]], now_us: int, caught_up: bool) -> Outputs:
        """Take fragments in; return the partials of the windows, and the links, that changed.

        Args:
            fragments: records in the shape of schemas/trace_fragment.v2.avsc.
            now_us: the wall clock, only to refuse event times far ahead of it.
            caught_up: not used; the answer never waits.
        """
        dirty: dict[int, set[Edge]] = {}
        for row in fragments:
            fragment = fragment_of(row)
            if fragment.end_us <= now_us + self.settings.future_us:
                self.stream_us = max(self.stream_us, fragment.end_us)
            self._take(fragment, dirty)
        outputs = [
            Output(
                "restarts",
                f"{start_us}/{self._partition}",
                self._partial(start_us, dirty[start_us]),
            )
            for start_us in sorted(dirty)
        ]
        self._sweep()
        for key in list(self._told):
            self._tell(key)
        outputs += self._links
        self._links = []
        return outputs

    def counters(self) -> dict[str, int]:
        """Return how many fragments were not used, by reason, since the task began."""
        return dict(self.discarded)

    @property
    def _partition(self) -> int:
        return RESTART_PARTITION_BASE + self.settings.partition

    # --- taking fragments in --------------------------------------------------------------------

    def _take(self, fragment: Fragment, dirty: dict[int, set[Edge]]) -> None:
        key = record_key(fragment)
        if not key:
            self.discarded["fragment_without_record"] += 1
            return
        if fragment.end_us < self.stream_us - self.settings.retention_us:
            self.discarded["fragment_too_late"] += 1
            return
        of_record = self.records.setdefault(key, {})
        known = of_record.get(fragment.trace_id)
        if known is not None and known.revision >= fragment.revision:
            self.discarded["fragment_known"] += 1
            return
        if known is None and len(of_record) >= self.settings.max_fragments:
            self.discarded["fragment_over_bound"] += 1
            return
        of_record[fragment.trace_id] = fragment
        self._pair(key, dirty)
        if len(self.records) > self.settings.max_records:
            self._evict()

    def _pair(self, key: str, dirty: dict[int, set[Edge]]) -> None:
        """Find the restarts of one record anew and mark the windows in which they changed."""
        before = self._restarts.get(key, [])
        after = restarts(self.records[key].values(), self.topology)
        if before == after:
            return
        # A link makes the next revision of its trace, and that the same fragment once more: what
        # is counted of a restart does not change by it.
        for start_us, edge, _ in self._claims(before) ^ self._claims(after):
            dirty.setdefault(start_us, set()).add(edge)
        self._told.setdefault(key, before)
        self._forget_restarts(key)
        self._remember_restarts(key, after)

    def _remember_restarts(self, key: str, found: list[Restart]) -> None:
        if found:
            self._restarts[key] = found
        for restart in found:
            self._by_window.setdefault(self._window_of(restart), set()).add(key)

    def _forget_restarts(self, key: str) -> None:
        for restart in self._restarts.pop(key, []):
            keys = self._by_window.get(self._window_of(restart), set())
            keys.discard(key)
            if not keys:
                self._by_window.pop(self._window_of(restart), None)

    def _window_of(self, restart: Restart) -> int:
        """Return the window of the first half's start: there its edge counts as not crossed."""
        return restart.first.start_us - restart.first.start_us % self.settings.window_us

    def _claims(self, found: Sequence[Restart]) -> set[tuple[int, Edge, tuple[Any, ...]]]:
        """Return what the partials say of restarts: window, edge and sample of each."""
        return {(self._window_of(r), r.edge, tuple(_sample(r))) for r in found}

    # --- telling --------------------------------------------------------------------------------

    def _tell(self, key: str) -> None:
        """Tell the traces of a record what changed since they were last told, and only that."""
        before = links_of(self._told.pop(key, []))
        after = links_of(self._restarts.get(key, []))
        if not self.settings.tells_links:
            return
        for name in sorted(before.keys() | after.keys()):
            old, new = before.get(name), after.get(name)
            if new is not None and new != old:
                event = link_event(new, self.topology)
                self._links.append(Output("links", new.trace_id, event, new.partition))
            elif new is None and old is not None:
                event = withdrawal_event(old, self.topology)
                self._links.append(Output("links", old.trace_id, event, old.partition))

    def _partial(self, start_us: int, changed: set[Edge]) -> dict[str, Any]:
        """Return all restarts of one window; a changed edge is named though its count fell to 0."""
        self.sequence += 1
        counted = {edge: _EdgeCount(0, []) for edge in changed}
        for edge, of_edge in self.settled.get(start_us, {}).items():
            counted[edge] = _EdgeCount(of_edge.count, list(of_edge.samples))
        for key in sorted(self._by_window.get(start_us, ())):
            for restart in self._restarts[key]:
                if self._window_of(restart) == start_us:
                    self._count(counted, restart)
        return {
            "window_start": start_us,
            "window_us": self.settings.window_us,
            "partition": self._partition,
            "partitions_total": self.settings.partitions_total,
            "sequence": self.sequence,
            "watermark": 0,  # promises nothing: the join's partials tell how far time is
            "contract_version": "",  # one part a window: a restart may join two versions
            "scopes": [self._scope(edge, counted[edge]) for edge in sorted(counted)],
        }

    def _count(self, counted: dict[Edge, _EdgeCount], restart: Restart) -> None:
        of_edge = counted.setdefault(restart.edge, _EdgeCount(0, []))
        of_edge.count += 1
        samples = sorted([*of_edge.samples, _sample(restart)])
        of_edge.samples = samples[: self.settings.max_samples]

    def _scope(self, edge: Edge, of_edge: _EdgeCount) -> dict[str, Any]:
        names = ("trace_id", "record_id", "batch_id", "timestamp")
        return {
            "kind": "edge",
            **edge._asdict(),
            "module": self.topology.module_of(edge.flow, edge.to_stage),
            "counters": {"restarted": of_edge.count},
            "samples": [
                {"counter": "restarted", **dict(zip(names, sample, strict=True))}
                for sample in of_edge.samples
            ],
        }

    # --- letting go -----------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Let the records go whose halves have waited long enough; now and then, not every step."""
        retention_us = self.settings.retention_us
        if self.stream_us - self.swept_us < retention_us // _SWEEPS_PER_RETENTION:
            return
        self.swept_us = self.stream_us
        old_us = self.stream_us - retention_us
        for key in [k for k, f in self.records.items() if _latest_us(f) < old_us]:
            self._settle(key)
            self.discarded["fragment_expired"] += 1
        for start_us in [s for s in self.settled if s < old_us - retention_us]:
            del self.settled[start_us]

    def _evict(self) -> None:
        """Let the oldest sixteenth of the records go at once, so that this is rare."""
        count = max(1, self.settings.max_records // 16)
        oldest = sorted(self.records, key=lambda key: (_latest_us(self.records[key]), key))
        for key in oldest[:count]:
            self._settle(key)
            self.discarded["record_over_bound"] += 1

    def _settle(self, key: str) -> None:
        """Forget a record's fragments; what was counted and told of them stays so."""
        if key in self._told:
            self._tell(key)
        for restart in self._restarts.get(key, []):
            self._count(self.settled.setdefault(self._window_of(restart), {}), restart)
        self._forget_restarts(key)
        del self.records[key]

    # --- state ----------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state, JSON-able."""
        return {
            "format": _FORMAT,
            "window_us": self.settings.window_us,
            "sequence": self.sequence,
            "stream_us": self.stream_us,
            "swept_us": self.swept_us,
            "records": [f.row() for of in self.records.values() for f in of.values()],
            "settled": [
                [start_us, *edge, of_edge.count, of_edge.samples]
                for start_us, edges in self.settled.items()
                for edge, of_edge in edges.items()
            ],
        }

    @classmethod
    def restore(
        cls, settings: FragmentSettings, topology: Topology, snapshot: Mapping[str, Any]
    ) -> Self:
        """Return a task in the state of a snapshot.

        Raises:
            StateError: the snapshot has another format or windows of another width.
        """
        known = snapshot.get("format") in _FORMATS
        if not known or snapshot.get("window_us") != settings.window_us:
            raise StateError(
                f"fragment state has format {snapshot.get('format')} and windows of "
                f"{snapshot.get('window_us')} us, not {_FORMAT} and {settings.window_us}. Operator "
                "action: restore version and window width, or delete the fragment state."
            )
        task = cls(settings, topology)
        task.sequence = snapshot["sequence"]
        task.stream_us = snapshot["stream_us"]
        task.swept_us = snapshot["swept_us"]
        for row in snapshot["records"]:
            fragment = Fragment.of(row)
            task.records.setdefault(record_key(fragment), {})[fragment.trace_id] = fragment
        for key, of_record in task.records.items():
            task._remember_restarts(key, restarts(of_record.values(), topology))
        for start_us, flow, near, far, count, samples in snapshot["settled"]:
            edges = task.settled.setdefault(start_us, {})
            edges[Edge(flow, near, far)] = _EdgeCount(count, samples)
        return task


_ROW_NAMES: Final = tuple(
    {"start_us": "start", "end_us": "end"}.get(name, name) for name in Fragment._fields
)


def fragment_of(row: Mapping[str, Any]) -> Fragment:
    """Return a fragment from its record, in the shape of schemas/trace_fragment.v2.avsc."""
    return Fragment.of(row[name] for name in _ROW_NAMES)


def record_key(fragment: Fragment) -> str:
    """Return what the halves of one record have in common: its record id, else its batch id."""
    if fragment.record_id:
        return f"record/{fragment.record_id}"
    return f"batch/{fragment.batch_id}" if fragment.batch_id else ""


def _sample(restart: Restart) -> list[Any]:
    """Return the first half as a sample: trace, record, batch and time."""
    first = restart.first
    return [first.trace_id, first.record_id, first.batch_id, first.start_us]


def _latest_us(fragments: Mapping[str, Fragment]) -> int:
    return max(fragment.end_us for fragment in fragments.values())
