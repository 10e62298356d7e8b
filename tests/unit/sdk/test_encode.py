"""What the SDK encodes is what the engine's codec reads, whatever is in it."""

import math
import re
from typing import Any

import numpy as np
import yaml
from hypothesis import given
from hypothesis import strategies as st

from streams.codec.events import EventDecoder
from streams.codec.records import decode, encode
from streams.codec.schemas import default_schemas, schema_folder
from streams.codec.w3c import Item
from streams.codec.wire import header
from streams.contract.signals import METRIC_NAME
from streams.core.columns import Operations
from streams.core.signals.series import SeriesBook
from streams.sdk import MessageHeader, telemetry
from streams.sdk.encode import (
    EVENT_IDS_MAX,
    HEADER_ID,
    SEVERITIES,
    TYPES,
    encode_batch,
    encode_items,
    event_ids,
    uuid_text,
)
from streams.sdk.options import Options
from streams.sdk.span import KINDS, Context, Span
from tests.unit.sdk.senders import made

EVENT_ID = 1
"""Of a single event: the SDK itself sends batches."""
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
DIMENSIONS = st.dictionaries(TEXTS, TEXTS, max_size=5)
UUID = "0b9d3c6e-5b1f-4c6a-a3f1-0123456789ab"


def enum(field: str) -> list[str]:
    fields = default_schemas().current("telemetry_event")["fields"]
    (found,) = (f["type"]["symbols"] for f in fields if f["name"] == field)
    return list(found)


def test_codes_and_ids_are_those_of_the_schemas() -> None:
    """Schema ids, enum codes and the rule of metric names are what the engine has."""
    ids = yaml.safe_load((schema_folder() / "topics.yaml").read_text("utf-8"))["schemas"]
    names = ("telemetry_event", "telemetry_batch", "message_header")
    assert [ids[name]["id"] for name in names] == [EVENT_ID, Options().batch_schema_id, HEADER_ID]
    assert enum("event_type") == list(TYPES)
    assert enum("severity") == list(SEVERITIES)
    assert enum("span_kind") == list(KINDS)
    assert enum("status") == ["UNSET", "OK", "ERROR"]
    named = re.sub(r"\?P<\w+>", "", METRIC_NAME.pattern)
    for group in ("[a-z0-9_-]+", "[a-z0-9_]+"):
        named = named.replace(f"({group})", group)
    assert telemetry.METRIC_NAME.pattern == named


def decoded(*items: Any) -> list[dict[str, Any]]:
    """Encode events together, and read them by the engine's codec."""
    ids = iter([UUID, *event_ids(bytes(16))])
    value = encode_batch(encode_items(items, ids), Options().batch_schema_id)
    return [dict(event) for event in decode(value)["events"]]


@given(
    TEXTS, DIMENSIONS, TEXTS, st.integers(1, (1 << 128) - 1), st.integers(0, (1 << 64) - 1),
    st.integers(0, 255), st.sampled_from(KINDS), st.integers(0, 2), st.integers(0, 10**18),
    st.lists(st.tuples(st.integers(0, (1 << 128) - 1), st.integers(0, (1 << 64) - 1)), max_size=3),
)  # fmt: skip
def test_a_span_is_read_as_it_was(
    name: str,
    dimensions: dict[str, str],
    record_id: str,
    trace_id: int,
    parent_id: int,
    flags: int,
    kind: Any,
    status: int,
    duration_ns: int,
    links: list[tuple[int, int]],
) -> None:
    """All 23 fields, by the engine's own codec."""
    with made(actor="svc") as t:
        span = t.span(name, kind, parent=Context(trace_id, parent_id, flags), record_id=record_id)
        span.dimensions, span.links = dimensions or None, links
        span.duration_ns, span.status = duration_ns, status
        (event,) = decoded(span)
    assert math.isnan(event.pop("value"))
    assert event == {
        "event_id": UUID,
        "trace_id": f"{trace_id:032x}",
        "span_id": f"{span.span_id:016x}",
        "parent_span_id": f"{parent_id:016x}" if parent_id else "",
        "timestamp": span.start_ns // 1000,
        "module": "ALPHA",
        "component": "parser",
        "event_type": "TRACE",
        "severity": "ERROR" if status == 2 else "INFO",
        "name": name or "unnamed",
        "unit": "",
        "dimensions": dimensions,
        "record_id": record_id,
        "batch_id": "",
        "correlation_id": "",
        "operation": "",
        "actor": "svc",
        "duration_us": duration_ns // 1000,
        "status": enum("status")[status],
        "span_kind": kind,
        "trace_flags": flags,
        "links": [{"trace_id": f"{t:032x}", "span_id": f"{s:016x}"} for t, s in links],
    }


