"""Partials of all partitions become windows: the latest of each, added up by scope.

Owns the event-time windows of the global stage: open ones, which keep every partition's part so
that a later part replaces the earlier, and sealed ones, which keep only the counts that the long
burn window and the rate of a module need. It refuses what it cannot place and counts it by reason.

Invariant: a window's counts are a function of the set of partials applied, not of their order,
their repetition or where the stream of them was cut, as long as the window is open.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from streams.core.event_windows import EventWindows
from streams.core.fidelity.rolling import Changes, Counts, RollingSum, Scope, change
from streams.errors import ConfigError
from streams.units import HOUR_US, MINUTE_US, SECOND_US

RESTART_PARTITION_BASE: Final = 100_000
"""Partials from here on come from fragment tasks: they count, but promise nothing about time."""

SEALED_COUNTERS: Final = frozenset(
    {"expected", "observed", "events", "traces", "sampled_out", "complete"}
)
"""What the long burn window and a module's rate need of a window that takes no corrections."""


class Sample(NamedTuple):
    """One event that stands for a counter of a scope."""

    timestamp_us: int
    trace_id: str
    record_id: str
    batch_id: str
    counter: str


@dataclass(frozen=True, slots=True)
class MergeSettings:
    """How windows are laid, how long they stay open, and how many there may be.

    Attributes:
        window_us: width of a window; partials of another width are refused and counted.
        rollup_us: width of the coarser windows published besides; a multiple of `window_us`.
        short_us, long_us: the two burn windows; multiples of `window_us`.
        slo_ratio: the objective where the topology names no other, below 1.
        wall_limit_us: a window that some partitions passed waits at most this long for the others.
        amend_us: how long, in event time, an ended window still takes corrections.
        max_windows: bound on open windows; beyond it the newest goes (a clock far ahead made it).
        max_scopes: bound on the scopes of one partial; further ones are dropped.
    """

    window_us: int = 10 * SECOND_US
    rollup_us: int = MINUTE_US
    short_us: int = 300 * SECOND_US
    long_us: int = HOUR_US
    slo_ratio: float = 0.999
    wall_limit_us: int = 30 * SECOND_US
    amend_us: int = 15 * MINUTE_US
    max_windows: int = 2_000
    max_scopes: int = 5_000

    def __post_init__(self) -> None:
        for name in ("window_us", "rollup_us", "short_us", "long_us", "amend_us"):
            value = getattr(self, name)
            if value <= 0 or value % self.window_us:
                raise ConfigError(f"{name} {value}: must be a positive multiple of window_us")
        if not 0 < self.slo_ratio < 1:
            raise ConfigError(f"slo_ratio {self.slo_ratio}: must lie between 0 and 1 exclusively")
        if self.long_us < self.short_us:
            raise ConfigError(f"long_us {self.long_us}: must not be less than short_us")
        if self.amend_us < 2 * self.short_us:
            raise ConfigError(f"amend_us {self.amend_us}: must be at least twice short_us")
        least = (self.amend_us + self.rollup_us) // self.window_us + 16
        if self.max_windows < least:
            raise ConfigError(f"max_windows {self.max_windows}: amend_us needs at least {least}")


@dataclass(slots=True)
class Part:
    """The latest partial of one (partition, contract) in one window."""

    sequence: int
    watermark_us: int
    scopes: dict[Scope, Counts]
    samples: dict[Scope, list[Sample]]


@dataclass(slots=True)
class OpenWindow:
    """One window that still takes corrections.

    Attributes:
        parts: the latest part by (partition, contract version).
        counts: the parts added up; kept in step with them.
        pending_since_us: wall time at which the first partition was seen past the end; 0 for none.
    """

    parts: dict[tuple[int, str], Part] = field(default_factory=dict)
    counts: dict[Scope, Counts] = field(default_factory=dict)
    pending_since_us: int = 0

    def replace(self, origin: tuple[int, str], part: Part) -> Changes:
        """Put a part in the place of its predecessor; return by how much each scope changed."""
        before = self.parts.get(origin)
        old = before.scopes if before else {}
        changes: Changes = {}
        for scope in dict.fromkeys((*old, *part.scopes)):
            delta = Counter(part.scopes.get(scope, {}))
            delta.subtract(old.get(scope, {}))
            changes[scope] = {name: n for name, n in delta.items() if n}
        self.parts[origin] = part
        for scope, delta_counts in changes.items():
            change(self.counts, scope, delta_counts, keep_empty=True)
        return changes

    def contract_version(self, scope: Scope | None = None) -> str:
        """Return the contract version by which the most advanced partition judged a scope."""
        judged = (
            (part.watermark_us, version)
            for (_, version), part in self.parts.items()
            if scope is None or scope in part.scopes
        )
        return max(judged, default=(0, ""))[1]


