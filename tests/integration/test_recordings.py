"""What is exported can be sent again and is the same; traces of other systems are joined."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streams.codec.eventlog import read_events, write_events
from streams.codec.recorded.account import Account
from streams.codec.recorded.jaeger import jaeger_traces
from streams.codec.records import decode, encode
from streams.contract.loader import load_contract
from streams.simulate.pipeline import Simulation
from tests.fault.harness import TRACES, Deployment, Event, Feeder, highest
from tests.integration.traces import trace_of

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

START_US = 1_790_000_000_000_000
TOPIC = "telemetry.other.v1"


def moment(at_us: int) -> str:
    """Return a time as the command line takes it."""
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).isoformat()


def text_of(event: Event) -> str:
    """Return an event as text: NaN equals nothing."""
    return json.dumps(event, sort_keys=True)


def by_trace(path: Path) -> dict[str, list[str]]:
    """Return a file's events by trace, in their order."""
    found: dict[str, list[str]] = {}
    for event in read_events(path):
        found.setdefault(event["trace_id"], []).append(text_of(event))
    return found


def test_exported_events_are_the_same_when_sent_again(deployment: Deployment) -> None:
    """In their order by trace, those of a batch message too; a range and offsets cut exactly."""
    deployment.create_topics()
    sent = [event for n in range(1, 40) for event in trace_of(n, spans=5, start_us=START_US + n)]
    sent[0]["value"] = float("inf")
    batch = encode("telemetry_batch", {"events": sent[:5]})
    with Feeder(deployment.broker) as feeder:
        feeder.send_bytes(TOPIC, sent[0]["trace_id"].encode(), batch)
        for event in sent[5:]:
            feeder.send(TOPIC, event)
        feeder.send_bytes(TOPIC, b"k", b"{garbage}", partition=1)
    folder = deployment.folder
    first = deployment.cli("export", "events", "-o", folder / "a.jsonl.gz", "--json")
    assert first.returncode == 1, first.stderr
    told = json.loads(first.stdout)
    assert (told["events"], told["unreadable"]) == (len(sent), {"bad_magic": 1})
    kept = by_trace(folder / "a.jsonl.gz")
    assert {n: len(events) for n, events in kept.items()} == {f"{n:032x}": 5 for n in range(1, 40)}
    assert sorted(e for events in kept.values() for e in events) == sorted(map(text_of, sent))

    deployment.start_anew()
    again = deployment.cli("replay", "events", folder / "a.jsonl.gz", "--quiet")
    assert again.returncode == 0, again.stderr
    second = deployment.cli("export", "events", "-o", folder / "b.jsonl")
    assert second.returncode == 0, second.stderr
    assert by_trace(folder / "b.jsonl") == kept

    # Of all 39 traces the first span, of the first 19 the second one.
    span = ("--since", moment(START_US), "--until", moment(START_US + 2_020))
    deployment.cli("export", "events", "-o", folder / "c.jsonl", *span)
    in_range = [e for e in sent if e["timestamp"] < START_US + 2_020]
    assert sum(map(len, by_trace(folder / "c.jsonl").values())) == len(in_range) == 58
    held = [m for m in deployment.read(TOPIC) if m.partition == 2]
    deployment.cli("export", "events", "-o", folder / "d.jsonl", "--at", f"{TOPIC}/2@3-7")
    assert list(map(text_of, read_events(folder / "d.jsonl"))) == [
        text_of(decode(message.value)) for message in held[3:7]
    ]
    assert "not exported" not in second.stderr
    made = deployment.cli("topics", "create", "--contract", "seed", "--partitions", "4")
    assert made.returncode == 0, made.stderr
    without = deployment.cli("export", "events", "-o", folder / "e.jsonl")
    assert "not exported: telemetry.alpha.v1, telemetry.beta.v1" in without.stderr
    named = deployment.cli("export", "events", "-o", folder / "f.jsonl", "--contract", "seed")
    assert "not exported" not in named.stderr


def test_traces_of_zipkin_are_joined_and_open_in_jaeger(
    deployment: Deployment, data_dir: Path
) -> None:
    """Replayed, assembled, exported and read again: the same 231 spans in 6 traces."""
    files = sorted((data_dir / "zipkin-traces").glob("*.json"))
    if not files:
        pytest.skip(f"6 recorded traces are missing: {data_dir / 'zipkin-traces'}")
    deployment.create_topics()
    sent = deployment.cli("replay", "zipkin", *files, "--quiet", "--json")
    assert sent.returncode == 0, sent.stderr
    told = json.loads(sent.stdout)
    assert told["rows"] == told["sent"] == 240
    worker = deployment.worker("--exit-after", 240, "--drain-seconds", 240, "--fixed-waits", 1)
    assert worker.wait(120) == 0, worker.tail()
    assert worker.accounting()["duplicate"] == 0
    joined = highest(deployment.read_by(TRACES, decode))
    spans = sum(trace["span_count"] for trace in joined.values())
    orphans = sum(trace["orphan_count"] for trace in joined.values())
    assert (len(joined), spans, orphans) == (6, 231, 6)

    out = deployment.folder / "traces.json"
    exported = deployment.cli("export", "traces", "-o", out, "--json")
    assert exported.returncode == 0, exported.stderr
    account = Account()
    opened = {trace.trace_id: trace.events for trace in jaeger_traces(out, account)}
    assert (account.refused, set(opened)) == ({}, set(joined))

    def facts(events: list[Event]) -> list[tuple[str, ...]]:
        names = ("span_id", "parent_span_id", "name", "module", "timestamp", "duration_us")
        return sorted(
            tuple(str(event[name]) for name in names)
            for event in events
            if event["event_type"] == "TRACE"
        )

    for trace_id, trace in joined.items():
        assert facts(list(opened[trace_id])) == facts(trace["spans"])


def test_the_simulated_pipeline_covers_its_contract(deployment: Deployment) -> None:
    """Told by a replay, looked at by `coverage`: no gap; without a module, all that is its own."""
    deployment.contract = "seed"
    deployment.create_topics()
    simulation = Simulation(load_contract("seed"), 1, START_US, 20, 10)
    events = [emission.event for emission in simulation.drain()]
    for name, left_out in (("few", "PHI"), ("all", "")):
        path = deployment.folder / f"{name}.jsonl.gz"
        write_events(path, (event for event in events if event["module"] != left_out))
        sent = deployment.cli("replay", "events", path, "--quiet")
        assert sent.returncode == 0, sent.stderr
        found = deployment.cli("coverage", "--json")
        told = json.loads(found.stdout)
        assert (told["unreadable"], told["is_cut"]) == ({}, False)
        missing = {f["what"]["module"] for f in told["findings"] if f["kind"] == "never_seen"}
        expected = ({"PHI"}, 1) if name == "few" else (set(), 0)
        assert (missing, found.returncode) == expected, found.stdout
    assert told["shares"]["signals"] == {"seen": 137, "expected": 137}
