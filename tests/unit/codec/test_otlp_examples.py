"""Published OTLP examples: each file is read, and what it says is what others read in it.

Source of the files: opentelemetry-proto, jaeger-ui and jaeger; see the README beside them.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from streams.codec.otlp.events import SCOPE_NAME, SCOPE_VERSION
from streams.codec.otlp.recordings import otlp_events
from streams.codec.otlp.requests import LOGS, METRICS, SPANS, request_of
from streams.codec.otlp.services import Services
from streams.errors import ConfigError
from tests.otlp_columns import hold_against_the_decode

Event = dict[str, Any]
FILES = 44
NOT_OTLP = {"queries.json", "oltp2jaeger-multi-out.json", "otlp2jaeger-out.json"}
"""What is asked of the others, and what they are for Jaeger."""


@pytest.fixture(scope="module")
def examples(data_dir: Path) -> Path:
    """Return the folder of examples."""
    folder = data_dir / "otlp-examples"
    if not folder.is_dir():
        pytest.skip(f"{FILES} examples of OTLP are not in {folder}")
    return folder


def read(path: Path) -> list[Event]:
    return list(otlp_events(path, Services()))


def fixtures(examples: Path) -> dict[str, list[Event]]:
    """Return the events of Jaeger's fixtures, by name."""
    return {p.stem: read(p) for p in (examples / "jaeger-fixtures" / "traces").glob("*.json")}


def test_every_file_is_read(examples: Path) -> None:
    """41 requests files hold 51 spans, 2 log records and 4 points; 3 say that they are none."""
    files = [p for p in examples.rglob("*.*") if ".json" in p.name]
    assert len(files) == FILES
    types: dict[str, int] = {}
    for path in files:
        if path.name in NOT_OTLP:
            with pytest.raises(ConfigError, match="no JSON"):
                read(path)
            continue
        for event in read(path):
            types[event["event_type"]] = types.get(event["event_type"], 0) + 1
    assert types == {"TRACE": 51, "LOG": 2, "METRIC": 4}


@pytest.mark.parametrize(("kind", "count"), [(SPANS, FILES // 2), (LOGS, 0), (METRICS, 0)])
def test_all_files_are_columns_as_a_decode_gives_them(
    examples: Path, kind: str, count: int
) -> None:
    """As protobuf, all files together, as a step has them."""
    values = []
    for path in (p for p in examples.rglob("*.json*") if p.name not in NOT_OTLP):
        text = path.read_bytes().strip()
        is_lines = text.split(b"\n")[0].endswith(b"}")
        requests = [
            request_of(kind, one)
            for one in (text.splitlines() if is_lines else [text])
            if f"resource{kind.title()}".encode() in one
        ]
        values += [one.SerializeToString() for one in requests]
    assert len(values) > count
    hold_against_the_decode(values, kind)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("otlp2jaeger-in.json", "otlp2jaeger-out.json"),
        ("otlp2jaeger-multi-in.json.txt", "oltp2jaeger-multi-out.json"),
        ("otlp2jaeger-multi-in-combined.json", "oltp2jaeger-multi-out.json"),
    ],
)
def test_a_trace_is_what_jaeger_makes_of_it(examples: Path, ours: str, theirs: str) -> None:
    """Ids, names, times, parents, tags and processes are equal, span by span."""
    folder = examples / "jaeger-ui"
    (trace,) = json.loads((folder / theirs).read_text())["data"]
    expected = [_plain_span(span, trace["processes"]) for span in trace["spans"]]
    assert _sorted(map(_as_jaeger, read(folder / ours))) == _sorted(expected)


def test_a_resource_without_a_name_is_an_unknown_service(examples: Path) -> None:
    """As OpenTelemetry's conventions call it."""
    events = read(examples / "jaeger-ui" / "otlp2jaeger-in-error.json")
    assert {event["module"] for event in events} == {"unknown_service"}


def test_jaegers_queries_find_their_traces(examples: Path) -> None:
    """Each of the 25 finds the fixtures that it must find, and no other."""
    queries = json.loads((examples / "jaeger-fixtures" / "queries.json").read_text())
    events = fixtures(examples)
    for query in queries:
        found = {name for name, spans in events.items() if _answers(spans, query["Query"])}
        assert found == set(query["ExpectedFixtures"]), query["Caption"]
    assert len(queries) == 25


def test_links_come_with_their_attributes(examples: Path) -> None:
    """Three links of one span, two of them to the same one."""
    (event,) = fixtures(examples)["link_attributes_trace"]
    assert [link["span_id"] for link in event["links"]] == [f"{n:016x}" for n in (255, 2, 2)]
    kinds = [event["dimensions"][f"link.{i}.opentracing.ref_type"] for i in range(3)]
    assert kinds == ["child_of", "child_of", "follows_from"]


def _answers(spans: list[Event], query: dict[str, Any]) -> bool:
    """Whether one span has all that Jaeger's query asks for, times aside."""
    wanted = [(key, _text(value)) for key, value in (query["Tags"] or {}).items()]
    return any(
        span["module"] == query["ServiceName"]
        and query["OperationName"] in ("", span["name"])
        and (not query["DurationMin"] or span["duration_us"] * 1000 >= query["DurationMin"])
        and (not query["DurationMax"] or span["duration_us"] * 1000 <= query["DurationMax"])
        and all(
            any(k.endswith(key) and v == value for k, v in span["dimensions"].items())
            for key, value in wanted
        )
        for span in spans
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


OLD_SCOPE = "library"
"""What OpenTelemetry called a scope when Jaeger chose its tags."""


def _as_jaeger(event: Event) -> dict[str, Any]:
    """Return a span as Jaeger has it: tags of span and process together."""
    tags = dict(event["dimensions"])
    renamed = {SCOPE_NAME: f"otel.{OLD_SCOPE}.name", SCOPE_VERSION: f"otel.{OLD_SCOPE}.version"}
    tags = {renamed.get(key, key): value for key, value in tags.items()}
    assert tags.pop("service.name") == event["module"]
    return {
        "traceID": event["trace_id"],
        "spanID": event["span_id"],
        "operationName": event["name"],
        "parent": event["parent_span_id"],
        "startTime": event["timestamp"],
        "duration": event["duration_us"],
        "service": event["module"],
        "tags": tags | {"span.kind": event["span_kind"].lower()},
    }


def _plain_span(span: dict[str, Any], processes: dict[str, Any]) -> dict[str, Any]:
    names = ("traceID", "spanID", "operationName", "startTime", "duration")
    process = processes[span["processID"]]
    parents = [r["spanID"] for r in span["references"] if r["refType"] == "CHILD_OF"]
    return {name: span[name] for name in names} | {
        "parent": "".join(parents),
        "service": process["serviceName"],
        "tags": {tag["key"]: _text(tag["value"]) for tag in (*process["tags"], *span["tags"])},
    }


def _sorted(spans: Any) -> list[dict[str, Any]]:
    return sorted(spans, key=lambda span: json.dumps(span, sort_keys=True))
