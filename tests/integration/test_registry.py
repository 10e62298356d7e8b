"""A worker with a real registry: its ids, and the events of a writer with a schema of its own."""

import json
from collections.abc import Iterator

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from streams.codec.records import decode, encode, encode_body
from streams.codec.schemas import SchemaSet, load_schema
from streams.codec.wire import header
from streams.runtime.registry import adopt_registry
from tests.fault.harness import TRACES, Deployment, Feeder, balance
from tests.integration.registry import NoRegistryError, real_registry
from tests.integration.traces import trace_of

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

TOPIC = "telemetry.other.v1"
START_US = 1_790_000_000_000_000


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a real registry."""
    try:
        with real_registry(tmp_path_factory.mktemp("registry")) as url:
            yield url
    except NoRegistryError as error:
        pytest.skip(f"no real registry: {error}")


def test_a_worker_takes_ids_and_unknown_writers_from_a_registry(
    deployment: Deployment, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Registered once, asked at the start; another team's evolved schema is resolved by its id.

    A trace is told half by us and half by them, and joined whole. An id that the registry does
    not know is rejected, and so is an event with the id that the files give.
    """
    deployment.create_topics()
    monkeypatch.setenv("SPANLOOM_REGISTRY_URL", registry)
    before = deployment.cli("stats")
    assert before.returncode in (1, 3)  # 3 where the registry is new
    made = deployment.cli("schema", "register", "--json")
    assert made.returncode == 0, made.stderr
    again = deployment.cli("schema", "register", "--json")
    assert json.loads(again.stdout) == json.loads(made.stdout)

    schemas = SchemaSet()
    adopt_registry(schemas)
    ours = load_schema("telemetry_event")
    extra = {"name": "team", "type": "string"}
    theirs = {**ours, "fields": [extra, *reversed(ours["fields"])]}
    client = SchemaRegistryClient({"url": registry})
    their_id = client.register_schema(f"{TOPIC}-value", Schema(json.dumps(theirs), "AVRO"))
    client.__exit__()

    events = trace_of(1, spans=6, start_us=START_US)
    key = events[0]["trace_id"].encode()
    with Feeder(deployment.broker) as feeder:
        for at, event in enumerate(events):
            value = encode("telemetry_event", event, schemas)
            if at % 2:
                body = encode_body(theirs, {**event, "team": "cards"})
                value = header(their_id) + body
            feeder.send_bytes(TOPIC, key, value)
        feeder.send_bytes(TOPIC, key, header(4_000_000) + value[5:])
    worker = deployment.worker("--exit-after", 7, "--drain-seconds", 240, "--fixed-waits", 1)
    assert worker.wait(180) == 0, worker.tail()
    accounting = worker.accounting()
    assert balance(accounting) == 0
    assert (accounting["joined"], accounting["rejected"]) == (6, 1)
    (trace,) = deployment.read_by(TRACES, lambda value: decode(value, schemas))
    assert trace["span_count"] == 6
    assert [repr(span) for span in trace["spans"]] == [repr(event) for event in events]
    (rejected,) = deployment.read_by("telemetry.rejected.v1", lambda v: decode(v, schemas))
    assert (rejected["reason"], rejected["detail"]) == ("unknown_schema_id", "4000000")
    # Compatibility is the registry's to refuse, too: a field without a default.
    client = SchemaRegistryClient({"url": registry})
    worse = {**ours, "fields": [*ours["fields"], extra]}
    subject = "spanloom.TelemetryEvent"
    assert not client.test_compatibility(subject, Schema(json.dumps(worse), "AVRO"))
    client.__exit__()
