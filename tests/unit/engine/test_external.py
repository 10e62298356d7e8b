"""Alerts from outside: mapped, told once, ended, restarted, and never lost among bad ones."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.codec.records import encode
from streams.core.alerts.external import ExternalSettings
from streams.core.incidents.book import IncidentSettings
from streams.core.incidents.topology import ModuleInfo, Topology
from streams.engine.external import ExternalTask
from streams.engine.incidents import IncidentTask
from streams.errors import StateError

S = 1_000_000
T0 = 1_767_607_200 * S  # 2026-01-05T10:00:00Z
TOPOLOGY = Topology({"BILLING": ModuleInfo("billing-team", "#b", "billing playbook")})
SETTINGS = ExternalSettings(
    modules={"cards-api": "BILLING"}, severities={"p1": "CRITICAL"}, expire_us=100 * S,
    forget_us=1_000 * S, max_alerts=3,
)  # fmt: skip


def record(body: Any, at_s: int = 0, offset: int = 0) -> dict[str, Any]:
    value = body if isinstance(body, bytes) else json.dumps(body).encode()
    return {
        "topic": "alerts.external.v1", "partition": 0, "offset": offset,
        "timestamp": T0 + at_s * S, "key": None, "value": value,
    }  # fmt: skip


def plain(status: str = "firing", **labels: str) -> dict[str, Any]:
    return {"labels": {"alertname": "Disk", **labels}, "status": status}


def task() -> ExternalTask:
    return ExternalTask(SETTINGS, TOPOLOGY)


def step(made: ExternalTask, *bodies: Any, at_s: int = 0) -> list[dict[str, Any]]:
    """Return the alerts of a step at a time."""
    records = [record(body, at_s) for body in bodies]
    out = made.step(records, T0 + at_s * S, True)
    return [output.record for output in out if output.topic_kind == "alerts"]


def test_labels_lead_to_module_owner_severity_and_ids() -> None:
    """By the contract's map; the record can be written as an alert."""
    body = plain(service="cards-api", severity="p1", component="db", trace_id="t" * 32)
    body["annotations"] = {"summary": "The disk is full", "runbook_url": "https://r.example.org"}
    body["startsAt"] = "2026-01-05T09:59:00Z"
    (alert,) = step(task(), body)
    encode("alert", alert)
    assert (alert["kind"], alert["state"], alert["source"]) == ("external", "FIRING", "external")
    assert (alert["module"], alert["component"]) == ("BILLING", "db")
    assert (alert["owner"], alert["playbook"]) == ("billing-team", "https://r.example.org")
    assert (alert["severity"], alert["rule_id"], alert["name"]) == ("CRITICAL", "Disk", "Disk")
    assert (alert["firing_since"], alert["last_seen"]) == (T0 - 60 * S, T0)
    assert alert["trace_ids"] == ["t" * 32]
    assert alert["explanation"] == "The disk is full (external: Disk)"
    assert alert["labels"] == body["labels"]


@pytest.mark.parametrize(
    ("labels", "module", "severity"),
    [
        ({"module": "billing", "severity": "warning"}, "BILLING", "WARN"),
        ({"service": "other", "severity": "page"}, "other", "CRITICAL"),
        ({"job": "x", "severity": "odd"}, "x", "WARN"),
        ({"severity": "info"}, "", "INFO"),
    ],
)
def test_what_the_contract_does_not_map_is_read_as_usual(
    labels: dict[str, str], module: str, severity: str
) -> None:
    """A module in any case of letters, the label's own value, and the usual words."""
    (alert,) = step(task(), plain(**labels))
    assert (alert["module"], alert["severity"]) == (module, severity)


def test_repeats_say_nothing_and_the_end_is_told_once() -> None:
    """Told at the first, silent on repeats, told as worse, then as over, and not again."""
    made = task()
    assert len(step(made, plain())) == 1
    assert step(made, plain(), at_s=10) == []
    (over,) = step(made, plain("resolved"), at_s=20)
    assert (over["state"], over["version"], over["last_seen"]) == ("RESOLVED", 2, T0 + 20 * S)
    assert step(made, plain("resolved"), at_s=21) == []
    (again,) = step(made, plain(), at_s=30)
    assert (again["state"], again["version"], again["firing_since"]) == (
        "FIRING", 3, T0 + 30 * S,
    )  # fmt: skip


