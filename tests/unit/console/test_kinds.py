"""Rows are what the records say, of messages of one event and of many."""

import math
from typing import Any

import pytest

from streams.codec.records import decode, encode
from streams.console.archive.kinds import EVENT_TEXTS, EVENT_TIMES, KINDS, PLACE
from streams.errors import RecordError
from tests.unit.console.at_hand import batch, event, incident, trace

OF = {kind.name: kind for kind in KINDS}


def rows(kind: str, value: bytes) -> list[dict[str, Any]]:
    """Return the rows of a record by their columns."""
    names = OF[kind].schema.names[len(PLACE) :]
    return [dict(zip(names, row, strict=True)) for row in OF[kind].rows(value)]


@pytest.mark.parametrize("example", ["metric_outside_traces", "log", "audit"])
def test_an_event_sent_alone(example: str) -> None:
    """Its columns are its fields, its bytes those that came."""
    sent = event(example)
    value = encode("telemetry_event", sent)
    (row,) = rows("events", value)
    for name in (*EVENT_TEXTS, *EVENT_TIMES):
        assert row[name] == sent[name], name
    assert row["value"] == value
    number = sent["value"]
    assert row["value_number"] == number or math.isnan(number)


def test_a_batch_is_as_many_rows_as_events_of_the_kind() -> None:
    """Each has bytes of its own, with the schema's id; spans of traces are not among them."""
    span, lost = event("span"), event("span", trace_id="")
    sent = [event("log"), span, event("audit"), lost]
    found = rows("events", batch(sent))
    assert [row["event_id"] for row in found] == [sent[i]["event_id"] for i in (0, 2, 3)]
    assert [decode(row["value"])["name"] for row in found] == [sent[i]["name"] for i in (0, 2, 3)]
    assert rows("events", encode("telemetry_event", span)) == []


def test_spans_of_a_trace_have_its_revision() -> None:
    """One row a span; what else lies in the trace is a row of `events`."""
    sent = trace(revision=3)
    spans = [sent["spans"][0], event("log"), event("failed_span")]
    found = rows("spans", encode("assembled_trace", sent | {"spans": spans}))
    assert [row["span_id"] for row in found] == [spans[0]["span_id"], spans[2]["span_id"]]
    assert {row["revision"] for row in found} == {3}
    assert {row["event_type"] for row in found} == {"TRACE"}


@pytest.mark.parametrize("kind", ["events", "spans"])
@pytest.mark.parametrize("value", [None, b"", b"garbage", encode("incident_event", incident())])
def test_what_is_no_record_of_the_kind(kind: str, value: bytes | None) -> None:
    """Refused with a reason."""
    with pytest.raises(RecordError):
        OF[kind].rows(value)
