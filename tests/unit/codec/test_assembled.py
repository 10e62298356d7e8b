"""AssembledTrace by hand is what fastavro would write, spans included."""

import dataclasses
import json
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.codec.assembled import TraceEncoder, TraceRecord
from streams.codec.records import decode, decode_body, encode, encode_body
from streams.codec.schemas import default_schemas, load_schema, with_span_schema
from tests.unit.codec.codec_cases import T0_US, TRACE_ID, event

MISSING = ("span_id", "module", "component", "name", "from_stage", "to_stage", "cause")
STAGES = ("stage", "start", "duration_us", "count")
CAUSES = ("NEVER_ARRIVED", "LATE", "LATE_SOURCE", "SAMPLED_OUT", "IN_FLIGHT", "REJECTED")

times = st.integers(-(2**62), 2**62)
counts = st.integers(0, 2**31)
texts = st.text(max_size=80)
missing = st.tuples(*[texts] * 6, st.sampled_from(CAUSES))
stages = st.tuples(texts, times, times, counts)
traces = st.builds(
    TraceRecord,
    trace_id=texts,
    revision=counts,
    flow=texts,
    contract_version=texts,
    status=st.sampled_from(["COMPLETE", "INCOMPLETE", "BROKEN", "TRUNCATED"]),
    closed_by=st.sampled_from(["contract", "watermark", "clock", "bound"]),
    start=times,
    end=times,
    duration_us=times,
    span_count=counts,
    annotation_count=counts,
    error_count=counts,
    root_count=counts,
    orphan_count=counts,
    evicted_count=counts,
    root_span_id=texts,
    missing=st.lists(missing, max_size=3),
    stages=st.lists(stages, max_size=3),
)


def a_trace(**changes: Any) -> TraceRecord:
    """Return a small trace with some fields changed."""
    whole = TraceRecord(
        TRACE_ID, 1, "batch", "1.0", "COMPLETE", "contract", T0_US, T0_US + 9, 9, 1, 0, 0, 1, 0, 0,
        "00f067aa0ba902b7", [], [("ingestion", T0_US, 9, 1)],
    )  # fmt: skip
    return dataclasses.replace(whole, **changes)


def as_dict(record: TraceRecord, spans: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the record as fastavro takes it."""
    out = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    out["missing"] = [dict(zip(MISSING, row, strict=True)) for row in record.missing]
    out["stages"] = [dict(zip(STAGES, row, strict=True)) for row in record.stages]
    return {**out, "spans": spans}


@given(record=traces, spans=st.integers(0, 70))
@settings(max_examples=60)
def test_bytes_are_those_of_fastavro(record: TraceRecord, spans: int) -> None:
    """For every record the hand-written value equals the library's, byte for byte."""
    events = [event(timestamp=T0_US + i) for i in range(spans)]
    schema = default_schemas().current("telemetry_event")
    bodies = [encode_body(schema, one) for one in events]
    expected = encode("assembled_trace", as_dict(record, events))
    assert TraceEncoder().value(record, bodies) == expected


def test_the_second_trace_does_not_show_the_first() -> None:
    """Remembered texts change nothing, with room for them or without."""
    for repeats in (0, 1, 10_000):
        encoder = TraceEncoder(repeats=repeats)
        for flow in ("batch", "stream", "batch", ""):
            assert decode(encoder.value(a_trace(flow=flow), []))["flow"] == flow


def test_an_unknown_symbol_is_a_bug_of_the_caller() -> None:
    """Nothing is written for a status that the schema does not have."""
    with pytest.raises(KeyError):
        TraceEncoder().value(a_trace(status="FINE"), [])


def test_fields_are_those_of_the_schema_in_its_order() -> None:
    """TraceRecord follows the schema: a field added there must be added here."""
    schema = default_schemas().current("assembled_trace")
    names = [field.name for field in dataclasses.fields(TraceRecord)]
    assert [*names, "spans"] == [f["name"] for f in schema["fields"]]
    parts = {f["name"]: f["type"] for f in schema["fields"]}
    assert tuple(f["name"] for f in parts["missing"]["items"]["fields"]) == MISSING
    assert tuple(f["name"] for f in parts["stages"]["items"]["fields"]) == STAGES


def test_a_trace_of_foreign_spans_has_a_schema_of_its_own() -> None:
    """Bodies of another span schema are copied just the same; the made schema reads the whole."""
    span = {"type": "record", "name": "Span", "fields": [
        {"name": "trace", "type": "string"}, {"name": "parent", "type": ["null", "string"]},
    ]}  # fmt: skip
    written = with_span_schema(load_schema("assembled_trace"), span)
    schema = fastavro.parse_schema(written)
    spans = [{"trace": TRACE_ID, "parent": None}, {"trace": TRACE_ID, "parent": "p"}]
    bodies = [encode_body(fastavro.parse_schema(span), one) for one in spans]
    body = TraceEncoder().body(a_trace(), bodies)
    assert decode_body(schema, body)["spans"] == spans
    assert json.loads(json.dumps(written))
