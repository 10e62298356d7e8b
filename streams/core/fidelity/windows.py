"""The counters of event-time windows: what is kept for each window and scope, and its bounds.

Owns windows, scopes, counters and samples, and knows nothing of traces or plans. Invariant:
counts are absolute, so that a reader takes the latest and adds nothing; a window that was given
up is never begun again, or its few late counts would replace the full ones.
"""

import json
import zlib
from bisect import insort
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

SAMPLES_KEPT: Final = 5
OTHER_MODULE: Final = "OTHER"
IDLE_TURNS: Final = 30
"""A window that nothing was added to for so many turns, of a second or more, is packed: most of
those that are kept are never asked again, and as objects each takes 14 kB or more. No setting: one
that is asked again is unpacked in a fraction of a millisecond, and packed once in so many turns at
most."""
IDLE_WINDOW: Final = "idle_window"
"""Name of that bound."""


class Scope(NamedTuple):
    """What a counter counts for; names that do not apply are ""."""

    kind: str
    flow: str = ""
    from_stage: str = ""
    to_stage: str = ""
    module: str = ""

    @property
    def is_bounded(self) -> bool:
        """The contract names it, so that there are only so many; input cannot add more."""
        return self.kind == "total" or bool(self.flow)


TOTAL: Final = Scope("total")


class Sample(NamedTuple):
    """One of the events that prove a count; the smallest are kept, by trace id, then time."""

    trace_id: str
    timestamp_us: int
    record_id: str = ""
    batch_id: str = ""


class Window:
    """The counters and samples of one window.

    `is_changed` since it was last taken for publication, `is_unsaved` since the last snapshot.
    """

    __slots__ = ("_counters", "_idle_turns", "_packed", "_samples", "is_changed", "is_unsaved")

    def __init__(self) -> None:
        self._counters: dict[Scope, dict[str, int]] = {}
        self._samples: dict[Scope, dict[str, list[Sample]]] = {}
        self._packed = b""
        self._idle_turns = 0
        self.is_changed = True
        self.is_unsaved = True

    @property
    def counters(self) -> dict[Scope, dict[str, int]]:
        """What is counted, by scope and name."""
        self._unpack()
        return self._counters

    @property
    def samples(self) -> dict[Scope, dict[str, list[Sample]]]:
        """Samples by scope and counter."""
        self._unpack()
        return self._samples

    @property
    def is_packed(self) -> bool:
        """Whether it takes little room, and is unpacked by whoever asks for what is in it."""
        return bool(self._packed)

    def turn(self) -> bool:
        """Pack the window if it has been left alone for long and is told and saved; return whether.

        One that is packed already is not packed again.
        """
        self._idle_turns += 1
        if self._packed or self.is_changed or self.is_unsaved or self._idle_turns < IDLE_TURNS:
            return False
        self._packed = zlib.compress(json.dumps(self.listed()).encode(), 1)
        self._counters, self._samples = {}, {}
        return True

    def _unpack(self) -> None:
        self._idle_turns = 0
        if self._packed:
            packed, self._packed = self._packed, b""
            self.fill(json.loads(zlib.decompress(packed)))

    def listed(self) -> list[Any]:
        """Return scopes, counters and samples as JSON values."""
        samples = self.samples
        return [
            [list(scope), counters, samples.get(scope, {})]
            for scope, counters in self.counters.items()
        ]

    def fill(self, listed: Sequence[Any]) -> None:
        """Put in what `listed` returned of another window."""
        for names, counters, samples in listed:
            scope = Scope(*names)
            self.counters[scope] = dict(counters)
            self.samples[scope] = {
                name: [Sample(*sample) for sample in kept] for name, kept in samples.items()
            }

    def scopes(self) -> list[dict[str, Any]]:
        """Return the scopes that count something, in order, as a FidelityPartial has them.

        When all of it was taken back, the scopes come with zeros: no scope at all would be read as
        no news.
        """
        is_empty = not any(any(counters.values()) for counters in self.counters.values())
        return [
            {
                **scope._asdict(),
                "counters": {n: c for n, c in sorted(counters.items()) if c or is_empty},
                "samples": [
                    {
                        "counter": name,
                        "trace_id": sample.trace_id,
                        "record_id": sample.record_id,
                        "batch_id": sample.batch_id,
                        "timestamp": sample.timestamp_us,
                    }
                    for name, samples in sorted(self.samples.get(scope, {}).items())
                    for sample in samples
                ],
            }
            for scope, counters in sorted(self.counters.items())
            if is_empty or any(counters.values())
        ]

    def forget(self, trace_ids: Collection[str], kinds: Collection[str]) -> None:
        """Drop the samples of these traces from the scopes of these kinds."""
        for scope, by_counter in self.samples.items():
            if scope.kind in kinds:
                for name, samples in by_counter.items():
                    by_counter[name] = [s for s in samples if s.trace_id not in trace_ids]


