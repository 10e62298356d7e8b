"""Windows of event time that several sources fill, and that end when all of them have passed.

Owns how far each source has come, which window ends next, and how long one that lags is waited for.
What is in a window is its users' business. Invariant: windows end in order, each once, at a
moment that depends on the watermarks; the clock only limits the wait for sources that lag.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from streams.errors import StateError
from streams.units import SECOND_US

WINDOW_BOUND = "window_over_bound"
WINDOW_SKIPPED = "window_skipped"


@dataclass(slots=True)
class Progress:
    """How far each source partition has come.

    Attributes:
        watermark_us: by partition, as it reported.
        total: how many partitions there are.
        idle: partitions that never reported, and are waited for no longer.
    """

    watermark_us: dict[int, int] = field(default_factory=dict)
    total: int = 0
    idle: set[int] = field(default_factory=set)

    def report(self, partition: int, watermark_us: int, total: int) -> None:
        """Take over a partition's watermark; it never goes back."""
        known = self.watermark_us.get(partition, watermark_us)
        self.watermark_us[partition] = max(known, watermark_us)
        self.total = max(self.total, total, partition + 1)
        self.idle.discard(partition)

    def low_us(self) -> int | None:
        """Return the time that all partitions have passed; None while one has not reported.

        Those that are idle are not asked, until they report.
        """
        if not self.total or len(self.watermark_us) + len(self.idle) < self.total:
            return None
        return min(self.watermark_us.values(), default=None)

    def give_up_on_silent(self) -> None:
        """Wait no longer for partitions that never reported: nothing ever came to them.

        Source: Apache Flink, `WatermarkStrategy.withIdleness`.
        """
        self.idle |= set(range(self.total)) - self.watermark_us.keys()

    def high_us(self) -> int | None:
        """Return the time that the first partition has passed; None before any report."""
        return max(self.watermark_us.values(), default=None)

    def reported(self, end_us: int) -> int:
        """Return how many partitions have passed `end_us`."""
        return sum(watermark >= end_us for watermark in self.watermark_us.values())


class Layout(Protocol):
    """How windows are laid, and how many are open at most."""

    @property
    def window_us(self) -> int:
        """Width of a window."""

    @property
    def wall_limit_us(self) -> int:
        """How long a window that some sources have passed waits for the others."""

    @property
    def max_windows(self) -> int:
        """Bound on open windows; beyond it the newest goes (a clock far ahead made it)."""


class OpenEnded(Protocol):
    """A window that waits for its end."""

    pending_since_us: int
    """Wall time at which the first source was seen past the end; 0 for none."""


W = TypeVar("W", bound=OpenEnded)


class EventWindows(Generic[W]):
    """Open windows by start, and the end up to which windows have ended.

    Attributes:
        progress: how far each source has come.
        windows: the open windows by start.
        ended_us: windows up to here have ended; None before the first.
        first_us: start of the first window that ended; rules leave the time after it alone.
        discarded: what was not used, by reason.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.progress = Progress()
        self.windows: dict[int, W] = {}
        self.ended_us: int | None = None
        self.first_us = 0
        self.discarded: Counter[str] = Counter()
        self._looked_us: int | None = None

    def make_room(self, start_us: int) -> bool:
        """Say whether a new window may begin there; beyond the bound the newest one goes."""
        if len(self.windows) >= self._layout.max_windows:
            self.discarded[WINDOW_BOUND] += 1
            newest_us = max(self.windows)
            if start_us > newest_us:
                return False
            del self.windows[newest_us]
        return True

    def overdue_us(self, now_us: int, caught_up: bool) -> int | None:
        """Return up to where windows end by the wall limit although sources lag; None for none.

        The wait is measured only while the input is read to its end: being behind is our own lag,
        and must not pass for a silent partition. A step that takes something in is not at the
        end: then the time since the last look does not count, and no more than that.
        """
        high_us = self.progress.high_us()
        due_us: int | None = None
        behind_us = 0
        if not caught_up:
            behind_us = now_us if self._looked_us is None else now_us - self._looked_us
        self._looked_us = now_us
        for start_us, window in self.windows.items():
            end_us = start_us + self._layout.window_us
            if high_us is None or end_us > high_us or (self.ended_us or 0) >= end_us:
                continue
            if behind_us or not window.pending_since_us:
                window.pending_since_us = min(
                    now_us, (window.pending_since_us or now_us) + behind_us
                )
            elif now_us - window.pending_since_us >= self._layout.wall_limit_us:
                due_us = max(end_us, due_us or 0)
        if due_us is not None:
            self.progress.give_up_on_silent()
        return due_us

    def end_next(self, target_us: int | None) -> int | None:
        """End the next window that lies wholly before `target_us`; return its end, None for none.

        After a gap longer than `max_windows` the windows in between are skipped: nothing was open
        in them. The gap counts once, however long: one event of 1970 before the others is one, and
        no hundred million. Before any window has ended it is no beginning either.
        """
        if target_us is None:
            return None
        width_us = self._layout.window_us
        if self.ended_us is None:
            first_us = min((s for s in self.windows if s + width_us <= target_us), default=None)
            if first_us is None:
                return None
            self.ended_us = self.first_us = first_us
            self._begun()
        if self.ended_us + width_us > target_us:
            return None
        skipped = (target_us - self.ended_us) // width_us - self._layout.max_windows
        if skipped > 0:
            self.discarded[WINDOW_SKIPPED] += 1
            before_us, self.ended_us = self.ended_us, self.ended_us + skipped * width_us
            if before_us == self.first_us:
                self.first_us = self.ended_us
            self._skipped(before_us, self.ended_us)
        self.ended_us += width_us
        self._ended(self.ended_us)
        return self.ended_us

    def header(self) -> dict[str, Any]:
        """Return the state without the windows themselves, JSON-able."""
        return {
            "window_us": self._layout.window_us,
            "ended_us": self.ended_us,
            "first_us": self.first_us,
            "partitions": self.progress.total,
            "watermarks": [list(item) for item in self.progress.watermark_us.items()],
            "idle": sorted(self.progress.idle),
            "discarded": dict(self.discarded),
        }

    def restore_header(self, header: Mapping[str, Any], what: str) -> None:
        """Take over what `header` returned, into windows that have seen nothing yet.

        Args:
            header: may hold more besides.
            what: names the state in messages.

        Raises:
            StateError: its windows are of another width than the layout's.
        """
        was_us, is_us = header["window_us"], self._layout.window_us
        if was_us != is_us:
            raise StateError(
                f"{what} state has windows of {was_us / SECOND_US:g} s, window_seconds says "
                f"{is_us / SECOND_US:g} s. Operator action: set the old width "
                f"(SPANLOOM_WINDOW_SECONDS={was_us / SECOND_US:g}), or delete the states of "
                "fidelity and signals, which both have it, and let them be counted anew: see "
                "docs/runbook.md, Counting anew."
            )
        self.ended_us, self.first_us = header["ended_us"], header["first_us"]
        self.progress.total = header["partitions"]
        self.progress.watermark_us = dict(map(tuple, header["watermarks"]))
        self.progress.idle = set(header.get("idle", ()))
        self.discarded.update(header["discarded"])

    def _begun(self) -> None:
        """Follow the beginning: `ended_us` is the start of the first window."""

    def _skipped(self, before_us: int, ended_us: int) -> None:
        """Follow a jump over windows that are not evaluated."""

    def _ended(self, ended_us: int) -> None:
        """Follow the end of a window."""
