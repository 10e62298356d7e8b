"""Merged windows become published rows: ratio, burn rates, revision.

Owns what has been published of each row. Invariant: a row is published again only when its content
changed, and the content of its highest revision is a function of the partials applied.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import accumulate
from math import nan
from typing import Any, Final

from streams.core.fidelity.merge import MergedWindows, OpenWindow
from streams.core.fidelity.rolling import Counts, Scope, change
from streams.core.incidents.topology import Topology

Row = dict[str, Any]
"""A record in the shape of schemas/fidelity_stats.v1.avsc."""

_MISSING: Final = "missing."
_EVENT_FIELDS: Final = ("late", "duplicate", "sampled_out", "in_flight")
_OWN_FIELDS: Final = frozenset({"expected", "observed", *_EVENT_FIELDS})
TOTAL: Final = Scope("total", "", "", "", "")
_RATED_KINDS: Final = frozenset({"edge", "flow", "total"})


def burn_rate(expected: int, observed: int, slo_ratio: float) -> float:
    """Return how many times faster than allowed the error budget is used; NaN without a count.

    Source: Google SRE workbook, chapter 5, "Alerting on SLOs".
    """
    return (expected - observed) / expected / (1 - slo_ratio) if expected else nan


def crossing(scope: Scope, window: Mapping[Scope, Counts], has_flows: bool) -> tuple[int, int]:
    """Return (expected, observed) of a scope in a window or a sum of windows.

    In total it is the record fidelity: of the closed traces of all flows, those with every required
    stage; without flows, of the traces not sampled out those that are complete. Both are sums of
    counts, so that the answer for a stretch is the sum of the answers for its windows.
    """
    counts = window.get(scope, {})
    if scope.kind != "total":
        return counts.get("expected", 0), counts.get("observed", 0)
    if not has_flows:
        return counts.get("traces", 0) - counts.get("sampled_out", 0), counts.get("complete", 0)
    flows = [counts for other, counts in window.items() if other.kind == "flow"]
    return (
        sum(counts.get("expected", 0) for counts in flows),
        sum(counts.get("observed", 0) for counts in flows),
    )


class Burn:
    """(expected, observed) of one scope over any stretch of the windows held."""

    def __init__(self, scope: Scope, windows: MergedWindows, has_flows: bool) -> None:
        pairs = [(s, crossing(scope, windows.counts_at(s), has_flows)) for s in windows.starts()]
        self._start_us = [start_us for start_us, _ in pairs]
        self._expected = [0, *accumulate(pair[0] for _, pair in pairs)]
        self._observed = [0, *accumulate(pair[1] for _, pair in pairs)]

    def rate(self, end_us: int, width_us: int, slo_ratio: float) -> float:
        """Return the burn rate over the windows that start in [end - width, end)."""
        low = bisect_left(self._start_us, end_us - width_us)
        high = bisect_left(self._start_us, end_us)
        return burn_rate(
            self._expected[high] - self._expected[low],
            self._observed[high] - self._observed[low],
            slo_ratio,
        )


@dataclass(slots=True)
class Published:
    """What was last published of one window.

    Attributes:
        rows: (revision, digest of the content) by scope.
        reported: how many partitions had passed the window's end.
    """

    rows: dict[Scope, tuple[int, str]] = field(default_factory=dict)
    reported: int = 0


class StatsPublisher:
    """Turns ended windows into rows and gives each changed row its next revision."""

    def __init__(self, windows: MergedWindows, topology: Topology) -> None:
        self.windows = windows
        self.topology = topology
        self.published: dict[tuple[int, int], Published] = {}
        self._has_flows = any(edge.flow for edge in topology.edges)

    def publish_ended(self, end_us: int) -> list[Row]:
        """Return the rows of the window that just ended, and of the rollup that ends with it."""
        settings = self.windows.settings
        rows = self._publish(end_us - settings.window_us, settings.window_us, None, {})
        if end_us % settings.rollup_us == 0:
            rows += self._publish(end_us - settings.rollup_us, settings.rollup_us, None, {})
        return rows

    def publish_dirty(self, dirty: Mapping[Scope, set[int]]) -> list[Row]:
        """Return the next revision of every row that a correction changed.

        A correction changes the window itself, its rollup, and the burn rates of all windows that
        look back on it.
        """
        windows, settings = self.windows, self.windows.settings
        if windows.ended_us is None:
            return []
        changed: dict[Scope, tuple[int, int]] = {
            scope: (min(starts), max(starts)) for scope, starts in dirty.items()
        }
        for scope, (low_us, high_us) in list(changed.items()):
            if scope.kind == "flow":
                known = changed.get(TOTAL, (low_us, high_us))
                changed[TOTAL] = (min(low_us, known[0]), max(high_us, known[1]))
        burns = {s: Burn(s, windows, self._has_flows) for s in changed if s.kind in _RATED_KINDS}
        touched = self._newly_reported()
        for width_us in (settings.window_us, settings.rollup_us):
            self._touch(changed, width_us, touched)
        rows: list[Row] = []
        for start_us, width_us in sorted(touched):
            rows += self._publish(start_us, width_us, touched[start_us, width_us], burns)
        return rows

    def forget(self, before_us: int) -> None:
        """Forget the revisions of windows that take no more corrections."""
        for key in [key for key in self.published if key[0] < before_us]:
            del self.published[key]

    # --- state ----------------------------------------------------------------------------------

    def snapshot(self) -> list[list[Any]]:
        """Return what was published, JSON-able: [start, width, reported, [[scope, revision], ...]].

        Only revisions other than 1 are named. Digests are left out: right after `publish_dirty`
        every row stands as it would be computed now.
        """
        return [
            [
                *key,
                published.reported,
                [[*s, revision] for s, (revision, _) in published.rows.items() if revision > 1],
            ]
            for key, published in self.published.items()
        ]

    def restore(self, snapshot: Iterable[Sequence[Any]]) -> None:
        """Take over what `snapshot` returned; the windows must have been restored before."""
        burns: dict[Scope, Burn] = {}
        for start_us, width_us, reported, revisions in snapshot:
            published = self.published[start_us, width_us] = Published(reported=reported)
            published.rows = {Scope(*row[:5]): (row[5] - 1, "") for row in revisions}
            scopes = {*self._content(start_us, width_us)[0], TOTAL, *published.rows}
            for scope in scopes - burns.keys():
                if scope.kind in _RATED_KINDS:
                    burns[scope] = Burn(scope, self.windows, self._has_flows)
            self._publish(start_us, width_us, scopes, burns)

    def _newly_reported(self) -> dict[tuple[int, int], set[Scope]]:
        """Return all rows of the windows that more partitions have passed since they came out."""
        reported = self.windows.progress.reported
        return {
            (start_us, width_us): set(published.rows)
            for (start_us, width_us), published in self.published.items()
            if published.reported != reported(start_us + width_us)
        }

    def _touch(
        self,
        changed: Mapping[Scope, tuple[int, int]],
        width_us: int,
        touched: dict[tuple[int, int], set[Scope]],
    ) -> None:
        """Add the rows of one width that the changes reach."""
        assert self.windows.ended_us is not None
        starts = {start_us - start_us % width_us for start_us in self.windows.windows}
        ended = [s for s in starts if s + width_us <= self.windows.ended_us]
        for scope, (low_us, high_us) in changed.items():
            reach_us = self.windows.settings.long_us if scope.kind in _RATED_KINDS else 0
            for start_us in ended:
                if low_us < start_us + width_us and start_us <= high_us + reach_us:
                    touched.setdefault((start_us, width_us), set()).add(scope)

    def _publish(
        self,
        start_us: int,
        width_us: int,
        scopes: Iterable[Scope] | None,
        burns: Mapping[Scope, Burn],
    ) -> list[Row]:
        counts, inner = self._content(start_us, width_us)
        published = self.published.get((start_us, width_us))
        if published is None:
            if not counts:
                return []
            published = self.published[(start_us, width_us)] = Published()
        published.reported = self.windows.progress.reported(start_us + width_us)
        rows: list[Row] = []
        has_total = any(c for scope, c in counts.items() if scope.kind == "flow")
        for scope in sorted({*counts, TOTAL} if scopes is None else set(scopes)):
            revision, digest = published.rows.get(scope, (0, ""))
            # Nothing but zeros is said only to take back what was said before.
            if not revision and not counts.get(scope) and not (scope == TOTAL and has_total):
                continue
            row = self._row(scope, counts, (start_us, width_us), burns.get(scope))
            versions = (window.contract_version(scope) for window in reversed(inner))
            row["contract_version"] = next(filter(None, versions), "")
            new_digest = blake2b(repr(row).encode(), digest_size=8).hexdigest()
            if new_digest != digest:
                published.rows[scope] = (revision + 1, new_digest)
                rows.append({**row, "revision": revision + 1})
        return rows

    def _content(
        self, start_us: int, width_us: int
    ) -> tuple[Mapping[Scope, Counts], list[OpenWindow]]:
        """Return the counts by scope of one window or rollup, and the windows it is made of."""
        windows = self.windows
        inner = [
            windows.windows[s]
            for s in range(start_us, start_us + width_us, windows.settings.window_us)
            if s in windows.windows
        ]
        if len(inner) == 1:
            return inner[0].counts, inner
        total: dict[Scope, Counts] = {}
        for window in inner:
            for scope, counts in window.counts.items():
                change(total, scope, counts, keep_empty=True)
        return total, inner

    def _row(
        self,
        scope: Scope,
        window: Mapping[Scope, Counts],
        bounds: tuple[int, int],
        burn: Burn | None,
    ) -> Row:
        settings, progress = self.windows.settings, self.windows.progress
        start_us, width_us = bounds
        end_us = start_us + width_us
        counts = window.get(scope, {})
        is_rated = scope.kind in _RATED_KINDS
        expected, observed = crossing(scope, window, self._has_flows) if is_rated else (0, 0)
        slo = self.topology.slo(scope.flow, scope.from_stage, scope.to_stage, settings.slo_ratio)
        short = long = nan
        if is_rated:
            short, long = self._burn_rates(scope, end_us, slo, burn)
        return {
            "window_start": start_us,
            "window_us": width_us,
            "revision": 0,
            **scope._asdict(),
            "contract_version": "",
            "partitions_reported": progress.reported(end_us),
            "partitions_total": progress.total,
            "expected": expected,
            "observed": observed,
            "missing": _missing(counts),
            **{
                name: counts.get(name, 0) for name in sorted(_OWN_FIELDS - {"expected", "observed"})
            },
            "ratio": observed / expected if expected else nan,
            "slo_ratio": slo if is_rated else nan,
            "burn_rate_short": short,
            "burn_rate_long": long,
            "counters": _further(counts),
        }

    def _burn_rates(
        self, scope: Scope, end_us: int, slo_ratio: float, burn: Burn | None
    ) -> tuple[float, float]:
        windows = self.windows
        if end_us == windows.ended_us:  # on time: the running sums stand exactly here
            short = crossing(scope, windows.short.total, self._has_flows)
            long = crossing(scope, windows.long.total, self._has_flows)
            return burn_rate(*short, slo_ratio), burn_rate(*long, slo_ratio)
        burn = burn or Burn(scope, windows, self._has_flows)
        return (
            burn.rate(end_us, windows.settings.short_us, slo_ratio),
            burn.rate(end_us, windows.settings.long_us, slo_ratio),
        )


def _missing(counts: Counts) -> Counts:
    return {
        name.removeprefix(_MISSING): counts[name]
        for name in sorted(counts)
        if name.startswith(_MISSING)
    }


def _further(counts: Counts) -> Counts:
    return {
        name: counts[name]
        for name in sorted(counts)
        if name not in _OWN_FIELDS and not name.startswith(_MISSING)
    }


def row_key(row: Row) -> str:
    """Return what identifies a row over its revisions, fit for a record key."""
    place = "/".join(row[name] for name in ("kind", "flow", "from_stage", "to_stage", "module"))
    return f"{row['window_us']}/{row['window_start']}/{place}"
