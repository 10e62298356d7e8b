"""HTTP: what is taken, partly taken and refused, in OTLP's words and in ours."""

import gzip
import json
import time
import uuid
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from streams.codec.records import decode
from streams.serving import keys
from tests.otlp_cases import START_NS, as_json, logs, span_of, trace_id, traces
from tests.unit.collector.asked import REJECTED, asked
from tests.unit.collector.at_hand import as_json as event_json
from tests.unit.collector.at_hand import event

PROTOBUF = "application/x-protobuf"
GOOD = json.dumps(event_json(event())).encode()


def two_spans(**bad: Any) -> Any:
    """Return a request of a good span and one that is not."""
    first, second = span_of(1, 1), span_of(1, 2)
    second.ClearField("span_id")
    return traces("shop", [first, second])


def test_all_taken_says_so_in_the_form_of_the_request() -> None:
    """An empty message for OTLP, counts for events; each is in a parcel when it is said."""
    whole = traces("shop", [span_of(1, 1), span_of(2, 1)])
    with asked() as at:
        answer = at.post("/v1/traces", whole.SerializeToString(), PROTOBUF)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-type"] == PROTOBUF
        answer = at.post("/v1/traces", gzip.compress(as_json(whole)), content_encoding="gzip")
        assert (answer.status_code, answer.json()) == (200, {})
        answer = at.post("/v1/events", GOOD)
        assert answer.json() == {"taken": 1, "rejected": 0}
        events = [one for p in at.outlet.parcels for one in decode(p.value)["events"]]
        assert len(events) == 5
        assert len({one["event_id"] for one in events}) == 3, "a request sent again is the same"
        assert at.meters.taken_events == {"spans": 4, "events": 1}
        assert at.edge.held.taken == 0


@pytest.mark.parametrize("coding", ["deflate", "zlib", "Deflate"])
def test_a_body_may_be_deflated(coding: str) -> None:
    """OpenTelemetry's exporters know gzip and deflate, the Collector's calls the latter zlib."""
    body = zlib.compress(traces("shop", [span_of(1, 1)]).SerializeToString())
    with asked() as at:
        answer = at.post("/v1/traces", body, PROTOBUF, content_encoding=coding)
        assert (answer.status_code, answer.content) == (200, b"")
        assert at.meters.taken_events == {"spans": 1}


def test_partial_success_has_a_count_and_a_message() -> None:
    """And the rejected one is kept with its reason, its sender and its bytes."""
    with asked() as at:
        answer = at.post("/v1/traces", two_spans().SerializeToString(), PROTOBUF)
        said = ExportTraceServiceResponse.FromString(answer.content).partial_success
        assert (answer.status_code, said.rejected_spans) == (200, 1)
        assert "1 invalid_span_id (the first is number 1" in said.error_message
        answer = at.post("/v1/traces", as_json(two_spans()))
        assert answer.json()["partialSuccess"]["rejectedSpans"] == "1"
        line = LogRecord(trace_id=trace_id(1))
        answer = at.post("/v1/logs", logs("shop", [line]).SerializeToString(), PROTOBUF)
        found = ExportLogsServiceResponse.FromString(answer.content).partial_success
        assert found.rejected_log_records == 1
        kept = [decode(p.value) for p in at.outlet.parcels if p.topic == REJECTED]
        assert [one["reason"] for one in kept] == [
            "invalid_span_id",
            "invalid_span_id",
            "invalid_timestamp",
        ]
        assert kept[0]["detail"].startswith("from 192.0.2.7, spans, number 1: ")
        assert decode(kept[0]["value"])["name"] == "step-2"
        assert at.meters.rejected_events["spans", "invalid_span_id"] == 2


