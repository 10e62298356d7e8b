"""Jaeger's JSON: every span with its parent, logs and status, bad ones refused by line."""

import csv
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from streams.codec.otlp.recordings import otlp_events
from streams.codec.otlp.services import Services
from streams.codec.recorded.account import Account, RecordedTrace
from streams.codec.recorded.jaeger import jaeger_traces
from streams.codec.recorded.summary import trace_summary
from streams.codec.records import decode, encode
from streams.errors import ConfigError

T0_US = 1_700_000_000_000_000
TRACE = "5af7183fb1d4cf5f"


def span(**changes: Any) -> dict[str, Any]:
    """Return a good span with some fields changed; None takes one away."""
    row = {
        "traceID": TRACE,
        "spanID": "6b221d5bc9e6496c",
        "operationName": "get-traces",
        "references": [],
        "startTime": T0_US,
        "duration": 300,
        "tags": [{"key": "span.kind", "type": "string", "value": "server"}],
        "logs": [],
        "processID": "p1",
        **changes,
    }
    return {key: value for key, value in row.items() if value is not None}


def export(*spans: object) -> dict[str, Any]:
    processes = {"p1": {"serviceName": "query", "tags": []}}
    return {"data": [{"traceID": TRACE, "spans": list(spans), "processes": processes}]}


def read(tmp_path: Path, content: object) -> tuple[list[RecordedTrace], Account]:
    path = tmp_path / "t.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
    account = Account()
    return list(jaeger_traces(path, account)), account


def ref(kind: str, span_id: str, trace: str = TRACE) -> dict[str, str]:
    return {"refType": kind, "traceID": trace, "spanID": span_id}


@pytest.mark.parametrize(
    "parent",
    [
        {"references": [ref("CHILD_OF", "0" * 16)]},
        {"references": [ref("CHILD_OF", "0" * 16), ref("FOLLOWS_FROM", "2")]},
        {"parentSpanID": "0"},
    ],
)
def test_a_parent_of_zeros_is_none(tmp_path: Path, parent: dict[str, Any]) -> None:
    """Jaeger's own model has 0 for a root; other references stay what they are."""
    ((trace,), account) = read(tmp_path, export(span(**parent)))
    assert account.refused == {}
    (root,) = trace.events
    follows = [r for r in parent.get("references", []) if r["refType"] == "FOLLOWS_FROM"]
    assert root["parent_span_id"] == ("2".rjust(16, "0") if follows else "")
    assert root["links"] == []


def test_a_span_becomes_an_event_that_can_be_written(tmp_path: Path) -> None:
    """Ids get their zeros, tags become fields or dimensions, the event encodes as it is."""
    tags = [
        {"key": "span.kind", "type": "string", "value": "client"},
        {"key": "error", "type": "bool", "value": True},
        {"key": "http.status_code", "type": "int64", "value": 500},
        {"key": "spanloom.record_id", "type": "string", "value": "r-1"},
    ]
    logs = [
        {
            "timestamp": T0_US + 7,
            "fields": [
                {"key": "event", "type": "string", "value": "retry"},
                {"key": "level", "type": "string", "value": "warning"},
                {"key": "attempt", "type": "int64", "value": 2},
            ],
        }
    ]
    (trace,), account = read(tmp_path, export(span(tags=tags, logs=logs, spanID="b1")))
    one, log = trace.events
    assert (one["trace_id"], one["span_id"]) == (TRACE.rjust(32, "0"), "00000000000000b1")
    assert (one["module"], one["component"], one["name"]) == ("query", "service", "get-traces")
    assert (one["status"], one["span_kind"], one["record_id"]) == ("ERROR", "CLIENT", "r-1")
    assert one["dimensions"] == {"http.status_code": "500"}
    assert (log["event_type"], log["name"], log["severity"]) == ("LOG", "retry", "WARN")
    assert (log["span_id"], log["timestamp"]) == (one["span_id"], T0_US + 7)
    assert log["dimensions"] == {"attempt": "2"}
    for event in trace.events:
        assert repr(decode(encode("telemetry_event", event))) == repr(event)
    assert (account.rows, account.refused) == (2, {})


