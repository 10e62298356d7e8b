"""The transport: chunks without seams, and "read to its end" only when that is known."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer import fetcher
from faust.types.tuples import TP

from streams.runtime.chunk import Chunk
from streams.runtime.fetching import Polled
from streams.runtime.transport import NoOffsets
from tests.unit.runtime.transport_cases import AT, IDLE, Client


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
    """What was fetched before a seek goes on where the last poll ended: the host sees the gap."""
    client.poll(3, position=4)

    async def seek_back() -> None:
        await client.consumer.again(AT, 2)

    client.meanwhile = seek_back
    assert span(client.poll(6, position=2)) == (4, 7), "not (2, 7): 2 and 3 did not come again"


def test_a_poll_within_a_seek_is_no_later_than_its_records(client: Client) -> None:
    """The seek has happened and has not been told: old records must not pass for new ones."""
    client.poll(6, position=7)
    found = []

    async def poll() -> None:
        polled = await client.consumer._getmany({AT}, 1.0)
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


def test_what_a_poll_took_within_a_seek_is_all_that_lies_there(client: Client) -> None:
    """The seek was to 40, a hole; 42 is taken before the seek's end is heard.

    Taken for a gap it would be dropped; were the client still taken to be at 40 afterwards, 45
    would pass for all that follows, and nobody would miss it.
    """
    client.poll(38, position=39)
    found = []

    async def poll() -> None:
        polled = await client.consumer._getmany({AT}, 1.0)
        found.append(client.consumer._to_message(AT, polled[AT][0]).value)

    client.while_seeking = poll
    client._brings = client.brought(42)
    client.state.position = 43
    client.again(40)
    assert [span(chunk) for chunk in found] == [(40, 43)]
    assert client.consumer.read_to_end_at_us(AT, 40) == 0, "42 is on its way"
    client.while_seeking = None
    assert span(client.poll(45, position=46)) == (43, 46)


def test_what_was_polled_and_never_arrived_is_missed(client: Client) -> None:
    """A rebalance may drop what a poll brings: the next chunk does not pass for both."""

    async def dropped() -> None:
        raise TimeoutError

    client.poll(3, position=4)
    client.meanwhile = dropped
    with pytest.raises(TimeoutError):
        client.poll(4, position=5)
    client.meanwhile = None
    assert span(client.poll(7, position=8)) == (5, 8)


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
    made.hold(AT)
    asyncio.run(story(lambda: made.release(AT)))
    made._active_partitions, made._buffered_partitions = set(), {AT}
    asyncio.run(story(lambda: made.on_buffer_drop(AT)))
    assert made._active_partitions == {AT}


def test_a_rebalance_lets_go_of_nothing_that_is_held(client: Client) -> None:
    """The flow of all partitions resumes; what its task has enough of is still not polled."""
    made = client.consumer
    made._active_partitions, made._paused_partitions = set(), {AT}
    made.hold(AT)
    made.resume_partitions({AT})
    assert client.poll(0, 1) is None
    made.release(AT)
    assert span(client.poll(0, 1)) == (0, 2)


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


def test_an_end_seen_before_a_seek_does_not_count_while_it_is_under_way(client: Client) -> None:
    """What is about to be fetched again is not behind the task yet."""
    client.poll(0, 1, 2, position=3, highwater=3, lso=3)
    assert client.consumer.read_to_end_at_us(AT, 3) == 7000
    seen: list[int] = []

    async def look() -> None:
        seen.append(client.consumer.read_to_end_at_us(AT, 1))

    client.while_seeking = look
    client.again(1)
    assert seen == [0]
    assert client.consumer.read_to_end_at_us(AT, 1) == 0


@pytest.mark.parametrize(
    ("case", "known"),
    [
        ("never fetched", {"known_ms": None}),
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
    client.poll(position=100, known_ms=9)
    assert client.ended(100) == 9_000


def test_a_partition_of_others_is_not_known(client: Client) -> None:
    """Without assignment there is no position, no end and no sign of the broker."""
    client.forget()
    assert client.consumer.fetch_position(AT) is None
    assert client.ended(0) == 0
    assert client.consumer.lag(AT, 0) is None
    assert client.consumer.fetched_at_ms(AT) is None


def test_what_a_cancelled_poll_took_is_known_to_have_left(client: Client) -> None:
    """A rebalance cancels polls: the fetcher has moved on, and nothing else says that it has."""
    consumer = client.consumer

    async def cancelled() -> None:
        raise asyncio.CancelledError

    async def story() -> None:
        client.state.highwater = client.state.lso = 3
        client.state.position = 3
        client._brings = client.brought(0, 1, 2)
        client.meanwhile = cancelled
        with pytest.raises(asyncio.CancelledError):
            await consumer._getmany({AT}, 1.0)

    asyncio.run(story())
    consumer._end_seen_us[AT] = 7000
    assert (consumer.taken.get(AT, 0), consumer.handed_out(AT)) == (0, 3)
    assert consumer.read_to_end_at_us(AT, 0) == 0
    assert consumer.lag(AT, 0) == 3
    assert (consumer.read_to_end_at_us(AT, 3), consumer.lag(AT, 3)) == (7000, 0)
