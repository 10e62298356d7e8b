"""A recorded day of a real system through the shipped worker: all of it, once, in whole traces."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import pytest
from fastavro.types import Schema

from streams.codec.schemas import load_schema
from tests.fault.harness import (
    TRACES,
    Deployment,
    assert_revisions_are_whole,
    assert_spans_are_whole,
    balance,
)
from tests.fault.nezha import Recording, read_recording

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]


@pytest.fixture(scope="module")
def recording(data_dir: Path) -> Recording:
    """Return the recording and its truth."""
    return read_recording(data_dir)


def outsider(schema: Schema) -> Callable[[bytes], dict[str, Any]]:
    """Return a decoder that knows the wire header and the published schema, nothing of ours."""
    from io import BytesIO

    parsed = fastavro.parse_schema(schema)

    def decode(value: bytes) -> dict[str, Any]:
        assert value[0] == 0
        record = fastavro.schemaless_reader(BytesIO(value[5:]), parsed, None)
        assert isinstance(record, dict)
        return record

    return decode


def test_a_recorded_day_is_joined_whole_and_once(
    deployment: Deployment, recording: Recording
) -> None:
    """Every distinct span is in its trace's valid revision, every repeated row is counted."""
    assert (recording.rows, recording.distinct, len(recording.spans)) == (328_848, 321_068, 4_483)
    deployment.create_topics()
    sent = deployment.cli("replay", "nezha", recording.folder, "--quiet", seconds=240)
    assert sent.returncode == 0, sent.stderr
    worker = deployment.worker("--exit-after", recording.rows, "--drain-seconds", 240)
    assert worker.wait(240) == 0, worker.tail()

    accounting = worker.accounting()
    print("nezha:", worker.said("RESULT"), accounting)
    assert accounting == recording.accounting
    assert accounting["duplicate"] == 7_780
    assert balance(accounting) == 0
    traces = deployment.read_by(TRACES, outsider(load_schema("assembled_trace")))
    revisions = assert_revisions_are_whole(traces)
    assert_spans_are_whole(traces, recording.spans)
    assert deployment.read("telemetry.rejected.v1") == []
    print(f"nezha: {revisions} revisions of {len(recording.spans)} traces")