class MergedWindows(EventWindows[OpenWindow]):
    """All windows of the global stage, and the running sums that rules and burn rates read.

    Attributes:
        short, recent, long: sums over `short_us`, twice `short_us` and `long_us` up to `ended_us`.
        dirty: by scope, the starts of ended windows that changed since `take_dirty`.
    """

    def __init__(self, settings: MergeSettings) -> None:
        super().__init__(settings)
        self.settings = settings
        self.sealed: dict[int, dict[Scope, Counts]] = {}
        self.short = RollingSum(settings.short_us)
        self.recent = RollingSum(2 * settings.short_us)
        self.long = RollingSum(settings.long_us, SEALED_COUNTERS)
        self.dirty: dict[Scope, set[int]] = {}

    # --- taking partials in ---------------------------------------------------------------------

    def apply(self, partial: Mapping[str, Any]) -> None:
        """Take one partial over; an older or repeated one changes nothing.

        A partial without scopes says only how far its partition has come: it empties no window.

        Args:
            partial: a record in the shape of schemas/fidelity_partial.v1.avsc.
        """
        partition = int(partial["partition"])
        if partition < RESTART_PARTITION_BASE:
            self.progress.report(partition, partial["watermark"], partial["partitions_total"])
        if not partial["scopes"]:
            return
        start_us = int(partial["window_start"])
        window = self._window_for(start_us, int(partial["window_us"]))
        if window is None:
            return
        origin = (partition, str(partial["contract_version"]))
        known = window.parts.get(origin)
        if known is not None and known.sequence >= partial["sequence"]:
            self.discarded["partial_superseded"] += 1
            return
        changes = window.replace(origin, self._part(partial))
        if self.ended_us is not None and start_us < self.ended_us:
            for rolling in (self.short, self.recent, self.long):
                rolling.amend(start_us, changes)
            for scope in changes:
                self.dirty.setdefault(scope, set()).add(start_us)

    def _window_for(self, start_us: int, window_us: int) -> OpenWindow | None:
        if window_us != self.settings.window_us or start_us % window_us:
            self.discarded["partial_of_other_windows"] += 1
            return None
        if start_us < self.sealed_before_us():
            self.discarded["partial_too_late"] += 1
            return None
        window = self.windows.get(start_us)
        if window is not None:
            return window
        if not self.make_room(start_us):
            return None
        self.windows[start_us] = OpenWindow()
        return self.windows[start_us]

    def _part(self, partial: Mapping[str, Any]) -> Part:
        scopes: dict[Scope, Counts] = {}
        samples: dict[Scope, list[Sample]] = {}
        bound = self.settings.max_scopes
        self.discarded["scope_over_bound"] += max(0, len(partial["scopes"]) - bound)
        for row in partial["scopes"][:bound]:
            scope = Scope(*(row[name] for name in Scope._fields))
            change(scopes, scope, row["counters"], keep_empty=True)
            if row["samples"]:
                samples.setdefault(scope, []).extend(map(_sample, row["samples"]))
        return Part(partial["sequence"], partial["watermark"], scopes, samples)

    # --- moving on ------------------------------------------------------------------------------

    def _begun(self) -> None:
        self.rebuild_sums()

    def _skipped(self, before_us: int, ended_us: int) -> None:
        """Move on without evaluating; what was counted in between is published all the same."""
        for start_us in sorted(self.windows):
            if before_us <= start_us < ended_us:
                for scope in self.windows[start_us].counts:
                    self.dirty.setdefault(scope, set()).add(start_us)
        self.rebuild_sums()

    def _ended(self, ended_us: int) -> None:
        for rolling in (self.short, self.recent, self.long):
            rolling.advance(ended_us, self.settings.window_us, self.counts_at)

    def rebuild_sums(self) -> None:
        """Compute the running sums anew, after a jump or a restart."""
        assert self.ended_us is not None
        for rolling in (self.short, self.recent, self.long):
            rolling.rebuild(self.ended_us, self.starts(), self.counts_at)

    def take_dirty(self) -> dict[Scope, set[int]]:
        """Return the ended windows that changed, by scope, and forget that they did."""
        taken, self.dirty = self.dirty, {}
        return taken

    def seal(self) -> None:
        """Let go of what can no longer change: keep its sums, drop what no sum reaches any more."""
        if self.ended_us is None:
            return
        shown_us = self.ended_us - 2 * self.settings.short_us
        for start_us, window in self.windows.items():
            if start_us < shown_us:  # no rule looks back further for samples
                for part in window.parts.values():
                    part.samples = {}
        cut_us = self.sealed_before_us()
        # The burn rate of the oldest window that can still be corrected looks back from there.
        kept_us = cut_us - self.settings.long_us - self.settings.window_us
        for start_us in [s for s in self.windows if s < cut_us]:
            counts = self.windows.pop(start_us).counts
            if start_us >= kept_us:
                self.sealed[start_us] = sealed_counts(counts)
        for start_us in [s for s in self.sealed if s < kept_us]:
            del self.sealed[start_us]

    # --- reading --------------------------------------------------------------------------------

    def sealed_before_us(self) -> int:
        """Return the time before which windows take no more corrections; 0 before the first end."""
        if self.ended_us is None:
            return 0
        cut_us = self.ended_us - self.settings.amend_us
        return max(0, cut_us - cut_us % self.settings.rollup_us)

    def starts(self) -> list[int]:
        """Return the starts of all windows held, ascending."""
        return sorted((*self.sealed, *self.windows))

    def counts_at(self, start_us: int) -> Mapping[Scope, Counts]:
        """Return what a window counted by scope; of a sealed one only `SEALED_COUNTERS`."""
        window = self.windows.get(start_us)
        return window.counts if window is not None else self.sealed.get(start_us, {})

    def series(self, scope: Scope, width_us: int) -> list[tuple[int, Counts]]:
        """Return (start, counts) of a scope in the windows of the last `width_us`, ascending."""
        assert self.ended_us is not None
        starts = range(self.ended_us - width_us, self.ended_us, self.settings.window_us)
        found = ((start_us, self.counts_at(start_us).get(scope)) for start_us in starts)
        return [(start_us, counts) for start_us, counts in found if counts]

    def samples(self, scope: Scope, counter: str, width_us: int, limit: int) -> list[Sample]:
        """Return up to `limit` samples of the last `width_us`, latest windows first.

        Args:
            scope: whose samples.
            counter: the counter's name, or its beginning when it ends with a dot.
            width_us: how far back from `ended_us`.
            limit: how many at most.
        """
        found: list[Sample] = []
        assert self.ended_us is not None
        width = self.settings.window_us
        for start_us in range(self.ended_us - width, self.ended_us - width_us - width, -width):
            window = self.windows.get(start_us)
            parts: Iterable[Part] = window.parts.values() if window else ()
            found.extend(
                sorted(
                    sample
                    for part in parts
                    for sample in part.samples.get(scope, ())
                    if sample.counter == counter
                    or (counter.endswith(".") and sample.counter.startswith(counter))
                )
            )
            if len(found) >= limit:
                break
        return found[:limit]


def _sample(row: Mapping[str, Any]) -> Sample:
    return Sample(
        row["timestamp"], row["trace_id"], row["record_id"], row["batch_id"], row["counter"]
    )


def sealed_counts(counts: Mapping[Scope, Counts]) -> dict[Scope, Counts]:
    """Return of each scope the counters that outlive the open time; empty scopes are left out."""
    kept = {
        scope: {name: n for name, n in of_scope.items() if name in SEALED_COUNTERS}
        for scope, of_scope in counts.items()
    }
    return {scope: of_scope for scope, of_scope in kept.items() if of_scope}
