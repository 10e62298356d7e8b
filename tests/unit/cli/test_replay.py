"""`spanloom replay`: recorded telemetry reaches the topics, or the command says why not."""

import json
import zlib
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.codec.records import decode
from streams.runtime import link, topics
from streams.runtime.embedded import EmbeddedBroker
from tests.otlp_cases import as_json, span_of, trace_id, traces
from tests.unit.cli.shell import Shell
from tests.unit.codec.codec_cases import event


def read_all(broker: str, topic: str, count: int) -> list[dict[str, object]]:
    """Return the records of a topic."""
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "g", "log_level": 0})
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(4)])
        messages = consumer.consume(count, 20.0)
    finally:
        consumer.close()
    return [decode(m.value()) for m in messages]


def test_events_of_a_file_reach_the_broker(shell: Shell, tmp_path: Path) -> None:
    """Each line becomes one record of its module's topic, as it was."""
    events = [event(span_id=f"{i + 1:016x}") for i in range(3)]
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in events))
    with EmbeddedBroker() as broker:
        client = AdminClient({"bootstrap.servers": broker.address, "log_level": 0})
        topics.embedded_partitions(client, ["telemetry.beta.v1"])
        answer = shell(
            "replay", "events", path, "--broker", broker.address, "--contract", "seed", "--quiet"
        )
        assert (answer.code, answer.out) == (0, "3 events sent\n")
        assert answer.err.startswith("spanloom: warning: actor")
        assert "sent as they are" in answer.err
        assert read_all(broker.address, "telemetry.beta.v1", 3) == events


@pytest.mark.parametrize("command", ["events", "nezha", "otlp"])
def test_a_path_that_is_not_there_ends_it_with_2(
    shell: Shell, tmp_path: Path, command: str
) -> None:
    """The path is named."""
    answer = shell("replay", command, tmp_path / "gone", "--broker", "127.0.0.1:9")
    assert answer.code == 2
    assert "gone" in answer.err