def test_an_end_that_has_passed_resolves_and_one_to_come_is_a_deadline() -> None:
    """`endsAt` is the last word of some senders."""
    made = task()
    step(made, {**plain(), "endsAt": "2026-01-05T10:00:50Z"})
    assert step(made, at_s=49) == []
    (over,) = step(made, at_s=51)
    assert (over["state"], over["last_seen"]) == ("RESOLVED", T0 + 50 * S)
    step(made, plain(), at_s=60)
    (over,) = step(made, {**plain(), "endsAt": "2026-01-05T10:01:05Z"}, at_s=70)
    assert (over["state"], over["last_seen"]) == ("RESOLVED", T0 + 65 * S)


def test_what_nobody_repeats_ends() -> None:
    """After the contract's time, counted from the last repeat."""
    made = task()
    step(made, plain())
    step(made, plain(), at_s=60)
    assert step(made, at_s=159) == []
    (over,) = step(made, at_s=160)
    assert "nobody repeated it" in over["explanation"]


def test_bounds_and_unknown_ends_are_counted() -> None:
    """The fourth alert is not raised; the end of an alert that nobody knows is no alert."""
    made = task()
    assert len(step(made, *(plain(n=str(n)) for n in range(4)))) == 3
    assert step(made, plain("resolved", n="9")) == []
    assert made.counters() == {"external_over_bound": 1, "external_resolved_unknown": 1}


def test_versions_rise_over_forgetting() -> None:
    """An alert that comes back after it was forgotten goes on above its last version."""
    made = task()
    step(made, plain())
    step(made, plain("resolved"), at_s=1)
    step(made, at_s=2_000)
    assert not made.book.states
    (again,) = step(made, plain(), at_s=2_001)
    assert again["version"] == 3


def test_bad_records_are_rejected_with_their_place() -> None:
    """The good alert beside the bad one is raised."""
    out = task().step(
        [record({"alerts": [plain(), 3]}, offset=7), record(b"{", offset=8)], T0, True
    )
    kinds = [(output.topic_kind, output.record.get("reason")) for output in out]
    assert sorted(kinds, key=str) == [
        ("alerts", None), ("rejected", "external_no_alert"), ("rejected", "external_not_json"),
    ]  # fmt: skip
    rejected = [output.record for output in out if output.topic_kind == "rejected"]
    assert [r["offset"] for r in rejected] == [7, 8]
    for one in rejected:
        encode("rejected_event", one)


def test_an_alert_from_outside_opens_an_incident() -> None:
    """Its module answers for it."""
    alerts = step(task(), plain(service="cards-api"))
    told = IncidentTask(IncidentSettings(), TOPOLOGY).step(alerts, T0, True)
    (event,) = [output for output in told if output.topic_kind == "incidents"]
    assert (event.record["event"], event.record["module"]) == ("OPENED", "BILLING")
    assert event.record["owner"] == "billing-team"


STEPS = st.lists(
    st.tuples(st.sampled_from(["firing", "resolved"]), st.sampled_from("ab"), st.integers(0, 90)),
    max_size=15,
)


@given(STEPS)
def test_restarts_change_nothing_and_versions_have_no_gap(
    steps: list[tuple[str, str, int]],
) -> None:
    """Restored after every record: the same alerts, each fingerprint's versions 1, 2, 3 ..."""
    plain_task, other, told, expected, at_s = task(), task(), [], [], 0
    for status, name, pause_s in steps:
        at_s += pause_s
        expected += step(plain_task, plain(status, n=name), at_s=at_s)
        told += step(other, plain(status, n=name), at_s=at_s)
        snapshot = json.loads(json.dumps(other.snapshot()))
        other = ExternalTask.restore(SETTINGS, TOPOLOGY, snapshot)
    assert told == expected
    for print_ in {alert["fingerprint"] for alert in told}:
        own = [alert for alert in told if alert["fingerprint"] == print_]
        assert [alert["version"] for alert in own] == list(range(1, len(own) + 1))
        assert all(a["state"] != b["state"] for a, b in pairwise(own))


def test_state_of_another_format_is_refused() -> None:
    """The message says what to do."""
    with pytest.raises(StateError, match="Operator action"):
        ExternalTask.restore(SETTINGS, TOPOLOGY, {"format": 99})


def test_a_senders_clock_that_is_ahead_moves_nothing() -> None:
    """A record says when it came by its sender's clock; nothing comes later than now."""
    made = task()
    ahead = record(plain(service="a"), at_s=500_000_000)
    (told,) = (o.record for o in made.step([ahead], T0, True) if o.topic_kind == "alerts")
    assert (told["firing_since"], told["last_seen"]) == (T0, T0)
    assert made.book.stream_us == T0
    (over,) = step(made, plain("resolved", service="a"), at_s=5)
    assert (over["state"], over["last_seen"]) == ("RESOLVED", T0 + 5 * S)
