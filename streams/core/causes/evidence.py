"""What speaks for a place being at fault, and the ranked answer.

Owns the vocabulary that evidence finders and the ranking share. Invariant: an evidence is about one
module; what concerns two of them names both in `from_stage` and `to_stage` as `module:name`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

METRIC_SHIFT: Final = "METRIC_SHIFT"
TRACE_ERRORS: Final = "TRACE_ERRORS"
TRACE_SLOW: Final = "TRACE_SLOW"
SELF_TIME: Final = "SELF_TIME"
MISSING_EDGE: Final = "MISSING_EDGE"
NEW_EDGE: Final = "NEW_EDGE"
LOG_NEW: Final = "LOG_NEW"
LOG_CHANGED: Final = "LOG_CHANGED"
CHANGE: Final = "CHANGE"
ALERT: Final = "ALERT"
"""A rule that says no more than that: an alert from outside, say."""
UNKNOWN: Final = "UNKNOWN"

KINDS: Final = (
    CHANGE,
    TRACE_ERRORS,
    LOG_NEW,
    MISSING_EDGE,
    LOG_CHANGED,
    NEW_EDGE,
    SELF_TIME,
    TRACE_SLOW,
    METRIC_SHIFT,
    ALERT,
)
"""All kinds of evidence; of two with equal strength the first names the cause."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One observation that speaks for a place being at fault.

    Attributes:
        kind: one of `KINDS`.
        module, component: the place.
        name: the operation, metric, log template or change that shows it.
        from_stage, to_stage: the two ends, as `module:name`, of what happened between two places.
        since_us: event time from when on it is seen, Unix microseconds.
        score: how unusual it is, in robust standard deviations, >= 0.
        weight: how far it can be trusted, 0 to 1: evidence from broken traces counts less.
        sentence: the same for people, with the figures.
        trace_ids: a few traces that show it.
        bits: how rare such a score is among places that are well, in bits (10: one in a thousand);
            0 where nobody counted: then the score alone says it.
    """

    kind: str
    module: str
    component: str = ""
    name: str = ""
    from_stage: str = ""
    to_stage: str = ""
    since_us: int = 0
    score: float = 0.0
    weight: float = 1.0
    sentence: str = ""
    trace_ids: tuple[str, ...] = ()
    bits: float = 0.0


@dataclass(frozen=True, slots=True)
class Cause:
    """One candidate of a ranking.

    Attributes:
        rank: from 1.
        module, component: the place; "" for UNKNOWN.
        name: what of it is named most strongly: an operation, a metric, a template, a change.
        kind: the kind of its strongest evidence, or UNKNOWN.
        probability: 0 to 1; those of a ranking sum to at most 1.
        evidence: sentences, the strongest first.
    """

    rank: int
    module: str
    component: str
    name: str
    kind: str
    probability: float
    evidence: tuple[str, ...] = ()


K = TypeVar("K", bound=Any)


LAST: Final = 1 << 62
"""Event time of what nobody has seen begin."""
SHARE_DIGITS: Final = 9
"""Shares alike in so many digits are equal: in which order something is summed up is no reason."""


def in_order(
    weights: Mapping[K, float],
    unknown: float,
    cause: Callable[[int, K, float], Cause],
    since: Mapping[K, int],
) -> list[Cause]:
    """Return the causes, the most probable first; UNKNOWN stands where its weight puts it.

    Args:
        weights: of each place.
        unknown: weight of "none of them".
        cause: makes the cause of a rank, a place and a probability.
        since: when trouble was first seen at each place. Of equals the one that began first comes
            first, and where that is equal, too, the least: what a place is called says nothing.
    """
    total = sum(weights.values()) + unknown

    def order(place: K) -> tuple[float, int, K]:
        return -round(weights[place] / total, SHARE_DIGITS), since.get(place, LAST), place

    places = sorted(weights, key=order)
    above = sum(weights[place] >= unknown for place in places)
    none = Cause(
        above + 1, "", "", "", UNKNOWN, unknown / total, ("no evidence tells the places apart",)
    )
    first = [cause(n, place, weights[place] / total) for n, place in enumerate(places[:above], 1)]
    rest = enumerate(places[above:], above + 2)
    return [*first, none, *(cause(n, place, weights[place] / total) for n, place in rest)]
