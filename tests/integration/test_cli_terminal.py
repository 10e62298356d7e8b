"""`tail`, `fidelity` and `stats` as a person runs them, on a real broker."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Producer

from streams.cli.main import main
from streams.codec.records import encode
from streams.runtime import reading, topics

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

ROOT = Path(__file__).resolve().parents[2]
MINUTE_US = 60_000_000
SECONDS = 240


class Answer(NamedTuple):
    """How a command ended and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def spanloom(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """Return what runs a command line in this process: starting one takes seconds."""

    def run(*words: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["spanloom", *words])
        with pytest.raises(SystemExit) as end:
            main()
        assert isinstance(end.value.code, int)
        return Answer(end.value.code, *capsys.readouterr())

    return run


def produce(broker: str, topic: str, *values: bytes) -> None:
    producer = Producer({"bootstrap.servers": broker})
    for value in values:
        producer.produce(topic, value, b"key", partition=0)
    assert producer.flush(SECONDS) == 0


def make(broker: str, prefix: str) -> None:
    specs = [topics.spec(prefix + name, 2, name) for name in topics.DERIVED]
    topics.create(topics.admin({"bootstrap.servers": broker}), specs)


def stats_row(start: int, revision: int, observed: int, **more: Any) -> bytes:
    row = {
        "window_start": start * MINUTE_US,
        "window_us": MINUTE_US,
        "revision": revision,
        "kind": "edge",
        "flow": "f",
        "from_stage": "a",
        "to_stage": "b",
        "module": "M",
        "contract_version": "1",
        "partitions_reported": 2,
        "partitions_total": 2,
        "expected": 100,
        "observed": observed,
        "missing": {"LATE": 100 - observed},
        "late": 0,
        "duplicate": 0,
        "sampled_out": 0,
        "in_flight": 0,
        "ratio": observed / 100,
        "slo_ratio": 0.99,
        "burn_rate_short": 1.0,
        "burn_rate_long": 0.5,
        "counters": {},
    }
    return encode("fidelity_stats", row | more)


def test_a_correction_replaces_what_was_below_its_objective(
    broker: str, topic_prefix: str, spanloom: Callable[..., Answer]
) -> None:
    """The newest window ends with 1 while its edge lost too much, and with 0 once amended."""
    make(broker, topic_prefix)
    arguments = ["fidelity", "--broker", broker, "--derived-prefix", topic_prefix, "--json"]
    unknown = spanloom(*arguments)
    assert unknown.returncode == 2, unknown.stderr
    assert "is a worker running?" in unknown.stderr
    stats = topic_prefix + topics.STATS
    produce(broker, stats, stats_row(1, 1, 100), stats_row(2, 1, 90))
    below = spanloom(*arguments)
    assert (below.returncode, json.loads(below.stdout)["below_slo"]) == (1, ["f/a>b"])
    produce(broker, stats, stats_row(2, 2, 100))
    amended = spanloom(*arguments)
    assert (amended.returncode, json.loads(amended.stdout)["below_slo"]) == (0, [])


def test_tail_shows_what_a_topic_holds_and_ends(
    broker: str, topic_prefix: str, spanloom: Callable[..., Answer]
) -> None:
    """Every record in its order, as lines or as objects, and no more than asked for."""
    make(broker, topic_prefix)
    topic = topic_prefix + topics.STATS
    produce(broker, topic, stats_row(1, 1, 100), b"junk of nobody", stats_row(2, 1, 90))
    lines = spanloom("tail", topic, "--broker", broker, "--no-follow")
    assert lines.returncode == 0, lines.stderr
    first, second, third = lines.stdout.splitlines()
    assert "100.00 % 100 of 100" in first
    assert "unreadable 14 bytes, bad_magic" in second
    assert "missing LATE 10" in third
    limited = spanloom("tail", topic, "--broker", broker, "--no-follow", "--json", "--limit", "1")
    assert json.loads(limited.stdout)["record"]["observed"] == 100
    missing = spanloom("tail", topic.replace("stats", "stat"), "--broker", broker)
    assert missing.returncode == 2
    assert topic in missing.stderr


def test_tail_follows_until_it_is_interrupted(broker: str, topic_prefix: str) -> None:
    """What comes later is shown at once; Ctrl-C ends with 130 and without a traceback."""
    make(broker, topic_prefix)
    topic = topic_prefix + topics.STATS
    produce(broker, topic, stats_row(1, 1, 100))
    command = [sys.executable, "-m", "streams.cli.main", "tail", topic, "--from-beginning"]
    with subprocess.Popen(
        [*command, "--broker", broker],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "100 of 100" in process.stdout.readline()
        produce(broker, topic, stats_row(2, 1, 90))
        assert "90 of 100" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130
        assert "Traceback" not in process.stderr.read()


def test_stats_count_what_was_rejected_and_say_what_is_unknown(
    broker: str, topic_prefix: str, group_id: str, spanloom: Callable[..., Answer]
) -> None:
    """By reason, with the newest example; a group that never committed ends with 1."""
    make(broker, topic_prefix)
    event = {
        "reason": "bad_magic",
        "detail": "first byte is 9, not 0",
        "topic": "telemetry.alpha.v1",
        "partition": 1,
        "timestamp": time.time_ns() // 1000,
        "key": b"",
        "value": b"\x09",
        "value_bytes": 1,
    }
    values = [encode("rejected_event", {**event, "offset": offset}) for offset in (4, 5)]
    produce(broker, topic_prefix + topics.REJECTED, *values)
    arguments = ["--broker", broker, "--group", group_id, "--derived-prefix", topic_prefix]
    found = spanloom("stats", *arguments, "--json")
    assert found.returncode == 1, found.stderr
    answer = json.loads(found.stdout)
    assert answer["rejected"]["bad_magic"]["count"] == 2
    assert answer["rejected"]["bad_magic"]["newest"] == "telemetry.alpha.v1/1@5"
    assert answer["topics"][topic_prefix + topics.REJECTED] == 2
    assert any("ever committed" in note for note in answer["notes"])


@pytest.mark.parametrize("command", [["tail", "t"], ["fidelity"], ["stats"]])
def test_without_a_broker_the_answer_is_3(
    command: list[str], spanloom: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence says what to do."""
    monkeypatch.setattr(reading, "CALL_SECONDS", 1.0)
    result = spanloom(*command, "--broker", "127.0.0.1:1")
    assert result.returncode == 3
    assert "--broker HOST:PORT" in result.stderr
    assert "Traceback" not in result.stderr
