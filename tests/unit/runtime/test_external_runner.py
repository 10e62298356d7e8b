"""The runner of alerts from outside hands over whole records, and publishes what follows."""

import json
from dataclasses import replace

from streams.codec.recordbatch import Record
from streams.codec.records import decode
from streams.core.alerts.external import ExternalSettings
from streams.core.incidents.topology import Topology
from streams.engine.external import ExternalTask
from streams.runtime.chunk import Chunk
from streams.runtime.external_runner import ExternalRunner
from streams.state.segment import encode_pieces, read_piece
from tests.record_batches import batch
from tests.unit.state.decoded import decode_pieces

TOPIC = "alerts.external.v1"
TARGETS = {"alerts": ("alerts.raised.v1", "alert", 0), "rejected": ("rejects", "rejected_event", 0)}


def runner() -> ExternalRunner:
    settings, topology = ExternalSettings(), Topology()
    return ExternalRunner(
        ExternalTask(settings, topology),
        lambda snapshot: ExternalTask.restore(settings, topology, snapshot),
        TARGETS,
    )


def test_records_become_alerts_and_rejections_and_state_comes_back() -> None:
    """One good and one bad record: both are published, and a restored runner knows the alert."""
    made = runner()
    body = json.dumps({"labels": {"alertname": "x"}}).encode()
    records = [Record(5, 1_000, b"k", body), Record(6, 1_001, None, b"junk")]
    chunk = Chunk(TOPIC, 0, 5, 7, (batch(records),))
    made.step([chunk], {TOPIC: 1}, 1_001_000)
    assert (made.rows, made.positions, made.is_dirty) == (2, {TOPIC: 7}, True)
    outputs, segment = made.collect(1)
    by_topic = {output.topic: decode(output.value) for output in outputs}
    assert by_topic["alerts.raised.v1"]["labels"] == {"alertname": "x"}
    assert (by_topic["rejects"]["offset"], by_topic["rejects"]["reason"]) == (
        6,
        "external_not_json",
    )
    other = runner()
    pieces = encode_pieces(segment, 1, 0)
    other.load([decode_pieces([read_piece(piece).payload for piece in pieces])])
    assert other.positions == {TOPIC: 7}
    assert other.status()["reasons"] == {"external_not_json": 1, "unreadable": 0}
    assert list(other.task.book.states) == list(made.task.book.states)  # type: ignore[attr-defined]


def test_a_batch_that_cannot_be_taken_apart_is_rejected() -> None:
    """Its neighbour is taken, and the runner goes on."""
    good = json.dumps({"labels": {"alertname": "x"}}).encode()
    torn = replace(batch([Record(0, 1_000, None, good)]), payload=b"\xff\xff\xff")
    whole = batch([Record(1, 1_000, None, good)])
    made = runner()
    made.step([Chunk(TOPIC, 0, 0, 2, (torn, whole))], {TOPIC: 1}, 1_001_000)
    outputs, _ = made.collect(1)
    assert sorted(output.topic for output in outputs) == ["alerts.raised.v1", "rejects"]
