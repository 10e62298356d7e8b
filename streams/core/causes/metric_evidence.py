"""Evidence from metrics: a shift of a series against the median and spread of its own past.

Owns the baselines of all series. A series may be about a module alone, or about the calls between
two: as the caller sees them (`CLIENT`) or as the callee does (`SERVER`). What the caller sees
beyond what the callee sees was spent on the way between them. Invariant: a sample that is far out
is not learned, unless the series stays there.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan, nan, sqrt
from typing import Any, Final, NamedTuple

from streams.core.causes.edges import Call, blame
from streams.core.causes.evidence import METRIC_SHIFT, Evidence
from streams.core.causes.metric_kinds import LATENCY, SUCCESS, TRAFFIC, MetricKind, metric_kind
from streams.core.causes.parameters import CauseParameters
from streams.units import MINUTE_US

CLIENT: Final = "client"
SERVER: Final = "server"
WAY: Final = "time on the way"
FELL: Final = "fell"
_QUARTILES: Final = 1.349
_EXTREME: Final = 3.0
_NEAR: Final = 1.0
_NEAR_OWN: Final = 3.0
_LATEST: Final = 3
INTERVAL_US_MAX: Final = 10 * MINUTE_US
"""Two samples further apart are a gap, and not the interval of the series."""
_MANY: Final = 30


class Series(NamedTuple):
    """The identity of a series: whose, its name, and the other end where it is about calls."""

    module: str
    name: str
    component: str = ""
    peer: str = ""
    side: str = ""


class Sample(NamedTuple):
    """One value of a series; NaN stands for "nothing was measured" and is no news.

    Attributes:
        series, at_us, value: which, when, how much.
        is_count: it counts things that happen one by one, so that it scatters by chance alone by
            the root of what is usual (Poisson): one where there was none is no news.
    """

    series: Series
    at_us: int
    value: float
    is_count: bool = False


class Past:
    """The latest values of a series, in order of time and in order of size."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.values: deque[float] = deque()
        self.ordered: list[float] = []

    def __len__(self) -> int:
        return len(self.values)

    def append(self, value: float) -> None:
        """Take a value in; the oldest beyond the length goes."""
        self.values.append(value)
        insort(self.ordered, value)
        if len(self.values) > self.length:
            del self.ordered[bisect_left(self.ordered, self.values.popleft())]

    def clear(self) -> None:
        """Forget all."""
        self.values.clear()
        self.ordered.clear()

    @property
    def middle(self) -> float:
        """Return the median; NaN without a value."""
        if not self.ordered:
            return nan
        return (self.ordered[(len(self) - 1) // 2] + self.ordered[len(self) // 2]) / 2

    @property
    def least(self) -> float:
        """Return the smallest value but for the few lowest; 0 without many."""
        return self.ordered[len(self) // _MANY] if len(self) >= _MANY else 0.0

    def fits(self, value: float, near: float) -> bool:
        """Say whether a value lies within so many deviations of the middle, whichever side."""
        return abs(value - self.middle) <= near * max(self.spread(), 0.01 * abs(self.middle))

    def spread(self) -> float:
        """Return the robust standard deviation.

        It is that of the quartiles, and at least so large that the past's worst value but one is no
        further out than 3 of them.
        """
        ordered, last = self.ordered, len(self) - 1
        quartiles = (ordered[last - last // 4] - ordered[last // 4]) / _QUARTILES
        middle = self.middle
        extreme = max(ordered[last - 1] - middle, middle - ordered[1]) / _EXTREME
        return max(quartiles, extreme)


@dataclass(slots=True)
class SeriesState:
    """What is known of a series: its past, and the scores of its latest samples.

    Attributes:
        kind: what it measures.
        past: of the usual values.
        recent: time, score and value of the latest samples.
        held: values of an episode that may turn out to be one.
        onset_us: since when it is unusual; 0 while it is not.
        near: of a past from elsewhere, how many deviations off the first own value may be; else 0.
        is_count: see `Sample`.
    """

    kind: MetricKind
    past: Past
    recent: deque[tuple[int, float, float]] = field(default_factory=lambda: deque(maxlen=4))
    held: list[float] = field(default_factory=list)
    onset_us: int = 0
    near: float = 0.0
    is_count: bool = False

    def scores(self, now_us: int, horizon_us: int) -> list[float]:
        """Return the scores of the latest three samples, if they are not older than the horizon.

        A series that is sampled more seldom is looked back at for three of its own intervals.
        """
        if len(self.recent) > 1:
            interval_us = self.recent[-1][0] - self.recent[-2][0]
            if interval_us <= INTERVAL_US_MAX:
                horizon_us = max(horizon_us, _LATEST * interval_us)
        return [score for at, score, _ in self.recent if at > now_us - horizon_us][-_LATEST:]

    def row(self) -> list[Any]:
        """Return what is known as JSON-able data."""
        recent = [list(one) for one in self.recent]
        return [
            list(self.past.values),
            recent,
            self.held,
            self.onset_us,
            self.near,
            self.is_count,
        ]


class MetricBaseline:
    """The baselines of all series, and what is unusual now."""

    def __init__(self, parameters: CauseParameters) -> None:
        self.parameters = parameters
        self.series: dict[Series, SeriesState] = {}
        self._hot: set[Series] = set()
        self._calls: dict[str, set[Call]] = {}
        self._views: dict[tuple[Call, str, int], dict[str, float]] = {}

    def observe(self, samples: Iterable[Sample]) -> None:
        """Score new samples against the past, then learn them."""
        for sample in samples:
            if isnan(sample.value):
                continue
            self._state(sample.series).is_count = sample.is_count
            self._observe(*sample[:3])
            if sample.series.side:
                self._pair(sample)

    def calls(self) -> set[Call]:
        """Return the calls between modules that series are about."""
        return set().union(*self._calls.values())

    def prime(self, series: Series, mean: float, deviation: float) -> None:
        """Give a series a past before its first sample, known from normal running elsewhere.

        It is forgotten when the first sample does not fit it: that running was another.
        """
        state = self._state(series)
        state.near = _NEAR
        for step in (-1.5, -1.0, -0.5, 0.0, 0.0, 0.5, 1.0, 1.5):
            state.past.append(mean + step * deviation)

    def reopen(self) -> None:
        """Take all that is known for a past from elsewhere, as after a long gap."""
        for state in self.series.values():
            state.near = _NEAR_OWN
            state.recent.clear()
            state.held.clear()

    def evidence(self, now_us: int, *, lasting: bool = False) -> list[Evidence]:
        """Return the series that are unusual now; those about calls are laid on one of the ends.

        Args:
            now_us: the time.
            lasting: count only what two samples in a row show.
        """
        found: list[Evidence] = []
        slow: dict[str, dict[Call, float]] = {}
        horizon_us = _LATEST * self.parameters.window_us
        for series in sorted(self._hot):
            state = self.series[series]
            score = _current(state.scores(now_us, horizon_us), lasting)
            if abs(score) < self.parameters.evidence_score:
                if not any(state.scores(now_us, horizon_us)):
                    self._hot.discard(series)
            elif _is_call(series):
                if series.side == WAY or not self._has_way(series):
                    slow.setdefault(series.name, {})[series.module, series.peer] = score
            else:
                found.append(self._shift(series, state, score))
        for name in sorted(slow):
            found.extend(self._on_the_way(name, slow[name], self._calls[name], now_us))
        return found

    def forget(self, before_us: int) -> None:
        """Let go of series that said nothing since a time."""
        for series, state in list(self.series.items()):
            if not state.recent or state.recent[-1][0] < before_us:
                del self.series[series]
                self._hot.discard(series)
                if _is_call(series):
                    self._calls[series.name].discard((series.module, series.peer))

    def snapshot(self) -> dict[str, Any]:
        """Return what is known as JSON-able data."""
        return {
            "series": [[*series, *state.row()] for series, state in self.series.items()],
            "hot": [list(series) for series in sorted(self._hot)],
            "views": [[*call, *rest, views] for (call, *rest), views in self._views.items()],
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Take over a snapshot."""
        for *names, past, recent, held, onset_us, near, is_count in snapshot["series"]:
            state = self._state(Series(*names))
            for value in past:
                state.past.append(value)
            state.recent.extend((at, score, value) for at, score, value in recent)
            state.held, state.onset_us, state.near = list(held), onset_us, near
            state.is_count = is_count
        self._hot = {Series(*names) for names in snapshot["hot"]}
        for caller, callee, name, window, views in snapshot["views"]:
            self._views[(caller, callee), name, window] = dict(views)

    def _state(self, series: Series) -> SeriesState:
        state = self.series.get(series)
        if state is None:
            kind = metric_kind(series.name)
            if series.side == WAY:
                kind = MetricKind(LATENCY, False, False)
            state = SeriesState(kind, Past(self.parameters.metric_samples))
            self.series[series] = state
            if _is_call(series):
                self._calls.setdefault(series.name, set()).add((series.module, series.peer))
        return state

    def _observe(self, series: Series, at_us: int, value: float, level: float = 0.0) -> None:
        """Score a value, then learn it."""
        state = self._state(series)
        score = self._score(state, value, level)
        if state.near and len(state.past) and not state.past.fits(value, state.near):
            state.past.clear()
            score = 0.0
        state.near = 0.0
        state.recent.append((at_us, score, value))
        if abs(score) < self.parameters.evidence_score:
            state.onset_us = 0
        elif not state.onset_us:
            state.onset_us = at_us
        if abs(score) >= self.parameters.evidence_score:
            self._hot.add(series)
        self._learn(state, value, score)

    def _learn(self, state: SeriesState, value: float, score: float) -> None:
        """Learn a sample; a run of samples far out is an episode, and not part of the past.

        A lone spike is part of it: a series that is known to spike is not in trouble when it does.
        """
        if abs(score) >= self.parameters.metric_learn_score:
            state.held.append(value)
            if len(state.held) <= self.parameters.metric_samples // 4:
                return
        elif len(state.held) >= self.parameters.metric_episode_samples:
            state.held.clear()
        for held in state.held:
            state.past.append(held)
        state.held.clear()
        if abs(score) < self.parameters.metric_learn_score:
            state.past.append(value)

    def _pair(self, sample: Sample) -> None:
        """Subtract the callee's view of a call from the caller's of the same minute."""
        series = sample.series
        if metric_kind(series.name).signal != LATENCY:
            return
        call = (
            (series.module, series.peer) if series.side == CLIENT else (series.peer, series.module)
        )
        key = (call, series.name, sample.at_us // self.parameters.window_us)
        views = self._views.setdefault(key, {})
        views[series.side] = sample.value
        if len(views) == 2:
            way = Series(call[0], series.name, series.component, call[1], WAY)
            callee = self._state(Series(call[1], series.name, series.component, call[0], SERVER))
            usual = callee.past.middle
            del self._views[key]
            on_the_way = max(0.0, views[CLIENT] - views[SERVER])
            # The spread is at least a share of the callee's own time, not of next to nothing.
            self._observe(way, sample.at_us, on_the_way, 0.0 if isnan(usual) else abs(usual))
        while len(self._views) > self.parameters.metric_samples * 10:
            self._views.pop(next(iter(self._views)))

    def _score(self, state: SeriesState, value: float, level: float = 0.0) -> float:
        """Return the robust score of a value; 0 where the direction is no fault."""
        parameters = self.parameters
        if len(state.past) < parameters.metric_samples_min:
            return 0.0
        middle = state.past.middle
        spread = max(
            state.past.spread(),
            parameters.metric_floor_ratio * max(abs(middle), level),
            self._floor(state.kind),
            sqrt(max(1.0, middle)) if state.is_count else 0.0,
        )
        score = (value - middle) / spread
        if value == 0 < state.past.least and state.kind.signal == TRAFFIC:
            score = min(score, -parameters.metric_stopped_score)
        if (score > 0 and not state.kind.rises) or (score < 0 and not state.kind.falls):
            return 0.0
        return max(-parameters.metric_score_max, min(parameters.metric_score_max, score))

    def _floor(self, kind: MetricKind) -> float:
        """Return the least spread of a series by its unit."""
        if not kind.is_percent:
            return 1e-9
        if kind.signal == SUCCESS:
            return self.parameters.metric_floor_success
        return self.parameters.metric_floor_percent

    def _has_way(self, series: Series) -> bool:
        return series._replace(side=WAY) in self.series

    def _shift(self, series: Series, state: SeriesState, score: float) -> Evidence:
        _, _, value = state.recent[-1]
        onset_us = state.onset_us or max(state.recent, key=lambda r: abs(r[1]))[0]
        from_stage = f"{series.peer}:" if series.peer else ""
        fell = score < 0 and state.kind.signal == TRAFFIC
        of = f" of calls from {series.peer}" if series.peer else ""
        return Evidence(
            METRIC_SHIFT,
            series.module,
            series.component,
            f"{series.name} {FELL}" if fell else series.name,
            from_stage=from_stage,
            to_stage=f"{series.module}:" if series.peer else "",
            since_us=onset_us,
            score=abs(score),
            sentence=f"{series.module} {series.name}{of}: {value:.4g}, "
            f"usually {state.past.middle:.4g}, {abs(score):.0f} robust deviations away",
        )

    def _on_the_way(
        self, name: str, slow: Mapping[Call, float], measured: Collection[Call], now_us: int
    ) -> Iterable[Evidence]:
        for module, (score, part, (caller, callee)) in sorted(blame(slow, measured).items()):
            yield Evidence(
                METRIC_SHIFT,
                module,
                name=f"{name} on the way",
                from_stage=f"{caller}:",
                to_stage=f"{callee}:",
                since_us=now_us - self.parameters.window_us,
                score=score,
                weight=part,
                sentence=f"{name} between {caller} and {callee} is {score:.0f} robust deviations "
                f"above the usual; {module} has the most such calls",
            )


def _is_call(series: Series) -> bool:
    return series.side in (WAY, CLIENT)


def _current(scores: Sequence[float], lasting: bool) -> float:
    """Return what the latest two or three scores say together; one alone counts half.

    With `lasting`, no more than the least of them, if all have one sign. Three of a size say more
    than two, by the root of their number.
    """
    best = 0.0
    for count in (2, _LATEST):
        latest = scores[-count:]
        value = sum(latest) / count
        if lasting:
            agree = len(latest) == count and (min(latest) > 0 or max(latest) < 0)
            value = min(latest, key=abs) if agree else 0.0
        best = max(best, value * sqrt(count / 2), key=abs)
    return best
