"""Two alerts are one problem for a reason: a cause, a place, or records beyond chance."""

from typing import Any

import pytest

from streams.core.incidents.evidence import overlap_by_chance, too_few_shared, violation_rate
from streams.core.incidents.relate import (
    EXPLAINS,
    NEIGHBOURS,
    SAME_PLACE,
    SAME_RECORDS,
    Relations,
    RelationSettings,
)
from tests.synthetic_pipeline import SECOND, TOPOLOGY
from tests.unit.core.incidents.alerts import alert, resolved

RELATIONS = Relations(
    TOPOLOGY, RelationSettings(causal_us=3 * SECOND, short_us=5 * SECOND, slo_ratio=0.999)
)
HOP = "transfer_beta_gamma>rendering"
ACKNOWLEDGMENT = "delivery>acknowledgment"
IDS = [f"{i:032x}" for i in range(40)]


def rank(one: dict[str, Any], other: dict[str, Any]) -> int | None:
    """Return the rank of the relation, asked both ways."""
    there, back = RELATIONS.between(one, other), RELATIONS.between(other, one)
    assert there == back
    return there.rank if there else None


@pytest.mark.parametrize(
    ("cause", "effect"),
    [
        (alert("module_silent", "GAMMA"), alert("fidelity_burn", HOP)),
        (
            alert("module_silent", "GAMMA"),
            alert("missing_acknowledgment", ACKNOWLEDGMENT),
        ),
        (alert("module_silent", "INTEGRATION"), alert("fidelity_burn", HOP)),
        (alert("module_silent", "ALPHA"), alert("module_silent", "INTEGRATION", 11)),
        (alert("module_silent", "BETA"), alert("deadline_missed", ">transfer_beta_gamma")),
        (alert("mispartitioned", "GAMMA"), alert("fidelity_burn", HOP)),
        (alert("context_restarted", HOP), alert("fidelity_burn", HOP)),
        (alert("clock_skew", HOP), alert("deadline_missed", ">delivery")),
        (alert("clock_skew", "buffer>transfer_alpha_beta"), alert("deadline_missed", ">rendering")),
        (alert("error_spans", ">rendering"), alert("fidelity_burn", "rendering>delivery")),
    ],
    ids=lambda a: f"{a['kind']}-{a['name']}",
)
def test_a_cause_explains_its_effects(cause: dict[str, Any], effect: dict[str, Any]) -> None:
    """A cause takes in what follows from it while it lasts, and nothing that began well before."""
    assert rank(cause, effect) == EXPLAINS
    assert RELATIONS.explains(cause, effect)
    assert not RELATIONS.explains(effect, cause)
    early = cause | {"firing_since": 30 * SECOND, "last_seen": 31 * SECOND}
    assert rank(early, effect) in (None, SAME_PLACE)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (alert("duplicate_rate", "ALPHA"), alert("fidelity_burn", "parser>buffer")),
        (alert("module_silent", "PHI"), alert("fidelity_burn", HOP)),
        (alert("mispartitioned", "ALPHA"), alert("fidelity_burn", HOP)),
        (alert("deadline_missed", ">enrichment"), alert("missing_acknowledgment", ACKNOWLEDGMENT)),
        (alert("fidelity_burn", "buffer>transfer_alpha_beta"), alert("fidelity_burn", HOP)),
        (alert("fidelity_burn", HOP), alert("missing_acknowledgment", ACKNOWLEDGMENT)),
        (alert("deadline_missed", ">enrichment"), alert("deadline_missed", ">delivery")),
        (alert("module_silent", "GAMMA"), alert("fidelity_burn", "parser>buffer")),
        (alert("duplicate_rate", "ALPHA"), alert("duplicate_rate", "GAMMA")),
    ],
    ids=lambda a: f"{a['kind']}-{a['name']}",
)  # fmt: skip
def test_overlap_in_time_is_no_reason(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Different faults at different places stay apart though they begin at the same second."""
    assert rank(one, other) is None


def test_one_stage_is_one_place_while_it_lasts() -> None:
    """Whatever is wrong with one stage at one time is one problem; much later it is another."""
    loss = alert("fidelity_burn", "schema_mapping>enrichment", 10, last=14)
    late = alert("deadline_missed", ">enrichment", 12)
    assert rank(loss, late) == SAME_PLACE
    assert rank(resolved(loss, 14), alert("deadline_missed", ">enrichment", 20)) is None


def test_neighbours_must_begin_together() -> None:
    """Losses on adjacent edges are one problem when they begin together, else two."""
    near = alert("fidelity_burn", HOP, 10)
    assert rank(near, alert("fidelity_burn", "rendering>delivery", 12)) == NEIGHBOURS
    assert rank(near, alert("fidelity_burn", "rendering>delivery", 14)) is None


def test_shared_records_beyond_chance_join_distant_alerts() -> None:
    """The same records at both places join them; a few of many, or all of all, do not."""
    late = alert("deadline_missed", ">enrichment", last=15, trace_ids=IDS[:20])
    far = {"last": 15, "value": 0.3}
    same = alert("error_spans", ">delivery", trace_ids=IDS[:20], **far)
    assert rank(late, same) == SAME_RECORDS
    few = alert("error_spans", ">delivery", trace_ids=IDS[16:36], **far)
    assert rank(late, few) is None
    everything = {"value": 1.0, "last": 15, "trace_ids": IDS[:20]}
    whole = alert("error_spans", ">delivery", **everything)
    assert rank(alert("deadline_missed", ">enrichment", **everything), whole) is None


def test_chance_is_the_binomial_tail() -> None:
    """Rates 1/2 and 1/2 share a third of what either hits: by hand for 2 of 2, and for 1 of 2."""
    assert overlap_by_chance(2, 2, 0.5, 0.5) == pytest.approx(1 / 9)
    assert overlap_by_chance(1, 2, 0.5, 0.5) == pytest.approx(1 - 4 / 9)
    assert overlap_by_chance(0, 5, 0.5, 0.5) == 1.0
    assert overlap_by_chance(5, 5, 1.0, 1.0) == 1.0


def test_an_effect_shares_most_of_its_records_with_its_cause() -> None:
    """Two thirds of the effect's 0.3 are 0.2; of the 0.4 that either hits these are a half."""
    assert too_few_shared(0, 2, 0.3, 0.3) == pytest.approx(1 / 4)
    assert too_few_shared(1, 2, 0.3, 0.3) == pytest.approx(3 / 4)
    assert too_few_shared(2, 2, 0.3, 0.3) == pytest.approx(1.0)
    assert too_few_shared(0, 3, 0.1, 0.9) == pytest.approx((8 / 9) ** 3), "no more than it hits"
    assert too_few_shared(0, 0, 0.3, 0.3) == too_few_shared(0, 5, 0.0, 0.0) == 1.0


def test_a_short_episode_has_a_higher_rate_within() -> None:
    """A tenth of five seconds within one second is one half of that second."""
    short = alert("deadline_missed", ">enrichment", 10, last=11, value=0.1)
    assert violation_rate(short, TOPOLOGY, 0.999, 5 * SECOND) == pytest.approx(0.5)
    burn = alert("fidelity_burn", HOP, 10, last=15, value=300.0, unit="burn rate")
    assert violation_rate(burn, TOPOLOGY, 0.999, 5 * SECOND) == pytest.approx(0.3)
    skew = alert("clock_skew", HOP, value=-300.0, unit="ms")
    assert violation_rate(skew, TOPOLOGY, 0.999, 5 * SECOND) == 1.0
