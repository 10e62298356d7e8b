"""A task with a larger state: each cut holds what changed, and the segments together all of it."""

import json
from collections.abc import Iterable
from typing import Any

from streams.codec.recordbatch import Record
from streams.codec.records import decode, encode
from streams.core.incidents.commands import read_command
from streams.core.incidents.topology import Topology
from streams.engine.incidents import IncidentTask
from streams.runtime.chunk import Chunk
from streams.runtime.keyed_runner import KeyedRunner
from streams.runtime.stage_runner import StageRunner
from streams.state.fold import Fold
from streams.state.segment import Segment, encode_pieces, read_piece
from tests.record_batches import batch
from tests.synthetic_pipeline import INCIDENTS, SECOND, TOPOLOGY
from tests.unit.core.incidents.alerts import alert, resolved
from tests.unit.state.decoded import decode_pieces

ALERTS, COMMANDS = "alerts.raised.v1", "incidents.commands.v1"
TARGETS = {
    "incidents": ("incidents.events.v1", "incident_event", 0),
    "audit": ("incidents.audit.v1", "telemetry_event", 0),
    "ledger": ("incidents.ledger.v1", "noise_ledger", 0),
}


def restore(snapshot: dict[str, Any]) -> IncidentTask:
    return IncidentTask.restore(INCIDENTS, TOPOLOGY, snapshot)


def runner() -> KeyedRunner:
    """Return a runner of a fresh incident task."""
    task = IncidentTask(INCIDENTS, TOPOLOGY)
    return KeyedRunner(task, restore, TARGETS, {COMMANDS: read_command})


def a_chunk(topic: str, *values: bytes, start: int = 0) -> Chunk:
    records = [Record(start + i, 0, None, value) for i, value in enumerate(values)]
    return Chunk(topic, 0, start, start + len(values), [batch(records)])


def some(count: int, at: float) -> list[bytes]:
    """Return the values of unrelated alerts."""
    return [encode("alert", alert("odd_kind", f"M{i}", at)) for i in range(count)]


def through_bytes(segments: Iterable[Segment]) -> list[Segment]:
    pieces = [encode_pieces(segment, 1, at) for at, segment in enumerate(segments)]
    return [decode_pieces([read_piece(p).payload for p in part]) for part in pieces]


def folded(segments: Iterable[Segment]) -> list[Segment]:
    """Return the segments as a restart reads them: folded, by way of their bytes."""
    fold = Fold()
    for at, segment in reversed(list(enumerate(segments))):
        fold.add([read_piece(p).payload for p in encode_pieces(segment, 1, at)])
    return fold.segments()


def test_a_cut_holds_what_changed() -> None:
    """After a thousand alerts one more costs one alert, its incident and its row of the ledger."""
    made = runner()
    made.step([a_chunk(ALERTS, *some(300, 10))], {}, now_us=11 * SECOND)
    _, first = made.collect(1)
    assert len(first.rows) > 600
    one = alert("odd_kind", "M5", 10, version=2)
    made.step([a_chunk(ALERTS, encode("alert", one), start=300)], {}, now_us=12 * SECOND)
    _, second = made.collect(2)
    kinds = sorted(json.loads(body)[0] for body in second.rows.body)
    assert kinds == ["incident", "ledger", "member"]
    assert len(second.removed) == 3


