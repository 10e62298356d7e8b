"""Whether two alerts share more traces or records than two unrelated faults would by chance.

Invariant: the answer is the same whichever of the two alerts is asked about first.
"""

from collections.abc import Collection, Mapping
from math import comb
from typing import Any, Final

from streams.core.alerts.finding import FIDELITY_BURN, MISSING_ACKNOWLEDGMENT
from streams.core.incidents.topology import Topology

_CERTAIN: Final = 1.0
OWN_SHARE: Final = 2 / 3
"""Of the records that an effect hits, so many are its cause's, at least."""


def overlap_by_chance(shared: int, distinct: int, rate: float, other_rate: float) -> float:
    """Return how probable it is that unrelated faults share at least so many sampled ids.

    Samples are the smallest ids of each fault's records, so the union of two samples is itself a
    fair sample of the records that either fault hits, and of those a share
    rate x other / (rate + other - rate x other) is hit by both when the faults are independent.
    The number of shared ids is then binomial.

    Args:
        shared: ids in both samples.
        distinct: ids in either sample.
        rate: share of the records that one fault hits, 0 to 1.
        other_rate: the same of the other fault.

    Returns:
        A probability; 1.0 when nothing was shared or the rates say nothing.

    Source: A. Broder, "On the resemblance and containment of documents" (1997).
    """
    either = rate + other_rate - rate * other_rate
    if shared <= 0 or either <= 0:
        return _CERTAIN
    return _tail(range(shared, distinct + 1), distinct, rate * other_rate / either)


def too_few_shared(shared: int, distinct: int, rate: float, effect_rate: float) -> float:
    """Return how probable it is to share at most so many ids with an effect of one's own.

    Of the records that an effect hits, at least `OWN_SHARE` are then hit by its cause too: of the
    records that either hits a share that follows from the two rates. Samples of few of many records
    overlap somewhat less than that, for which the share is kept low.

    Args:
        shared: ids in both samples.
        distinct: ids in either sample.
        rate: share of the records that the cause hits, 0 to 1.
        effect_rate: the same of the effect.

    Returns:
        A probability; 1.0 when nothing was sampled or the rates say nothing.
    """
    both = min(rate, OWN_SHARE * effect_rate)
    either = rate + effect_rate - both
    if distinct <= 0 or either <= 0:
        return _CERTAIN
    return _tail(range(shared + 1), distinct, both / either)


def _tail(counts: range, of: int, share: float) -> float:
    """Return the probability of some counts in a binomial distribution."""
    terms = (comb(of, k) * share**k * (1 - share) ** (of - k) for k in counts)
    return float(sum(terms))


def violation_rate(
    alert: Mapping[str, Any], topology: Topology, slo_ratio: float, short_us: int
) -> float:
    """Return the share of the records at an alert's place that violate while it lasts, 0 to 1.

    A burn rate is turned back into a share by the objective. A share was measured over the whole
    short window: when the episode fills only a part of it, the share within is larger by as much.
    Rates that an alert does not tell (silence, skew) count as 1, which no overlap can beat.
    """
    value = float(alert["value"])
    if alert["kind"] in (FIDELITY_BURN, MISSING_ACKNOWLEDGMENT):
        place = (alert["flow"], alert["from_stage"], alert["to_stage"])
        value *= 1 - topology.slo(*place, slo_ratio)
    elif alert["unit"] != "ratio":
        return _CERTAIN
    lasted_us: int = max(1, alert["last_seen"] - alert["firing_since"])
    return min(_CERTAIN, value * max(1.0, short_us / lasted_us))


def shared_ids(ids: Collection[str], other: Collection[str]) -> tuple[int, int]:
    """Return how many ids are in both collections, and how many in either."""
    left, right = set(ids), set(other)
    return len(left & right), len(left | right)
