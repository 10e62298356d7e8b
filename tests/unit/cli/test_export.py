"""`spanloom export`: ranges that can hold nothing are refused, others are quiet."""

from pathlib import Path

from confluent_kafka.admin import AdminClient

from streams.runtime import topics
from streams.runtime.embedded import EmbeddedBroker
from tests.unit.cli.shell import Shell


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
        assert (answer.code, answer.err) == (0, "")
