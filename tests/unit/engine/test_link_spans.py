"""Synthetic spans are events like any other: valid, and the same for the same link."""

import uuid

import numpy as np

from streams.codec.events import EventDecoder
from streams.codec.records import decode, encode
from streams.codec.schemas import default_schemas
from streams.core.columns import TRACE, Operations
from streams.core.incidents.topology import Edge, Place, Topology
from streams.core.traces.links import CONTINUES_IN, LINK_WITHDRAWN, Link, Other, told_by
from streams.engine.link_spans import link_event, withdrawal_event

EARLIER, LATER = "ab" * 16, "cd" * 16
TOPOLOGY = Topology(stage_module={Place("f", "b"): "BETA"})
LINK = Link(
    trace_id=EARLIER,
    relation=CONTINUES_IN,
    edge=Edge("f", "a", "b"),
    others=(Other(LATER, "1" * 16, ("b", "c")),),
    is_recovered=False,
    timestamp_us=1_760_000_000_000_000,
    parent_span_id="2" * 16,
    record_id="r1",
    batch_id="",
    partition=3,
)


def test_the_codec_accepts_them() -> None:
    """What is written decodes as columns, as a span of the module where the context restarted."""
    events = [link_event(LINK, TOPOLOGY), withdrawal_event(LINK, TOPOLOGY)]
    operations = Operations()
    values = [encode("telemetry_event", event) for event in events]
    decoder = EventDecoder(default_schemas(), operations)
    columns, bad = decoder.decode(0, [None, None], values, np.ones(2, np.int64))
    assert len(bad) == 0
    assert columns.event_type.tolist() == [TRACE, TRACE]
    assert [operations[code] for code in columns.operation.tolist()] == [
        ("BETA", "link", "spanloom.context_restarted"),
        ("BETA", "link", LINK_WITHDRAWN),
    ]


def test_both_traces_are_named() -> None:
    """The span lies in the one trace and links to the other one's span; its edge is said."""
    event = decode(encode("telemetry_event", link_event(LINK, TOPOLOGY)))
    assert (event["trace_id"], event["parent_span_id"]) == (EARLIER, "2" * 16)
    assert event["links"] == [{"trace_id": LATER, "span_id": "1" * 16}]
    assert (event["dimensions"]["from_stage"], event["dimensions"]["to_stage"]) == ("a", "b")
    assert (event["timestamp"], event["duration_us"]) == (LINK.timestamp_us, 0)
    assert told_by(event).stages == {"b", "c"}


def test_ids_follow_from_the_link() -> None:
    """The same link has the same ids, any other one has others, and so has its withdrawal."""
    same = [link_event(LINK, TOPOLOGY) for _ in range(2)]
    assert same[0]["event_id"] == same[1]["event_id"]
    assert uuid.UUID(same[0]["event_id"]).version == 4
    others = [
        same[0],
        withdrawal_event(LINK, TOPOLOGY),
        link_event(LINK._replace(trace_id=LATER), TOPOLOGY),
        link_event(LINK._replace(edge=Edge("f", "a", "c")), TOPOLOGY),
        link_event(LINK._replace(others=(Other("ef" * 16, "1" * 16, ("b",)),)), TOPOLOGY),
    ]
    assert len({event["span_id"] for event in others}) == len(others)
    assert len({event["event_id"] for event in others}) == len(others)


def test_a_stage_without_a_module_is_the_writers() -> None:
    """An event must name a module; where the contract names none, the writer does."""
    assert link_event(LINK, Topology())["module"] == "spanloom"
