"""Plays a recording, in the order of its time, into the watch, and keeps the incidents it opens.

The watch sees a trace when its last span has ended, and a sample when it was taken: never earlier.
An incident opens with the first alarm, is ranked anew at each step while alarms last, says so when
the order of its first causes changes, and is resolved when no alarm came for `QUIET_US`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from streams.core.causes.casefile import CaseFile
from streams.core.causes.evidence import UNKNOWN, Cause
from streams.core.causes.metric_evidence import Sample, Series
from streams.core.causes.parameters import PARAMETERS
from streams.core.causes.rank import rank
from streams.core.causes.visits import trace_partial
from streams.core.causes.watch import CauseWatch
from streams.units import MINUTE_US

QUIET_US = 2 * MINUTE_US
TOLD = 3


@dataclass
class Recording:
    """A recording as columns, in any order.

    Attributes:
        spans: SPAN_COLUMNS of streams.core.causes.visits.
        logs: LOG_COLUMNS.
        samples: of metrics.
        normal: mean and deviation of series in normal running, known before the recording.
        modules: all candidates.
    """

    spans: pl.DataFrame
    logs: pl.DataFrame
    samples: list[Sample]
    normal: list[tuple[Series, float, float]] = field(default_factory=list)
    modules: frozenset[str] = frozenset()


@dataclass
class Told:
    """One event of an incident: when, and the causes it named."""

    at_us: int
    causes: list[Cause]

    @property
    def ranked(self) -> list[str]:
        """Return the modules in order; those behind UNKNOWN too."""
        return [cause.module for cause in self.causes if cause.kind != UNKNOWN]


@dataclass
class Incident:
    """One incident of a replay."""

    opened_us: int
    last_us: int
    modules: set[str]
    told: list[Told]
    alerts: int = 0


def replay(recording: Recording, watch: CauseWatch) -> list[Incident]:
    """Return the incidents of a recording, by their opening."""
    for series, mean, deviation in recording.normal:
        watch.metrics.prime(series, mean, deviation)
    incidents: list[Incident] = []
    current: Incident | None = None
    case = CaseFile(PARAMETERS)
    for now_us, spans, logs, samples in steps(recording):
        partial = trace_partial(spans, logs) if spans is not None else None
        finding = watch.step(now_us, partial, samples)
        if current is not None and now_us - current.last_us > QUIET_US:
            current = None
        if finding.alarms and current is None:
            current = Incident(now_us, now_us, set(), [])
            incidents.append(current)
            case = CaseFile(PARAMETERS)
        if current is None:
            continue
        if finding.alarms:
            current.last_us = now_us
            current.alerts += len(set(finding.alarms) - current.modules)
            current.modules |= set(finding.alarms)
            case.add(finding.evidence, now_us)
            case.add(watch.evidence(now_us, current.opened_us - PARAMETERS.window_us), now_us)
            tell(current, Told(now_us, rank((), case.evidence(now_us), watch.topology())))
    return incidents


def tell(incident: Incident, told: Told) -> None:
    """Add an event when the first causes are others than before."""
    if not incident.told or incident.told[-1].ranked[:TOLD] != told.ranked[:TOLD]:
        incident.told.append(told)


def steps(
    recording: Recording,
) -> Iterator[tuple[int, pl.DataFrame | None, pl.DataFrame | None, Sequence[Sample]]]:
    """Return, for each step with news, its end, and the traces and samples that came in it."""
    step_us = PARAMETERS.step_us
    spans, logs = _closed(recording, step_us)
    samples: dict[int, list[Sample]] = {}
    for sample in recording.samples:
        samples.setdefault(-(-sample.at_us // step_us), []).append(sample)
    for number in sorted({*spans, *samples}):
        yield number * step_us, spans.get(number), logs.get(number), samples.get(number, ())


def _closed(
    recording: Recording, step_us: int
) -> tuple[dict[int, pl.DataFrame], dict[int, pl.DataFrame]]:
    """Return spans and logs by the step in which their trace's last span ended."""
    if recording.spans.is_empty():
        return {}, {}
    end = pl.col("timestamp_us") + pl.col("duration_us")
    spans = recording.spans.with_columns(
        step=((end.max().over("trace_id") + step_us - 1) // step_us)
    )
    of_trace = spans.select("trace_id", "step").unique()
    logs = recording.logs.join(of_trace, on="trace_id", how="inner")
    return _by_step(spans), _by_step(logs)


def _by_step(frame: pl.DataFrame) -> dict[int, pl.DataFrame]:
    parts = frame.partition_by("step", as_dict=True, include_key=False)
    return {int(np.int64(key[0])): part for key, part in parts.items()}
