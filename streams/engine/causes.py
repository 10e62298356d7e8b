"""The causes task: signals, a sample of the traces, and changes in; what is unusual, out.

Owns when a stretch of time is over and what belongs to it: metric series and log lines by their
window, traces and changes by when they came. Invariants: what is told depends on the records and
their order, not on the clock. Memory is bounded by series, operations and traces a stretch, and
what the bounds refuse is counted.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import polars as pl

from streams.core.causes.changes import Change
from streams.core.causes.evidence import Evidence
from streams.core.causes.metric_evidence import Sample
from streams.core.causes.metric_evidence import Series as Measured
from streams.core.causes.parameters import PARAMETERS, CauseParameters
from streams.core.causes.strength import strength
from streams.core.causes.trace_partials import Operation, TracePartial
from streams.core.causes.visits import SPAN_COLUMNS, counted_logs, trace_partial
from streams.core.causes.watch import CauseWatch, Finding
from streams.core.signals.cell import Cell
from streams.core.signals.counts import read_row
from streams.core.signals.measure import increase_of
from streams.core.signals.series import LOG, METRIC, Series
from streams.engine.formats import check_format
from streams.engine.outputs import Output, Outputs
from streams.units import HOUR_US

_FORMAT: Final = 1
_COUNTER: Final = "counter"
_NAME_PARTS: Final = 5
CHANGES_MAX: Final = 200
"""So many changes are remembered, those that came last."""
CHANGE_AHEAD_US: Final = HOUR_US
"""A change that says it will come later than that is no change yet."""
EVIDENCE_MAX: Final = 200
"""So many signs are told of one stretch, the strongest: a record has a largest size."""
NAME_MAX, SENTENCE_MAX = 200, 400
"""Characters of a sign's name and sentence."""
WINDOWLESS_STEPS: Final = 12
"""So long the first window is waited for, in the time of the traces."""
GAP_STEPS: Final = 3
"""A counter that was silent for longer rose by nobody knows how much in the last stretch."""
FORGET_US: Final = 24 * HOUR_US
"""A series or an operation that said nothing for so long is no longer known."""
SERIES_BOUND: Final = "cause_series_over_bound"
OPERATIONS_BOUND: Final = "cause_operations_over_bound"
TRACES_BOUND: Final = "cause_traces_over_bound"
CHANGES_BOUND: Final = "cause_changes_over_bound"
SPANS_BOUND: Final = "cause_spans_over_bound"
EVIDENCE_BOUND: Final = "cause_evidence_over_bound"
FEATURES_BOUND: Final = "cause_features_over_bound"
TOO_LATE: Final = "cause_windows_too_late"
TOO_EARLY: Final = "cause_change_in_the_future"


@dataclass(frozen=True, slots=True)
class CauseSettings:
    """How evidence is looked for, and its bounds.

    Attributes:
        parameters: constants of the evidence; `step_us` is the stretch.
        series_max: bound on metric series with a past.
        operations_max: bound on operations of traces and logs with a past.
        traces_max, spans_max: bounds on the traces of a stretch, and on their spans.
        contract_version: stamped on what is told.
    """

    parameters: CauseParameters = PARAMETERS
    series_max: int = 2_000
    operations_max: int = 1_000
    traces_max: int = 2_000
    spans_max: int = 20_000
    contract_version: str = ""


SpanRow = tuple[str, str, str, str, str, int, int, bool]
"""One span, as `SPAN_COLUMNS`."""
_SPAN_SCHEMA: Final = dict(
    zip(SPAN_COLUMNS, [*5 * [pl.String], pl.Int64, pl.Int64, pl.Boolean], strict=True)
)


