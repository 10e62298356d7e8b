"""How strongly evidence speaks: one scale, bits, for shifts, shares and times alike.

A score of 8 means much for the share of a log line, and little for a series that is known to spike.
So scores are counted, by the source they come from, over all places in times without an alarm: how
rare a score is there, is how strongly it speaks now. Owns the sources, the counted tails and the
combination of sources. Invariant: the tails never see a label, and grow only from the past.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from math import log2
from typing import Any, Final

from streams.core.causes.evidence import (
    CHANGE,
    LOG_CHANGED,
    LOG_NEW,
    METRIC_SHIFT,
    MISSING_EDGE,
    NEW_EDGE,
    SELF_TIME,
    TRACE_ERRORS,
    TRACE_SLOW,
    Evidence,
)
from streams.core.causes.metric_kinds import (
    ERRORS,
    HOST,
    LATENCY,
    OTHER,
    RESOURCE,
    SUCCESS,
    TRAFFIC,
    metric_kind,
)
from streams.core.causes.parameters import CauseParameters

ON_THE_WAY: Final = "on the way"
FELL: Final = "fell"
CLIENT_SIDE: Final = "CLIENT"
_SOURCE_WEIGHT: Final = {
    LATENCY: 0.8,
    TRAFFIC: 0.4,
    OTHER: 0.4,
    CLIENT_SIDE: 0.3,
    HOST: 0.15,
}
"""Sources that say less about whose fault it is; all others count in full."""
LOCAL_SOURCES: Final = frozenset({RESOURCE, ON_THE_WAY, SELF_TIME, CHANGE})
"""Sources that speak of the place itself: nothing it needs explains them away."""
METRIC_SOURCES: Final = frozenset(
    {LATENCY, ERRORS, SUCCESS, TRAFFIC, RESOURCE, OTHER, HOST, CLIENT_SIDE, ON_THE_WAY, FELL}
)
STEPS: Final = "steps"
TIMES: Final = "times"
_FAMILY: Final = {
    LOG_NEW: STEPS,
    LOG_CHANGED: STEPS,
    MISSING_EDGE: STEPS,
    NEW_EDGE: STEPS,
    TRACE_ERRORS: STEPS,
    TRACE_SLOW: TIMES,
    SELF_TIME: TIMES,
}
"""Sources that see the same visits: of a family only the strongest counts."""
_BUCKETS: Final = 4


def source_of(item: Evidence) -> str:
    """Return what kind of observation an evidence is, where metrics are told apart by signal."""
    if item.kind != METRIC_SHIFT:
        return item.kind
    for ending in (ON_THE_WAY, FELL):
        if item.name.endswith(ending):
            return ending
    kind = metric_kind(item.name)
    return CLIENT_SIDE if kind.is_client else kind.signal


def prior_bits(source: str, score: float, parameters: CauseParameters) -> float:
    """Return the rarity of a score before anything was counted."""
    is_metric = source in METRIC_SOURCES
    base = parameters.metric_base if is_metric else parameters.trace_base
    tail = parameters.metric_tail if is_metric else parameters.trace_tail
    return tail * log2(1 + score / parameters.score_unit) - log2(base)


def strength(item: Evidence, parameters: CauseParameters) -> float:
    """Return how strongly an evidence speaks, in bits, after weights."""
    source = source_of(item)
    bits = item.bits or prior_bits(source, item.score, parameters)
    return bits * item.weight * _SOURCE_WEIGHT.get(source, 1.0)


def combined(items: Iterable[Evidence], parameters: CauseParameters) -> float:
    """Return the bits of several sources together.

    Of one family the strongest counts. Sources agree in part because they see the same thing: the
    second counts half, the third a quarter, and so on.
    """
    best: dict[str, float] = {}
    for item in items:
        source = source_of(item)
        family = _FAMILY.get(source, source)
        best[family] = max(best.get(family, 0.0), strength(item, parameters))
    ordered = sorted(best.values(), reverse=True)
    return sum(value * 0.5**index for index, value in enumerate(ordered))


class ScoreTails:
    """How often a place that is well reaches a score, by source.

    Counted once for each place and stretch of `incident_window_us`: a score that lasts is one
    observation, not many. A place that has an alarm in a stretch is left out of it.
    """

    def __init__(self, parameters: CauseParameters) -> None:
        self.parameters = parameters
        self.counts: dict[str, dict[int, float]] = {}
        self.total = 0.0
        self._stretch = 0
        self._best: dict[tuple[str, str], float] = {}
        self._left_out: set[str] = set()

    def observe(
        self, now_us: int, evidence: Iterable[Evidence], firing: Collection[str], places: int
    ) -> None:
        """Take one step's evidence in; what a stretch showed is counted when it is over."""
        stretch = now_us // self.parameters.incident_window_us
        if stretch != self._stretch:
            self._count(places)
            self._stretch = stretch
        self._left_out.update(firing)
        for item in evidence:
            key = (source_of(item), item.module)
            self._best[key] = max(self._best.get(key, 0.0), item.score)

    def _count(self, places: int) -> None:
        for (source, module), score in self._best.items():
            if module not in self._left_out:
                buckets = self.counts.setdefault(source, {})
                bucket = _bucket(score)
                buckets[bucket] = buckets.get(bucket, 0.0) + 1
        if self._best or self._stretch:
            self.total += max(0, places - len(self._left_out))
        self._best.clear()
        self._left_out.clear()

    def rated(self, evidence: Iterable[Evidence]) -> list[Evidence]:
        """Return the evidence with its bits."""
        return [replace(item, bits=self.bits(source_of(item), item.score)) for item in evidence]

    def bits(self, source: str, score: float) -> float:
        """Return the rarity of a score: the guess and the counts together."""
        parameters = self.parameters
        guess = 2.0 ** -prior_bits(source, score, parameters)
        lowest = _bucket(score)
        reached = sum(n for b, n in self.counts.get(source, {}).items() if b >= lowest)
        weight = parameters.tail_weight
        return -log2(min(1.0, float(weight * guess + reached) / (weight + self.total)))

    def snapshot(self) -> dict[str, Any]:
        """Return what was counted as JSON-able data."""
        return {
            "counts": [[source, list(b.items())] for source, b in self.counts.items()],
            "total": self.total,
            "stretch": self._stretch,
            "best": [[*key, score] for key, score in self._best.items()],
            "left_out": sorted(self._left_out),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Take over a snapshot."""
        self.counts = {source: dict(map(tuple, rows)) for source, rows in snapshot["counts"]}
        self.total, self._stretch = snapshot["total"], snapshot["stretch"]
        self._best = {(source, module): score for source, module, score in snapshot["best"]}
        self._left_out = set(snapshot["left_out"])


def by_module(evidence: Iterable[Evidence]) -> dict[str, list[Evidence]]:
    """Return the evidence of each module, modules sorted."""
    groups: dict[str, list[Evidence]] = {}
    for item in evidence:
        groups.setdefault(item.module, []).append(item)
    return {module: groups[module] for module in sorted(groups)}


def alarms(
    persistent: Mapping[str, Collection[Evidence]], parameters: CauseParameters
) -> dict[str, float]:
    """Return the modules whose evidence is beyond doubt, with its bits.

    Shares of visits are tested exactly, so their score suffices; all else must be rare, too.
    """
    found: dict[str, float] = {}
    for module, items in persistent.items():
        bits = combined(items, parameters)
        plain = any(
            item.score * item.weight >= parameters.alarm_score
            and _FAMILY.get(source_of(item)) == STEPS
            for item in items
        )
        if plain or bits >= parameters.alarm_bits:
            found[module] = bits
    return found


def _bucket(score: float) -> int:
    return int(_BUCKETS * log2(1 + score))
