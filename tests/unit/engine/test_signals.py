"""From metric points to alerts and incidents: rules, restarts, and no alert of two writers."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streams.core.alerts.finding import fingerprint
from streams.core.alerts.ownership import VERSIONS
from streams.core.alerts.settings import RuleSettings
from streams.core.incidents.book import IncidentSettings
from streams.core.incidents.topology import Edge, ModuleInfo, Place, Topology
from streams.core.signals.impact import Pipeline
from streams.core.signals.rule import ALERT_OF_KIND, DOMAIN_ALERTS, SignalRule
from streams.core.signals.series import Series
from streams.core.signals.watch import WatchSettings
from streams.engine.incidents import IncidentTask
from streams.engine.outputs import Output
from streams.engine.signals import SignalSettings, SignalsTask
from tests.signal_cases import METRIC, SECOND, T0, cell, partial, rule, series

WINDOW = 10 * SECOND
TOPOLOGY = Topology(
    {"ALPHA": ModuleInfo("alpha-team", "#alpha", "alpha playbook")},
    (Edge("f", "parse", "send"),),
    {Place("f", "parse"): "ALPHA", Place("f", "send"): "ALPHA"},
)
PIPELINE = Pipeline(TOPOLOGY, {Place("f", "parse"): "parser", Place("f", "send"): "sender"})


def task(*rules: SignalRule, quiet: int = 2) -> SignalsTask:
    settings = SignalSettings(
        rules or (rule(),),
        watch=WatchSettings(warm_up_us=0),
        alerts=RuleSettings(quiet_us=quiet * WINDOW),
        contract_version="7",
    )
    return SignalsTask(settings, PIPELINE)


def values(*numbers: float, partition: int = 0, partitions: int = 1) -> list[dict[str, Any]]:
    """Return one partial a window, each passing its window's end."""
    return [
        partial(
            T0 + at * WINDOW, T0 + (at + 1) * WINDOW, {series(): cell(v, at_us=T0 + at * WINDOW)},
            partition=partition, partitions=partitions, sequence=at + 1,
        )
        for at, v in enumerate(numbers)
    ]  # fmt: skip


def alerts(outputs: list[Output]) -> list[dict[str, Any]]:
    return [output.record for output in outputs if output.topic_kind == "alerts"]


def test_an_alert_carries_rule_owner_place_and_labels() -> None:
    """Everything that a reader needs is on the record; the stage is that of the component."""
    made = task(rule(id="deep", version="3", severity="ERROR", alert="queue_lag"))
    (fired,) = alerts(made.step(values(50, 150), 0, True))
    assert (fired["state"], fired["kind"], fired["severity"]) == ("FIRING", "queue_lag", "ERROR")
    assert (fired["rule_id"], fired["rule_version"]) == ("deep", "3")
    assert (fired["owner"], fired["playbook"]) == ("alpha-team", "alpha playbook")
    assert (fired["module"], fired["component"]) == ("ALPHA", "parser")
    assert (fired["flow"], fired["to_stage"]) == ("f", "parse")
    assert (fired["value"], fired["threshold"], fired["unit"]) == (150.0, 100.0, "1")
    assert (fired["firing_since"], fired["last_seen"]) == (T0 + WINDOW, T0 + 2 * WINDOW)
    assert fired["labels"] == {"signal": METRIC, "unit": "1"}
    assert fired["contract_version"] == "7"
    assert fired["explanation"] == (
        f"The metric {METRIC} of ALPHA:parser is 150 1 over the 10 s up to 2025-10-09T08:53:40Z, "
        "and > 100 is the limit (rule deep)."
    )


def test_an_alert_speaks_when_it_begins_and_when_it_ends() -> None:
    """Violated for three windows, quiet for two: two states."""
    told = alerts(task().step(values(150, 150, 150, 1, 1, 1), 0, True))
    assert [(a["state"], a["version"]) for a in told] == [
        ("FIRING", 1), ("FIRING", 2), ("RESOLVED", 3),
    ]  # fmt: skip


def test_impact_is_told_where_the_rule_asks() -> None:
    """30 records a second pass the parser: at risk while it is over the limit."""
    stage = Series("STAGE", "ALPHA", "", "f/parse")
    made = task(rule(has_impact=True), rule(id="other"))
    rates = [
        partial(T0 - n * WINDOW, 0, {stage: cell(*[0.0] * 300)}, sequence=n) for n in range(1, 5)
    ]
    one, other = alerts(made.step([*rates, *values(150)], 0, True))
    by_rule = {a["rule_id"]: a for a in (one, other)}
    assert by_rule["deep"]["records_at_risk_per_second"] == 30.0
    assert "30 records a second of f flow through it" in by_rule["deep"]["explanation"]
    assert by_rule["other"]["records_at_risk_per_second"] == 0.0


def test_a_signal_alert_opens_an_incident() -> None:
    """The incident task takes a kind that it has no rule for: one incident, named after it."""
    fired = alerts(task().step(values(150), 0, True))
    (event,) = IncidentTask(IncidentSettings(), TOPOLOGY).step(fired, 0, True)
    assert event.record["event"] == "OPENED"
    assert event.record["kinds"] == ["metric_threshold"]
    assert (event.record["owner"], event.record["module"]) == ("alpha-team", "ALPHA")


def test_the_two_writers_of_alerts_never_share_a_fingerprint() -> None:
    """The kind is part of a fingerprint, and no kind belongs to both."""
    assert not {*ALERT_OF_KIND.values(), *DOMAIN_ALERTS} & VERSIONS.keys()
    one = fingerprint("metric_threshold", "ALPHA", "", "", "", "x")
    assert one != fingerprint("error_spans", "ALPHA", "", "", "", "x")


NUMBERS = st.lists(st.integers(0, 200), min_size=1, max_size=12)


@given(NUMBERS, st.data())
def test_cuts_and_restarts_change_nothing(numbers: list[int], data: st.DataObject) -> None:
    """However the partials are cut into steps, and restored in between: the same alerts."""
    made = task(rule(), rule(id="rising", stat="increase", over_us=3 * WINDOW))
    records = values(*map(float, numbers))
    expected = alerts(made.step(records, 0, True))
    other, told = task(*made.settings.rules), []
    while records:
        size = data.draw(st.integers(1, len(records)))
        told += alerts(other.step(records[:size], 0, False))
        records = records[size:]
        snapshot = json.loads(json.dumps(other.snapshot()))
        other = SignalsTask.restore(other.settings, PIPELINE, snapshot)
    assert told == expected


def test_partitions_may_report_in_any_order() -> None:
    """Two partitions, one after the other or the other way round: the same alerts."""
    first, second = (values(150, 1, 150, partition=p, partitions=2) for p in (0, 1))
    one = alerts(task().step(first + second, 0, True))
    assert one == alerts(task().step(second + first, 0, True))
    assert [a["count"] for a in one] == [2, 4]


def test_what_is_not_used_is_counted() -> None:
    """A partial of other windows and a series beyond the bound have a reason each."""
    made = task()
    made.step([partial(T0, T0, {series(): cell(1.0)}, window_us=3)], 0, True)
    assert made.counters() == {"signals_of_other_windows": 1}