def test_the_parent_is_the_first_child_of(tmp_path: Path) -> None:
    """Else what it follows; what is no parent is a link, and so is another trace."""
    references = [ref("FOLLOWS_FROM", "a"), ref("CHILD_OF", "b"), ref("CHILD_OF", "c", "ff")]
    content = export(
        span(references=references),
        span(spanID="2", references=[ref("FOLLOWS_FROM", "a")]),
        span(spanID="3", references=None, parentSpanID="d"),
    )
    (trace,), _ = read(tmp_path, content)
    assert [event["parent_span_id"][-1] for event in trace.events] == ["b", "a", "d"]
    assert [link["span_id"][-1] for link in trace.events[0]["links"]] == ["a", "c"]
    assert trace.events[0]["links"][1]["trace_id"] == "ff".rjust(32, "0")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"traceID": "ff"}, "other_trace"),
        ({"spanID": None}, "invalid_id"),
        ({"spanID": ""}, "invalid_id"),
        ({"spanID": "0000"}, "invalid_id"),
        ({"spanID": 7}, "invalid_id"),
        ({"startTime": -1}, "invalid_time"),
        ({"startTime": 1.5}, "invalid_time"),
        ({"startTime": True}, "invalid_time"),
        ({"startTime": T0_US * 1_000}, "time_in_nanoseconds"),
        ({"startTime": T0_US // 1_000}, "time_in_milliseconds"),
        ({"startTime": T0_US // 1_000_000}, "time_in_seconds"),
        ({"startTime": T0_US * 100}, "invalid_time"),
        ({"duration": -1}, "invalid_duration"),
        ({"duration": None}, "invalid_duration"),
        ({"operationName": ""}, "invalid_operation_name"),
        ({"processID": "p9"}, "unknown_process"),
        ({"process": {"serviceName": ""}}, "invalid_service_name"),
        ({"references": [ref("CHILD_OF", "6b221d5bc9e6496c")]}, "own_parent"),
        ({"references": [ref("SIBLING", "a")]}, "invalid_references"),
        ({"references": "a"}, "invalid_references"),
        ({"tags": [{"key": "a", "type": "bool", "value": 3}]}, "invalid_tags"),
        ({"tags": [{"key": "a"}]}, "invalid_tags"),
        ({"tags": [{"key": f"k{i}", "value": ""} for i in range(300)]}, "too_many_tags"),
        ({"tags": [{"key": f"k{i}", "value": "x" * 4_000} for i in range(99)]}, "event_too_large"),
        ({"operationName": "\ud800"}, "invalid_text"),
        ({"flags": "1"}, "invalid_flags"),
        ({"logs": 3}, "invalid_logs"),
    ],
)
def test_a_bad_span_is_refused_alone(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    """With its reason and the line that it begins in; the others are read."""
    path = tmp_path / "t.json"
    good, bad = span(), span(**changes)
    head = f'{{"data": [{{"traceID": "{TRACE}",\n"processes": {{"p1": {{"serviceName": "q"}}}},\n'
    path.write_text(f'{head}"spans": [\n{json.dumps(good)},\n{json.dumps(bad)}]}}]}}')
    account = Account()
    (trace,) = jaeger_traces(path, account)
    assert trace.events[0]["name"] == "get-traces"
    assert account.refused == {reason: 1}
    assert account.examples[0].place == f"{path}:5"


def test_a_bad_log_is_refused_without_its_span(tmp_path: Path) -> None:
    """The span and its other logs are read."""
    logs = [{"timestamp": "now", "fields": []}, {"timestamp": T0_US, "fields": []}, 3]
    (trace,), account = read(tmp_path, export(span(logs=logs)))
    assert [event["event_type"] for event in trace.events] == ["TRACE", "LOG"]
    assert account.refused == {"invalid_time": 1, "invalid_logs": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"tags": [{"value": "ann@example.org"}]},
        {"logs": ["ann@example.org"]},
        {"operationName": "ann@example.org \ud800"},
    ],
)
def test_what_is_refused_is_not_quoted(tmp_path: Path, changes: dict[str, Any]) -> None:
    """It may be personal, and a person reads what was wrong on a terminal or in a log."""
    _, account = read(tmp_path, export(span(**changes)))
    assert account.refused
    assert "ann@example.org" not in repr(account.examples)


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"data": 3}', '{"data": [{"spans": [}]}', '{"data": [3]}', "", "{} 1"]
)
def test_what_is_no_export_is_refused_whole(tmp_path: Path, content: str) -> None:
    """The file is named. An answer that found nothing is one."""
    assert read(tmp_path, '{"data": null}')[0] == []
    with pytest.raises(ConfigError, match=r"t\.json"):
        read(tmp_path, content)


