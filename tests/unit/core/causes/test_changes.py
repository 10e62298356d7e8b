"""Changes, alerts and exact tests: what they say and what they do not."""

import pytest

from streams.core.alerts.external import EXTERNAL
from streams.core.alerts.finding import (
    CLOCK_SKEW,
    CONTEXT_RESTARTED,
    DEADLINE_MISSED,
    DUPLICATE_RATE,
    ERROR_SPANS,
    FIDELITY_BURN,
    MISSING_ACKNOWLEDGMENT,
    MODULE_SILENT,
)
from streams.core.causes.alert_evidence import alert_evidence
from streams.core.causes.changes import Change, change_evidence
from streams.core.causes.evidence import (
    ALERT,
    CHANGE,
    LOG_NEW,
    METRIC_SHIFT,
    MISSING_EDGE,
    TRACE_ERRORS,
    TRACE_SLOW,
    UNKNOWN,
    Evidence,
)
from streams.core.causes.parameters import PARAMETERS
from streams.core.causes.rank import rank
from streams.core.causes.statistics import share_score
from streams.core.causes.strength import ScoreTails
from streams.core.incidents.topology import Topology
from streams.units import MINUTE_US

DEPLOY = Change(10 * MINUTE_US, "cart", "DEPLOY", "v2")


def scores(onset_us: int) -> list[float]:
    return [e.score for e in change_evidence([DEPLOY], {}, onset_us, PARAMETERS)]


def test_a_change_after_the_onset_is_no_cause() -> None:
    """What came later cannot have done it."""
    assert scores(9 * MINUTE_US) == []


def test_a_change_fades_with_the_time_before_the_onset() -> None:
    """One half-life earlier it scores half; long before, nothing."""
    near, late = scores(10 * MINUTE_US), scores(25 * MINUTE_US)
    assert late == [near[0] / 2]
    assert scores(200 * MINUTE_US) == []


def test_a_change_alone_names_no_cause() -> None:
    """A deploy of a module of which nothing else is seen ranks behind UNKNOWN."""
    found = change_evidence([DEPLOY], {}, 10 * MINUTE_US, PARAMETERS)
    assert [c.kind for c in rank((), found, Topology())] == [UNKNOWN, CHANGE]


def test_a_change_decides_between_equals() -> None:
    """Of two modules with the same new log, the one that was just deployed comes first."""
    logs = [Evidence(LOG_NEW, m, score=8.0, since_us=11 * MINUTE_US) for m in ("ads", "cart")]
    found = change_evidence([DEPLOY], {}, 11 * MINUTE_US, PARAMETERS)
    assert rank((), logs, Topology())[0].module == "ads"
    assert rank((), [*logs, *found], Topology())[0].module == "cart"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (ERROR_SPANS, TRACE_ERRORS),
        (DUPLICATE_RATE, TRACE_ERRORS),
        ("circuit_open", TRACE_ERRORS),
        (DEADLINE_MISSED, TRACE_SLOW),
        ("queue_lag", TRACE_SLOW),
        ("metric_threshold", METRIC_SHIFT),
        ("signal_absent", METRIC_SHIFT),
        ("log_pattern", LOG_NEW),
        (FIDELITY_BURN, MISSING_EDGE),
        (MISSING_ACKNOWLEDGMENT, MISSING_EDGE),
        (MODULE_SILENT, MISSING_EDGE),
        (CONTEXT_RESTARTED, MISSING_EDGE),
        (CLOCK_SKEW, ALERT),
        (EXTERNAL, ALERT),
    ],
)
def test_alerts_are_evidence_of_their_kind(kind: str, expected: str) -> None:
    """An alert's kind says what its evidence is like; broken traces weigh it less."""
    alert = {"kind": kind, "module": "cart", "firing_since": 7, "fidelity_ratio": 0.4}
    (item,) = alert_evidence([alert])
    assert (item.kind, item.since_us, item.weight) == (expected, 7, 0.4)


def test_an_alert_without_a_module_says_nothing_about_places() -> None:
    """It belongs nowhere."""
    assert alert_evidence([{"kind": "X", "module": "", "firing_since": 0}]) == []


def test_a_share_score_has_the_size_of_a_known_test() -> None:
    """G of 5 of 20 against 50 of 100 is 4.40 by hand (half a count added to the pool)."""
    pooled = (5 + 50 + 0.5) / (20 + 100 + 1)
    assert pooled == pytest.approx(0.4587, abs=1e-4)
    assert share_score(5, 20, 50, 100) == pytest.approx(-(4.40**0.5), abs=0.02)
    assert share_score(10, 20, 50, 100) == pytest.approx(0.0, abs=0.1)


def test_rarity_is_counted_once_a_stretch_and_not_while_alarming() -> None:
    """A score that lasts is one observation; a place with an alarm is none."""
    tails = ScoreTails(PARAMETERS)
    shift = Evidence(LOG_NEW, "cart", score=8.0)
    stretch_us = PARAMETERS.incident_window_us
    for step in range(10):
        tails.observe(stretch_us + step, [shift], (), 4)
    tails.observe(2 * stretch_us, [shift], ("cart",), 4)
    assert sum(tails.counts[LOG_NEW].values()) == 1
    tails.observe(3 * stretch_us, [], (), 4)
    assert sum(tails.counts[LOG_NEW].values()) == 1
    assert tails.total == 7


def test_what_was_often_seen_is_less_rare() -> None:
    """Each quiet place that reaches a score takes bits from it."""
    fresh, used = ScoreTails(PARAMETERS), ScoreTails(PARAMETERS)
    for step in range(1, 30):
        at_us = step * PARAMETERS.incident_window_us
        fresh.observe(at_us, [], (), 1)
        used.observe(at_us, [Evidence(LOG_NEW, "cart", score=9.0)], (), 1)
    assert used.bits(LOG_NEW, 8.0) < fresh.bits(LOG_NEW, 8.0)
    assert used.bits(LOG_NEW, 20.0) == fresh.bits(LOG_NEW, 20.0)
