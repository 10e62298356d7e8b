"""An incident's alerts speak for where their chains begin."""

from dataclasses import replace
from random import Random
from typing import Any

from streams.core.causes.alert_rank import rank_alerts
from streams.core.causes.evidence import METRIC_SHIFT, UNKNOWN, Cause, Evidence
from streams.core.incidents.partition import Partition
from streams.core.incidents.propagation import Propagation
from streams.core.incidents.relate import Relations
from tests.synthetic_pipeline import INCIDENTS, TOPOLOGY
from tests.unit.core.incidents.alerts import alert

CACHE, LOOKUP, SCORE, LOG = (
    ("EPSILON", "cache"), ("BETA", "lookup"), ("BETA", "score"), ("BETA", "log")
)  # fmt: skip
KNOWN = Propagation({LOOKUP: (CACHE,), SCORE: (LOOKUP,)}, (), frozenset({LOG}))
MAPPED = Relations(replace(TOPOLOGY, propagation=KNOWN), INCIDENTS.relations)


def one(place: tuple[str, str], since: float, **fields: Any) -> dict[str, Any]:
    """Return an alert of a metric at a component that lasts for ten seconds."""
    module, component = place
    number = fields.pop("number", 0)
    made = alert("metric_threshold", module, since, component=component, last=since + 10, **fields)
    return made | {"fingerprint": f"{component}-{since}-{number}"}


def ranked(alerts: list[dict[str, Any]], relations: Relations = MAPPED) -> list[Cause]:
    partition = Partition(relations)
    for state in alerts:
        partition.put(state)
    partition.regroup()
    return rank_alerts(alerts, partition.links, relations)


def places(causes: list[Cause]) -> list[str]:
    return [f"{c.module}.{c.component}" if c.module else c.kind for c in causes]


def test_symptoms_speak_for_what_they_need() -> None:
    """However many they are, and though another place reports of it."""
    alerts = [one(CACHE, 10), one(LOOKUP, 11), one(SCORE, 13), one(LOG, 12)]
    causes = ranked(alerts)
    assert places(causes)[0] == "EPSILON.cache"
    assert "3 kinds of alerts follow from it, at BETA.log, BETA.lookup, BETA.score" in str(
        causes[0]
    )
    assert abs(sum(c.probability for c in causes) - 1) < 1e-9
    assert [c.rank for c in causes] == list(range(1, len(causes) + 1))


def test_many_series_of_one_kind_at_one_place_are_one_sign() -> None:
    """A rule by destination does not outvote the place where it began."""
    series = [one(SCORE, 10, number=n) | {"rule_id": "low"} for n in range(12)]
    alone = [one(CACHE, 10, severity="CRITICAL")]
    split = MAPPED.topology.propagation
    apart = Relations(
        replace(MAPPED.topology, propagation=replace(split, needs={LOOKUP: (CACHE,), SCORE: ()})),
        INCIDENTS.relations,
    )
    assert places(ranked([*series, *alone], apart))[0] == "EPSILON.cache"


def test_one_warning_alone_is_not_certain() -> None:
    """UNKNOWN weighs as much as one warning, and stands first beside anything milder."""
    causes = ranked([one(CACHE, 10, severity="WARN")])
    assert places(causes) == ["EPSILON.cache", UNKNOWN]
    assert causes[0].probability == 0.5
    assert places(ranked([one(CACHE, 10, severity="INFO")]))[0] == UNKNOWN
    assert places(ranked([])) == [UNKNOWN]


def test_what_began_long_after_the_first_counts_less() -> None:
    """Of two places that nothing explains."""
    alerts = [one(SCORE, 10), one(("PHI", "jobs"), 19, severity="CRITICAL")]
    assert places(ranked(alerts))[0] == "BETA.score"


def test_an_alert_of_nowhere_speaks_for_no_place() -> None:
    """It adds to the doubt."""
    causes = ranked([one(("", ""), 10), one(CACHE, 10, severity="WARN")])
    assert places(causes) == [UNKNOWN, "EPSILON.cache"]


def test_order_does_not_matter() -> None:
    """Of the alerts, in the partition and in the ranking."""
    alerts = [one(p, 10 + n) for n, p in enumerate((LOOKUP, CACHE, SCORE, LOG, LOOKUP))]
    expected = ranked(alerts)
    for seed in range(10):
        shuffled = list(alerts)
        Random(seed).shuffle(shuffled)
        assert ranked(shuffled) == expected


def sign(place: tuple[str, str], bits: float = 20.0, **fields: Any) -> Evidence:
    """Return a shift of a metric."""
    module, component = place
    given = {"kind": METRIC_SHIFT, "name": "cpu_percent", "sentence": f"{module} is hot"}
    return Evidence(**given | {"module": module, "component": component, "bits": bits} | fields)


def with_evidence(
    alerts: list[dict[str, Any]], *evidence: Evidence, relations: Relations = MAPPED
) -> list[Cause]:
    partition = Partition(relations)
    for state in alerts:
        partition.put(state)
    partition.regroup()
    return rank_alerts(alerts, partition.links, relations, evidence)


def test_evidence_decides_between_equals() -> None:
    """Two places alert alike; one of them is seen to be in trouble."""
    alerts = [one(SCORE, 10), one(("PHI", "jobs"), 10)]
    assert places(with_evidence(alerts, sign(SCORE)))[0] == "BETA.score"
    causes = with_evidence(alerts, sign(("PHI", "jobs")))
    assert places(causes)[0] == "PHI.jobs"
    assert "PHI is hot" in causes[0].evidence


def test_evidence_never_outweighs_alerts() -> None:
    """Though there were any number of signs at a place that raises none."""
    alerts = [one(CACHE, 10), one(LOOKUP, 11), one(SCORE, 13)]
    signs = [sign(("EPSILON", f"part{n}"), 200.0) for n in range(30)]
    assert places(with_evidence(alerts, *signs))[0] == "EPSILON.cache"


def test_a_place_without_an_alert_is_named_by_its_evidence() -> None:
    """It is a candidate below UNKNOWN: no rule speaks for it."""
    causes = with_evidence([one(LOOKUP, 10)], sign(("EPSILON", "disk")))
    assert places(causes) == ["BETA.lookup", UNKNOWN, "EPSILON.disk"]
    assert causes[2].kind == METRIC_SHIFT
    assert causes[2].evidence == ("EPSILON is hot",)


def test_evidence_that_no_alert_leads_to_is_left_out() -> None:
    """Another module's trouble is another incident's."""
    alerts = [one(("ALPHA", "parser"), 10)]
    assert with_evidence(alerts, sign(("PHI", "jobs"))) == with_evidence(alerts)


def test_evidence_of_a_module_counts_for_its_likeliest_place() -> None:
    """What names no component, and what one says that only reports."""
    alerts = [one(LOOKUP, 10), one(SCORE, 11)]
    plain = with_evidence(alerts)[0].probability
    for place in (("BETA", ""), LOG):
        causes = with_evidence(alerts, sign(place))
        assert places(causes)[0] == "BETA.lookup"
        assert causes[0].probability > plain
        assert not any("log" in name for name in places(causes))