@pytest.mark.parametrize("sent", ["abc", "4bf92f3577b34d", "no hex at all", "é" * 40])
def test_a_wrong_id_is_shown_as_it_was_sent(sent: str) -> None:
    """In the answer to a request in JSON; a log record of such a trace belongs to none."""
    span = json.loads(as_json(traces("shop", [span_of(1, 1)])))
    span["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["traceId"] = sent
    line = json.loads(as_json(logs("shop", [LogRecord(time_unix_nano=START_NS)])))
    line["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["traceId"] = sent
    with asked() as at:
        said = at.post("/v1/traces", json.dumps(span).encode()).json()["partialSuccess"]
        begin = sent.encode()[:32].decode()
        assert f"trace_id {begin!r}" in said["errorMessage"], said
        assert at.post("/v1/logs", json.dumps(line).encode()).json() == {}
        ((kept,),) = [decode(p.value)["events"] for p in at.outlet.parcels if p.topic != REJECTED]
        assert (kept["name"], kept["trace_id"], kept["span_id"]) == ("log", "", "")


@pytest.mark.parametrize("change", [str, str.upper])
def test_a_trace_id_of_otlp_may_be_a_uuid(change: Callable[[str], str]) -> None:
    """In JSON, as one of our own events: what is meant is clear."""
    found = str(uuid.UUID(bytes=trace_id(1)))
    span = json.loads(as_json(traces("shop", [span_of(1, 1)])))
    span["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["traceId"] = change(found)
    line = json.loads(as_json(logs("shop", [LogRecord(time_unix_nano=START_NS)])))
    line["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["traceId"] = change(found)
    with asked() as at:
        assert at.post("/v1/traces", json.dumps(span).encode()).json() == {}
        assert at.post("/v1/logs", json.dumps(line).encode()).json() == {}
        events = [one for p in at.outlet.parcels for one in decode(p.value)["events"]]
        assert [one["trace_id"] for one in events] == [trace_id(1).hex()] * 2


def test_bytes_made_up_as_an_id_that_is_no_hex_are_no_id() -> None:
    """In protobuf, where ids are bytes: between the marks may stand the digits of a good one."""
    span = span_of(1, 1)
    span.trace_id = b"\xff" + b"4bf92f3577b34da6a3ce929d0e0e4736"
    with asked() as at:
        answer = at.post("/v1/traces", traces("shop", [span]).SerializeToString(), PROTOBUF)
        said = ExportTraceServiceResponse.FromString(answer.content).partial_success
        assert said.rejected_spans == 1
        assert "trace_id 'ff3462" in said.error_message


@pytest.mark.parametrize(
    ("path", "body", "kind", "headers", "status", "reason"),
    [
        ("/v1/traces", b"\xff", PROTOBUF, {}, 400, "invalid_otlp"),
        ("/v1/traces", b"[]", "application/json", {}, 400, "invalid_otlp"),
        ("/v1/traces", b"{}", PROTOBUF, {}, 400, "invalid_otlp"),
        ("/v1/metrics", b"{", "application/json", {}, 400, "invalid_otlp"),
        ("/v1/events", b"{", "application/json", {}, 400, "invalid_json"),
        ("/v1/events", b"x", "application/json", {"content_encoding": "gzip"}, 400, None),
        ("/v1/events", b"x", "application/json", {"content_encoding": "br"}, 415, None),
        ("/v1/events", b"x", PROTOBUF, {}, 415, "no_such_type"),
        ("/v1/traces", b"x", "application/avro", {}, 415, "no_such_type"),
        ("/v1/traces", b"x", "text/plain", {}, 415, "no_such_type"),
        ("/v1/events", bytes(3_000), "application/json", {}, 413, "body_too_large"),
        ("/v1/nothing", b"x", "application/json", {}, 404, "no_such_path"),
    ],
)
def test_what_cannot_be_read_is_refused_for_good(
    path: str, body: bytes, kind: str, headers: dict[str, str], status: int, reason: str | None
) -> None:
    """With a status that no client retries, a body that it reads, and a count."""
    with asked(body_bytes_max=2_000) as at:
        answer = at.post(path, body, kind, **headers)
        assert answer.status_code == status
        assert "retry-after" not in answer.headers
        if reason:
            assert at.meters.refused[reason] == 1
        if path in ("/v1/events", "/v1/nothing"):
            assert answer.json()["error"]
        elif answer.headers["content-type"] == PROTOBUF:
            assert Status.FromString(answer.content).code == 3
        else:
            assert answer.json()["code"] in (3, 5)


def test_what_is_inflated_beyond_the_cap_is_refused_and_kept_in_part() -> None:
    """413: to send it again would help nobody."""
    body = gzip.compress(bytes(100_000))
    with asked(inflated_bytes_max=50_000) as at:
        answer = at.post("/v1/traces", body, PROTOBUF, content_encoding="gzip")
        assert answer.status_code == 413
        (kept,) = [decode(p.value) for p in at.outlet.parcels]
        assert (kept["reason"], kept["value"]) == ("inflated_too_large", body)


def test_no_room_tells_when_to_come_again() -> None:
    """503 with Retry-After, for OTLP a Status; what could not be kept is counted."""
    with asked("buffer_full") as at:
        answer = at.post("/v1/traces", two_spans().SerializeToString(), PROTOBUF)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
        status = Status.FromString(answer.content)
        assert (status.code, "buffer_full" in status.message) == (14, True)
        assert at.meters.unkept_rejections == {"buffer_full": 1}
        assert at.meters.refused == {"buffer_full": 1}
        at.edge.is_stopping = True
        answer = at.post("/v1/events", GOOD)
        assert (answer.status_code, answer.json()["reason"]) == (503, "stopping")


def test_bytes_that_are_held_have_a_bound() -> None:
    """Beyond it a sender is told to come again, and what was read is given back."""
    with asked(held_bytes_max=1 << 20, body_bytes_max=1 << 20) as at:
        at.edge.held.take(1 << 20)
        answer = at.post("/v1/events", GOOD)
        assert (answer.status_code, answer.json()["reason"]) == (503, "held_bytes")
        at.edge.held.leave(1 << 20)
        assert at.post("/v1/events", GOOD).status_code == 200
        assert at.edge.held.taken == 0


def test_what_would_have_been_taken_is_named() -> None:
    """With 415: the types of this path, and the codings."""
    with asked() as at:
        answer = at.ask("POST", "/v1/traces", content=b"x", headers={"content-type": "text/plain"})
        assert answer.status_code == 415
        assert answer.headers["accept-post"] == (
            "application/json, application/x-protobuf, application/protobuf"
        )
        assert answer.headers["accept-encoding"] == "identity, gzip, x-gzip, deflate, zlib, zstd"
        fine = at.post("/v1/events", GOOD)
        assert "accept-post" not in fine.headers


def test_methods_and_pages() -> None:
    """POST for telemetry, GET for pages; the answer to another names what is taken."""
    with asked() as at:
        for method, path, allowed in (
            ("GET", "/v1/traces", "POST"),
            ("POST", "/ready", "GET, HEAD"),
        ):
            answer = at.ask(method, path)
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        assert at.ask("GET", "/v1/logs").json()["code"] == 12, "UNIMPLEMENTED"
        assert at.ask("GET", "/ready", headers={"accept": "a"}).text == "a"


def test_keys_open_to_senders_alone(tmp_path: Path) -> None:
    """Without one, with a wrong one, with a viewer's: nothing is taken; the name is kept."""
    path = tmp_path / "keys.json"
    now_us = time.time_ns() // 1_000
    made = {role: keys.make(f"{role}-1", role, now_us, 1e9) for role in ("sender", "viewer")}
    keys.change(path, lambda held: [*held, *(key for _, key in made.values())])
    with asked(auth="keys", keys_file=path) as at:

        def status(authorization: str | None) -> int:
            headers = {} if authorization is None else {"authorization": authorization}
            return int(at.post("/v1/events", GOOD, **headers).status_code)

        assert status(None) == status("Bearer ") == status("Basic x") == 401
        assert status("Bearer spl_nonsense") == 401
        assert status(f"Bearer {made['viewer'][0]}") == 403
        assert at.outlet.parcels == []
        assert status(f"bearer {made['sender'][0]}") == 200
        answer = at.post("/v1/events", b"{", authorization=f"Bearer {made['sender'][0]}")
        assert answer.status_code == 400
        kept = decode(at.outlet.parcels[-1].value)
        assert (kept["key"], kept["detail"][:14]) == (b"sender-1", "from sender-1,")
        double = [("authorization", f"Bearer {made['sender'][0]}")] * 2
        answer = at.ask("POST", "/v1/events", content=GOOD, headers=double)
        assert answer.status_code == 401
        assert at.meters.refused["no_key"] == 4
        assert at.meters.refused["no_sender"] == 1


def test_a_fault_of_ours_hurts_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is answered, and the intake goes on."""
    with asked() as at:
        with monkeypatch.context() as patch:
            patch.setattr("streams.collector.native.values_of", lambda *_: 1 / 0)
            assert at.post("/v1/events", GOOD).status_code == 500
            patch.setattr(at.intake._judge, "judge_spans", lambda *_: 1 / 0)
            whole = traces("shop", [span_of(1, 1)]).SerializeToString()
            assert at.post("/v1/traces", whole, PROTOBUF).status_code == 503
        assert at.post("/v1/events", GOOD).status_code == 200


def test_a_text_that_is_no_utf8_hurts_one_request_of_a_step() -> None:
    """Spans of several requests are read together; one that cannot be is refused alone."""
    good = traces("shop", [span_of(1, 1)]).SerializeToString()
    bad = good.replace(b"step-1", b"step\xff1")
    with asked() as at, ThreadPoolExecutor(8) as senders:
        bodies = [bad if n % 4 == 0 else good for n in range(24)]
        answers = senders.map(lambda body: at.post("/v1/traces", body, PROTOBUF), bodies)
        found = [answer.status_code for answer in answers]
    assert found == [400 if n % 4 == 0 else 200 for n in range(24)]
