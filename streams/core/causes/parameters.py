"""The one table of constants behind evidence and ranking.

They are the same for every pipeline and every recording: nothing here is fitted to one source, and
nothing reads a label. Each says what it guards against.
"""

from dataclasses import dataclass
from typing import Final

from streams.units import HOUR_US, MINUTE_US, SECOND_US


@dataclass(frozen=True, slots=True)
class CauseParameters:
    """Constants of the evidence finders and of the ranking.

    Attributes:
        step_us: how often evidence is looked for.
        window_us: how much of the recent past is held against the baseline.
        incident_window_us: how far back an open incident looks for its evidence.
        visits_min: an operation seen less often in the window says nothing.
        affected_min: a share changed in fewer visits than this is no finding.
        baseline_visits_min: an operation known from fewer visits has no baseline.
        baseline_visits_max: older visits fade so that a baseline is worth at most so many.
        effect_min: a share that changed by less is no finding, however many visits there were.
        excluded_us: an operation that stays unusual for longer than this is its new normal.
        slow_log2_min: a time that grew by less than this factor (log2) is no finding.
        evidence_score: evidence is told from this score on.
        learn_score: an operation with such a score is not learned from.
        metric_learn_score: a sample with such a score is held back, until it is clear whether it is
            a spike or an episode.
        fade_halflife_us: evidence of an incident that is no longer seen fades by half in this time.
        metric_samples: how many past samples of a series make its baseline.
        metric_samples_min: fewer make none.
        metric_episode_samples: so many samples far out in a row are an episode, not a spike.
        metric_floor_ratio: a series' spread is at least this share of its median.
        metric_floor_percent: the spread of a percentage is at least so many points.
        metric_floor_success: that of a percentage of successes, where small shares matter more.
        metric_stopped_score: traffic that never stopped before has this score when it does.
        metric_score_max: scores of series are cut here; how far beyond says nothing more.
        score_unit, metric_base, metric_tail, trace_base, trace_tail: before anything was counted, a
            place reaches a score s in a stretch with probability base * (1 + s / score_unit) **
            -tail; metrics have heavy tails, shares of visits have not.
        tail_weight: that guess counts as so many observations.
        alarm_score: so does the share of visits with, or without, a step from this score on.
        alarm_bits: a place's evidence opens an incident from so many bits on.
        explained_ratio: how much of a symptom a cause in what it needs takes away.
        credit_ratio: how much of a symptom explained is credited to its cause.
        onset_slack_us: a cause may be seen later than its symptom by so much.
        temperature_bits: odds double with so many bits; more than 1, since sources are not
            independent of each other.
        unknown_bits: strength of "none of them": with no candidate above it, it is the answer.
        change_halflife_us: the weight of a change halves with each such stretch before the onset.
    """

    step_us: int = 10 * SECOND_US
    window_us: int = MINUTE_US
    incident_window_us: int = 3 * MINUTE_US
    visits_min: int = 3
    affected_min: float = 3.0
    baseline_visits_min: int = 4
    baseline_visits_max: int = 20_000
    effect_min: float = 0.1
    excluded_us: int = HOUR_US
    slow_log2_min: float = 0.5
    evidence_score: float = 3.0
    learn_score: float = 3.0
    metric_learn_score: float = 8.0
    fade_halflife_us: int = MINUTE_US
    metric_samples: int = 120
    metric_samples_min: int = 3
    metric_episode_samples: int = 3
    metric_floor_ratio: float = 0.1
    metric_floor_percent: float = 1.0
    metric_floor_success: float = 0.5
    metric_stopped_score: float = 12.0
    metric_score_max: float = 200.0
    score_unit: float = 3.0
    metric_base: float = 0.1
    metric_tail: float = 1.3
    trace_base: float = 0.05
    trace_tail: float = 4.0
    tail_weight: float = 50.0
    alarm_bits: float = 7.5
    alarm_score: float = 4.0
    explained_ratio: float = 0.8
    credit_ratio: float = 0.25
    onset_slack_us: int = MINUTE_US
    temperature_bits: float = 2.5
    unknown_bits: float = 6.0
    change_halflife_us: int = 15 * MINUTE_US


PARAMETERS: Final = CauseParameters()
