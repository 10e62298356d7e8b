"""Zipkin's JSON: both sides of a shared span, children below the side that made them, orphans."""

import json
from pathlib import Path
from typing import Any

import pytest

from streams.codec.recorded.account import Account, Event, RecordedTrace
from streams.codec.recorded.summary import trace_summary
from streams.codec.recorded.zipkin import zipkin_traces
from streams.codec.records import decode, encode
from streams.errors import ConfigError

T0_US = 1_700_000_000_000_000


def span(**changes: Any) -> dict[str, Any]:
    """Return a good span with some fields changed; None takes one away."""
    row = {
        "traceId": "1e223ff1f80f1c69",
        "id": "bf396325699c84bf",
        "name": "get",
        "kind": "SERVER",
        "timestamp": T0_US,
        "duration": 100,
        "localEndpoint": {"serviceName": "a", "ipv4": "10.0.0.1"},
        **changes,
    }
    return {key: value for key, value in row.items() if value is not None}


def at(service: str, ipv4: str = "10.0.0.1") -> dict[str, str]:
    return {"serviceName": service, "ipv4": ipv4}


def read(tmp_path: Path, content: object) -> tuple[list[RecordedTrace], Account]:
    path = tmp_path / "t.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
    account = Account()
    return list(zipkin_traces([path], account)), account


def by_name(trace: RecordedTrace) -> dict[str, Event]:
    return {event["name"]: event for event in trace.events}