@given(
    st.sampled_from(sorted(TYPES)), st.sampled_from(sorted(SEVERITIES)), TEXTS,
    st.floats(allow_nan=False), TEXTS, DIMENSIONS, st.booleans(),
)  # fmt: skip
def test_a_point_is_read_as_it_was(
    event_type: str,
    severity: str,
    name: str,
    value: float,
    unit: str,
    dimensions: dict[str, str],
    is_in_trace: bool,
) -> None:
    """LOG, METRIC and AUDIT, in a trace or outside of any."""
    with made() as t, t.within(Context(7, 9, 1, record_id="r") if is_in_trace else Context()):
        point = t._event(event_type, name, severity, dimensions)._replace(value=value, unit=unit)
    (event,) = decoded(point)
    assert event["trace_id"] == (f"{7:032x}" if is_in_trace else "")
    assert event["record_id"] == ("r" if is_in_trace else "")
    assert (event["event_type"], event["severity"]) == (event_type, severity)
    assert (event["name"], event["value"]) == (name or "unnamed", value)
    assert (event["unit"], event["dimensions"]) == (unit, dimensions)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("a", "b")), st.none() | DIMENSIONS, st.integers(1, 3),
            st.integers(0, 10**19), st.sampled_from(("", "r", "s")), st.booleans(),
        ),
        min_size=1,
        max_size=12,
    )
)  # fmt: skip
def test_events_encoded_together_are_read_as_alone(
    given_events: list[tuple[str, dict[str, str] | None, int, int, str, bool]],
) -> None:
    """Whatever was remembered of the ones before: names, dimensions, ids and times."""
    with made(actor="svc") as t:
        items: list[Any] = []
        for name, dimensions, trace_id, start_ns, record_id, is_span in given_events:
            span = t.span(name, parent=Context(trace_id, 0, 1, record_id=record_id))
            span.dimensions, span.start_ns = dimensions, start_ns
            with t.within(span):
                items.append(span if is_span else t._event("LOG", name, "INFO", {}))
        together = decoded(*items)
        assert len(together) == len(items)
        for item, found in zip(items, together, strict=True):
            (alone,) = decoded(item)
            for event in (alone, found):
                event.pop("event_id")
                assert math.isnan(event.pop("value"))
            assert found == alone
            assert found["dimensions"] == (item.dimensions or {})
            assert found["record_id"] == item.record_id
            if isinstance(item, Span):
                assert found["timestamp"] == item.start_ns // 1_000
                assert found["trace_id"] == f"{item.trace_id:032x}"


def test_dimensions_that_changed_later_are_not_mistaken_for_the_same() -> None:
    """What is remembered of the last span of a name is a copy."""
    with made() as t:
        first, second = t.span("a", x="1"), t.span("a", x="2")
        (before,) = decoded(first)
        assert first.dimensions is not None
        first.dimensions["x"] = "2"
        (after,) = decoded(second)
    assert (before["dimensions"], after["dimensions"]) == ({"x": "1"}, {"x": "2"})


def test_the_join_takes_what_is_sent() -> None:
    """The columnar decoder rejects neither spans nor points."""
    with made() as t:
        with t.span("alpha.connect") as span:
            log = t._event("LOG", "seen", "WARN", {"a": "b"})
        ids = event_ids(b"0123456789abcdef")
        bodies = encode_items([span, log], ids)
        values = [header(EVENT_ID) + body.encode("iso-8859-1") for body in bodies]
    decoder = EventDecoder(default_schemas(), Operations(), dimensions=(), series=SeriesBook())
    events, rejected = decoder.decode(0, [None, None], values, np.ones(2, np.int64))
    assert len(events) == 2
    assert not rejected


def test_lone_surrogates_are_no_end() -> None:
    """A text that no UTF-8 has is sent with a question mark."""
    with made() as t:
        span = t.span("a\ud800", x="\udfff")
        span.end()
        (event,) = decoded(span)
    assert (event["name"], event["dimensions"]) == ("a?", {"x": "?"})


def test_event_ids_are_uuids_of_version_4() -> None:
    """They differ, within a run of events and between runs."""
    ids = event_ids(bytes(range(16)))
    found = [*ids, *(uuid_text() for _ in range(100))]
    assert len(set(found)) == len(found) == EVENT_IDS_MAX + 100
    for one in found:
        assert [len(part) for part in one.split("-")] == [8, 4, 4, 4, 12]
        assert one[14] == "4"
        assert one[19] == "a"


@given(st.dictionaries(TEXTS, TEXTS, max_size=3), st.integers(0, 3), TEXTS)
def test_a_message_header_comes_back(values: dict[str, str], flags: int, record: str) -> None:
    """By the schema's codec: the context that is read is the one that was written."""
    mine = {name: Item(value) for name, value in values.items() if not name.startswith("spanloom.")}
    at = Context(11, 12, flags, (), mine, record, "b", "c")
    made_of = MessageHeader.of("ALPHA", "BETA", "BATCH_TRANSFER", at)
    assert made_of.encode() == encode("message_header", made_of.as_mapping())
    found = MessageHeader.read(decode(made_of.encode())).context
    assert (found.trace_id, found.span_id, found.flags) == (11, 12, flags)
    assert (found.record_id, found.batch_id, found.correlation_id) == (record, "b", "c")
    assert (found.baggage or {}) == mine
