"""What is usual for a series, learned as it comes, and how improbable the newest value is.

Owns level, season and the tail of their residuals. Invariants: memory and time per value are
constant; no value is looked at twice; what is learned from a value is bounded, so that an outlier
moves neither level nor tail far; a score looks at the past alone.

Four residuals are judged, each by a tail of its own: of the value from the slow level, of the value
from its time of day, and of a short mean from both, which sees shifts that no single value shows.
The score is the largest -log10 of the probability that a residual so large comes: 4 means one value
in 10,000.

Source: Siffer et al., "Anomaly Detection in Streams with Extreme Value Theory" (KDD 2017), for the
tail: beyond a high quantile, residuals follow a generalized Pareto distribution; here its moments
are decayed means, so that it forgets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, log10
from typing import Any, Final, NamedTuple, Self

from streams.units import HOUR_US

DAY_US: Final = 24 * HOUR_US
BUCKETS: Final = 48
"""Times of day that are told apart."""
VISITS_MIN: Final = 2
"""Days on which a time of day must have been seen before the season is believed."""
WARM_UP: Final = 50
"""Values before the first score; from them the tail begins."""
QUANTILE: Final = 0.98
"""Residuals beyond this quantile make the tail."""
MEMORY: Final = 2_000
"""Values after which scale and quantile have forgotten two thirds."""
EXCESS_MEMORY: Final = 100
"""The same of the excesses beyond the quantile."""
SHAPE_MAX: Final = 0.45
"""Heaviest tail: from 0.5 on its variance would not exist."""
_SHORT, _SLOW = 0.05, 0.005
_SEASON_GAIN_MIN: Final = 0.25
_CLIP: Final = 20.0
_REACH: Final = 1.0
"""How far beyond the begin of the tail an outlier counts for the means, in mean excesses."""


@dataclass(slots=True)
class Tail:
    """The distribution of one residual: a quantile, and the moments of what goes beyond it.

    Attributes:
        count: residuals seen.
        scale: mean residual.
        quantile: where the tail begins.
        excesses: how many went beyond it.
        mean, square: first and second moment of the excesses.
        first: the first residuals, until there are enough to begin with.
    """

    count: int = 0
    scale: float = 0.0
    quantile: float = 0.0
    excesses: int = 0
    mean: float = 0.0
    square: float = 0.0
    first: list[float] = field(default_factory=list)

    def score(self, residual: float) -> float:
        """Return -log10 of the probability of at least this residual; 0 within the body."""
        if self.count < WARM_UP or residual <= self.quantile:
            return 0.0
        tiny = 1e-9 * (1.0 + self.scale)
        # Few excesses say little: the tail is never thinner than an exponential of this mean.
        mean = max(self.mean, 0.25 * self.quantile, tiny)
        variance = max(self.square - mean * mean, mean * mean)
        shape = min(0.5 * (1.0 - mean * mean / variance), SHAPE_MAX)
        excess = (residual - self.quantile) / (mean * (1.0 - shape))
        if shape < 1e-6:
            beyond = excess * log10(2.718281828459045)
        else:
            beyond = log10(1.0 + shape * excess) / shape
        return beyond - log10(1.0 - QUANTILE)

    def learn(self, residual: float) -> None:
        """Take a residual in; one far out counts as one at the edge of what is known."""
        self.count += 1
        if self.count <= WARM_UP:
            self.first.append(residual)
            if self.count == WARM_UP:
                self._begin()
            return
        gain = 1.0 / min(self.count, MEMORY)
        self.scale += gain * (min(residual, 10.0 * self.scale + 1e-12) - self.scale)
        # Stochastic approximation: up when beyond, down when below, in the ratio of the quantile.
        step = 4.0 * self.scale * max(gain, 0.002)
        if residual <= self.quantile:
            self.quantile = max(0.0, self.quantile - step * (1.0 - QUANTILE))
            return
        bound = _CLIP * max(self.mean, 0.1 * self.quantile)
        excess = min(residual - self.quantile, bound)
        self.excesses += 1
        gain = 1.0 / min(self.excesses + 3, EXCESS_MEMORY)
        self.mean += gain * (excess - self.mean)
        self.square += gain * (excess * excess - self.square)
        self.quantile += step * QUANTILE

    def _begin(self) -> None:
        ordered = sorted(self.first)
        self.scale = sum(ordered) / WARM_UP
        self.quantile = ordered[-2]
        self.mean = max(ordered[-1] - ordered[-2], 0.1 * self.quantile)
        self.square = 2.0 * self.mean * self.mean
        self.first = []

    def reach(self) -> float:
        """Return how far a residual may move what is learned; without end in the warm-up."""
        if self.count < WARM_UP:
            return inf
        return self.quantile + _REACH * max(self.mean, 0.1 * self.quantile)

    def row(self) -> list[Any]:
        """Return the tail as JSON values."""
        return [
            self.count, self.scale, self.quantile, self.excesses, self.mean, self.square,
            self.first,
        ]  # fmt: skip

    @classmethod
    def read(cls, row: Sequence[Any]) -> Self:
        """Return the tail that `row` is of."""
        count, scale, quantile, excesses, mean, square, first = row
        return cls(count, scale, quantile, excesses, mean, square, list(first))


class Reading(NamedTuple):
    """How improbable a value is, and what would have been usual."""

    score: float
    expected: float


@dataclass(slots=True)
class Season:
    """The usual value by time of day, each a decayed mean over days.

    Attributes:
        centers, visits: by bucket the usual value, and on how many days it was seen.
        bucket: the one being visited; -1 for none.
        total, count: sum and number of the values of this visit.
    """

    centers: list[float] = field(default_factory=lambda: [0.0] * BUCKETS)
    visits: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    bucket: int = -1
    total: float = 0.0
    count: int = 0

    def enter(self, at_us: int) -> int:
        """Say which bucket a time lies in; a visit that is over is learned from as a whole."""
        bucket = at_us % DAY_US * BUCKETS // DAY_US
        if bucket != self.bucket:
            if self.count:
                old = self.bucket
                gain = max(1.0 / (self.visits[old] + 1), _SEASON_GAIN_MIN)
                self.centers[old] += gain * (self.total / self.count - self.centers[old])
                self.visits[old] += 1
            self.bucket, self.total, self.count = bucket, 0.0, 0
        return bucket

    def usual(self) -> float | None:
        """Return what is usual in the bucket being visited; None while too few days are known."""
        is_known = self.visits[self.bucket] >= VISITS_MIN
        return self.centers[self.bucket] if is_known else None

    def learn(self, value: float) -> None:
        """Take a value of this visit in."""
        self.total += value
        self.count += 1


@dataclass(slots=True)
class Baseline:
    """The baseline of one series.

    Attributes:
        count: values seen.
        slow, short: decayed means of the values.
        season: the usual value by time of day.
        season_shift: decayed mean of the residual from the season.
        tails: of the four residuals: level, season, shift of the level, shift of the season.
    """

    count: int = 0
    slow: float = 0.0
    short: float = 0.0
    season: Season = field(default_factory=Season)
    season_shift: float = 0.0
    tails: tuple[Tail, ...] = field(default_factory=lambda: tuple(Tail() for _ in range(4)))

    def step(self, at_us: int, value: float) -> Reading:
        """Judge a value by the past, then learn from it.

        Args:
            at_us: its time, Unix microseconds; does not go back.
            value: finite.
        """
        self.count += 1
        if self.count == 1:
            self.slow = self.short = value
        self.season.enter(at_us)
        usual = self.season.usual()
        level, season, level_shift, season_shift = self.tails
        judged = [(level, abs(value - self.slow))]
        known = self._clipped(value)
        if usual is not None:
            strayed = _within(value - usual, season.reach())
            self.season_shift += _SHORT * (strayed - self.season_shift)
            judged.append((season, abs(value - usual)))
            judged.append((season_shift, abs(self.season_shift)))
        expected = self.slow if usual is None else usual
        self.short += max(_SHORT, 1.0 / self.count) * (known - self.short)
        self.slow += max(_SLOW, 1.0 / self.count) * (known - self.slow)
        judged.append((level_shift, abs(self.short - self.slow)))
        score = 0.0
        for tail, residual in judged:
            score = max(score, tail.score(residual))
            tail.learn(residual)
        self.season.learn(value)
        return Reading(score, expected)

    def _clipped(self, value: float) -> float:
        """Return the value, or the edge of what the level's tail knows where it lies beyond."""
        return self.slow + _within(value - self.slow, self.tails[0].reach())

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state as JSON values."""
        season = self.season
        return {
            "means": [self.count, self.slow, self.short, self.season_shift],
            "tails": [tail.row() for tail in self.tails],
            "season": [
                season.centers, season.visits, season.bucket, season.total, season.count,
            ],
        }  # fmt: skip

    @classmethod
    def restore(cls, snapshot: Mapping[str, Any]) -> Self:
        """Return the baseline that a snapshot is of."""
        count, slow, short, season_shift = snapshot["means"]
        tails = tuple(Tail.read(row) for row in snapshot["tails"])
        centers, visits, *visit = snapshot["season"]
        season = Season(list(centers), list(visits), *visit)
        return cls(count, slow, short, season, season_shift, tails)


def _within(residual: float, reach: float) -> float:
    return max(-reach, min(reach, residual))