def read_files(tmp_path: Path, *contents: object) -> tuple[list[RecordedTrace], Account]:
    """Return what several files hold together."""
    paths = [tmp_path / f"{n}.json" for n in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_text(json.dumps(content))
    account = Account()
    return list(zipkin_traces(paths, account)), account


@pytest.mark.parametrize("parent", ["0", "0" * 16])
def test_a_parent_of_zeros_is_none(tmp_path: Path, parent: str) -> None:
    """As Zipkin's own reader takes it."""
    ((trace,), account) = read(tmp_path, [span(parentId=parent)])
    assert account.refused == {}
    assert [event["parent_span_id"] for event in trace.events] == [""]


def test_the_sides_of_a_call_may_lie_in_two_files(tmp_path: Path) -> None:
    """Each service's own: together they are what they are in one file, in either order."""
    caller = [
        span(id="a", name="root", localEndpoint=at("c")),
        span(id="b", parentId="a", name="call", kind="CLIENT", localEndpoint=at("c")),
    ]
    callee = [
        span(id="b", parentId="a", name="serve", shared=True, localEndpoint=at("s")),
        span(id="c", parentId="b", name="work", kind=None, localEndpoint=at("s")),
    ]
    (whole,), _ = read(tmp_path, caller + callee)
    for files in ((caller, callee), (callee, caller)):
        (trace,), account = read_files(tmp_path, *files)
        assert by_name(trace) == by_name(whole)
        assert (account.rows, account.merged) == (4, 0)
    found = by_name(whole)
    assert found["serve"]["parent_span_id"] == found["call"]["span_id"]
    assert found["work"]["parent_span_id"] == found["serve"]["span_id"]


def test_parts_of_a_span_and_halved_ids_may_lie_in_two_files(tmp_path: Path) -> None:
    """Its start here and its end there; the whole trace id here, its right half there."""
    begun = span(traceId="a" * 16 + "1e223ff1f80f1c69", duration=None, kind="CLIENT")
    ended = span(timestamp=None, kind="CLIENT", duration=70)
    (trace,), account = read_files(tmp_path, [begun], [ended])
    (event,) = trace.events
    assert (event["timestamp"], event["duration_us"]) == (T0_US, 70)
    assert (trace.trace_id, account.merged) == (begun["traceId"], 1)


def test_a_row_that_two_files_have_is_read_once(tmp_path: Path) -> None:
    """Exports of two times overlap: neither a second span nor a second side comes of that."""
    rows = [span(id="b", shared=True), span(id="c", parentId="b", kind=None)]
    (once,), _ = read(tmp_path, rows)
    (trace,), account = read_files(tmp_path, rows, [*rows, span(id="d", parentId="c")], rows)
    assert [event["span_id"][-1] for event in trace.events] == ["b", "c", "d"]
    assert list(trace.events[:2]) == list(once.events)
    assert (account.rows, account.merged) == (7, 4)


def test_both_sides_of_a_shared_span(tmp_path: Path) -> None:
    """The caller keeps the id; the callee is its child, and what the callee did is the callee's."""
    rows = [
        span(id="c", parentId="b", name="work", kind=None, localEndpoint=at("s")),
        span(id="b", parentId="a", name="serve", shared=True, localEndpoint=at("s")),
        span(id="b", parentId="a", name="call", kind="CLIENT", localEndpoint=at("c")),
        span(id="a", name="root", localEndpoint=at("c")),
        span(id="d", parentId="b", name="encode", kind=None, localEndpoint=at("c")),
        span(id="e", parentId="b", name="proxy", kind=None, localEndpoint=at("p")),
    ]
    (trace,), account = read(tmp_path, rows)
    found = by_name(trace)
    call, serve = found["call"], found["serve"]
    assert call["span_id"] == "000000000000000b"
    assert call["parent_span_id"] == "000000000000000a"
    assert serve["span_id"] not in ("000000000000000b", "")
    assert serve["parent_span_id"] == call["span_id"]
    assert found["work"]["parent_span_id"] == serve["span_id"]
    assert found["encode"]["parent_span_id"] == call["span_id"]
    assert found["proxy"]["parent_span_id"] == call["span_id"]
    assert account.refused == {}
    turned = by_name(read(tmp_path, rows[::-1])[0][0])
    assert {name: repr(event) for name, event in turned.items()} == {
        name: repr(event) for name, event in found.items()
    }


def test_sides_are_told_apart_without_the_flag(tmp_path: Path) -> None:
    """A server with its client's id is the far side; so is a consumer with its producer's."""
    rows = [
        span(id="b", kind="CLIENT", name="call"),
        span(id="b", name="serve"),
        span(id="c", kind="CONSUMER", name="take"),
        span(id="c", kind="PRODUCER", name="put"),
    ]
    found = by_name(read(tmp_path, rows)[0][0])
    assert found["serve"]["parent_span_id"] == found["call"]["span_id"] == "000000000000000b"
    assert found["take"]["parent_span_id"] == found["put"]["span_id"] == "000000000000000c"


def test_a_far_side_without_the_other_keeps_the_id(tmp_path: Path) -> None:
    """Several of them too: the first keeps it, and none is lost."""
    (trace,), _ = read(tmp_path, [span(shared=True, parentId="a")])
    assert trace.events[0]["span_id"] == "bf396325699c84bf"
    rows = [span(shared=True, localEndpoint=at("s", f"10.0.0.{i}")) for i in range(3)]
    (trace,), _ = read(tmp_path, rows)
    assert len({event["span_id"] for event in trace.events}) == 3


def test_equal_rows_stay_equal_spans(tmp_path: Path) -> None:
    """A far side that was reported twice is one span, told twice."""
    rows = [span(kind="CLIENT"), span(shared=True), span(shared=True)]
    (trace,), _ = read(tmp_path, rows)
    assert trace_summary(trace)["duplicates"] == 1


def test_a_span_can_be_written(tmp_path: Path) -> None:
    """Its tags are dimensions, an `error` tag is a failure, annotations are log lines."""
    row = span(
        tags={"error": "", "http.path": "/x"},
        remoteEndpoint={"serviceName": "db"},
        annotations=[{"timestamp": T0_US + 5, "value": "ws"}, {"timestamp": "x", "value": "y"}],
    )
    (trace,), account = read(tmp_path, [[row]])
    one, note = trace.events
    assert (one["status"], one["span_kind"], one["module"]) == ("ERROR", "SERVER", "a")
    assert one["dimensions"] == {"error": "", "http.path": "/x", "peer.service": "db"}
    assert (note["event_type"], note["name"], note["span_id"]) == ("LOG", "ws", one["span_id"])
    assert account.refused == {"invalid_time": 1}
    for event in trace.events:
        assert repr(decode(encode("telemetry_event", event))) == repr(event)


def test_a_span_that_was_told_in_two_halves(tmp_path: Path) -> None:
    """Its start, then its end with tags, then tags alone: one span, and the rows are counted."""
    start = span(duration=None, name=None, annotations=[{"timestamp": T0_US, "value": "flush"}])
    end = span(timestamp=None, duration=70, kind=None, tags={"http.path": "/x", "n": "1"})
    late = {name: start[name] for name in ("traceId", "id")} | {"tags": {"n": "2", "error": ""}}
    end["annotations"] = [*start["annotations"], {"timestamp": T0_US + 9, "value": "sent"}]
    other = span(id="1", parentId="bf396325699c84bf")
    for rows in ([start, other, end, late], [other, end, late, start]):
        (trace,), account = read(tmp_path, rows)
        assert (account.rows, account.merged, account.refused) == (6, 2, {})
        one, child = (e for e in trace.events if e["event_type"] == "TRACE")
        if one["parent_span_id"]:
            one, child = child, one
        assert (one["timestamp"], one["duration_us"], one["name"]) == (T0_US, 70, "get")
        assert (one["span_kind"], one["module"], one["status"]) == ("SERVER", "a", "ERROR")
        assert one["dimensions"] == {"error": "", "http.path": "/x", "n": "2"}
        assert child["parent_span_id"] == one["span_id"]
        notes = [e["name"] for e in trace.events if e["event_type"] == "LOG"]
        assert notes == ["flush", "sent"]
        assert trace_summary(trace)["duplicates"] == 0


def test_a_late_part_goes_to_the_side_that_sent_it(tmp_path: Path) -> None:
    """By the flag or the endpoint; where it has neither it is the caller's, as in Zipkin."""
    late = {"traceId": span()["traceId"], "id": "b"}
    rows = [
        late | {"shared": True, "tags": {"by": "flag"}},
        late | {"localEndpoint": at("s"), "tags": {"by2": "endpoint"}},
        late | {"tags": {"by": "nothing"}},
        span(id="b", name="serve", shared=True, localEndpoint=at("s")),
        span(id="b", name="call", kind="CLIENT", localEndpoint=at("c")),
    ]
    (trace,), account = read(tmp_path, rows)
    found = by_name(trace)
    assert found["call"]["dimensions"] == {"by": "nothing"}
    assert found["serve"]["dimensions"] == {
        "by": "flag",
        "by2": "endpoint",
        "zipkin.shared_id": "000000000000000b",
    }
    assert (len(trace.events), account.merged, account.refused) == (2, 3, {})


def test_the_far_side_that_has_no_start_begins_with_its_first_annotation(tmp_path: Path) -> None:
    """Older tracers leave time and length to the caller; what is not said is marked."""
    notes = [{"timestamp": T0_US + 7, "value": "b"}, {"timestamp": T0_US + 5, "value": "a"}]
    far = span(shared=True, timestamp=None, duration=None, localEndpoint=at("s"), name="serve")
    rows = [span(kind="CLIENT", name="call"), far | {"annotations": notes}]
    (trace,), account = read(tmp_path, rows)
    serve = by_name(trace)["serve"]
    assert (serve["timestamp"], serve["duration_us"]) == (T0_US + 5, 0)
    assert serve["dimensions"]["zipkin.start"] == "first annotation"
    assert account.refused == {}


def test_a_trace_id_that_lost_its_left_half_is_the_whole_one(tmp_path: Path) -> None:
    """Halves of a span are merged over both; where two whole ids fit none is taken."""
    half = "ffdc9bb9a6453df3"
    whole = "4e441824ec2b6a44" + half
    rows = [
        span(traceId=half, id="2", parentId="1", duration=None),
        span(traceId=half, id="3", parentId="2"),
        span(traceId=whole, id="1", kind="CLIENT"),
        span(traceId=whole, id="2", timestamp=None, kind=None, duration=9),
    ]
    (trace,), account = read(tmp_path, rows)
    found = {event["span_id"][-1]: event for event in trace.events}
    assert trace.trace_id == whole
    assert {event["trace_id"] for event in trace.events} == {whole}
    assert (found["2"]["duration_us"], account.merged, account.refused) == (9, 1, {})
    assert trace_summary(trace)["orphans"] == 0
    alone, _ = read(tmp_path, [span(traceId=whole, id="3")])
    assert alone[0].events[0]["event_id"] == found["3"]["event_id"]
    other = span(traceId="1" * 16 + half, id="1")
    traces, _ = read(tmp_path, [*rows, other])
    assert [one.trace_id for one in traces] == ["0" * 16 + half, whole, other["traceId"]]


def test_rows_that_contradict_are_not_merged(tmp_path: Path) -> None:
    """Whole rows with one id, another start, another kind: each stays what it is."""
    whole = span(localEndpoint=at("s"))
    for other in (
        whole | {"name": "other"},
        whole | {"timestamp": T0_US + 1, "duration": None},
        whole | {"kind": "CONSUMER", "duration": None},
        whole | {"localEndpoint": at("t"), "duration": None},
    ):
        (trace,), account = read(tmp_path, [whole, other])
        assert (len(trace.events), account.merged) == (2, 0), other


def test_a_part_that_is_nowhere_is_counted_by_rows(tmp_path: Path) -> None:
    """Two late parts of a span whose start was lost: two refused rows, and no trace of nothing."""
    late = span(timestamp=None, tags={"a": "1"})
    traces, account = read(tmp_path, [late, late | {"tags": {"b": "2"}}])
    assert (traces, account.rows, account.merged) == ([], 2, 0)
    assert account.refused == {"no_start": 2}
    assert [one.reason for one in account.examples] == ["no_start"] * 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"traceId": None}, "invalid_id"),
        ({"id": ""}, "invalid_id"),
        ({"parentId": "bf396325699c84bf"}, "own_parent"),
        ({"timestamp": None}, "no_start"),
        ({"timestamp": 0}, "no_start"),
        ({"timestamp": "1"}, "invalid_time"),
        ({"duration": -4}, "invalid_duration"),
        ({"duration": 1.5}, "invalid_duration"),
        ({"kind": "BROKER"}, "invalid_kind"),
        ({"localEndpoint": None}, "no_service"),
        ({"localEndpoint": []}, "no_service"),
        ({"localEndpoint": {"serviceName": 1}}, "invalid_service_name"),
        ({"localEndpoint": "a"}, "invalid_endpoint"),
        ({"tags": {"a": 1}}, "invalid_tags"),
        ({"tags": []}, ""),
        ({"shared": "yes"}, "invalid_shared"),
        ({"binaryAnnotations": []}, "zipkin_v1"),
        ({"annotations": {"a": 1}}, "invalid_annotations"),
    ],
)
def test_a_bad_span_is_refused_alone(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    """With its reason and line; the span before it is read."""
    path = tmp_path / "t.json"
    path.write_text(f"[\n{json.dumps(span(id='1'))},\n{json.dumps(span(**changes))}\n]")
    account = Account()
    traces = list(zipkin_traces([path], account))
    assert traces[0].events[0]["span_id"] == "0000000000000001"
    assert account.refused == ({reason: 1} if reason else {})
    assert [one.place for one in account.examples] == ([f"{path}:3"] if reason else [])


@pytest.mark.parametrize("content", ["{}", "[", "[1 2]", "[] []", ""])
def test_what_is_no_export_is_refused_whole(tmp_path: Path, content: str) -> None:
    """The file is named."""
    with pytest.raises(ConfigError, match=r"t\.json"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("name", "spans", "shared", "orphans", "skew_us"),
    [
        ("smartthings-oauth-authorization", 175, 45, 0, 0),
        ("messaging-kafka", 28, 0, 0, 21),
        ("messaging2", 11, 0, 6, 0),
        ("ascend", 8, 2, 0, 0),
        ("simple-db-p6", 5, 0, 0, 0),
        ("skew", 4, 1, 0, 65_441),
    ],
)
def test_the_recorded_set(
    data_dir: Path, name: str, spans: int, shared: int, orphans: int, skew_us: int
) -> None:
    """Counts, shared ids, parents that never came, and clocks that differ, as recorded."""
    path = data_dir / "zipkin-traces" / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"1 recorded trace is missing: {path}")
    account = Account()
    (trace,) = zipkin_traces([path], account)
    found = trace_summary(trace)
    assert account.refused == {}
    assert (found["spans"], found["shared"], found["orphans"]) == (spans, shared, orphans)
    assert (found["skew_max_us"], found["duplicates"]) == (skew_us, 0)
    spans_read = [event for event in trace.events if event["event_type"] == "TRACE"]
    root = [event for event in spans_read if not event["parent_span_id"]]
    assert len(root) == 1
    if not orphans:
        assert sum(one["own_us"] for one in found["critical_path"]) == root[0]["duration_us"]
