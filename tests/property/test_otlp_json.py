"""OTLP's JSON: written as protobuf's bytes it says what the official reader of JSON finds in it."""

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData
from opentelemetry.proto.metrics.v1 import metrics_pb2 as metric
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from streams.codec.otlp.jsonbytes import protobuf_of
from streams.codec.otlp.quick import QuickSpans
from streams.codec.otlp.requests import LOGS, METRICS, SPANS, request_of
from streams.errors import RecordError
from tests.otlp_cases import (
    START_NS,
    as_json,
    attribute,
    logs,
    metrics,
    span_id,
    span_of,
    trace_id,
    traces,
)
from tests.otlp_columns import ENCODER, hold_against_the_decode, quickly, slowly
from tests.otlp_strategies import requests

STRANGE: list[Any] = [
    None, True, False, 0, 1, -1, 1.0, 1.5, 1e300, 2**31, 2**53 + 1, 2**63, 2**64, 10**400, "", "0",
    "007", "1.0", " 5", "5 ", "+5", "1_000", "1e3", "\u0663", "-5", "12345678901234567890", "x",
    "é", "\ud800", "NaN", "true", "ab cd", "AB" * 16, "f" * 31, "0" * 130, [], {}, [None], [[]],
    [{}], "SPAN_KIND_SERVER", "STATUS_CODE_ERROR", {"stringValue": "a", "intValue": "1"},
    {"intValue": 5}, {"doubleValue": "Infinity"}, {"bytesValue": "YQ=="}, {"kvlistValue": {}},
    {"arrayValue": {"values": [{"intValue": "1"}]}}, {"string_value": "a"},
]  # fmt: skip
NAMES = ["trace_id", "spanId", "name", "kind", "unknown", "attributes", "flags", "value", "links"]


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Yield where each value of a tree lies, as what holds it and the key there."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in list(inner):
        yield tree, key
        if isinstance(value, (dict, list)):
            yield from places(value)


def damage(tree: Any, rng: random.Random) -> None:
    """Change one value of a tree, its name, or take it out."""
    held, key = rng.choice(list(places(tree)) or [(tree, "resourceSpans")])
    action = rng.randrange(4) if key in held or isinstance(held, list) else 3
    if action == 0 and isinstance(held, dict):
        held[rng.choice(NAMES)] = held.pop(key)
    elif action == 1:
        del held[key]
    elif action == 2 and isinstance(held, dict):
        held[rng.choice(NAMES)] = deepcopy(rng.choice(STRANGE))
    else:
        held[key] = deepcopy(rng.choice(STRANGE))


def full_request() -> Any:
    """Return a JSON tree that has each field once."""
    span = span_of(1, 2)
    span.trace_state, span.flags = "a=b", 0x301
    span.status.code, span.status.message = 2, "no"
    span.attributes.extend([attribute("ratio", 0.5), attribute("big", 2**40)])
    span.events.add(name="e", time_unix_nano=5).attributes.append(attribute("k", True))
    span.links.add(trace_id=trace_id(7), span_id=span_id(7, 1), flags=1, trace_state="c=d")
    span.links[0].attributes.append(attribute("k", "v"))
    request = traces("shop", [span_of(1, 1), span])
    request.resource_spans[0].schema_url = "https://x"
    return json.loads(as_json(request))


