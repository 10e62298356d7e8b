"""What the SDK sends of personal values: what an edge would have made of the same events."""

import math
from typing import Any

import pytest

from streams.codec.records import decode_body
from streams.codec.schemas import default_schemas
from streams.core.privacy.pseudonyms import Key, Pseudonyms
from streams.core.privacy.records import Privacy
from streams.core.privacy.treatments import rules_of
from streams.errors import ConfigError
from streams.sdk import Telemetry
from streams.sdk.encode import encode_items, event_ids
from streams.sdk.personal import personal_of, treated

CLASSES = {
    "actor": "PII", "record_id": "PII", "value": "SENSITIVE", "dimensions.user": "PII",
    "dimensions.health": "SENSITIVE", "dimensions.zip": "PII",
}  # fmt: skip
TREATMENTS = {"dimensions.zip": "truncate:2"}
SECRET = "s" * 32
EDGE = Privacy(rules_of(CLASSES, TREATMENTS), Pseudonyms([Key("k1", SECRET.encode())]))


@pytest.fixture
def telemetry() -> Telemetry:
    """Return telemetry whose events stay in its queue."""
    made = Telemetry("ALPHA", "parser", "127.0.0.1:1", actor="Ada", baggage_dimensions=["user"])
    made.emitter.room = 100
    return made


def body(item: Any) -> dict[str, Any]:
    (encoded,) = encode_items([item], event_ids(bytes(16)))
    return decode_body(default_schemas().current("telemetry_event"), encoded.encode("iso-8859-1"))


def test_the_same_as_an_edge_makes(telemetry: Telemetry) -> None:
    """Of spans, points and audit entries, baggage and the place's actor among them."""
    carrier = {
        "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01",
        "baggage": "user=Grace",
    }
    with telemetry.within(telemetry.extract(carrier)):
        with telemetry.span("a", record_id="r-1", health="ill", zip="12345", tier="gold"):
            telemetry.audit("read", "READ", user="Eve")
        telemetry.gauge("depth", 3.0, zip="12345")
        telemetry.log("said", value=2.0, user="x" * 5_000, health="\ud800")
    items = list(telemetry.emitter.queue)
    assert len(items) == 4
    personal = personal_of(CLASSES, TREATMENTS, f"k1 {SECRET}")
    assert personal is not None
    for item in items:
        found, plain = body(treated(item, personal)), body(item)
        expected = EDGE.event(plain)
        for one in (found, expected):
            one.pop("event_id")
            assert math.isnan(one.pop("value"))
        assert found == expected
        assert found["actor"].startswith("~k1:")
        assert not {"Ada", "Grace", "Eve", "r-1", "ill"} & set(map(str, found.values()))
        assert body(item)["actor"] == plain["actor"]  # the pipeline's own is as it was


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"field_classes": {"component": "PII"}}, "cannot be PII"),
        ({"field_classes": {"actor": "SECRET"}}, "PII, SENSITIVE, PUBLIC"),
        ({"field_classes": {"actor": "PII"}}, "SPANLOOM_PSEUDONYM_KEYS_FILE"),
        ({"field_classes": {"actor": "PII"}, "pseudonym_keys": "k1 short"}, "shorter than 32"),
        ({"field_treatments": {"actor": "drop"}}, "not personal"),
        (
            {"field_classes": {"actor": "PII"}, "field_treatments": {"actor": "hide"}},
            "none of pseudonym",
        ),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], word: str) -> None:
    """When telemetry is made, with the fix, and without the secret."""
    with pytest.raises(ConfigError, match=word):
        Telemetry("ALPHA", "parser", "127.0.0.1:1", **given)
