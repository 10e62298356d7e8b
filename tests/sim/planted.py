"""Bugs planted on purpose: the simulation must catch each of them, or its silence says nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from streams.core.fidelity.counts import WindowCounts
from streams.core.traces.closedtraces import ClosedTraces
from streams.engine.join_state import JoinState
from streams.runtime.commit import Cut
from streams.state.live import LiveSegments
from streams.state.segment import Segment
from tests.sim.broker import Broker

_segments, _abort, _add_traces = LiveSegments.segments, Broker.abort, WindowCounts.add_traces
_pending = JoinState.pending_recalls


def _one_segment_short(self: LiveSegments) -> list[Segment]:
    segments = _segments(self)
    return segments[:-1] if len(segments) > 1 else segments


def _outputs_without_state(self: Broker, cut: Cut) -> None:
    for record in cut.outputs:
        self._append(record, cut.cut_ms)
    _abort(self, Cut(cut.cut_ms, [], cut.changelog, {}))


def _counted_twice(self: WindowCounts, *args: Any, sign: int = 1, **options: Any) -> None:
    if sign > 0:  # what the last revision counted is not taken back
        _add_traces(self, *args, **options)


BUGS: dict[str, tuple[type, str, Any]] = {
    "segment_short": (LiveSegments, "segments", _one_segment_short),
    "outputs_without_state": (Broker, "abort", _outputs_without_state),
    "duplicate_kept": (ClosedTraces, "holds_event", lambda *_: False),
    "window_twice": (WindowCounts, "add_traces", _counted_twice),
    "zombie_not_fenced": (Broker, "refusal", lambda *_: ""),
    "late_span_alone": (JoinState, "pending_recalls", lambda _: []),
}
"""Name -> what is replaced: restored one segment short; outputs visible without their state; a
repeat after closing not known; a window counted anew and never taken back; a commit of a past
member accepted; the events of the last revision never read back."""


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Run with a bug; "" for none."""
    if not name:
        yield
        return
    owner, attribute, instead = BUGS[name]
    with patch.object(owner, attribute, instead):
        yield