@settings(max_examples=20)
@given(st.lists(requests, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_json_goes_the_way_of_protobuf(drawn: list[TracesData], rng: random.Random) -> None:
    """Bodies, columns and rejections, beside requests in protobuf."""
    values = [as_json(r) if rng.random() < 0.7 else r.SerializeToString() for r in drawn]
    assert quickly(values) == [slowly(value) for value in values]
    hold_against_the_decode(values)


def full_log_request() -> Any:
    """Return a JSON tree of log records that has each field once."""
    line = LogRecord(
        time_unix_nano=5,
        observed_time_unix_nano=6,
        severity_number=9,
        severity_text="INFO",
        body=AnyValue(string_value="said"),
        attributes=[attribute("ratio", 0.5), attribute("big", 2**40), attribute("is", True)],
        dropped_attributes_count=3,
        flags=1,
        trace_id=trace_id(1),
        span_id=span_id(1, 1),
        event_name="started",
    )
    bare = LogRecord(time_unix_nano=START_NS, body=AnyValue(int_value=5))
    request = logs("shop", [line, bare])
    request.resource_logs[0].schema_url = "https://x"
    return json.loads(as_json(request))


def full_metric_request() -> Any:
    """Return a JSON tree of metrics that has each field once."""
    own: dict[str, Any] = {"time_unix_nano": START_NS, "start_time_unix_nano": 5}
    own["attributes"] = [attribute("k", "v")]
    points = [
        metric.NumberDataPoint(as_int=-5, flags=1, **own),
        metric.NumberDataPoint(as_double=0.5, **own),
    ]
    lasting = metric.HistogramDataPoint(
        count=3, sum=1.5, min=0.1, max=0.7, bucket_counts=[1, 2], explicit_bounds=[0.5], **own
    )
    found = [
        metric.Metric(
            name="depth", unit="1", description="how", gauge=metric.Gauge(data_points=points)
        ),
        metric.Metric(
            name="rows",
            sum=metric.Sum(data_points=points, aggregation_temporality=1, is_monotonic=True),
        ),
        metric.Metric(
            name="seconds",
            histogram=metric.Histogram(data_points=[lasting], aggregation_temporality=2),
        ),
    ]
    return json.loads(as_json(metrics("shop", found)))


FULL = {SPANS: full_request, LOGS: full_log_request, METRICS: full_metric_request}
MESSAGE: dict[str, Any] = {SPANS: TracesData, LOGS: LogsData, METRICS: metric.MetricsData}


def hold_against_the_reader(tree: Any, kind: str, *, ascii_only: bool = True) -> str:
    """Compare what is written of a tree with what is read; say whether it is written, or refused.

    What is refused must not be written.
    """
    value = json.dumps(tree, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    found = protobuf_of(value, kind)
    try:
        message = request_of(kind, value)
    except RecordError:
        assert found == b"", value
        return "refused"
    if not found:
        return "left"
    told = message.SerializeToString(deterministic=True)
    assert MESSAGE[kind].FromString(found).SerializeToString(deterministic=True) == told, value
    return "written"


@pytest.mark.parametrize("kind", FULL)
def test_what_is_written_is_the_message_that_is_read(kind: str) -> None:
    """Whatever stands where in a request that is damaged once, twice or three times."""
    rng = random.Random(3)
    seen: Counter[str] = Counter()
    for i in range(1_500):
        tree = FULL[kind]()
        for _ in range(i % 3 + 1):
            damage(tree, rng)
        seen[hold_against_the_reader(tree, kind, ascii_only=bool(i % 2))] += 1
    assert seen["written"] > 600
    assert seen["refused"] > 200


@pytest.mark.parametrize("kind", FULL)
@pytest.mark.parametrize("nothing", [0, False, 0.0, "", [], {}, None], ids=repr)
def test_nothing_of_another_kind_is_nothing_only_where_the_reader_takes_it(
    nothing: Any, kind: str
) -> None:
    """In each place of a request."""
    count = len(list(places(FULL[kind]())))
    seen: Counter[str] = Counter()
    for nth in range(count):
        tree = FULL[kind]()
        held, key = list(places(tree))[nth]
        held[key] = deepcopy(nothing)
        seen[hold_against_the_reader(tree, kind)] += 1
    assert sum(seen.values()) == count
    assert seen["written"]


def snake(tree: Any) -> Any:
    """Return a tree with the names of fields as the definitions have them."""
    if isinstance(tree, list):
        return [snake(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    return {
        re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name): snake(inner)
        for name, inner in tree.items()
    }


@pytest.mark.parametrize("kind", FULL)
def test_names_as_the_definitions_have_them_are_read(kind: str) -> None:
    """In all places, ids in hex too, as the Collector's own reader takes them; or in some alone."""
    tree = FULL[kind]()
    wanted = request_of(kind, json.dumps(tree).encode())
    assert request_of(kind, json.dumps(snake(deepcopy(tree))).encode()) == wanted
    within = {name: snake(inner) for name, inner in tree.items()}
    assert request_of(kind, json.dumps(within).encode()) == wanted
    value = json.dumps(snake(tree)).encode()
    assert quickly([value], kind) == [slowly(wanted.SerializeToString(), kind)]


@pytest.mark.parametrize("before", ["\ufeff", " ", "\n", "\r\n\t", "\ufeff\n"])
@pytest.mark.parametrize("kind", FULL)
def test_what_stands_before_json_is_passed_over(kind: str, before: str) -> None:
    """A byte order mark, or white space; what is neither JSON nor protobuf stays refused."""
    text = json.dumps(FULL[kind](), indent=1)
    value = (before + text).encode()
    assert request_of(kind, value) == request_of(kind, text.encode())
    assert quickly([value], kind) == quickly([text.encode()], kind)
    with pytest.raises(RecordError, match="no JSON: "):
        request_of(kind, (before + text[:-1]).encode())


def test_half_a_character_in_any_place_is_refused() -> None:
    """As a value, a name, or in place of a message: protobuf's reader fails at a name."""
    for tree in ({"\ud800": 1}, "\ud800", {"scopeSpans": [{"spans": [{"kind": "\ud800"}]}]}):
        value = json.dumps({"resourceSpans": [tree]}).encode()
        assert slowly(value) == "invalid_otlp"
        assert quickly([value]) == ["invalid_otlp"]


def test_half_a_character_in_an_id_is_a_wrong_id() -> None:
    """As any other text is that is no hex: the span is bad, its neighbours are not."""
    tree = full_request()
    spans = tree["resourceSpans"][0]["scopeSpans"][0]["spans"]
    spans[0]["traceId"] = spans[1]["links"][0]["spanId"] = "\ud800"
    value = json.dumps(tree).encode()
    assert quickly([value]) == [slowly(value)]
    assert len(slowly(value)) == 2


def test_json_as_the_collector_and_as_javascript_writes_it_needs_no_reader() -> None:
    """Numbers as text or as numbers, kinds by number or name, counts of nothing."""
    span = full_request()["resourceSpans"][0]["scopeSpans"][0]["spans"][1]
    span |= dict.fromkeys(("droppedEventsCount", "droppedLinksCount", "droppedAttributesCount"), 0)
    span["kind"], span["startTimeUnixNano"] = 2, int(span["startTimeUnixNano"])
    span["attributes"].append({"key": "n", "value": {"intValue": 7}})
    value = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    told = request_of(SPANS, value)
    assert TracesData.FromString(protobuf_of(value)) == told
    hold_against_the_decode([value])


def test_lists_of_a_resource_and_odd_spans_are_read_alone() -> None:
    """Their neighbours are not: a process' arguments stand in most resources."""
    tree = full_request()
    words = {"arrayValue": {"values": [{"stringValue": "python"}, {"stringValue": "-m"}]}}
    tree["resourceSpans"][0]["resource"]["attributes"].append({"key": "args", "value": words})
    tree["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["trace_state"] = "x=y"
    value = json.dumps(tree).encode()
    assert TracesData.FromString(protobuf_of(value)) == request_of(SPANS, value)
    run = QuickSpans(ENCODER).run([value])
    assert run is not None
    assert list(run.body) == slowly(value)
    assert run.straight.tolist() == [0, 1]