class Windows:
    """All windows of one source that still count, by their start.

    Attributes:
        window_us: length of a window; it starts at a multiple of it.
        floor_us: windows that start before it were given up.
        discarded: what was not counted where it belongs, by reason: `window_expired` (given up
            before), `window_limit` (more than `max_windows` at once), `scope_limit` (counted
            under module OTHER: more than `max_scopes` in one window).
        packed: how often a window was packed.
    """

    def __init__(self, window_us: int, max_scopes: int, max_windows: int) -> None:
        assert window_us > 0, window_us
        self.window_us = window_us
        self.floor_us: int | None = None
        self.discarded: Counter[str] = Counter()
        self.packed = 0
        self._max_scopes = max_scopes
        self._max_windows = max_windows
        self._windows: dict[int, Window] = {}

    def __len__(self) -> int:
        return len(self._windows)

    def at(self, start_us: int, *, create: bool = True) -> Window | None:
        """Return the window from `start_us` on, None when it is given up or beyond bounds."""
        window = self._windows.get(start_us)
        if window is not None:
            return window
        if self.floor_us is not None and start_us < self.floor_us:
            self.discarded["window_expired"] += 1
        elif create and len(self._windows) >= self._max_windows:
            self.discarded["window_limit"] += 1
        elif create:
            return self._windows.setdefault(start_us, Window())
        return None

    def add(self, start_us: int, scope: Scope, counts: Mapping[str, int]) -> None:
        """Add to the counters of one scope; a count below zero takes back what was added."""
        window = self.at(start_us, create=any(n > 0 for n in counts.values()))
        if window is None:
            return
        kept = self._within_bounds(window, scope)
        if kept != scope:
            self.discarded["scope_limit"] += 1
        counters = window.counters.setdefault(kept, {})
        for name, n in counts.items():
            counters[name] = counters.get(name, 0) + n
        window.is_changed = window.is_unsaved = True

    def wants(self, start_us: int, scope: Scope, counter: str, trace_id: str, time_us: int) -> bool:
        """Say whether a sample of this trace would be kept, before it is worth describing."""
        window = self._windows.get(start_us)
        if window is None:
            return False
        kept = window.samples.get(self._within_bounds(window, scope), {}).get(counter, ())
        return len(kept) < SAMPLES_KEPT or (trace_id, time_us) < (
            kept[-1].trace_id,
            kept[-1].timestamp_us,
        )

    def sample(self, start_us: int, scope: Scope, counter: str, sample: Sample) -> None:
        """Keep a sample when it is one of the smallest; a second equal one changes nothing."""
        window = self._windows.get(start_us)
        if window is None:
            return
        by_counter = window.samples.setdefault(self._within_bounds(window, scope), {})
        kept = by_counter.setdefault(counter, [])
        if sample not in kept:
            insort(kept, sample)
            del kept[SAMPLES_KEPT:]
            window.is_changed = window.is_unsaved = True

    def _within_bounds(self, window: Window, scope: Scope) -> Scope:
        """Return the scope, or the one that stands for all that the bound does not let in."""
        if scope in window.counters or scope.is_bounded:
            return scope
        if len(window.counters) < self._max_scopes:
            return scope
        return Scope(scope.kind, module=OTHER_MODULE)

    def items(self) -> list[tuple[int, Window]]:
        """Return (start, window), by start."""
        return sorted(self._windows.items())

    def expire(self, before_us: int) -> int:
        """Give up the windows that end at or before `before_us`; return how many.

        It is a turn for those that are left, see `Window.turn`.
        """
        floor_us = before_us // self.window_us * self.window_us
        if self.floor_us is None or floor_us > self.floor_us:
            self.floor_us = floor_us
        old = [start_us for start_us in self._windows if start_us < self.floor_us]
        for start_us in old:
            del self._windows[start_us]
        for window in self._windows.values():
            if window.turn():
                self.packed += 1
        return len(old)

    def snapshot(self, *, full: bool = True) -> dict[str, Any]:
        """Return everything, or the windows changed since the last snapshot, as JSON values."""
        windows = []
        for start_us, window in self.items():
            if not (full or window.is_unsaved):
                continue
            window.is_unsaved = False
            windows.append([start_us, window.is_changed, window.listed()])
        return {
            "floor_us": self.floor_us,
            "discarded": dict(self.discarded),
            "windows": windows,
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Take over a snapshot; its windows replace those that are there."""
        self.floor_us = snapshot["floor_us"]
        self.discarded = Counter(snapshot["discarded"])
        for start_us, is_changed, scopes in snapshot["windows"]:
            window = self._windows[start_us] = Window()
            window.is_changed = is_changed
            window.fill(scopes)
        if self.floor_us is not None:
            self.expire(self.floor_us)


def with_earlier(later: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """Return a snapshot with the windows that only an earlier one holds: what did not change since.

    Args:
        later: a snapshot, perhaps of the changed windows only.
        earlier: the one before it.
    """
    if earlier["window_us"] != later["window_us"]:
        return dict(later)
    floor_us = later["floor_us"]
    known = {window[0] for window in later["windows"]}
    kept = [
        window
        for window in earlier["windows"]
        if window[0] not in known and (floor_us is None or window[0] >= floor_us)
    ]
    return {**later, "windows": sorted([*kept, *later["windows"]], key=lambda w: w[0])}
