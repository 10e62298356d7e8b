"""The transport: chunks without seams, and "read to its end" only when that is known."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer import fetcher
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP

from streams.codec.recordbatch import Record, RecordBatch
from streams.runtime.chunk import Chunk
from streams.runtime.transport import ChunkConsumer, ChunkConsumerThread, NoOffsets, Polled
from tests.record_batches import batch

AT = TP("telemetry.alpha.v1", 1)
IDLE = TP("telemetry.other.v1", 1)


class Client:
    """A consumer whose polls bring what a test says, over what aiokafka knows of a partition."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state = SimpleNamespace(
            position=0, highwater=100, lso=100, timestamp=7, has_valid_position=True
        )
        self.sought: list[tuple[TP, int]] = []
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        self.while_seeking: Callable[[], Awaitable[None]] | None = None
        self.is_in_thread = False
        self._brings: list[RecordBatch] = []
        self.consumer = made = ChunkConsumer.__new__(ChunkConsumer)
        made.taken = {}
        made._end_seen_us = {}
        made._seeks = Counter()
        made._seeking = Counter()
        self._tps = {AT: self.state}
        assignment = SimpleNamespace(tps=self._tps, state_value=self._tps.__getitem__)
        subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=assignment))
        self.kafka = SimpleNamespace(
            _subscription=subscription,
            _coordinator=None,
            assignment=lambda: set(self._tps),
            seek=self._seek,
        )
        made._thread = ChunkConsumerThread.__new__(ChunkConsumerThread)
        made._thread._consumer = self.kafka
        made._wanted = asyncio.Event()
        self.restoring: set[TP] = set()
        seats = SimpleNamespace(is_restoring_partition=lambda tp: tp in self.restoring)
        app = SimpleNamespace(consumer_generation_id=1, seats=seats)
        made.app = app  # type: ignore[assignment]
        monkeypatch.setattr(driver.Consumer, "_getmany", self._getmany)
        monkeypatch.setattr(ChunkConsumer, "assignment", lambda _self: set(self._tps))
        monkeypatch.setattr(ChunkConsumerThread, "call_thread", self._call_thread)

    async def _getmany(self, *_: object) -> dict[TP, list[Any]]:
        if self.meanwhile is not None:
            await self.meanwhile()
        return {AT: Polled(self._brings, len(self._brings)), IDLE: Polled([], 0)}

    async def _call_thread(self, call: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        self.is_in_thread = True
        found = await call(*args)
        self.is_in_thread = False
        if self.while_seeking is not None:
            await self.while_seeking()
        return found

    def _seek(self, tp: TP, offset: int) -> None:
        assert self.is_in_thread, "the fetcher goes over what a seek takes away"
        self.sought.append((tp, offset))

    def brought(self, *offsets: int) -> list[RecordBatch]:
        """Return what a fetch brings."""
        return [batch([Record(o, 1, None, b"v")]) for o in offsets]

    def poll(self, *offsets: int, **known: Any) -> Chunk | None:
        """Poll once: the fetch brings these offsets, and this is known of the partition then."""
        self._brings = self.brought(*offsets)
        self.state.__dict__.update(known)
        polled = asyncio.run(self.consumer._getmany(None, 1.0))
        assert polled.keys() <= {AT}, "a partition that brought nothing is left out"
        if AT not in polled:
            return None
        (message,) = polled[AT]
        chunk = self.consumer._to_message(AT, message).value
        assert isinstance(chunk, Chunk)
        assert [r.offset for r in chunk.records] == list(offsets)
        return chunk

    def again(self, position: int) -> None:
        """Let the worker ask for a partition again from a position."""
        asyncio.run(self.consumer.again(AT, position))

    def forget(self) -> None:
        """Take the partition away."""
        self._tps.clear()

    def ended(self, position: int) -> int:
        """Say when the partition was read to its end, for a task that has come to a position."""
        return self.consumer.read_to_end_at_us(AT, position)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    """Return a client that has one partition and fetched nothing yet."""
    return Client(monkeypatch)


def span(chunk: Chunk | None) -> tuple[int, int]:
    """Return the fetch positions around a chunk."""
    assert chunk is not None
    return chunk.start, chunk.end


# --- contiguity


def test_chunks_of_a_partition_have_no_seam(client: Client) -> None:
    """Each chunk begins where the last one ended, over markers and compacted records."""
    assert span(client.poll(3, 4, position=5)) == (3, 5)
    assert span(client.poll(8, position=12)) == (5, 12)
    assert span(client.poll(12, position=13)) == (12, 13)


def test_polls_without_records_make_no_chunk(client: Client) -> None:
    """A partition that brought nothing is left out, and its next chunk has no gap before it."""
    assert span(client.poll(3, position=4)) == (3, 4)
    assert client.poll(position=6) is None
    assert span(client.poll(6, position=7)) == (4, 7)


def test_a_chunk_ends_behind_its_last_record(client: Client) -> None:
    """When the client has no position, the last record's offset says where to go on."""
    assert span(client.poll(3, 4, has_valid_position=False)) == (3, 5)
    assert span(client.poll(5, position=6, has_valid_position=True)) == (5, 6)


def test_a_client_that_skipped_records_shows_a_gap(client: Client) -> None:
    """What was fetched before a seek begins at its own first record: the host sees the gap."""
    client.poll(3, position=4)

    async def seek_back() -> None:
        await client.consumer.again(AT, 2)

    client.meanwhile = seek_back
    assert span(client.poll(6, position=2)) == (6, 7), "not (2, 7): 2 to 5 never came"


def test_a_poll_within_a_seek_is_no_later_than_its_records(client: Client) -> None:
    """The seek has happened and has not been told: old records must not pass for new ones."""
    client.poll(6, position=7)
    found = []

    async def poll() -> None:
        polled = await client.consumer._getmany(None, 1.0)
        found.append(client.consumer._to_message(AT, polled[AT][0]).value)

    client.while_seeking = poll
    client.poll(position=4)
    client._brings = client.brought(3)
    client.again(3)
    assert [span(chunk) for chunk in found] == [(3, 4)], "not (7, 4): 3 was joined before"


def test_a_chunk_begins_no_later_than_its_first_record(client: Client) -> None:
    """Whoever moved the client back without a word: its records are seen to be old."""
    client.poll(6, position=7)
    assert span(client.poll(3, position=4)) == (3, 4)


# --- seeks


def test_a_start_goes_on_where_the_state_stands(client: Client) -> None:
    """After a rebalance every assigned partition is sought to its state's position, others not."""
    stands = {AT: 42, TP("not ours", 0): 5}
    client.consumer.app.seats = SimpleNamespace(  # type: ignore[attr-defined]
        seek_positions=lambda: stands
    )
    asyncio.run(client.consumer.perform_seek())
    assert client.sought == [(AT, 42)]
    assert span(client.poll(45, position=46)) == (42, 46)


def test_asked_again_a_partition_goes_on_from_there(client: Client) -> None:
    """After a gap the next chunk begins at the position that was asked for."""
    client.poll(45, position=46)
    client.again(40)
    assert client.sought == [(AT, 40)]
    assert span(client.poll(41, position=42)) == (40, 42)


def test_what_is_not_ours_any_more_is_not_sought(client: Client) -> None:
    """A task that asks for a partition that has gone leaves the client as it is."""
    client.forget()
    client.again(40)
    assert client.sought == []
    assert client.consumer.taken == {}


def test_a_fetcher_in_the_midst_of_its_records_meets_no_seek() -> None:
    """A seek out of another thread took records away that a poll was about to look at.

    This is aiokafka's own fetcher: the KeyError that ended a worker, and why it cannot come from a
    seek that has its turn between two polls.
    """
    found = fetcher.Fetcher.__new__(fetcher.Fetcher)
    found._subscriptions = SimpleNamespace(
        reassignment_in_progress=False, seek=lambda _tp, _offset: None
    )
    found._wait_consume_future = None
    found._notify = lambda _future: None

    class Emptied(fetcher.FetchResult):  # type: ignore[misc]
        """The first of two; while it is read another thread seeks the second."""

        def __init__(self, meanwhile: Callable[[], None]) -> None:
            self._meanwhile = meanwhile

        def getall(self, max_records: int | None = None) -> Polled:
            self._meanwhile()
            return Polled([], 0)

        def has_more(self) -> bool:
            return True

    async def poll(meanwhile: Callable[[], None]) -> None:
        kinds = fetcher.FetchResult
        fetcher.FetchResult = Emptied  # it is asked for its very type
        try:
            found._records = {AT: Emptied(meanwhile), IDLE: Emptied(lambda: None)}
            await found.fetched_records([AT, IDLE], 0)
        finally:
            fetcher.FetchResult = kinds

    with pytest.raises(KeyError):
        asyncio.run(poll(lambda: found.seek_to(IDLE, 5)))

    async def both() -> None:
        polled = asyncio.create_task(poll(lambda: None))
        asyncio.get_running_loop().call_soon(found.seek_to, IDLE, 5)
        await polled

    asyncio.run(both())


def test_faust_drops_nothing_that_is_fetched_again() -> None:
    """It notes a message after handing it on, maybe after a seek back: nothing is noted."""
    read = NoOffsets()
    read[AT] = 40
    read.update({AT: 41})
    assert read[AT] is None


# --- the first poll


def test_a_poll_waits_for_partitions_no_longer_than_it_must(client: Client) -> None:
    """What is resumed or released is fetched at once, not a second later."""
    made = client.consumer
    made._active_partitions, made._paused_partitions = set(), {AT}
    made._buffered_partitions = set()

    async def story(wake: Callable[[], None]) -> None:
        waiting = asyncio.create_task(made._wait_next_records(3600.0))
        await asyncio.sleep(0)
        assert not waiting.done()
        wake()
        async with asyncio.timeout(60):
            assert await waiting == ({}, set())

    asyncio.run(story(lambda: made.resume_partitions({AT})))
    made._active_partitions, made._buffered_partitions = set(), {AT}
    asyncio.run(story(lambda: made.on_buffer_drop(AT)))
    assert made._active_partitions == {AT}


def test_what_is_restored_is_fetched_when_its_state_is_there(client: Client) -> None:
    """The flow of the others resumes before; then it goes on from where its state stands."""
    made = client.consumer
    made._active_partitions, made._paused_partitions = set(), {AT, IDLE}
    client.restoring = {AT}
    made.resume_partitions([AT, IDLE])
    assert (made._active_partitions, made._paused_partitions) == ({IDLE}, {AT})
    client.restoring = set()
    asyncio.run(made.go_on({AT: 42, TP("gone", 0): 7}))
    assert client.sought == [(AT, 42)]
    assert (made._active_partitions, made._paused_partitions) == ({IDLE, AT}, set())
    assert span(client.poll(45, position=46)) == (42, 46)


# --- read to the end


def test_the_end_is_known_when_the_last_fetch_found_nothing(client: Client) -> None:
    """Then the time of that fetch is the answer, in microseconds."""
    client.poll(position=100)
    assert client.ended(100) == 7_000


@pytest.mark.parametrize(
    ("case", "known"),
    [
        ("never fetched", {"timestamp": None}),
        ("no position yet", {"has_valid_position": False}),
        ("more to fetch", {"position": 99}),
        ("end unknown", {"highwater": None, "lso": None}),
    ],
)
def test_a_partition_is_behind_until_the_contrary_is_known(
    client: Client, case: str, known: dict[str, Any]
) -> None:
    """What is not known does not let the clock run."""
    client.poll(**{"position": 100, **known})
    assert client.ended(100) == 0, case


@pytest.mark.parametrize(("lso", "at_us"), [(100, 7_000), (None, 0), (-1, 0)])
def test_what_an_open_transaction_holds_back_was_not_sent(
    client: Client, lso: int | None, at_us: int
) -> None:
    """The last stable offset is the end where there is one, not the high watermark."""
    client.poll(position=100, highwater=105, lso=lso)
    assert client.ended(100) == at_us


def test_records_on_their_way_to_the_task_keep_it_behind(client: Client) -> None:
    """The end counts only when all that left the fetcher has been joined, markers included."""
    client.poll(98, position=100)
    assert client.ended(98) == 0
    assert client.ended(99) == 0, "the marker behind the record is not passed yet"
    assert client.ended(100) == 7_000


def test_a_position_seen_between_polls_is_not_believed(client: Client) -> None:
    """The fetcher may be past records that no task has seen: only a poll's end says the time."""
    client.poll(98, position=99)
    client.state.position = 100
    assert client.ended(99) == 0
    client.poll(99, position=100)
    assert client.ended(100) == 7_000


def test_a_seek_puts_a_partition_behind(client: Client) -> None:
    """After a seek nothing is at its end before another poll."""
    client.poll(99, position=100)
    client.again(100)
    assert client.ended(100) == 0
    client.poll(position=100, timestamp=9)
    assert client.ended(100) == 9_000


def test_a_partition_of_others_is_not_known(client: Client) -> None:
    """Without assignment there is no position, no end and no sign of the broker."""
    client.forget()
    assert client.consumer.fetch_position(AT) is None
    assert client.ended(0) == 0
    assert client.consumer.lag(AT, 0) is None
    assert client.consumer.fetched_at_ms(AT) is None


# --- group and broker


class Coordinator:
    """A member of a group whose heartbeats end as a test says."""

    def __init__(self, is_well: bool = True) -> None:
        self.generation, self.member_id, self._group_instance_id = 4, "m", "w0"
        self.is_well = is_well
        self.meanwhile: Callable[[], None] = lambda: None
        self.left_as: list[str | None] = []
        self.is_rebalancing = self.is_cancelled_early = False
        self._rejoin_needed_fut = SimpleNamespace(done=lambda: self.is_rebalancing)

    async def _do_heartbeat(self) -> bool:
        self.meanwhile()
        return self.is_well

    async def close(self) -> None:
        if self.is_cancelled_early:
            raise asyncio.CancelledError  # out of the heartbeats, as aiokafka waits for them
        self.left_as.append(self._group_instance_id)

    async def _maybe_leave_group(self) -> None:
        self.left_as.append(self._group_instance_id)


def test_membership_is_what_the_broker_says_of_it(client: Client) -> None:
    """A stale one, and one that ends with the next join, is none to restore a task with."""

    def asked(**known: Any) -> bool | None:
        client.kafka._coordinator = made = Coordinator()
        made.__dict__.update(known)
        return asyncio.run(client.consumer.is_member())

    assert asked() is True
    assert asked(is_well=False) is None, "no answer"

    def evict() -> None:
        client.kafka._coordinator.generation = -1

    def rebalance() -> None:
        client.kafka._coordinator.is_rebalancing = True

    assert asked(is_well=False, meanwhile=evict) is False
    assert asked(meanwhile=rebalance) is False
    client.kafka._coordinator = SimpleNamespace()  # partitions assigned by hand: no group
    assert asyncio.run(client.consumer.is_member()) is True


def test_a_planned_stop_leaves_the_group_although_its_member_is_static(client: Client) -> None:
    """Aiokafka never leaves with an instance id: the others would wait for a session."""
    client.kafka._coordinator = coordinator = Coordinator()
    asyncio.run(client.consumer.leave_group())
    assert coordinator.left_as == [None]


def test_heartbeats_cancelled_before_they_began_keep_nobody_in_the_group(client: Client) -> None:
    """Their cancel came out of the stop of a worker, which ended with 1 and a stack."""
    client.kafka._coordinator = coordinator = Coordinator()
    coordinator.is_cancelled_early = True
    asyncio.run(client.consumer.leave_group())
    assert coordinator.left_as == [None]


def test_a_call_that_is_cancelled_in_the_client_is_an_error(client: Client) -> None:
    """It must not end a task of ours without a word; of a membership it means: not known."""

    async def cancelled() -> None:
        raise asyncio.CancelledError

    client.while_seeking = cancelled
    with pytest.raises(TimeoutError):
        client.again(5)
    client.kafka._coordinator = Coordinator()
    assert asyncio.run(client.consumer.is_member()) is None


def test_lag_is_what_lies_before_the_end(client: Client) -> None:
    """Of a task's position; the end is that of committed records where the client knows it."""
    client.poll(3, 4, position=5)
    assert client.consumer.lag(AT, 5) == 95
    assert client.consumer.lag(AT, 3) == 97
    client.state.lso = 40
    assert client.consumer.lag(AT, 5) == 35
    client.state.lso = -1
    assert client.consumer.lag(AT, 5) == 95
    client.state.has_valid_position = False
    assert client.consumer.lag(AT, 5) is None
    client.state.has_valid_position, client.state.highwater = True, None
    assert client.consumer.lag(AT, 5) is None


def test_a_marker_behind_the_last_record_is_no_lag(client: Client) -> None:
    """The end of a topic of transactions is a marker: no record ever brings a task there."""
    client.poll(97, 98, position=99)
    assert client.consumer.lag(AT, 99) == 1, "the client has not seen yet that it is a marker"
    client.poll(position=100)
    assert client.consumer.lag(AT, 99) == 0
    assert client.consumer.lag(AT, 98) == 2, "a task that has not joined record 98 is behind"


def test_a_partition_was_fetched_when_it_was_answered(client: Client) -> None:
    """An answer without records counts: the partition is there and has a leader."""
    assert client.consumer.fetched_at_ms(AT) == 7
    client.state.timestamp = None
    assert client.consumer.fetched_at_ms(AT) is None


def test_the_worker_is_heard_of_while_it_restores(monkeypatch: pytest.MonkeyPatch) -> None:
    """The heartbeat begins before the restore, which may take longer than a session."""
    done: list[str] = []

    async def restore(_thread: object, assigned: set[TP], _generation: int = 0) -> None:
        done.append(f"restored {len(assigned)}")

    base = driver.AIOKafkaConsumerThread
    monkeypatch.setattr(base, "on_partitions_assigned", restore)
    thread = ChunkConsumerThread.__new__(ChunkConsumerThread)
    coordinator = SimpleNamespace(_start_heartbeat_task=lambda: done.append("beating"))
    thread._consumer = SimpleNamespace(_coordinator=coordinator)
    asyncio.run(thread.on_partitions_assigned({AT, IDLE}, 3))
    assert done == ["beating", "restored 2"]


def test_connections_are_those_of_the_client(client: Client) -> None:
    """Before the client has started there are none."""
    client.kafka._client = SimpleNamespace(_conns={1: "one", 2: "two"})
    assert client.consumer.connections() == ["one", "two"]
    client.consumer._thread._consumer = None
    assert client.consumer.connections() == []


def test_membership_is_the_coordinators(client: Client) -> None:
    """Generation, member and instance are as of now; outside of a group there are none."""
    assert client.consumer.membership() is None
    client.kafka._coordinator = SimpleNamespace(
        generation=4, member_id="m", _group_instance_id=None
    )
    assert client.consumer.membership() == (4, "m", None)
    client.kafka._coordinator = SimpleNamespace()  # partitions assigned by hand: no group
    assert client.consumer.membership() is None
