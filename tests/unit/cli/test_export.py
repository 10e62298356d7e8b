"""`spanloom export`: ranges that can hold nothing are refused, others are quiet."""

import json
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from streams.codec.records import encode
from streams.runtime import topics
from streams.runtime.embedded import EmbeddedBroker
from tests.unit.cli.shell import Shell
from tests.unit.codec.codec_cases import event
from tests.unit.codec.test_assembled import a_trace, as_dict


def test_a_time_range_that_ends_before_it_begins_is_refused(shell: Shell, tmp_path: Path) -> None:
    """It would write an empty file, and end with 0."""
    out = tmp_path / "a.jsonl"
    for command in ("events", "traces"):
        span = ("--since", "2026-01-02T00:00Z", "--until", "2026-01-01T00:00Z")
        answer = shell("export", command, "-o", out, *span, "--broker", "127.0.0.1:9")
        assert answer.code == 2
        assert "--since 2026-01-02T00:00Z is not before --until" in answer.err
    assert not out.exists()


def test_offsets_are_exported_as_they_are_asked_for(shell: Shell, tmp_path: Path) -> None:
    """Backwards is refused; who names offsets is not told of the topics that he did not name."""
    out = tmp_path / "a.jsonl"
    with EmbeddedBroker() as broker:
        client = AdminClient({"bootstrap.servers": broker.address, "log_level": 0})
        topics.embedded_partitions(client, ["telemetry.alpha.v1", "telemetry.beta.v1"])
        where = ("-o", out, "--broker", broker.address)
        answer = shell("export", "events", *where, "--at", "telemetry.alpha.v1/0@5-2")
        assert answer.code == 2
        assert "--at telemetry.alpha.v1/0@5-2: it ends before it begins" in answer.err
        answer = shell("export", "events", *where, "--at", "telemetry.alpha.v1/0@0-")
        assert answer.code == 0
        assert "not exported" not in answer.err  # a broker that is slow may be told of


@pytest.mark.parametrize("command", ["events", "traces"])
def test_a_file_that_is_there_is_replaced_on_demand_alone(
    shell: Shell, tmp_path: Path, command: str
) -> None:
    """It may be the only copy of what the topics have forgotten. Nothing is asked of the broker."""
    out = tmp_path / "day.jsonl"
    out.write_text("precious", "utf-8")
    answer = shell("export", command, "-o", out, "--broker", "127.0.0.1:9")
    assert answer.code == 2
    assert f"{out}: is there already; choose another --out, or say --force" in answer.err
    assert out.read_text("utf-8") == "precious"
    with EmbeddedBroker() as broker:
        client = AdminClient({"bootstrap.servers": broker.address, "log_level": 0})
        topics.embedded_partitions(client, ["telemetry.other.v1", topics.TRACES])
        answer = shell("export", command, "-o", out, "--broker", broker.address, "--force")
    assert answer.code == 0, answer.err
    assert out.read_text("utf-8") == ("" if command == "events" else json.dumps({"data": []}))
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_what_is_no_file_is_never_replaced(shell: Shell, tmp_path: Path) -> None:
    """A device would be gone for all who use it."""
    for out in (tmp_path, Path("/dev/null")):
        for force in ((), ("--force",)):
            answer = shell("export", "events", "-o", out, "--broker", "127.0.0.1:9", *force)
            assert answer.code == 2
            assert f"{out}: is no file; choose another --out" in answer.err


@pytest.mark.parametrize("layout", ["jaeger", "otlp"])
def test_traces_without_a_span_are_told_of(shell: Shell, tmp_path: Path, layout: str) -> None:
    """Neither layout has a place for log records alone: they are counted, and not as written."""
    out, lines = tmp_path / "t.json", "1".rjust(32, "0")
    note = event(event_type="LOG", trace_id=lines, span_id="")
    with EmbeddedBroker() as broker:
        client = AdminClient({"bootstrap.servers": broker.address, "log_level": 0})
        topics.embedded_partitions(client, [topics.TRACES])
        producer = Producer({"bootstrap.servers": broker.address, "log_level": 0})
        for trace in (
            as_dict(a_trace(), [event(), event(event_type="LOG")]),
            as_dict(a_trace(trace_id=lines), [note, note]),
        ):
            producer.produce(topics.TRACES, encode("assembled_trace", trace))
        producer.flush(60)
        words = ("export", "traces", "-o", out, "--format", layout, "--broker", broker.address)
        answer = shell(*words, "--json")
        people = shell(*words, "--force")
    told = json.loads(answer.out)
    assert (told["traces"], told["left_out"], answer.code) == (1, 2, 0)
    assert "not exported: 2 events of traces without a span" in people.err
    assert out.read_text("utf-8").count("startTime") == 1
