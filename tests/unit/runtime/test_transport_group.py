"""The transport: group, broker, lag and connections, as the client knows them."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP

from streams.errors import BrokerError
from streams.runtime import transport
from streams.runtime.app import REQUEST_SECONDS
from streams.runtime.transport import CLIENT_SECONDS, SEEKS, ChunkConsumerThread
from tests.unit.runtime.transport_cases import AT, IDLE, Client


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    """Return a client that has one partition and fetched nothing yet."""
    return Client(monkeypatch)


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


def test_a_seek_is_given_up_before_faust_goes_on_without_it() -> None:
    """Faust drops what it waits for after its request time-out, and never resumes the flow."""
    assert SEEKS * CLIENT_SECONDS < REQUEST_SECONDS


def test_a_client_that_does_not_answer_in_time_is_told(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And how long it had, with what to do."""
    monkeypatch.setattr(transport, "CLIENT_SECONDS", 0.05)

    async def never() -> None:
        await asyncio.sleep(5)

    client.while_seeking = never
    with pytest.raises(BrokerError, match=r"did not within 0 s\. Operator action: look whether"):
        client.again(5)


def test_a_client_that_answers_late_is_asked_again(client: Client) -> None:
    """On a machine without CPU to spare a task ended for good, with "report this with the log"."""
    calls = []

    async def late() -> None:
        calls.append(1)
        if len(calls) < SEEKS:
            raise asyncio.CancelledError

    client.while_seeking = late
    client.again(5)
    assert len(calls) == SEEKS
    assert client.sought[-1] == (AT, 5)


def test_a_call_that_is_cancelled_in_the_client_is_an_error(client: Client) -> None:
    """It must not end a task of ours without a word; of a membership it means: not known."""

    async def cancelled() -> None:
        raise asyncio.CancelledError

    client.while_seeking = cancelled
    with pytest.raises(BrokerError, match=r"asked to seek 2 times.*Operator action: .*CPU"):
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
