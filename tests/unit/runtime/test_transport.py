"""The transport: chunks without seams, and "read to its end" only when that is known."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP

from streams.runtime.transport import Chunk, ChunkConsumer
from tests.unit.runtime.shell_cases import Record

AT = TP("telemetry.alpha.v1", 1)


class Partition:
    """What aiokafka knows of a partition."""

    def __init__(self, **known: Any) -> None:
        self.position = 10
        self.highwater = 10
        self.lso: int | None = 10
        self.timestamp: int | None = 7
        self.has_valid_position = True
        self.__dict__.update(known)


def consumer(**partitions: Partition | None) -> ChunkConsumer:
    """Return a consumer whose client knows one partition, `at`, or none."""
    made = ChunkConsumer.__new__(ChunkConsumer)
    made.handed = {}
    at = partitions.get("at")
    tps = {AT: at} if at is not None else {}
    assignment = SimpleNamespace(tps=tps, state_value=tps.__getitem__)
    subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=assignment))
    client = SimpleNamespace(_subscription=subscription, _coordinator=None)
    made._thread = SimpleNamespace(_consumer=client)  # type: ignore[assignment]
    made.app = SimpleNamespace(consumer_generation_id=1)  # type: ignore[assignment]
    return made


def handed_out(made: ChunkConsumer, *offsets: int, position: int | None) -> Chunk:
    """Return the chunk that a poll of these records becomes."""
    records = [SimpleNamespace(offset=o, timestamp=1_000, timestamp_type=0) for o in offsets]
    chunk = made._to_message(AT, (records, position)).value
    assert isinstance(chunk, Chunk)
    return chunk


# --- contiguity


def test_chunks_of_a_partition_have_no_seam() -> None:
    """Each chunk begins where the last one ended, over markers and compacted records."""
    made = consumer(at=Partition())
    chunks = [
        handed_out(made, 3, 4, position=5),
        handed_out(made, 8, position=12),
        handed_out(made, 12, position=13),
    ]
    assert [(c.start, c.end) for c in chunks] == [(3, 5), (5, 12), (12, 13)]
    assert [[r.offset for r in c.records] for c in chunks] == [[3, 4], [8], [12]]


def test_a_chunk_ends_behind_its_last_record() -> None:
    """When the client has forgotten its position, the last record's offset says where to go on."""
    made = consumer(at=None)
    assert handed_out(made, 3, 4, position=None).end == 5
    assert made.handed == {AT: 5}


def test_a_client_that_skipped_records_shows_a_gap() -> None:
    """The chunk's start is the position before it, not its first offset: the host sees the gap."""
    made = consumer(at=Partition())
    handed_out(made, 3, position=4)
    made.handed[AT] = 2  # the host went on from 2 ...
    chunk = handed_out(made, 6, position=7)  # ... and records 2 to 5 never came
    assert chunk.start == 2


def test_polls_without_records_make_no_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition that brought nothing is left out, the others carry their fetch position."""

    async def polled(*_: object) -> dict[TP, list[Record]]:
        return {AT: [Record(9)], TP("other", 0): []}

    monkeypatch.setattr(driver.Consumer, "_getmany", polled)
    made = consumer(at=Partition(position=11))
    assert asyncio.run(made._getmany(None, 0.0)) == {AT: [([Record(9)], 11)]}


# --- seeks


def test_a_start_goes_on_where_the_state_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a rebalance every assigned partition is sought to its state's position, others not."""
    made = consumer(at=Partition())
    made.app.seats = SimpleNamespace(  # type: ignore[attr-defined]
        seek_positions=lambda: {AT: 42, TP("not ours", 0): 5}
    )
    sought: list[tuple[TP, int]] = []

    async def seek(_self: object, tp: TP, offset: int) -> None:
        sought.append((tp, offset))

    monkeypatch.setattr(ChunkConsumer, "seek", seek)
    monkeypatch.setattr(ChunkConsumer, "assignment", lambda _self: {AT})
    asyncio.run(made.perform_seek())
    assert sought == [(AT, 42)]
    assert handed_out(made, 45, position=46).start == 42
    asyncio.run(made.again(AT, 40))
    assert sought[1:] == [(AT, 40)]
    assert handed_out(made, 40, position=41).start == 40


# --- read to the end


def test_the_end_is_known_when_the_last_fetch_found_nothing() -> None:
    """Then the time of that fetch is the answer, in microseconds."""
    assert consumer(at=Partition()).read_to_end_at_us(AT, 10) == 7_000


@pytest.mark.parametrize(
    ("case", "known"),
    [
        ("never fetched", {"timestamp": None}),
        ("no position yet", {"has_valid_position": False}),
        ("more to fetch", {"position": 9}),
        ("end unknown", {"highwater": None, "lso": None}),
    ],
)
def test_a_partition_is_behind_until_the_contrary_is_known(
    case: str, known: dict[str, Any]
) -> None:
    """What is not known does not let the clock run."""
    assert consumer(at=Partition(**known)).read_to_end_at_us(AT, 10) == 0, case


def test_what_an_open_transaction_holds_back_was_not_sent() -> None:
    """The last stable offset is the end where there is one, not the high watermark."""
    waiting = Partition(highwater=15, lso=10)
    assert consumer(at=waiting).read_to_end_at_us(AT, 10) == 7_000
    for without in (None, -1):
        behind = Partition(highwater=15, lso=without)
        assert consumer(at=behind).read_to_end_at_us(AT, 10) == 0


def test_records_on_their_way_to_the_task_keep_it_behind() -> None:
    """The end counts only when all that was handed out has been joined, markers included."""
    made = consumer(at=Partition())
    made.handed[AT] = 10
    assert made.read_to_end_at_us(AT, 8) == 0
    assert made.read_to_end_at_us(AT, 10) == 7_000


def test_a_partition_of_others_is_not_known() -> None:
    """Without assignment there is no position, no end and no sign of the broker."""
    made = consumer()
    assert made.fetch_position(AT) is None
    assert made.read_to_end_at_us(AT, 0) == 0
    assert made.heard_at_us() == 0


# --- group and broker


def test_the_broker_was_heard_with_the_latest_fetch() -> None:
    """Any partition's answer is a sign of life."""
    assert consumer(at=Partition(timestamp=12)).heard_at_us() == 12_000
    assert consumer(at=Partition(timestamp=None)).heard_at_us() == 0


def test_membership_is_the_coordinators() -> None:
    """Generation, member and instance are as of now; outside of a group there are none."""
    made = consumer(at=Partition())
    assert made.membership() is None
    client: Any = made._thread._consumer  # type: ignore[attr-defined]
    client._coordinator = SimpleNamespace(generation=4, member_id="m", _group_instance_id=None)
    assert made.membership() == (4, "m", None)
    client._coordinator = SimpleNamespace()  # partitions assigned by hand: no group
    assert made.membership() is None
