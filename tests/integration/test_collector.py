"""The collector on a real broker, with real clients: what is answered is in the topics."""

import gzip
import json
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from confluent_kafka.admin import AdminClient, NewPartitions
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
    OTLPSpanExporter as GrpcExporter,
)
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
    OTLPSpanExporter as HttpExporter,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from streams.codec.records import decode, encode
from streams.core.traces.partitioners import murmur2_partition
from streams.runtime.topics import OTHER, REJECTED
from tests.fault.collector import CollectorAt
from tests.fault.harness import (
    TRACES,
    Deployment,
    assert_spans_are_whole,
    balance,
    highest,
    stopped,
    wait_for,
)
from tests.integration.disks import small_disk
from tests.integration.traces import event_of, trace_of

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

START_US = 1_790_000_000_000_000
EXPORT_SECONDS = 120
"""An exporter that has no answer by then sends again what has arrived."""


@pytest.fixture
def own(own_node: tuple[str, int], tmp_path: Path, unique: str) -> Iterator[Deployment]:
    """Yield a deployment on a broker of the module's own."""
    made = Deployment(own_node[0], tmp_path, f"{unique}-group")
    made.start_anew()
    try:
        yield made
    finally:
        made.end()


def plain_json(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event as a sender of JSON would write it."""
    return {key: value for key, value in event.items() if key != "value"}


def join_all(own: Deployment, rows: int, *arguments: str) -> dict[str, dict[str, Any]]:
    """Run a worker over so many rows and return the last revision of each trace."""
    end = ("--exit-after", rows, "--drain-seconds", 240, "--fixed-waits", 1)
    worker = own.worker(*end, *arguments)
    assert worker.wait(120) == 0, worker.tail()
    assert balance(worker.accounting()) == 0
    return highest(own.read_by(TRACES, decode))


def test_events_of_our_own_reach_their_partition_and_are_joined(own: Deployment) -> None:
    """JSON in three forms and Avro in two, each in the partition of its trace: traces are whole."""
    at = CollectorAt(own)
    collector = at.serve()
    traces = [trace_of(n, spans=3, start_us=START_US + n) for n in range(1, 31)]
    for n, spans in enumerate(traces):
        texts = [json.dumps(plain_json(span)).encode() for span in spans]
        forms = (
            (b"[" + b",".join(texts) + b"]", {}),
            (b"\n".join(texts), {"content_type": "application/x-ndjson"}),
            (gzip.compress(b"\n".join(texts)), {"content_encoding": "gzip"}),
            (encode("telemetry_batch", {"events": spans}), {"content_type": "application/avro"}),
        )
        body, headers = forms[n % 4]
        answer = at.post("/v1/events", body, **headers)
        assert (answer.status, answer.json) == (200, {"taken": 3, "rejected": 0})
    one = event_of(31, 1, START_US)
    answer = at.post("/v1/events", encode("telemetry_event", one), content_type="avro/binary")
    assert answer.json == {"taken": 1, "rejected": 0}
    placed = at.events(OTHER)
    assert len(placed) == 91
    for found in placed:
        key = found.event["trace_id"].encode()
        assert found.partition == murmur2_partition(key, own.partitions)
    joined = join_all(own, 91)
    assert Counter(trace["status"] for trace in joined.values()) == {"COMPLETE": 31}
    assert {len(trace["spans"]) for trace in joined.values()} == {1, 3}
    collector.terminate()
    assert collector.wait(30) == 0, collector.tail()


def test_what_is_bad_is_told_counted_and_kept_and_the_rest_is_taken(own: Deployment) -> None:
    """Other spellings of ids and times are mended, what has no meaning is rejected."""
    own.contract = "seed"
    own.create_topics()
    at = CollectorAt(own)
    at.serve()
    good = plain_json(event_of(1, 1, START_US))
    trace = uuid.uuid4()
    sent = [
        good | {"module": "ALPHA"},
        good | {"trace_id": str(trace).upper(), "timestamp": START_US // 1000, "module": "BETA"},
        good | {"trace_id": "nonsense"},
        good | {"event_type": "METRIC", "name": "new", "value": 3, "timestamp": -5},
        good | {"colour": "red"},
        good | {"module": ""},
        7,
    ]
    answer = at.post("/v1/events", json.dumps(sent).encode())
    assert answer.status == 200
    said = answer.json
    assert (said["taken"], said["rejected"]) == (2, 5)
    reasons = [(e["index"], e["reason"]) for e in said["errors"]]
    assert reasons == [
        (2, "invalid_trace_id"),
        (3, "invalid_timestamp"),
        (4, "invalid_event"),
        (5, "missing_module"),
        (6, "invalid_event"),
    ]
    (first,) = at.events("telemetry.alpha.v1")
    (second,) = at.events("telemetry.beta.v1")
    assert first.event["trace_id"] == good["trace_id"]
    assert (second.event["trace_id"], second.event["timestamp"]) == (trace.hex, START_US)
    wait_for(lambda: len(own.read(REJECTED)) == 5, 30, lambda: "rejected events")
    kept = own.read_by(REJECTED, decode)
    assert Counter(one["reason"] for one in kept) == Counter(reason for _, reason in reasons)
    assert {one["topic"] for one in kept} == {"collector/events"}
    assert all(one["detail"].startswith("from 127.0.0.1, events, number ") for one in kept)
    (red,) = [one for one in kept if "colour" in one["detail"]]
    assert json.loads(red["value"])["colour"] == "red"
    assert at.metric("rejected_events_total", kind="events") == 5
    assert at.metric("taken_events_total", kind="events") == 2


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_sdk_of_opentelemetry_is_understood(own: Deployment, protocol: str) -> None:
    """Its exporters, plain and compressed: every span is in a topic, and all traces are whole."""
    at = CollectorAt(own)
    at.serve()
    for is_compressed in (False, True):
        if protocol == "http":
            exporter: Any = HttpExporter(
                f"http://127.0.0.1:{at.http}/v1/traces",
                compression=Compression.Gzip if is_compressed else Compression.NoCompression,
                timeout=EXPORT_SECONDS,
            )
        else:
            exporter = GrpcExporter(
                f"127.0.0.1:{at.grpc}",
                insecure=True,
                compression=grpc.Compression.Gzip if is_compressed else None,
                timeout=EXPORT_SECONDS,
            )
        provider = TracerProvider(resource=Resource.create({"service.name": "checkout"}))
        provider.add_span_processor(BatchSpanProcessor(exporter, max_export_batch_size=100))
        tracer = provider.get_tracer("spanloom.tests")
        for n in range(100):
            with tracer.start_as_current_span(f"order-{n % 5}") as root:
                root.set_attribute("n", n)
                for step in ("pay", "pack", "ship"):
                    with tracer.start_as_current_span(step):
                        pass
        provider.shutdown()
    placed = at.events(OTHER)
    assert len(placed) == 800
    assert {found.event["module"] for found in placed} == {"checkout"}
    for found in placed:
        key = found.event["trace_id"].encode()
        assert found.partition == murmur2_partition(key, own.partitions)
    joined = join_all(own, 800)
    assert Counter((t["status"], len(t["spans"])) for t in joined.values()) == {
        ("COMPLETE", 4): 200
    }


def post_traces(at: CollectorAt, numbers: Iterator[int], until: threading.Event) -> list[int]:
    """Post a trace of two spans after the other; return those that were answered 200."""
    taken = []
    while not until.is_set():
        n = next(numbers)
        body = json.dumps([plain_json(e) for e in trace_of(n, spans=2, start_us=START_US + n)])
        answer = at.post("/v1/events", body.encode())
        if answer.status == 200:
            assert answer.json["taken"] == 2
            taken.append(n)
    return taken


def test_nothing_answered_is_lost_while_the_broker_is_away_and_the_collector_killed(
    own: Deployment, own_node: tuple[str, int]
) -> None:
    """The broker stops, events go to disk, kill -9 twice meanwhile: all come out, joined."""
    at = CollectorAt(own, ack_seconds=0.2)
    collector = at.serve()
    until = threading.Event()
    taken: list[int] = []
    numbers = iter(range(1, 1_000_000))
    lock = threading.Lock()

    def send() -> None:
        mine = post_traces(at, own_numbers(), until)
        with lock:
            taken.extend(mine)

    def own_numbers() -> Iterator[int]:
        while True:
            with lock:
                n = next(numbers)
            yield n

    senders = [threading.Thread(target=send, daemon=True) for _ in range(4)]
    for sender in senders:
        sender.start()
    time.sleep(1)
    with stopped(own_node[1]):
        buffered = lambda: at.metric("buffer_events") > 200  # noqa: E731
        wait_for(buffered, 60, lambda: f"buffered: {at.get('/health')}", collector)
        collector.kill()
        collector = at.serve()
        assert at.get("/health").json["buffer_events"] > 200
        more = at.metric("buffer_events") + 100
        wait_for(lambda: at.metric("buffer_events") > more, 60, lambda: "more", collector)
        collector.kill()
    collector = at.serve()
    until.set()
    for sender in senders:
        sender.join(240)
    at.wait_until_drained(collector)
    placed = at.events(OTHER)
    there = Counter(int(found.event["trace_id"], 16) for found in placed)
    lost = [n for n in taken if there[n] < 2]
    assert lost == [], f"{len(lost)} of {len(taken)} answered traces are not there"
    joined = join_all(own, len(placed))
    whole = {int(id_, 16) for id_, t in joined.items() if t["status"] == "COMPLETE"}
    assert set(taken) <= whole
    assert {len(joined[f"{n:032x}"]["spans"]) for n in taken} == {2}, "repeats were not recognised"
    collector.terminate()
    assert collector.wait(30) == 0, collector.tail()


def test_a_full_buffer_tells_to_come_again_and_recovers(
    own: Deployment, own_node: tuple[str, int]
) -> None:
    """503 with Retry-After, /ready says so; when the broker is back all that was taken is there."""
    at = CollectorAt(own, ack_seconds=0.3, buffer_bytes_max=4 << 20, segment_bytes=1 << 20)
    collector = at.serve()
    filler = {"note": "x" * 100_000}
    taken = 0
    with stopped(own_node[1]):
        for n in range(1, 100):
            event = plain_json(event_of(n, 1, START_US)) | {"dimensions": filler}
            answer = at.post("/v1/events", json.dumps([event] * 2).encode())
            if answer.status != 200:
                break
            taken += answer.json["taken"]
        assert (answer.status, answer.json["reason"]) == (503, "buffer_full")
        assert int(answer.headers["retry-after"]) >= 1
        assert at.get("/ready").status == 503
        files = sum(path.stat().st_size for path in at.buffer.glob("*.parcels"))
        assert files <= 4 << 20
        assert at.metric("refused_requests_total", reason="buffer_full") >= 1
    at.wait_until_drained(collector)
    assert at.get("/ready").status == 200
    ids = Counter(found.event["event_id"] for found in at.events(OTHER))
    assert len(ids) == taken // 2
    assert not list(at.buffer.glob("*.parcels"))


def test_a_full_disk_is_told_and_found_out_when_it_has_room_again(
    own: Deployment, own_node: tuple[str, int], tmp_path: Path
) -> None:
    """503, and not ready while Kafka is away: another collector may have a disk."""
    at = CollectorAt(own, ack_seconds=0.3)
    with small_disk(tmp_path / "small", 12 << 20) as disk:
        at.buffer = disk / "buffer"
        collector = at.serve()
        event = plain_json(event_of(1, 1, START_US)) | {"dimensions": {"note": "x" * 20_000}}
        body = json.dumps(event).encode()
        with stopped(own_node[1]):
            assert at.post("/v1/events", body).status == 200, "there is room on the disk"
            filler = disk / "filler"
            with suppress(OSError):
                filler.write_bytes(bytes(16 << 20))
            for _ in range(10):
                answer = at.post("/v1/events", body)
                assert (answer.status, answer.json["reason"]) == (503, "buffer_unwritable")
                assert int(answer.headers["retry-after"]) >= 1
            assert at.get("/ready").json["reason"].startswith("the buffer cannot be written: No s")
            assert at.get("/health").json["buffer_said"] == "No space left on device"
            assert len(list(at.buffer.glob("*.parcels"))) == 1
            assert len(collector.events("buffer_unwritable")) == 1
            filler.unlink()
            wait_for(lambda: at.get("/ready").status == 200, 60, collector.tail, collector)
            assert at.post("/v1/events", body).status == 200
        at.wait_until_drained(collector)
        collector.kill()


def test_sigterm_answers_what_it_took_and_keeps_the_rest_for_the_next_start(
    own: Deployment, own_node: tuple[str, int]
) -> None:
    """With the broker away: exit 0, the events are on disk, and the next collector sends them.

    A request is told first that Kafka does not answer, however long that takes.
    """
    at = CollectorAt(own, ack_seconds=8)
    collector = at.serve()
    with stopped(own_node[1]):
        body = json.dumps([plain_json(e) for e in trace_of(5, spans=4, start_us=START_US)])
        answers: list[int] = []
        sender = threading.Thread(
            target=lambda: answers.append(at.post("/v1/events", body.encode()).status)
        )
        sender.start()
        wait_for(lambda: at.metric("held_bytes") > 0, 60, collector.tail, collector)
        collector.process.send_signal(signal.SIGTERM)
        sender.join(120)
        assert collector.wait(40) == 0, collector.tail()
        assert answers == [200]
    collector = at.serve()
    at.wait_until_drained(collector)
    assert len({found.event["event_id"] for found in at.events(OTHER)}) == 4


GROWN, OTHERS = "telemetry.alpha.v1", "telemetry.beta.v1"


def post_mixed(at: CollectorAt, numbers: range) -> dict[str, set[str]]:
    """Post traces whose spans lie in two topics; return the span ids of each."""
    sent = {}
    for n in numbers:
        spans = trace_of(n, spans=4, start_us=START_US + n)
        placed = [s | {"module": ("ALPHA", "BETA")[i % 2]} for i, s in enumerate(spans)]
        body = json.dumps([plain_json(one) for one in placed]).encode()
        assert at.post("/v1/events", body).json == {"taken": 4, "rejected": 0}
        sent[spans[0]["trace_id"]] = {span["span_id"] for span in spans}
    return sent


def test_a_collector_starts_while_a_grown_topic_is_rekeyed(
    own: Deployment, own_node: tuple[str, int]
) -> None:
    """Intake goes on: what its buffer holds and what is new is joined, by workers that rekey."""
    own.contract = "seed"
    own.create_topics()
    few, many = own.partitions, own.partitions + 3
    at = CollectorAt(own, ack_seconds=0.3)
    collector = at.serve()
    sent = post_mixed(at, range(1, 21))
    with stopped(own_node[1]):
        sent |= post_mixed(at, range(21, 41))
        collector.terminate()
        assert collector.wait(60) == 0, collector.tail()
    client = AdminClient({"bootstrap.servers": own.broker})
    for done in client.create_partitions([NewPartitions(GROWN, many)]).values():
        done.result(120)
    collector = at.serve()
    (told,) = collector.events("partition_counts_differ")
    assert (told["partitions"], told["others"]) == ({GROWN: many}, few)
    assert f"--rekey {GROWN}," in told["action"]
    at.wait_until_drained(collector)
    sent |= post_mixed(at, range(41, 61))
    placed = at.events(GROWN, OTHERS)
    for found in placed:
        trace = found.event["trace_id"]
        count = many if found.topic == GROWN and int(trace, 16) > 40 else few
        assert found.partition == murmur2_partition(trace.encode(), count)
    assert max(found.partition for found in placed) >= few
    joined = join_all(own, len(placed), "--rekey", GROWN)
    assert_spans_are_whole(list(joined.values()), sent)