def test_a_broker_that_is_away_is_waited_for_aloud(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody looks at a silent terminal for the time that a broker may take."""
    monkeypatch.setattr(link, "REACH_SECONDS", 0.4)
    monkeypatch.setattr(link, "_TRY_SECONDS", 0.1)
    path = tmp_path / "e.jsonl"
    path.write_text(json.dumps(event()))
    answer = shell("replay", "events", path, "--broker", "127.0.0.1:9", "--quiet")
    assert answer.code == 3
    assert "spanloom: waiting for the broker on 127.0.0.1:9, for 0 s more: " in answer.err


def test_a_wrong_speed_ends_it_with_2(shell: Shell, tmp_path: Path) -> None:
    """The flag is named, with what to give."""
    answer = shell("replay", "events", tmp_path, "--speed", "soon")
    assert answer.code == 2
    assert "--speed soon: give a number above 0, or max" in answer.err


def test_recorded_otlp_reaches_the_broker(shell: Shell, tmp_path: Path) -> None:
    """Spans of two files, each as one event of our own."""
    paths = []
    for n in (1, 2):
        paths.append(tmp_path / f"{n}.json")
        paths[-1].write_bytes(as_json(traces("shop", [span_of(n, 1)])))
    with EmbeddedBroker() as broker:
        client = AdminClient({"bootstrap.servers": broker.address, "log_level": 0})
        topics.embedded_partitions(client, ["telemetry.other.v1"])
        answer = shell("replay", "otlp", *paths, "--broker", broker.address, "--quiet", "--json")
        assert (answer.code, answer.err) == (0, "")
        assert json.loads(answer.out) == {"sent": 2, "refused": {}, "examples": []}
        found = read_all(broker.address, "telemetry.other.v1", 2)
    assert {str(e["trace_id"]) for e in found} == {trace_id(n).hex() for n in (1, 2)}


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_cut_last_line_is_told_once_the_others_are_sent(
    shell: Shell, tmp_path: Path, is_packed: bool
) -> None:
    """With its number, and 1 at the end; the whole file sent again makes the same events."""
    lines = [as_json(traces("shop", [span_of(n, 1)])) + b"\n" for n in (1, 2, 3)]
    path = tmp_path / ("t.jsonl.gz" if is_packed else "t.jsonl")
    whole = b"\xef\xbb\xbf" + b"".join(lines)
    path.write_bytes(cut_gzip(lines) if is_packed else whole[:-9])
    with EmbeddedBroker() as broker:
        client = AdminClient({"bootstrap.servers": broker.address, "log_level": 0})
        topics.embedded_partitions(client, ["telemetry.other.v1"])
        answer = shell("replay", "otlp", path, "--broker", broker.address, "--quiet")
        assert (answer.code, answer.out) == (1, "2 events sent\n")
        assert f"refused cut_line: 1\n{path}:3: cut_line: the " in answer.err
        again = shell("replay", "otlp", path, "--broker", broker.address, "--quiet", "--json")
        assert json.loads(again.out)["refused"] == {"cut_line": 1}
        found = read_all(broker.address, "telemetry.other.v1", 4)
    assert len({str(e["event_id"]) for e in found}) == 2
    dry = json.loads(shell("replay", "otlp", path, "--dry-run", "--json").out)
    assert (dry["rows"], dry["events"], dry["refused"]) == (3, 2, {"cut_line": 1})


def cut_gzip(lines: list[bytes]) -> bytes:
    """Return lines packed, where the last one's end is missing."""
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(b"".join(lines[:-1])) + packer.flush(zlib.Z_FULL_FLUSH)
    return packed + packer.compress(lines[-1]) + packer.flush()[:-30]


def test_events_cut_in_their_last_line_are_told_too(shell: Shell, tmp_path: Path) -> None:
    """A first line that is none ends it with 2, as a file of another kind."""
    path = tmp_path / "e.jsonl"
    path.write_text("\ufeff" + json.dumps(event()) + "\n" + json.dumps(event())[:-1])
    answer = shell("replay", "events", path, "--dry-run", "--contract", "seed")
    assert answer.code == 1
    assert "2 rows, 1 event, 0 sent, 1 refused" in answer.out
    assert f"{path}:2: cut_line: the file ends within this line" in answer.err
    path.write_text(json.dumps(event())[:-1])
    assert shell("replay", "events", path, "--dry-run", "--contract", "seed").code == 2


def test_what_was_sent_before_a_bad_line_is_said(shell: Shell, tmp_path: Path) -> None:
    """It is no cut one: the command ends with 2, and what it had read has arrived."""
    path = tmp_path / "t.jsonl"
    good = as_json(traces("shop", [span_of(1, 1)]))
    path.write_bytes(good + b"\n{oh\n" + good + b"\n")
    with EmbeddedBroker() as broker:
        client = AdminClient({"bootstrap.servers": broker.address, "log_level": 0})
        topics.embedded_partitions(client, ["telemetry.other.v1"])
        answer = shell("replay", "otlp", path, "--broker", broker.address, "--quiet")
        assert answer.code == 2
        assert f"{path}:2: no JSON" in answer.err
        assert "Before it, 1 event went out" in answer.err
        assert len(read_all(broker.address, "telemetry.other.v1", 1)) == 1


def test_a_wrong_signal_ends_it_with_2(shell: Shell, tmp_path: Path) -> None:
    """With what to give."""
    answer = shell("replay", "otlp", tmp_path / "x", "--signal", "profiles")
    assert answer.code == 2
    assert "--signal profiles: give one of spans, logs, metrics" in answer.err


def test_a_dry_run_of_otlp_says_what_files_hold_and_what_would_be_rejected(
    shell: Shell, tmp_path: Path
) -> None:
    """As of Jaeger's and Zipkin's recordings, without a broker; the worker's reasons."""
    bad = span_of(2, 2)
    bad.span_id = b"short"
    first, second = tmp_path / "1.json", tmp_path / "2.json"
    first.write_bytes(as_json(traces("shop", [span_of(1, 1), span_of(1, 2)])))
    second.write_bytes(as_json(traces("shop", [bad, span_of(2, 1)])))
    answer = shell("replay", "otlp", first, second, "--dry-run", "--broker", "127.0.0.1:9")
    assert answer.code == 1
    assert f"1.json, event 1: trace {trace_id(1).hex()}: 2 spans, 1 root" in answer.out
    assert "4 rows, 3 events, 0 sent, 1 refused, 0 left out" in answer.out
    assert "2.json, event 1: invalid_span_id: " in answer.err
    told = json.loads(shell("replay", "otlp", first, second, "--dry-run", "--json").out)
    assert told["refused"] == {"invalid_span_id": 1}
    assert [one["spans"] for one in told["traces"]] == [2, 1]
    zipkin = tmp_path / "z.json"
    row: dict[str, object] = {
        "traceId": "1",
        "id": "1",
        "name": "in",
        "timestamp": 100,
        "duration": 10,
    }
    row["localEndpoint"] = {"serviceName": "a"}
    zipkin.write_text(json.dumps([row]))
    beside = json.loads(shell("replay", "zipkin", zipkin, "--dry-run", "--json").out)
    assert told.keys() == beside.keys()
    assert told["traces"][0].keys() == beside["traces"][0].keys()


def test_a_dry_run_of_events_says_what_the_file_holds(shell: Shell, tmp_path: Path) -> None:
    """Events outside traces are counted; all are good, so it ends with 0."""
    path = tmp_path / "events.jsonl"
    line = event(event_type="LOG", trace_id="", span_id="", parent_span_id="")
    path.write_text("".join(json.dumps(one) + "\n" for one in (event(), line)))
    answer = shell("replay", "events", path, "--dry-run", "--contract", "seed")
    assert (answer.code, answer.out.count(": trace ")) == (0, 1)
    assert "2 rows, 2 events, 0 sent, 0 refused, 0 left out" in answer.out
    assert shell("replay", "events", tmp_path / "gone", "--dry-run").code == 2
