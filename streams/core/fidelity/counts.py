"""Counts per event-time window and scope, of one source partition.

Owns which event and which trace counts where, and the samples that prove a count. Invariant: what
`take_changed` returns is a function of what was added less what was taken back, whatever the
batches were.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Self
from weakref import WeakKeyDictionary

import numpy as np

from streams.core.columns import STATUS_ERROR, TRACE, EventColumns, Operations, SpanBatch
from streams.core.fidelity.judge import Judgement
from streams.core.fidelity.plan import Plan
from streams.core.fidelity.tables import plan_tables
from streams.core.fidelity.tally import Evidence, Tally
from streams.core.fidelity.unsampled import UnsampledPoints
from streams.core.fidelity.windows import (
    IDLE_WINDOW,
    SAMPLES_KEPT,
    TOTAL,
    Sample,
    Scope,
    Windows,
)
from streams.core.order import distinct
from streams.units import I32, I64, U8, Mask, TimesUs

Describe = Callable[[int], tuple[str, str]]
"""Row -> (record id, batch id); called for the few rows that become samples."""
_FORMAT: Final = 1
_TRACE_KINDS: Final = ("edge", "stage")


class WindowCounts:
    """The counters of all windows of one partition.

    Args:
        window_us: length of a window, microseconds; windows are [start, end).
        plan_version: the contract's version, stamped on what is taken.
        max_scopes: how many scopes a window may have before modules (and calls) that the contract
            does not bound share module OTHER; see `discarded["scope_limit"]`.
        max_windows: how many windows may be open at once; see `discarded["window_limit"]`.
    """

    def __init__(
        self,
        window_us: int,
        plan_version: str,
        *,
        max_scopes: int = 2_000,
        max_windows: int = 10_000,
    ) -> None:
        self.plan_version = plan_version
        self._windows = Windows(window_us, max_scopes, max_windows)
        self._watermark_us: int | None = None
        self._unsampled = UnsampledPoints()
        self._module: WeakKeyDictionary[Operations, tuple[I32, list[str]]] = WeakKeyDictionary()

    @property
    def window_us(self) -> int:
        """Length of a window, microseconds."""
        return self._windows.window_us

    @property
    def discarded(self) -> Mapping[str, int]:
        """What was not counted where it belongs, by reason; see `Windows`."""
        return self._windows.discarded

    @property
    def bounds_met(self) -> Mapping[str, int]:
        """How often a window that was left alone was packed, by the name of that bound."""
        return {IDLE_WINDOW: self._windows.packed}

    def add_traces(
        self,
        batch: SpanBatch,
        judgement: Judgement,
        plan: Plan,
        operations: Operations,
        trace_ids: Sequence[bytes],
        describe: Describe,
        *,
        sign: int = 1,
        status: U8 | None = None,
        revision: I64 | None = None,
        start_us: TimesUs | None = None,
    ) -> None:
        """Add a batch of closed traces, or take back what their last revision added.

        Args:
            batch: the spans of the T traces.
            judgement: the verdicts on them.
            plan: the contract they were judged by.
            operations: the names behind the operation codes.
            trace_ids: T ids of 16 bytes.
            describe: called with a row of `batch`.
            sign: 1 adds; -1 takes back, given the batch and judgement that were added.
            status: (T,) where the caller knows better (TRUNCATED), else the judgement's.
            revision: (T,) revision of each trace, else 1.
            start_us: (T,) start of each trace, else that of its earliest span; a trace without
                spans is then not counted, because nothing says when it was.
        """
        assert sign in (1, -1), sign
        structure = judgement.structure
        begin_us = structure.start_us if start_us is None else start_us
        is_counted = structure.first[1:] > structure.first[:-1]
        if start_us is not None:
            is_counted = np.ones(batch.traces, np.bool_)
        starts, window = self._window_of(begin_us)
        tally = Tally(
            batch=batch,
            judgement=judgement,
            tables=plan_tables(plan),
            status=judgement.status if status is None else status,
            revision=np.ones(batch.traces, np.int64) if revision is None else revision,
            window=np.where(is_counted, window, -1),
            windows=len(starts),
        )
        for sums in (tally.totals(), tally.flows(), tally.edges(), tally.stages()):
            for at, scope, counts in sums:
                self._windows.add(starts[at], scope, {k: sign * n for k, n in counts.items()})
        for at, scope, counts in tally.calls(operations):
            self._windows.add(starts[at], scope, {k: sign * n for k, n in counts.items()})
        self._add_late_spans(batch, operations, is_counted, sign)
        if sign < 0:
            self._forget(starts, trace_ids)
            return
        for evidence in (tally.edge_evidence(), tally.stage_evidence()):
            self._add_samples(evidence, tally, starts, trace_ids, describe)

    def add_events(self, events: EventColumns, is_traced: Mask, operations: Operations) -> None:
        """Add events as they were accepted, repeats included, to the windows of their own times.

        Args:
            events: n events.
            is_traced: (n,) the event has a trace id.
            operations: the names behind the operation codes.
        """
        is_span = events.event_type == TRACE
        values: dict[str, Mask] = {
            "events": np.ones(len(events), np.bool_),
            "spans": is_span,
            "errors": is_span & (events.status == STATUS_ERROR),
            "untraced": ~is_traced,
        }
        self._add_by_module(events.operation, events.timestamp_us, operations, values)
        totals = {name: values[name] for name in ("events", "untraced")}
        self._add_total(events.timestamp_us, totals)
        rows, marks, amounts = self._unsampled.counted(events, operations)
        if len(rows):
            at_us = events.timestamp_us[rows]
            self._add_by_module(events.operation[rows], at_us, operations, marks, amounts=amounts)
            self._add_total(at_us, marks, amounts=amounts)

    def add_duplicates(
        self,
        operation: I32,
        timestamp_us: TimesUs,
        operations: Operations,
        *,
        trace_ids: Sequence[bytes] | None = None,
        describe: Describe | None = None,
    ) -> None:
        """Add events whose identity was seen before, to the windows of their own times.

        Args:
            operation: (n,) codes in `operations`.
            timestamp_us: (n,) event times.
            operations: the names behind the codes.
            trace_ids: n ids of 16 bytes, to keep samples; called for together with `describe`.
            describe: called with a row of the n.
        """
        values = {"duplicate": np.ones(len(operation), np.bool_)}
        self._add_by_module(operation, timestamp_us, operations, values)
        self._add_total(timestamp_us, values)
        if trace_ids is None or describe is None or not len(operation):
            return
        evidence = self._module_evidence("duplicate", operation, operations)
        starts, window = self._window_of(timestamp_us)
        self._keep_smallest(evidence, window, starts, timestamp_us, trace_ids, describe)

    def add_misplaced(
        self,
        events: EventColumns,
        rows: I64,
        counter: str,
        operations: Operations,
        describe: Callable[[bytes], tuple[str, str]],
    ) -> None:
        """Add the events at `rows` as lying in other partitions than their traces.

        Args:
            events: a chunk.
            rows: (r,) rows of traced events.
            counter: name of the module's counter, which says how they were placed.
            operations: the names behind the operation codes.
            describe: called with the bytes of the few events that become samples.
        """
        if not len(rows):
            return
        operation, timestamp_us = events.operation[rows], events.timestamp_us[rows]
        values = {counter: np.ones(len(rows), np.bool_)}
        self._add_by_module(operation, timestamp_us, operations, values)
        evidence = self._module_evidence(counter, operation, operations)
        starts, window = self._window_of(timestamp_us)
        trace_ids = events.trace_id[rows].astype(">u8").view("V16").ravel().tolist()
        self._keep_smallest(
            evidence,
            window,
            starts,
            timestamp_us,
            trace_ids,
            lambda row: describe(events.body[int(rows[row])]),
        )

    def _module_evidence(self, counter: str, operation: I32, operations: Operations) -> Evidence:
        """Return n events, each of a trace of its own, as evidence for a counter of modules."""
        module, names = self._modules(operations)
        return Evidence(
            scopes=[Scope("module", module=name) for name in names],
            counters=(counter,),
            trace=np.arange(len(operation)),
            scope=module[operation].astype(np.int64),
            counter=np.zeros(len(operation), np.int64),
            row=np.arange(len(operation)),
        )

    def add_late(self, events: EventColumns, rows: I64 | int, operations: Operations) -> None:
        """Add the events at `rows` as too late for any trace, to the windows of their own times."""
        at = np.atleast_1d(np.asarray(rows, np.int64))
        values = {"late": np.ones(len(at), np.bool_)}
        self._add_by_module(events.operation[at], events.timestamp_us[at], operations, values)
        self._add_total(events.timestamp_us[at], values)

    def add_rejected(self, count: int, timestamp_us: int | None = None) -> None:
        """Add rejected records to one window.

        Args:
            count: how many.
            timestamp_us: when they came, best the broker's time of the record. Without it they
                count in the newest window there is; before there is one, nowhere (the accounts
                of the partition have them all the same).
        """
        windows = self._windows.items()
        if timestamp_us is not None:
            start_us = timestamp_us // self.window_us * self.window_us
        elif windows:
            start_us = windows[-1][0]
        else:
            return
        if count:
            self._windows.add(start_us, TOTAL, {"rejected": count})

    def take_changed(self, watermark_us: int) -> list[dict[str, Any]]:
        """Return the windows that changed since they were last taken, by start.

        A window whose end the watermark passed since then is returned too, so that its reader
        learns that it is whole.

        Args:
            watermark_us: no trace that starts before it is open in this partition.

        Returns:
            Records of schemas/fidelity_partial.v1.avsc without `partition`, `partitions_total`
            and `sequence`, which the caller adds.
        """
        before_us = self._watermark_us
        out = []
        for start_us, window in self._windows.items():
            end_us = start_us + self.window_us
            is_passed = end_us <= watermark_us and (before_us is None or end_us > before_us)
            if not (window.is_changed or is_passed):
                continue
            # That it was told is state too, or a restored task would tell it again.
            window.is_unsaved |= window.is_changed
            window.is_changed = False
            out.append(
                {
                    "window_start": start_us,
                    "window_us": self.window_us,
                    "watermark": watermark_us,
                    "contract_version": self.plan_version,
                    "scopes": window.scopes(),
                }
            )
        self._watermark_us = watermark_us if before_us is None else max(before_us, watermark_us)
        return out

    def has_changed(self) -> bool:
        """Return whether a window changed since the windows were last taken."""
        return any(window.is_changed for _, window in self._windows.items())

    def expire(self, before_us: int) -> int:
        """Give up the windows that end at or before `before_us`; return how many.

        What still comes for them is counted in `discarded["window_expired"]` alone.
        """
        return self._windows.expire(before_us)

    def snapshot(self, *, full: bool = True) -> dict[str, Any]:
        """Return the state as plain JSON values; `restore` takes it.

        Args:
            full: all windows, else only those that changed since the last snapshot, for `amend`.
        """
        return {
            "format": _FORMAT,
            "window_us": self.window_us,
            "plan_version": self.plan_version,
            "watermark_us": self._watermark_us,
            **self._windows.snapshot(full=full),
        }

    @classmethod
    def restore(cls, snapshot: Mapping[str, Any]) -> Self:
        """Return the counts that `snapshot` was taken of."""
        assert snapshot["format"] == _FORMAT, snapshot["format"]
        counts = cls(snapshot["window_us"], snapshot["plan_version"])
        counts.amend(snapshot)
        return counts

    def amend(self, snapshot: Mapping[str, Any]) -> None:
        """Put a later snapshot on top; what it holds replaces what is there."""
        self._watermark_us = snapshot["watermark_us"]
        self._windows.restore(snapshot)

    def _window_of(self, time_us: TimesUs) -> tuple[list[int], I64]:
        """Return the distinct window starts and (n,) which of them each time lies in."""
        start_us = time_us // self.window_us
        starts, which = distinct(start_us)
        return (starts * self.window_us).tolist(), which

    def _modules(self, operations: Operations) -> tuple[I32, list[str]]:
        """Return (operations,) the module of each operation as an index, and the names."""
        known, names = self._module.get(operations, (np.zeros(0, np.int32), []))
        if len(known) < len(operations):
            place = {name: index for index, name in enumerate(names)}
            new = [
                place.setdefault(operation.module, len(place))
                for operation in operations.since(len(known))
            ]
            known, names = np.concatenate([known, np.array(new, np.int32)]), list(place)
            self._module[operations] = (known, names)
        return known, names

    def _add_by_module(
        self,
        operation: I32,
        timestamp_us: TimesUs,
        operations: Operations,
        values: Mapping[str, Mask],
        sign: int = 1,
        amounts: Mapping[str, I64] | None = None,
    ) -> None:
        """Add the rows that each mask marks, or so much for each, to its module and window."""
        if not len(operation):
            return
        module, names = self._modules(operations)
        starts, window = self._window_of(timestamp_us)
        key, which = distinct(window * len(names) + module.take(operation))
        sums = [_sums(which, len(key), mask, name, amounts) for name, mask in values.items()]
        for one, column in zip(key.tolist(), zip(*sums, strict=True), strict=True):
            counts = {name: sign * n for name, n in zip(values, column, strict=True) if n}
            if counts:
                scope = Scope("module", module=names[one % len(names)])
                self._windows.add(starts[one // len(names)], scope, counts)

    def _add_total(
        self,
        timestamp_us: TimesUs,
        values: Mapping[str, Mask],
        amounts: Mapping[str, I64] | None = None,
    ) -> None:
        if not len(timestamp_us):
            return
        starts, window = self._window_of(timestamp_us)
        sums = [_sums(window, len(starts), mask, name, amounts) for name, mask in values.items()]
        for index, start_us in enumerate(starts):
            counts = {k: n[index] for k, n in zip(values, sums, strict=True) if n[index]}
            if counts:
                self._windows.add(start_us, TOTAL, counts)

    def _add_late_spans(
        self, batch: SpanBatch, operations: Operations, is_counted: Mask, sign: int
    ) -> None:
        """Add the spans that came after their trace's first revision to their modules."""
        rows = np.flatnonzero(batch.is_late & is_counted[batch.trace])
        values = {"late": np.ones(len(rows), np.bool_)}
        self._add_by_module(
            batch.operation[rows], batch.timestamp_us[rows], operations, values, sign
        )

    def _forget(self, starts: Sequence[int], trace_ids: Sequence[bytes]) -> None:
        """Drop the samples of traces that are taken back; the counts keep their other proofs."""
        gone = {trace_id.hex() for trace_id in trace_ids}
        for start_us in starts:
            window = self._windows.at(start_us, create=False)
            if window is not None:
                window.forget(gone, _TRACE_KINDS)

    def _add_samples(
        self,
        evidence: Evidence,
        tally: Tally,
        starts: Sequence[int],
        trace_ids: Sequence[bytes],
        describe: Describe,
    ) -> None:
        if not len(evidence.row):
            return
        time_us = tally.batch.timestamp_us[evidence.row]
        window = tally.window[evidence.trace]
        self._keep_smallest(evidence, window, starts, time_us, trace_ids, describe)

    def _keep_smallest(
        self,
        evidence: Evidence,
        window: I64,
        starts: Sequence[int],
        time_us: TimesUs,
        trace_ids: Sequence[bytes],
        describe: Describe,
    ) -> None:
        """Keep for each window, scope and counter the samples with the smallest trace ids."""
        high, low = np.frombuffer(b"".join(trace_ids), ">u8").reshape(-1, 2).T
        key = (window * len(evidence.scopes) + evidence.scope) * len(evidence.counters)
        key += evidence.counter
        order = np.lexsort((time_us, low[evidence.trace], high[evidence.trace], key))
        ordered = key[order]
        is_kept = np.ones(len(order), np.bool_)
        # A row is among the first five of its key unless the row five before has the same key.
        is_kept[SAMPLES_KEPT:] = ordered[SAMPLES_KEPT:] != ordered[:-SAMPLES_KEPT]
        for index in order[is_kept].tolist():
            place = int(window[index])
            trace_id = trace_ids[int(evidence.trace[index])].hex()
            scope = evidence.scopes[int(evidence.scope[index])]
            counter = evidence.counters[int(evidence.counter[index])]
            at_us = int(time_us[index])
            if place < 0 or not self._windows.wants(starts[place], scope, counter, trace_id, at_us):
                continue
            described = Sample(trace_id, at_us, *describe(int(evidence.row[index])))
            self._windows.sample(starts[place], scope, counter, described)


def _sums(
    group: I64, groups: int, mask: Mask, name: str, amounts: Mapping[str, I64] | None
) -> list[int]:
    """Return per group how many of its rows are marked, or how much these amount to."""
    if amounts is None:
        return np.bincount(group[mask], minlength=groups).tolist()  # type: ignore[no-any-return]
    sums = np.zeros(groups, np.int64)
    np.add.at(sums, group[mask], amounts[name][mask])
    return sums.tolist()