def test_segments_together_are_the_state() -> None:
    """Restored from its segments, as they are or folded, the task goes on as if nothing was."""
    made = runner()
    segments = []
    loss = alert("fidelity_burn", "transfer_beta_gamma>rendering", 10)
    order = {"command": "ack", "actor": "kim", "reason": "r", "command_id": "c1"}
    made.step([a_chunk(ALERTS, *some(5, 10), encode("alert", loss))], {}, now_us=11 * SECOND)
    outputs, segment = made.collect(1)
    segments.append(segment)
    id_ = decode(outputs[-1].value)["incident_id"]
    value = json.dumps(order | {"incident_id": id_}).encode()
    made.step([a_chunk(COMMANDS, value, b"junk")], {}, now_us=12 * SECOND)
    outputs, segment = made.collect(2)
    segments.append(segment)
    assert [o.topic for o in outputs] == ["incidents.events.v1", *["incidents.audit.v1"] * 2]
    outcomes = [decode(o.value)["dimensions"]["outcome"] for o in outputs[1:]]
    assert outcomes == ["accepted", "refused"]
    over = encode("alert", resolved(alert("odd_kind", "M1", 10), 12))
    made.step([a_chunk(ALERTS, over, start=6)], {ALERTS: 1, COMMANDS: 1}, now_us=13 * SECOND)
    made.step([], {ALERTS: 1, COMMANDS: 1}, now_us=99 * SECOND)
    segments.append(made.collect(3)[1])
    assert len(segments[-1].removed) > 0
    whole = json.loads(json.dumps(made.task.snapshot()))
    for restored in (through_bytes(segments), folded(segments)):
        again = runner()
        again.load(restored)
        assert json.loads(json.dumps(again.task.snapshot())) == whole
        assert again.positions == {ALERTS: 7, COMMANDS: 2}
        assert again.collect(4)[1].removed == [], "a restored state is written already"


def test_a_state_from_before_is_read_and_written_anew() -> None:
    """What the first version wrote, whole in each cut, becomes entries with the next cut."""
    loss = alert("fidelity_burn", "transfer_beta_gamma>rendering", 10)
    before = {
        "format": 1,
        "algorithm": "1",
        "stream_us": 11 * SECOND,
        "resolved": [],
        "open": [
            {
                "incident_id": "a" * 32,
                "version": 3,
                "opened_us": 11 * SECOND,
                "resolved_us": 0,
                "event_us": 11 * SECOND,
                "severity": "ERROR",
                "members": {loss["fingerprint"]: {"alert": loss, "because": "first"}},
                "alerts_in": 4,
                "alerts_suppressed": 1,
                "told": {loss["fingerprint"]: 1},
                "told_records": 10,
                "quiet_since_us": 0,
            }
        ],
    }

    class Before:
        def step(self, *_: Any) -> list[Any]:
            return []

        def counters(self) -> dict[str, int]:
            return {}

        def snapshot(self) -> dict[str, Any]:
            return before

    old = StageRunner(Before(), lambda _: Before(), {})
    old.positions = {ALERTS: 9}
    _, segment = old.collect(1)
    made = runner()
    made.load(through_bytes([segment]))
    assert list(made.task.book.open) == ["a" * 32]
    _, after = made.collect(2)
    assert len(after.rows) == 2
    again = runner()
    again.load(folded([segment, after]))
    assert again.positions == {ALERTS: 9}
    grown = loss | {"version": 2, "severity": "CRITICAL"}
    again.step([a_chunk(ALERTS, encode("alert", grown), start=9)], {}, now_us=12 * SECOND)
    (event, *_), _ = again.collect(3)
    told = decode(event.value)
    assert (told["incident_id"], told["version"], told["algorithm"]) == ("a" * 32, 4, "1")
    assert (told["alerts_in"], told["alerts_suppressed"]) == (5, 1)


def test_a_task_without_segments_is_fresh() -> None:
    """The first start of a group restores nothing."""
    made = KeyedRunner(IncidentTask(INCIDENTS, Topology()), restore, TARGETS)
    made.load([])
    assert (made.task.book.open, made.positions) == ({}, {})


def test_a_restart_still_knows_which_topics_it_read() -> None:
    """A topic that was deleted and made again is refused by its id, which the state remembers."""
    made = runner()
    made.topic_ids = {ALERTS: "an-id"}
    made.step([a_chunk(ALERTS, *some(1, 10))], {}, now_us=11 * SECOND)
    _, segment = made.collect(1)
    again = runner()
    again.load(folded([segment]))
    assert (again.topic_ids, again.positions) == ({ALERTS: "an-id"}, {ALERTS: 1})
