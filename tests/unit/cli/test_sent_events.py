"""Commands read OTLP topics as the worker does: the same events, and none that workers wrote."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from streams.codec.records import encode
from streams.runtime import topics
from streams.runtime.embedded import EmbeddedBroker
from tests.otlp_cases import START_NS, as_json, logs, span_id, span_of, trace_id, traces
from tests.unit.cli.shell import Shell
from tests.unit.codec.codec_cases import event

CONTRACT = """
version: "1"
name: shop
modules: {SHOP: {owner: s, topic: telemetry.shop.v1}}
services: {checkout: {module: SHOP, component: cart}}
field_classes: {actor: PII, dimensions.http.method: PII}
flows:
  f:
    entry: one
    stages:
      - {id: one, module: SHOP, component: cart, name: step-1}
      - {id: two, module: SHOP, component: cart, name: step-2, after: [one]}
"""
OTLP = "spans=team.raw,logs=otlp_logs"


@pytest.fixture
def where(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """Yield flags for a broker with two spans, a line without trace, a native event and garbage."""
    path = tmp_path / "c.yaml"
    path.write_text(CONTRACT, "utf-8")
    line = LogRecord(time_unix_nano=START_NS)
    line.body.string_value = "card refused"
    with EmbeddedBroker() as broker:
        client = AdminClient({"bootstrap.servers": broker.address, "log_level": 0})
        names = ["telemetry.shop.v1", topics.OTHER, topics.LINKS, "team.raw", "otlp_logs"]
        topics.embedded_partitions(client, names)
        producer = Producer({"bootstrap.servers": broker.address, "log_level": 0})
        producer.produce("team.raw", traces("checkout", [span_of(1, 1)]).SerializeToString())
        producer.produce("team.raw", as_json(traces("checkout", [span_of(1, 2)])))
        producer.produce("team.raw", encode("telemetry_event", event(module="SHOP", name="step-1")))
        producer.produce("team.raw", b"{garbage}")
        producer.produce("otlp_logs", logs("checkout", [line]).SerializeToString())
        told_by_a_worker = event(module="SHOP", component="links", name="link.restarted")
        producer.produce(topics.LINKS, encode("telemetry_event", told_by_a_worker))
        producer.flush(60)
        yield ("--broker", broker.address, "--contract", str(path))


def test_coverage_sees_what_a_collector_wrote(
    shell: Shell, where: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the flag or by the setting; spans of links, which workers write, are nobody's gap."""
    flagged = shell("coverage", *where, "--otlp-topics", OTLP, "--json")
    monkeypatch.setenv("SPANLOOM_OTLP_TOPICS", OTLP)
    set_so = shell("coverage", *where, "--json")
    assert flagged.out == set_so.out
    answer = json.loads(flagged.out)
    assert answer["shares"] == {"stages": {"seen": 2, "expected": 2}}
    assert (answer["records"], answer["unreadable"]) == (5, {"invalid_otlp": 1})
    assert [(f["kind"], f["what"]["event_type"]) for f in answer["findings"]] == [
        ("without_trace", "LOG"),
        ("not_in_contract", "TRACE"),  # the native event's component is another one
    ]


@pytest.mark.parametrize("command", ["coverage", "export", "minimise"])
def test_topics_of_an_exporter_that_nobody_named_are_told_of(
    shell: Shell, where: tuple[str, ...], tmp_path: Path, command: str
) -> None:
    """What lies in them would be missed, and nobody would know why."""
    broker, contract = where[:2], where[3]
    words = {
        "coverage": ("coverage", *where),
        "export": ("export", "events", *where, "-o", str(tmp_path / "a.jsonl")),
        "minimise": ("contract", "minimise", contract, *broker),
    }[command]
    assert "not read: otlp_logs. Name them by --otlp-topics." in shell(*words).err
    assert "not read" not in shell(*words, "--otlp-topics", OTLP, *_forced(command)).err


def _forced(command: str) -> tuple[str, ...]:
    return ("--force",) if command == "export" else ()


def test_fields_of_what_a_collector_wrote_are_measured(
    shell: Shell, where: tuple[str, ...]
) -> None:
    """An attribute is a dimension of its events."""
    words = ("contract", "minimise", where[3], *where[:2], "--otlp-topics", OTLP, "--json")
    answer = json.loads(shell(*words).out)
    assert answer["events"] == 4
    named = {field["field"]: field["events"] for field in answer["fields"]}
    assert named["dimensions.http.method"] == 2


def test_events_of_a_collector_are_exported_as_the_worker_reads_them(
    shell: Shell, where: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Modules by the contract, personal fields by its classes; what workers wrote stays out."""
    out = tmp_path / "a.jsonl"
    words = ("export", "events", *where, "--otlp-topics", OTLP, "-o", out)
    plain = shell(*words)
    assert plain.code == 1  # for the garbage
    assert "written as the topics have them" in plain.err
    events = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert sorted(e["name"] for e in events) == ["log", "step-1", "step-1", "step-2"]
    (second,) = [e for e in events if e["name"] == "step-2"]
    assert (second["module"], second["component"]) == ("SHOP", "cart")
    assert (second["trace_id"], second["span_id"]) == (trace_id(1).hex(), span_id(1, 2).hex())
    assert second["dimensions"]["http.method"] == "GET"
    key = tmp_path / "keys"
    key.write_text("k1 " + "ab" * 32 + "\n", "utf-8")
    key.chmod(0o600)
    monkeypatch.setenv("SPANLOOM_PSEUDONYM_KEYS_FILE", str(key))
    treated = shell(*words, "--force")
    assert "personal" not in treated.err
    assert "GET" not in out.read_text("utf-8")