def test_one_trace_alone_and_ids_that_are_no_numbers(tmp_path: Path) -> None:
    """A trace without its envelope is read; other ids become their hashes, which is counted."""
    content = export(span(traceID="A", spanID="G"))["data"][0] | {"traceID": "A"}
    (trace,), account = read(tmp_path, content)
    assert account.hashed_ids == 1
    assert re.fullmatch(r"[0-9a-f]{16}", trace.events[0]["span_id"])
    assert trace.trace_id == "a".rjust(32, "0")


def crisp(data_dir: Path) -> Path:
    folder = data_dir / "jaeger-crisp"
    if not folder.is_dir():
        pytest.skip(f"34 recorded traces are missing: {folder}")
    return folder


def test_the_recorded_set_is_read_whole(data_dir: Path) -> None:
    """34 files with 138 spans, none refused; two fragments whose parents are missing."""
    spans = files = orphans = 0
    for path in crisp(data_dir).glob("*.json"):
        account = Account()
        for trace in jaeger_traces(path, account):
            summary = trace_summary(trace)
            spans += summary["spans"]
            orphans += summary["orphans"]
            assert summary["roots"] == (2 if path.name == "orphans.json" else 1)
        assert account.refused == {}
        files += 1
    assert (files, spans, orphans) == (34, 138, 2)


def test_critical_paths_of_the_recorded_set(data_dir: Path) -> None:
    """All 19 traces that were worked out: every call path, its own time, its spans."""
    folder = crisp(data_dir)
    expected: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    with (folder / "critical_path_expected.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            expected[row["case"]][row["call_path"]] = int(row["exclusive_us"]), int(row["spans"])
    right = 0
    for case, paths in expected.items():
        (trace,) = jaeger_traces(folder / case, Account())
        found = trace_summary(trace)["critical_path"]
        assert {one["call_path"]: (one["own_us"], one["spans"]) for one in found} == paths, case
        right += 1
    assert right == 19


@pytest.mark.parametrize(
    ("otlp", "other"),
    [
        ("otlp2jaeger-in.json", "otlp2jaeger-out.json"),
        ("otlp2jaeger-multi-in-combined.json", "oltp2jaeger-multi-out.json"),
    ],
)
def test_a_trace_is_the_same_from_jaeger_and_from_otlp(
    data_dir: Path, otlp: str, other: str
) -> None:
    """What Jaeger made of OTLP is read as the spans that the OTLP holds, event ids too."""
    folder = data_dir / "otlp-examples" / "jaeger-ui"
    if not folder.is_dir():
        pytest.skip(f"2 recorded pairs are missing: {folder}")
    read = [event for trace in jaeger_traces(folder / other, Account()) for event in trace.events]
    told = list(otlp_events(folder / otlp, Services()))
    assert len(read) == len(told) > 1
    for events in (read, told):
        for event in events:
            del event["dimensions"]  # Jaeger takes some attributes for fields of its own
        events.sort(key=lambda event: str(event["span_id"]))
    assert list(map(as_text, read)) == list(map(as_text, told))


def as_text(event: dict[str, Any]) -> str:
    return json.dumps(event, sort_keys=True)
