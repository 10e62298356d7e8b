"""Bodies of events: each form gives the same values, and what is bad is told by its position."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.codec.records import decode, encode
from streams.collector.native import BAD_MAX, values_of
from streams.collector.request import Form
from streams.errors import RecordError
from tests.unit.collector.at_hand import as_json, event

EVENTS = [event(n, 1, dimensions={"n": str(n)}) for n in range(1, 6)]
JSON = [json.dumps(as_json(one)).encode() for one in EVENTS]


def decoded(form: Form, body: bytes) -> list[dict[str, Any]]:
    """Return the events of a body without bad ones."""
    values, bad = values_of(form, body)
    assert bad == []
    assert [number for number, _ in values] == list(range(len(values)))
    return [decode(value) for _, value in values]


@pytest.mark.parametrize(
    ("form", "body"),
    [
        ("json", b"[" + b" , ".join(JSON) + b" ] "),
        ("json", b"\n".join(JSON)),
        ("lines", b"\r\n".join(JSON) + b"\n\n"),
        ("avro", encode("telemetry_batch", {"events": EVENTS})),
    ],
)
def test_each_form_says_the_same(form: Form, body: bytes) -> None:
    """JSON as a list, as values, as lines, and Avro."""
    assert [one["dimensions"] for one in decoded(form, body)] == [
        one["dimensions"] for one in EVENTS
    ]


def test_one_event_alone() -> None:
    """As JSON and as Avro."""
    assert decoded("json", JSON[0])[0]["trace_id"] == EVENTS[0]["trace_id"]
    assert decoded("avro", encode("telemetry_event", EVENTS[0]))[0]["name"] == "step-1"


def test_a_batch_of_several_blocks_is_read_too() -> None:
    """As the specification allows it; its events are those of one block."""
    batch = encode("telemetry_batch", {"events": EVENTS[:1]})
    body = batch[5:-1]
    two = batch[:5] + body + body + b"\x00"
    assert len(decoded("avro", two)) == 2


def test_bad_events_are_told_and_the_rest_is_taken() -> None:
    """A line that is no JSON, a wrong type, a field too many, a number beyond 64 bits."""
    wrong = [b"{", b"5", b'{"event_id": "x"}', JSON[1].replace(b'"actor"', b'"actr"')]
    huge = JSON[2].replace(b'"duration_us": 1000', b'"duration_us": 99999999999999999999')
    lone = JSON[2].replace(b'"actor": ""', b'"actor": "\\ud800"')
    values, bad = values_of("lines", b"\n".join([JSON[0], *wrong, huge, lone, JSON[3]]))
    assert [number for number, _ in values] == [0, 7]
    assert [one.number for one in bad] == [1, 2, 3, 4, 5, 6]
    assert [one.reason for one in bad] == ["invalid_json", *["invalid_event"] * 5]
    assert "event_id" not in bad[0].detail
    assert bad[3].value.startswith(b"{")


@pytest.mark.parametrize(
    ("form", "body", "reason"),
    [
        ("json", b"", "empty_value"),
        ("json", b"[]", "empty_value"),
        ("json", b"[" * 100_000, "invalid_json"),
        ("json", b"[1,", "invalid_json"),
        ("json", b"[1 2]", "invalid_json"),
        ("json", b"[{},]", "invalid_json"),
        ("json", b"[{}] x", "invalid_json"),
        ("json", b"\xff", "invalid_json"),
        ("json", b"[" + b"{}," * 2_000 + b"{}]", "too_many_rejected"),
        ("lines", b"\n\n", "empty_value"),
        ("avro", b"", "empty_value"),
        ("avro", b"\x01\x00\x00\x00\x01x", "bad_magic"),
        ("avro", b"\x00\x00\x00\x00\x09x", "unknown_schema_id"),
        ("avro", encode("telemetry_batch", {"events": []}), "empty_value"),
        ("avro", b"\x00\x00\x00\x00\x14\xfe\xff\xff\x0f", "too_many_events"),
        ("avro", b"\x00\x00\x00\x00\x14\x01" + bytes(3 << 20), "too_many_events"),
    ],
)
def test_what_is_no_list_of_events_is_refused_whole(form: Form, body: bytes, reason: str) -> None:
    """With a reason of a bounded set."""
    with pytest.raises(RecordError) as caught:
        values_of(form, body)
    assert caught.value.reason == reason


def test_bad_events_have_a_bound() -> None:
    """Up to it they are told one by one."""
    _, bad = values_of("json", json.dumps([{}] * BAD_MAX).encode())
    assert len(bad) == BAD_MAX


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(json_values, min_size=1, max_size=5))
def test_any_json_is_taken_or_told(items: list[Any]) -> None:
    """Nothing but our own error leaves, and each item is in one of the lists."""
    values, bad = values_of("json", json.dumps(items).encode())
    assert sorted([n for n, _ in values] + [one.number for one in bad]) == list(range(len(items)))


@given(st.sampled_from(["json", "lines", "avro"]), st.binary(max_size=300))
def test_any_bytes_are_taken_or_refused(form: Form, body: bytes) -> None:
    """Nothing but our own error leaves."""
    with suppress(RecordError):
        values, bad = values_of(form, b"\x00\x00\x00\x00\x14" + body if form == "avro" else body)
        assert values or bad
