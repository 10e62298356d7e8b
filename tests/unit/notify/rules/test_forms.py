"""What receivers are sent: CloudEvents, plain bodies, Slack, PagerDuty, and signatures."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.notify.rules import forms
from streams.notify.rules.alertmanager import alert_of
from streams.notify.rules.payload import body, causes_text, delivery_id, rfc3339, why_text
from streams.notify.rules.signing import Key, signed_headers
from tests.notify_events import OPENED_US, incident

PAGE = "https://console.example.org/incidents/{incident_id}?v={version}"
LINK = f"https://console.example.org/incidents/{'a' * 32}?v=1"
ROUTING_KEY = "routing-key"


def test_a_cloudevent_has_what_the_specification_requires() -> None:
    """Required attributes, an id made of incident and version, names of lower-case letters."""
    event = json.loads(forms.cloudevent(incident(), PAGE, "/spanloom/prod"))
    assert event["specversion"] == "1.0"
    assert event["id"] == f"{'a' * 32}-1"
    assert event["source"] == "/spanloom/prod"
    assert event["type"] == "spanloom.incident.opened.v1"
    assert event["subject"] == event["partitionkey"] == "a" * 32
    assert event["time"] == "2025-10-09T08:53:21.000000Z"
    assert event["datacontenttype"] == "application/json"
    assert [name for name in event if not re.fullmatch(r"[a-z0-9]{1,20}", name)] == []
    assert event["data"]["incident"]["trace_ids"] == ["4bf92f3577b34da6a3ce929d0e0e4736"]


def test_the_same_version_gives_the_same_bytes_and_id() -> None:
    """Receivers tell repeats by the id, and caches by the bytes."""
    first, again = incident(version=3), incident(version=3)
    assert forms.webhook(first, PAGE) == forms.webhook(again, PAGE)
    assert delivery_id(first) == delivery_id(again) != delivery_id(incident(version=4))


def test_owner_channel_and_link_are_in_every_form() -> None:
    """Whoever routes by them can, whatever the receiver."""
    event = incident(owner="team-beta", channel="#beta")
    for text in (
        forms.webhook(event, PAGE),
        forms.cloudevent(event, PAGE, "/s"),
        forms.slack(event, PAGE),
        forms.pagerduty(event, PAGE, ROUTING_KEY),
    ):
        said = text.decode()
        assert "team-beta" in said
        assert "#beta" in said
        assert LINK in said


@pytest.mark.parametrize("kind", ["OPENED", "UPDATED", "REOPENED", "SILENCED", "SOMETHING_NEW"])
def test_only_an_end_resolves(kind: str) -> None:
    """A silence, or a kind that this version does not know, must never close a page."""
    event = incident() | {"event": kind, "silenced": True}
    assert body(event, "")["silenced"] is True
    assert "(silenced)" in json.loads(forms.slack(event, ""))["text"]
    assert json.loads(forms.pagerduty(event, "", ROUTING_KEY))["event_action"] == "trigger"
    assert "\u2705" not in json.loads(forms.slack(event, ""))["text"]


def test_pagerduty_acknowledges_and_resolves_by_incident() -> None:
    """One incident is one `dedup_key` through all its versions."""
    actions = {}
    for version, kind in enumerate(("OPENED", "ACKNOWLEDGED", "RESOLVED", "MERGED"), 1):
        event = incident(version=version) | {"event": kind}
        sent = json.loads(forms.pagerduty(event, PAGE, ROUTING_KEY))
        assert sent["dedup_key"] == "a" * 32
        assert sent["routing_key"] == ROUTING_KEY
        actions[kind] = sent["event_action"]
    assert actions == {
        "OPENED": "trigger", "ACKNOWLEDGED": "acknowledge",
        "RESOLVED": "resolve", "MERGED": "resolve",
    }  # fmt: skip


def test_pagerduty_gets_no_more_than_it_takes() -> None:
    """A summary ends at 1,024 characters; the severity is one of its four."""
    event = incident(severity="CRITICAL", title="x" * 5_000)
    payload = json.loads(forms.pagerduty(event, "", ROUTING_KEY))["payload"]
    assert len(payload["summary"]) == 1_024
    assert payload["severity"] == "critical"


def test_a_chat_message_cannot_be_steered_by_an_incident() -> None:
    """Markup in a title (a link, a call of everybody) arrives as text."""
    event = incident(title="<!channel> <https://evil.example|click> & more")
    text = json.loads(forms.slack(event, ""))["text"]
    assert "<" not in text
    assert "&lt;!channel&gt;" in text


def entry(version: int, event: str, text: str) -> dict[str, Any]:
    return {"version": version, "event": event, "at": OPENED_US, "text": text}


@pytest.mark.parametrize(
    ("reason", "history", "why"),
    [
        ("escalated", [entry(1, "OPENED", "opened"), entry(2, "UPDATED", "escalated")],
         "escalated"),
        ("acknowledged", [entry(2, "ACKNOWLEDGED", "acknowledged by kim: on it")],
         "acknowledged by kim: on it"),
        ("silenced",
         [entry(0, "", "of before"), entry(1, "", "silenced by lee, until noon: a restart"),
          entry(2, "UPDATED", "silenced")],
         "silenced (silenced by lee, until noon: a restart)"),
        ("worse", [entry(1, "OPENED", "opened")], "worse"),
        ("", [], ""),
    ],
)  # fmt: skip
def test_every_form_says_why_and_by_whose_order(
    reason: str, history: list[dict[str, Any]], why: str
) -> None:
    """As the history of the incident has it, with what came between this event and the last."""
    event = incident(version=2, reason=reason, history=history)
    assert why_text(event) == body(event, "")["why"] == why
    details = json.loads(forms.pagerduty(event, "", ROUTING_KEY))["payload"]["custom_details"]
    assert details["why"] == why
    said = json.loads(forms.slack(event, ""))["text"].split("\n")
    assert (f"Told because: {why}" in said) == bool(why)
    assert alert_of(event, "", 0)["annotations"].get("why", "") == why


def test_an_unknown_cause_is_called_unknown() -> None:
    """No causes, or a first one that says so, is an answer, not a guess."""
    known = {"kind": "COMPONENT", "module": "BETA", "component": "enricher", "probability": 0.824}
    assert causes_text(incident() | {"causes": []}) == "unknown"
    assert causes_text(incident() | {"causes": [{"kind": "UNKNOWN"}, known]}) == "unknown"
    assert causes_text(incident() | {"causes": [known]}) == "BETA enricher (82%)"


def test_a_test_is_marked_in_every_form() -> None:
    """Nobody shall take it for an incident."""
    assert body(incident(), "", is_test=True)["is_test"] is True
    assert "[TEST]" in forms.slack(incident(), "", is_test=True).decode()
    assert "[TEST]" in forms.pagerduty(incident(), "", ROUTING_KEY, is_test=True).decode()


def test_what_json_cannot_say_becomes_null() -> None:
    """A value that is not a number must not make a body that no parser takes."""
    event = incident()
    event["alerts"][0]["value"] = float("nan")
    alert = json.loads(forms.webhook(event, ""))["incident"]["alerts"][0]
    assert alert["value"] is None


def test_times_are_exact_to_the_microsecond() -> None:
    """No rounding through a float, and a time that no calendar has does not raise."""
    assert rfc3339(OPENED_US + 1) == "2025-10-09T08:53:20.000001Z"
    assert rfc3339(1 << 62) == "1970-01-01T00:00:00.000000Z"


# --- signatures ------------------------------------------------------------------------------


def hmac_by_hand(key: bytes, message: bytes) -> bytes:
    """Return HMAC-SHA-256 from its definition (RFC 2104), with nothing but the hash."""
    block = 64
    key = hashlib.sha256(key).digest() if len(key) > block else key
    key = key.ljust(block, b"\0")
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in key) + message).digest()
    return hashlib.sha256(bytes(b ^ 0x5C for b in key) + inner).digest()


@given(
    secret=st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=16, max_size=90),
    sent=st.binary(max_size=300),
    now_s=st.integers(0, 2**33),
)
def test_signatures_are_what_the_definition_says(secret: str, sent: bytes, now_s: int) -> None:
    """Every key signs id, time and body; the receiver finds its own by the key's id."""
    keys = [Key("new", secret), Key("old", "0123456789abcdef")]
    headers = signed_headers("id-1", sent, keys, now_s)
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + sent
    signatures = headers["webhook-signature"].split(" ")
    assert headers["webhook-key-id"] == "new old"
    if not secret.startswith("whsec_"):
        expected = base64.b64encode(hmac_by_hand(secret.encode(), content)).decode()
        assert signatures[0] == f"v1,{expected}"
    old = base64.b64encode(hmac_by_hand(b"0123456789abcdef", content)).decode()
    assert signatures[1] == f"v1,{old}"


def test_a_signature_is_what_openssl_says() -> None:
    """An implementation that shares nothing with ours agrees."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to compare with")
    headers = signed_headers("id-1", b'{"a":1}', [Key("k", "0123456789abcdef")], 1_700_000_000)
    run = subprocess.run(
        ["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", "key:0123456789abcdef",
         "-binary"],
        input=b'id-1.1700000000.{"a":1}', capture_output=True, check=True,
    )  # fmt: skip
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(run.stdout).decode()}"


def test_the_published_example_of_the_standard_is_met() -> None:
    """The test vector of Standard Webhooks' libraries."""
    key = Key("k", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', [key], 1_614_265_330
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_without_a_key_there_is_an_idempotency_key_and_no_signature() -> None:
    """Nothing that looks like a signature goes out unsigned; no secret is in a repr."""
    assert signed_headers("id-1", b"", [], 0) == {"idempotency-key": "id-1"}
    assert "secret" not in repr(Key("k", "secret"))
