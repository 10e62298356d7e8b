"""All state of one join task, and how it is cut into segments and put together again.

Invariant: folding the segments of all cuts, oldest first, gives the state at the last cut, up to
what follows from the events alone (slots, masks), which is computed anew from their bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from streams.core.fidelity.causes import nothing_known
from streams.core.fidelity.counts import WindowCounts
from streams.core.fidelity.plan import Plan
from streams.core.signals.counts import SignalBounds, SignalCounts
from streams.core.traces.arena import Arena, Shelve
from streams.core.traces.closedtraces import ClosedTraces
from streams.core.traces.opentraces import RECALL_WANTED, OpenTraces, TraceBounds
from streams.core.traces.partitioners import PartitionerWatch
from streams.core.traces.progress import Progress, ProgressSettings
from streams.core.traces.rejected import RejectedTraces
from streams.core.traces.waits import LearnedWait, WaitSettings
from streams.errors import StateError
from streams.state.segment import Segment, SegmentClosed, SegmentRows
from streams.units import I64, MINUTE_US, SECOND_US, U8

ACCOUNTS = ("accepted", "joined", "duplicate", "late", "untraced", "rejected", "evicted")
"""accepted = joined + duplicate + late + untraced + rejected + evicted + open, always."""

LINK_PREFIX = "link_"
"""Synthetic spans have the same accounts, as reasons of this prefix: nobody but the worker sent
them, so they must not count among what the modules produced."""

REOPENED_COLUMNS = ("revision", "cut_ms", "recall", "evicted")
"""What is kept of an open trace that does not follow from its events, besides `known`."""


@dataclass(frozen=True, slots=True)
class JoinSettings:
    """Settings of a join task; every bound is named in docs/settings.md.

    Attributes:
        fixed_wait_us: close every trace this long after its first event; None to use the
            contract's and the learned waits.
        closed_retention_us: how long, in stream time, a closed trace can still be amended.
        closed_max: how many closed traces are remembered at most.
        open_traces_max, open_bytes_max: beyond these the traces nearest to their deadline are
            closed early (closed_by = bound).
        open_resident_bytes_max: how much of the events that stay stays in memory; the rest goes on
            the shelf, if there is one.
        open_raw_bytes_max: beyond so many bytes of chunks that are kept as they came, with open
            events in them, the older half is packed.
        halves_bytes_max: events kept in memory of traces that may be halves of a restarted
            context; those beyond it are read back from the output topic when a link asks for them.
        window_us: length of a fidelity window, and of one of signals.
        signals: how many series and windows of metric points and log lines are counted.
        rejected_traces_max: of how many traces it is remembered that an event was rejected.
        hold_ahead_us: how far a topic may run ahead of one that is behind; None: twice the
            longest wait.
    """

    fixed_wait_us: int | None = None
    closed_retention_us: int = 10 * MINUTE_US
    closed_max: int = 2_000_000
    open_traces_max: int = 1_000_000
    open_bytes_max: int = 512 << 20
    open_resident_bytes_max: int = 16 << 20
    open_raw_bytes_max: int = 16 << 20
    halves_bytes_max: int = 16 << 20
    window_us: int = 10 * SECOND_US
    window_retention_us: int = 30 * MINUTE_US
    rejected_traces_max: int = 10_000
    hold_ahead_us: int | None = None
    signals: SignalBounds = field(default_factory=SignalBounds)
    bounds: TraceBounds = field(default_factory=TraceBounds)
    progress: ProgressSettings = field(default_factory=ProgressSettings)
    waits: WaitSettings = field(default_factory=WaitSettings)


class JoinState:
    """The state of one join task: positions, stream time, open and closed traces, counts."""

    def __init__(
        self,
        plan: Plan,
        topics: Sequence[str],
        settings: JoinSettings,
        partitioners: PartitionerWatch,
        silent: Sequence[int] = (),
        shelve: Shelve | None = None,
    ) -> None:
        self.plan = plan
        self.topics = tuple(topics)
        self.settings = settings
        self.positions: dict[str, int] = {}
        self.topic_ids: dict[str, str] = {}
        self.progress = Progress(len(topics), settings.progress, silent)
        self.is_link_topic = np.zeros(max(256, len(topics)), np.bool_)
        self.is_link_topic[list(silent)] = True
        arena = Arena(shelve, settings.open_resident_bytes_max, settings.open_raw_bytes_max)
        self.open = OpenTraces(plan.words, settings.bounds, arena)
        self.closed = ClosedTraces(settings.closed_max)
        self.counts = WindowCounts(settings.window_us, plan.version)
        self.signals = SignalCounts(settings.window_us, settings.signals)
        self.wait = LearnedWait(settings.waits)
        self.partitioners = partitioners
        self.rejected = RejectedTraces(settings.rejected_traces_max)
        self.accounts = dict.fromkeys(ACCOUNTS, 0)
        self.reasons: dict[str, int] = {}
        self.recalled_rows = 0
        self.sequence = 0
        self.last_cut_ms = 0
        self._removed: list[bytes] = []

    def open_events(self) -> int:
        """Return how many accepted events are open: in no revision yet."""
        return self.open.live_rows - self.recalled_rows - self.open_links()

    def open_links(self) -> int:
        """Return how many synthetic spans are open: what their accounts leave over."""
        accepted, *others = (self.reasons.get(LINK_PREFIX + name, 0) for name in ACCOUNTS)
        return accepted - sum(others)

    def count_events(self, account: str, topic: U8, reason: str = "") -> None:
        """Add n events to an account, each to that of modules or that of synthetic spans.

        Args:
            account: one of `ACCOUNTS`.
            topic: (n,) the topics that they came by.
            reason: names the counter of the modules' events besides, where there is one.
        """
        links = int(self.is_link_topic[topic].sum())
        self.count(account, len(topic) - links, reason)
        if links:
            name = LINK_PREFIX + account
            self.reasons[name] = self.reasons.get(name, 0) + links

    def accounting(self) -> dict[str, int]:
        """Return the accounts with `open`; they balance at every moment."""
        return {**self.accounts, "open": self.open_events()}

    def count(self, account: str, n: int = 1, reason: str = "") -> None:
        """Add to an account and, where given, to the counter of the reason."""
        self.accounts[account] += n
        if reason and n:
            self.reasons[reason] = self.reasons.get(reason, 0) + n

    def forget(self, slots: I64, rows: I64) -> None:
        """Drop slots and their rows, remembering for the changelog which traces went."""
        self.recalled_rows -= int(self.open.rows["is_recalled"][rows].sum())
        old = slots[self.open.slots["born_cut"][slots] < self.open.cut]
        self._removed += self.open.keys(old)
        self.open.close(slots, rows)

    def pending_recalls(self) -> list[tuple[bytes, int, int]]:
        """Return (trace, cut_ms, revision) of the reopened traces whose events can be read back."""
        s = self.open.slots
        return [
            (self.open.key(i), int(s["cut_ms"][i]), int(s["revision"][i]))
            for i in sorted(self.open.reopened)
            if s["recall"][i] == RECALL_WANTED and s["cut_ms"][i] > 0
        ]

    def segment(self, *, full: bool) -> Segment:
        """Return what this cut adds to the state, or the whole state; `sealed` ends the cut."""
        rows, slots = self.open.rows, self.open.slots
        used = rows.used
        mine = rows["slot"][:used] >= 0
        if not full:
            mine &= rows["cut"][:used] == self.open.cut
        at = np.flatnonzero(mine)
        owner = rows["slot"][at]
        segment_rows = SegmentRows(
            np.stack([slots["hi"][owner], slots["lo"][owner]], axis=1),
            rows["topic"][at],
            rows["kafka_us"][at],
            rows["is_late"][at],
            rows["is_recalled"][at],
            self.open.bodies(at).packed(),
        )
        live = self.open.live_slots()
        again = live[(slots["revision"][live] > 0) | (slots["evicted"][live] > 0)]
        if not full:
            again = again[slots["meta_cut"][again] == self.open.cut]
        reopened = [
            (
                self.open.key(slot),
                *(int(slots[name][slot]) for name in REOPENED_COLUMNS),
                self.open.known(np.array([slot]))[0].tolist(),
            )
            for slot in again.tolist()
        ]
        removed = [] if full else self._removed
        rejected = self.rejected.entries(full=full)
        closed, scalars = self._closed(full), self._scalars(full)
        return Segment(segment_rows, removed, closed, reopened, scalars, rejected, is_whole=full)

    def _closed(self, full: bool) -> SegmentClosed:
        found = self.closed.live(None if full else self.open.cut)
        none = np.zeros(0, np.int64)
        if not found:
            known, pair = nothing_known(0), np.zeros((0, 2), np.uint64)
            flags, events = np.zeros(0, np.bool_), np.zeros(0, np.uint64)
            return SegmentClosed(pair, none, none, none, flags, known, none, events)
        sizes = [np.diff(batch.offset) for batch, _ in found]
        cut_ms = [np.full(int(mine.sum()), batch.cut_ms) for batch, mine in found]
        mine_of = [b.events[np.repeat(mine, n)] for (b, mine), n in zip(found, sizes, strict=True)]
        return SegmentClosed(
            trace_id=np.concatenate([batch.trace_id[mine] for batch, mine in found]),
            revision=np.concatenate([batch.revision[mine] for batch, mine in found]),
            closed_us=np.concatenate([batch.closed_us[mine] for batch, mine in found]),
            cut_ms=np.concatenate(cut_ms),
            is_truncated=np.concatenate([batch.is_truncated[mine] for batch, mine in found]),
            known=np.concatenate([batch.known[mine] for batch, mine in found]),
            size=np.concatenate([n[mine] for (_, mine), n in zip(found, sizes, strict=True)]),
            events=np.concatenate(mine_of),
        )

    def _scalars(self, full: bool) -> dict[str, Any]:
        return {
            "topics": list(self.topics),
            "positions": self.positions,
            "topic_ids": self.topic_ids,
            "progress": self.progress.snapshot(),
            "accounts": self.accounts,
            "reasons": self.reasons,
            "counts": self.counts.snapshot(full=full),
            "signals": self.signals.snapshot(full=full),
            "wait": self.wait.snapshot(),
            "partitioners": self.partitioners.snapshot(),
            "sequence": self.sequence,
            "last_cut_ms": self.last_cut_ms,
            "forgotten_us": self.closed.forgotten_us,
            "closed_from_ms": self._closed_from_ms(),
        }

    def _closed_from_ms(self) -> int:
        """Return the cut of the oldest entries of the closed set: all before it expired."""
        batches = self.closed.batches()
        return batches[0].cut_ms if batches else self.last_cut_ms + 1

    def stamp_cut(self, cut_ms: int) -> None:
        """Say when the outputs of the cut in the making are published: their Kafka timestamp."""
        self.last_cut_ms = cut_ms
        for batch in reversed(self.closed.batches()):
            if batch.cut != self.open.cut:
                break
            batch.cut_ms = cut_ms
        # A trace reopened before its revision was published waits for exactly this cut.
        slots, used = self.open.slots, self.open.slots.used
        unpublished = (
            slots["is_live"][:used] & (slots["revision"][:used] > 0) & (slots["cut_ms"][:used] == 0)
        )
        slots["cut_ms"][:used][unpublished] = cut_ms
        slots["meta_cut"][:used][unpublished] = self.open.cut

    def sealed(self) -> None:
        """Begin the next cut: what comes from here on belongs to the next segment."""
        self.open.cut += 1
        self._removed = []
        self.rejected.sealed()

    def restore_scalars(self, scalars: Mapping[str, Any]) -> None:
        """Take over the small part of a segment; topics are matched by name.

        Raises:
            StateError: the topics had another number of partitions.
        """
        was_many, many = scalars["partitioners"]["partitions"], self.partitioners.partitions
        if was_many != many:
            raise StateError(
                f"the state is of topics with {was_many} partitions, they have {many}: keys have "
                "moved, and traces would be torn or come out twice. Operator action: start a new "
                "group (--group) with derived topics of its own (--derived-prefix)."
            )
        self.positions = dict(scalars["positions"])
        self.topic_ids = dict(scalars.get("topic_ids", {}))
        was = scalars["topics"]
        at = [self.topics.index(t) for t in was if t in self.topics]
        kept = [i for i, t in enumerate(was) if t in self.topics]
        for name, values in scalars["progress"].items():
            getattr(self.progress, name)[at] = np.array(values, np.int64)[kept]
        self.accounts = dict(scalars["accounts"])
        self.reasons = dict(scalars["reasons"])
        counts = scalars["counts"]
        if counts["window_us"] == self.counts.window_us:
            self.counts.amend(counts)
        if "signals" in scalars:  # state from before signals were counted has none
            self.signals.restore(scalars["signals"])
        self.wait.restore(scalars["wait"])
        self.partitioners.restore(scalars["partitioners"])
        self.sequence = scalars["sequence"]
        self.last_cut_ms = scalars["last_cut_ms"]
        self.closed.forgotten_us = scalars["forgotten_us"]
