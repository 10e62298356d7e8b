"""Whether two alerts share more traces or records than two unrelated faults would by chance.

Invariant: the answer is the same whichever of the two alerts is asked about first.
"""

from collections.abc import Collection, Mapping
from math import comb
from typing import Any, Final

from streams.core.alerts.finding import FIDELITY_BURN, MISSING_ACKNOWLEDGMENT
from streams.core.incidents.topology import Topology

_CERTAIN: Final = 1.0


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
    both = rate * other_rate / either
    tail = sum(
        comb(distinct, k) * both**k * (1 - both) ** (distinct - k)
        for k in range(shared, distinct + 1)
    )
    return float(tail)


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
