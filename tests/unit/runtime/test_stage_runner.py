"""The runner of a small task: its state is one snapshot, its time runs when all is read."""

import json
from collections.abc import Sequence
from typing import Any

from streams.codec.recordbatch import Record
from streams.codec.records import decode, encode
from streams.codec.schemas import schema_folder
from streams.engine.outputs import Output, Outputs
from streams.runtime.chunk import Chunk
from streams.runtime.stage_runner import StageRunner
from streams.state.segment import encode_pieces, read_piece
from tests.record_batches import batch
from tests.unit.state.decoded import decode_pieces

TARGETS = {"links": ("target.v1", "trace_fragment", 2)}


def fragment(trace_id: str) -> dict[str, Any]:
    """Return a record of the fragments topic."""
    example = schema_folder() / "examples" / "trace_fragment" / "2" / "first_half.json"
    return json.loads(example.read_text("utf-8")) | {"trace_id": trace_id}


def value(trace_id: str) -> bytes:
    """Return a fragment's wire value."""
    return encode("trace_fragment", fragment(trace_id))


class Echo:
    """A task that says every record again, and remembers how it was called."""

    def __init__(self, seen: Sequence[str] = ()) -> None:
        self.seen = list(seen)
        self.calls: list[tuple[int, bool]] = []

    def step(self, records: Sequence[dict[str, Any]], now_us: int, caught_up: bool) -> Outputs:
        self.calls.append((now_us, caught_up))
        self.seen += [record["trace_id"] for record in records]
        return [Output("links", record["trace_id"], record) for record in records]

    def counters(self) -> dict[str, int]:
        return {"window_limit": 2}

    def snapshot(self) -> dict[str, Any]:
        return {"seen": self.seen}


def runner() -> StageRunner:
    """Return a runner of a fresh task."""
    return StageRunner(Echo(), lambda snapshot: Echo(snapshot["seen"]), TARGETS)


def task_of(made: StageRunner) -> Echo:
    """Return the task within a runner."""
    assert isinstance(made.task, Echo)
    return made.task


def a_chunk(*values: bytes, start: int = 0) -> Chunk:
    """Return a chunk of the source topic."""
    records = [Record(start + i, 0, None, value) for i, value in enumerate(values)]
    return Chunk("source.v1", 2, start, start + len(values), [batch(records)])


def test_records_reach_the_task_and_its_words_the_topics() -> None:
    """What comes is decoded, what follows is encoded for its topic."""
    made = runner()
    made.step([a_chunk(value("one"), value("two"))], {"source.v1": 0}, now_us=7)
    assert task_of(made).seen == ["one", "two"]
    assert (made.is_dirty, made.rows, made.positions) == (True, 2, {"source.v1": 2})
    outputs, _ = made.collect(5_000)
    assert [(r.topic, r.partition, r.key) for r in outputs] == [
        ("target.v1", 2, b"one"),
        ("target.v1", 2, b"two"),
    ]
    assert [decode(r.value) for r in outputs] == [fragment("one"), fragment("two")]


def test_a_cut_says_everything_once() -> None:
    """After a cut the task is clean, and the next cut has no outputs of the last."""
    made = runner()
    made.step([a_chunk(value("one"))], {}, now_us=7)
    made.collect(5_000)
    assert not made.is_dirty
    assert made.collect(5_001)[0] == []


def test_what_cannot_be_read_is_counted_and_passed_over() -> None:
    """A foreign record stops nothing; the ones around it are taken."""
    made = runner()
    made.step([a_chunk(value("one"), b"junk", value("two"))], {}, now_us=7)
    assert task_of(made).seen == ["one", "two"]
    assert made.status() == {
        "rows": 3,
        "unreadable": 1,
        "reasons": {"window_limit": 2, "unreadable": 1},
    }
    assert made.positions == {"source.v1": 3}


def test_time_runs_only_when_all_is_read() -> None:
    """The task hears that it has caught up when every source is at its end, and never without."""
    made = runner()
    for ends in ({"source.v1": 5}, {"source.v1": 0}, {"source.v1": 5, "other.v1": 0}, {}):
        made.step([], ends, now_us=9)
    assert task_of(made).calls == [(9, True), (9, False), (9, False), (9, False)]
    assert not made.is_dirty, "the passing of time alone asks for no commit"


def test_the_newest_snapshot_is_the_state() -> None:
    """A task put together from its segments, by way of their bytes, goes on where it stood."""
    made = runner()
    segments = []
    for at, name in enumerate(("one", "two")):
        made.step([a_chunk(value(name), b"junk", start=2 * at)], {}, now_us=7)
        segments.append(made.collect(5_000 + at)[1])
    pieces = [encode_pieces(segment, 1, at) for at, segment in enumerate(segments)]
    again = runner()
    again.load([decode_pieces([read_piece(p).payload for p in part]) for part in pieces])
    assert task_of(again).seen == ["one", "two"]
    assert again.positions == {"source.v1": 4}
    assert again.status()["unreadable"] == 2


def test_a_task_without_segments_is_fresh() -> None:
    """The first start of a group restores nothing."""
    made = runner()
    made.load([])
    assert (task_of(made).seen, made.positions) == ([], {})


def test_what_a_task_did_not_use_is_told_by_reason() -> None:
    """The bounds of the global stage have counters that a scraper sees."""
    assert runner().status()["reasons"] == {"window_limit": 2, "unreadable": 0}