class CausesTask:
    """Takes what the join tasks tell, and says after each stretch of time what was unusual."""

    def __init__(self, settings: CauseSettings) -> None:
        self.settings = settings
        self.watch = CauseWatch(settings.parameters)
        self.discarded: Counter[str] = Counter()
        self.stretches = 0
        """How many stretches of time ended since the task was made."""
        self._cells: dict[Series, Cell] = {}
        self._until_us = 0
        self._stepped_us = 0
        self._last: dict[Series, tuple[float, int]] = {}
        self._spans: list[SpanRow] = []
        self._traces = 0
        self._trace_us = 0
        self._has_windows = False
        self._seen_us: dict[Operation, int] = {}
        self._changes: list[Change] = []
        self._has_spoken = False

    def step(self, records: Sequence[dict[str, Any]], now_us: int, caught_up: bool) -> Outputs:
        """Take records in; return the evidence of each stretch that is over.

        Args:
            records: in the shape of schemas/signal_partial.v1.avsc (an ended window of the signals
                task, all partitions together), assembled_trace.v1.avsc or telemetry_event.v1.avsc
                (a change), in the order in which they came.
            now_us: not looked at.
            caught_up: not looked at.
        """
        found: list[dict[str, Any]] = []
        for record in records:
            if "series" in record:
                found += self._take_window(record)
            elif "spans" in record:
                self._take_trace(record)
                found += self._without_windows()
            else:
                self._take_change(record)
        return [Output("evidence", "evidence", record) for record in found]

    def counters(self) -> dict[str, int]:
        """Return how much was not used, by reason, since the task began."""
        found = self.discarded + Counter({FEATURES_BOUND: self.watch.traces.left_out})
        return dict(found)

    # --- taking in ------------------------------------------------------------------------------

    def _take_window(self, window: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Take an ended window in; end the stretches that are over by then."""
        step_us = self.settings.parameters.step_us
        if not self._has_windows:  # what was ended by the time of traces was ahead of this
            self._has_windows, self._stepped_us = True, 0
        end_us = window["window_start"] + window["window_us"]
        if window["series"] and end_us <= self._stepped_us:
            self.discarded[TOO_LATE] += len(window["series"])
            return
        if window["series"]:
            until_us = -(-end_us // step_us) * step_us
            if self._until_us and until_us > self._until_us:
                yield from self._end(self._until_us)
            self._until_us = until_us
        for row in window["series"]:
            series, cell = read_row(row)
            known = self._cells.get(series)
            self._cells[series] = cell if known is None else known.plus(cell)
        reached_us = window["watermark"] // step_us * step_us
        if reached_us > self._stepped_us and reached_us >= self._until_us:
            yield from self._end(reached_us)

    def _take_trace(self, trace: Mapping[str, Any]) -> None:
        spans = len(self._spans) + len(trace["spans"])
        if self._traces >= self.settings.traces_max or spans > self.settings.spans_max:
            is_full = self._traces >= self.settings.traces_max
            self.discarded[TRACES_BOUND if is_full else SPANS_BOUND] += 1
            return
        self._traces += 1
        self._trace_us = max(self._trace_us, trace["spans"][0]["timestamp"])
        self._spans += (
            (
                trace["trace_id"],
                span["span_id"],
                span["parent_span_id"],
                span["module"],
                span["name"],
                span["timestamp"],
                span["duration_us"],
                span["status"] == "ERROR",
            )
            for span in trace["spans"]
            if span["event_type"] == "TRACE"
        )

    def _without_windows(self) -> Iterator[dict[str, Any]]:
        """End stretches by the time of the traces, as long as no window was ever told.

        A pipeline without metrics and logs has none while one of its partitions is silent.
        """
        step_us = self.settings.parameters.step_us
        reached_us = self._trace_us // step_us * step_us
        if self._has_windows:
            return
        self._stepped_us = self._stepped_us or reached_us
        due_us = step_us if self.stretches else WINDOWLESS_STEPS * step_us
        if reached_us >= self._stepped_us + due_us:
            yield from self._end(reached_us)

    def _take_change(self, event: Mapping[str, Any]) -> None:
        told = event["dimensions"]
        names = (told.get("change_id"), event["correlation_id"], told.get("version"))
        change = Change(
            event["timestamp"],
            event["module"],
            event["operation"] or "CHANGE",
            next(filter(None, names), event["name"]),
            event["component"],
        )
        if change in self._changes:
            return
        if self._stepped_us and change.at_us > self._stepped_us + CHANGE_AHEAD_US:
            self.discarded[TOO_EARLY] += 1
            return
        self._changes.append(change)
        if len(self._changes) > CHANGES_MAX:
            self.discarded[CHANGES_BOUND] += 1
            del self._changes[0]

    # --- a stretch of time ----------------------------------------------------------------------

    def _end(self, at_us: int) -> Iterator[dict[str, Any]]:
        """Look at what came in a stretch, and tell of it if something is unusual, or was."""
        self.stretches += 1
        partial = self._bounded(self._of_traces(), at_us)
        partial.add(self._bounded(self._of_logs(), at_us))
        finding = self.watch.step(at_us, partial, self._samples(at_us))
        traces = self._traces
        self._cells, self._spans, self._traces = {}, [], 0
        self._stepped_us, self._until_us = at_us, 0
        self._forget(at_us)
        evidence = [*finding.evidence, *self._of_changes(at_us, finding.evidence)]
        evidence = self._strongest(evidence)
        if evidence or self._has_spoken:
            self._has_spoken = bool(evidence)
            yield self._record(at_us, traces, evidence, finding)

    def _of_traces(self) -> TracePartial:
        frame = pl.DataFrame(self._spans, schema=_SPAN_SCHEMA, orient="row")
        return trace_partial(frame.unique(["trace_id", "span_id"]))

    def _of_logs(self) -> TracePartial:
        """Return log lines as visits of their module, one a line."""
        lines = ((s, cell.points) for s, cell in self._cells.items() if s.kind == LOG)
        return counted_logs((s.module, s.severity, s.name, n) for s, n in lines)

    def _bounded(self, partial: TracePartial, at_us: int) -> TracePartial:
        """Leave out the operations beyond the bound; those that are known stay."""
        known = self._seen_us
        spare = self.settings.operations_max - len(known)
        fresh = sorted(operation for operation in partial.operations if operation not in known)
        for operation in fresh[max(0, spare) :]:
            del partial.operations[operation]
            self.discarded[OPERATIONS_BOUND] += 1
        known.update(dict.fromkeys(partial.operations, at_us))
        modules = {module for module, _ in partial.operations}
        for calls in (partial.calls, partial.network):
            for call in [call for call in calls if not modules.issuperset(call)]:
                del calls[call]
        return partial

    def _samples(self, at_us: int) -> Iterator[Sample]:
        """Return one value a series: what a counter rose by, of anything else the mean."""
        known = self.watch.metrics.series
        gap_us = GAP_STEPS * self.settings.parameters.step_us
        for series, cell in self._cells.items():
            if series.kind != METRIC or not cell.points:
                continue
            measured, is_counter = _measured(series)
            if measured not in known and len(known) >= self.settings.series_max:
                self.discarded[SERIES_BOUND] += 1
                continue
            if not is_counter:
                yield Sample(measured, at_us, cell.total / cell.points)
                continue
            before = self._last.get(series)
            self._last[series] = cell.last, at_us
            if before is None or at_us - before[1] <= gap_us:
                rise = increase_of(cell, before[0] if before else None)
                yield Sample(measured, at_us, rise, is_count=True)

    def _of_changes(self, at_us: int, evidence: Sequence[Evidence]) -> list[Evidence]:
        """Return the changes that may have brought about what is seen; nothing without it."""
        if not evidence:
            return []
        return self.watch.changes(at_us, evidence, self._changes)

    def _forget(self, at_us: int) -> None:
        before_us = at_us - FORGET_US
        self.watch.metrics.forget(before_us)
        self._last = {s: seen for s, seen in self._last.items() if seen[1] >= before_us}
        self._changes = [change for change in self._changes if change.at_us >= before_us]
        silent = [operation for operation, at in self._seen_us.items() if at < before_us]
        for operation in silent:
            del self._seen_us[operation]
        if silent:
            self.watch.forget(silent)

    def _strongest(self, evidence: list[Evidence]) -> list[Evidence]:
        """Return the signs that are told: where there are too many, the strongest."""
        excess = len(evidence) - EVIDENCE_MAX
        if excess <= 0:
            return evidence
        self.discarded[EVIDENCE_BOUND] += excess
        parameters = self.settings.parameters
        evidence.sort(key=lambda item: (-strength(item, parameters), item.module, item.sentence))
        return evidence[:EVIDENCE_MAX]

    def _record(
        self, at_us: int, traces: int, evidence: Sequence[Evidence], finding: Finding
    ) -> dict[str, Any]:
        items = []
        for item in evidence:
            row = asdict(item)
            row["since"] = row.pop("since_us")
            row["trace_ids"] = list(item.trace_ids)
            row["name"], row["sentence"] = item.name[:NAME_MAX], item.sentence[:SENTENCE_MAX]
            items.append(row)
        return {
            "at": at_us,
            "window_us": self.settings.parameters.step_us,
            "traces": traces,
            "series": len(self.watch.metrics.series),
            "alarms": dict(sorted(finding.alarms.items())),
            "evidence": items,
            "contract_version": self.settings.contract_version,
        }

    # --- state ----------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state, JSON-able; `restore` gives a task that answers alike."""
        return {
            "format": _FORMAT,
            "watch": self.watch.snapshot(),
            "discarded": dict(self.discarded),
            "cells": [[list(series), list(cell)] for series, cell in self._cells.items()],
            "until_us": self._until_us,
            "stepped_us": self._stepped_us,
            "last": [[list(series), *seen] for series, seen in self._last.items()],
            "spans": self._spans,
            "traces": self._traces,
            "trace_us": self._trace_us,
            "has_windows": self._has_windows,
            "seen_us": [[*operation, at] for operation, at in self._seen_us.items()],
            "changes": [list(change) for change in self._changes],
            "has_spoken": self._has_spoken,
        }

    @classmethod
    def restore(cls, settings: CauseSettings, snapshot: Mapping[str, Any]) -> Self:
        """Return a task in the state of a snapshot.

        Raises:
            StateError: the snapshot has another format.
        """
        check_format(snapshot, _FORMAT, "causes state")
        task = cls(settings)
        task.watch.restore(snapshot["watch"])
        task.discarded = Counter(snapshot["discarded"])
        task._cells = {Series.read(s): Cell.read(cell) for s, cell in snapshot["cells"]}
        task._until_us, task._stepped_us = snapshot["until_us"], snapshot["stepped_us"]
        task._last = {Series.read(s): (value, at) for s, value, at in snapshot["last"]}
        task._spans = [tuple(row) for row in snapshot["spans"]]
        task._traces, task._trace_us = snapshot["traces"], snapshot["trace_us"]
        task._has_windows = snapshot["has_windows"]
        task._seen_us = {(module, name): at for module, name, at in snapshot["seen_us"]}
        task._changes = [Change(*row) for row in snapshot["changes"]]
        task._has_spoken = snapshot["has_spoken"]
        return task


def _measured(series: Series) -> tuple[Measured, bool]:
    """Return a metric's series by its short name, and whether it counts up.

    Source: seed contract, `pipeline.<module>.<component>.<counter|histogram|gauge>.<metric_name>`;
    a metric named otherwise is taken by its whole name, and for a level.
    """
    parts = series.name.split(".", _NAME_PARTS - 1)
    is_ours = len(parts) == _NAME_PARTS and parts[0] == "pipeline"
    short = series._replace(name=parts[-1]) if is_ours else series
    return Measured(series.module, short.text, series.component), is_ours and parts[3] == _COUNTER
