"""JSON alerts from outside: webhook bodies and plain ones, caps, and whatever else comes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.codec.external_alerts import (
    ALERTS_MAX,
    LABELS_MAX,
    REASONS,
    TEXT_MAX,
    VALUE_BYTES_MAX,
    ExternalAlert,
    read_external,
)

# The example of Alertmanager's own page on webhooks, shortened.
WEBHOOK = {
    "version": "4",
    "groupKey": '{}:{alertname="High"}',
    "truncatedAlerts": 0,
    "status": "firing",
    "receiver": "spanloom",
    "groupLabels": {"alertname": "High"},
    "commonLabels": {"alertname": "High"},
    "commonAnnotations": {},
    "externalURL": "http://am.example.org",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "High", "service": "db"},
            "annotations": {"summary": "much"},
            "startsAt": "2026-01-05T10:00:00.123456789Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.example.org",
            "fingerprint": "f0",
        },
        {
            "status": "resolved",
            "labels": {"alertname": "High", "service": "web"},
            "annotations": {},
            "startsAt": "2026-01-05T10:00:00+02:00",
            "endsAt": "2026-01-05T11:00:00Z",
        },
    ],
}
TEN_US = 1_767_607_200_000_000  # 2026-01-05T10:00:00Z


def read(body: Any) -> Any:
    return read_external(json.dumps(body).encode())


def reasons(body: Any) -> list[str]:
    return [reason for reason, _ in read(body).bad]


def test_a_webhook_body_is_read_whole() -> None:
    """Both alerts with their labels, states and times; the year 1 is no time."""
    first, second = read(WEBHOOK).alerts
    assert first == ExternalAlert(
        "alertmanager", {"alertname": "High", "service": "db"}, {"summary": "much"}, True,
        TEN_US + 123_456, 0,
    )  # fmt: skip
    assert not second.is_firing
    assert (second.starts_us, second.ends_us) == (
        TEN_US - 2 * 3_600_000_000,
        TEN_US + 3_600_000_000,
    )


def test_a_plain_alert_needs_labels_only() -> None:
    """It fires, and when it began is not known."""
    (alert,) = read({"labels": {"a": "b"}}).alerts
    assert alert == ExternalAlert("external", {"a": "b"}, {}, True, 0, 0)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ([], "external_no_alert"),
        ({"alerts": {}}, "external_no_alert"),
        ({"alerts": [7]}, "external_no_alert"),
        ({}, "external_bad_labels"),
        ({"labels": {}}, "external_bad_labels"),
        ({"labels": {"a": 1}}, "external_bad_labels"),
        ({"labels": {"a": "x" * (TEXT_MAX + 1)}}, "external_bad_labels"),
        ({"labels": {str(n): "" for n in range(LABELS_MAX + 1)}}, "external_bad_labels"),
        ({"labels": {"a": "\ud800"}}, "external_bad_labels"),
        ({"labels": {"a": "b"}, "status": "maybe"}, "external_bad_status"),
        ({"labels": {"a": "b"}, "startsAt": "yesterday"}, "external_bad_time"),
        ({"labels": {"a": "b"}, "startsAt": "2026-01-05T10:00:00"}, "external_bad_time"),
        ({"labels": {"a": "b"}, "endsAt": "9999-01-01T00:00:00Z"}, "external_bad_time"),
        ({"labels": {"a": "b"}, "startsAt": 5}, "external_bad_time"),
    ],
)
def test_what_is_wrong_has_a_reason(body: Any, reason: str) -> None:
    """Each mistake has one of the listed names."""
    assert reasons(body) == [reason]
    assert reason in REASONS


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "external_not_json"),
        (b"", "external_not_json"),
        (b"{", "external_not_json"),
        (b"\xff\xfe", "external_not_json"),
        (b'{"labels": {"a": NaN}}', "external_not_json"),
        (b"[" * 100_000, "external_not_json"),
        (b" " * (VALUE_BYTES_MAX + 1), "external_too_large"),
    ],
)
def test_bytes_that_are_no_json_are_told(value: bytes | None, reason: str) -> None:
    """Nothing, torn, no UTF-8, no number, nested without end, or too large."""
    body = read_external(value)
    assert (body.alerts, [r for r, _ in body.bad]) == ([], [reason])


def test_a_bad_alert_does_not_take_its_neighbours_with_it() -> None:
    """The second of three is told, the others are taken."""
    good = {"labels": {"a": "b"}}
    body = read({"alerts": [good, {"labels": 3}, good]})
    assert len(body.alerts) == 2
    assert body.bad == [
        ("external_bad_labels",
         "alert 2 of 3: it has no labels; they are what tells alerts apart"),
    ]  # fmt: skip


def test_a_body_of_too_many_alerts_is_cut_and_told() -> None:
    """The first thousand are taken."""
    body = read({"alerts": [{"labels": {"n": str(n)}} for n in range(ALERTS_MAX + 1)]})
    assert (len(body.alerts), len(body.bad)) == (ALERTS_MAX, 1)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5)
        | st.sampled_from(["firing", "labels", "2026-01-05T10:00:00Z"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
            st.sampled_from(["alerts", "labels", "annotations", "status", "startsAt", "endsAt"]),
            inner, max_size=4),
        max_leaves=12,
    )
)  # fmt: skip
def test_any_json_gives_alerts_or_reasons(body: Any) -> None:
    """Nothing raises, and what is an alert has text labels."""
    found = read(body)
    assert found.alerts or found.bad or body == {"alerts": []} or "alerts" in body
    assert all(reason in REASONS for reason, _ in found.bad)
    for alert in found.alerts:
        assert alert.labels
        assert all(isinstance(v, str) for v in alert.labels.values())


@given(st.binary(max_size=60))
def test_any_bytes_give_alerts_or_reasons(value: bytes) -> None:
    """Nothing raises."""
    found = read_external(value)
    assert found.alerts or found.bad
