"""Chunks instead of messages: Faust's Kafka transport, so that an agent sees one poll at a time.

Owns the way from a fetch to a `Chunk`. Faust keeps membership, assignment and fetching; its
acknowledgments do not fit chunks and are ignored, since the state's own position is the only one
(docs/adr/0002-one-transaction-per-task.md).

Invariant: chunks of one partition are contiguous in fetch positions, or the gap is seen: a chunk
says where its fetch began and where the next one will.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol, cast

import aiokafka
import faust
import structlog
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP, ConsumerMessage

from streams.errors import BrokerError
from streams.runtime.cancelling import own_cancels_only
from streams.runtime.chunk import Chunk
from streams.runtime.fetching import FETCH_MIN_BYTES, FETCH_WAIT_MS, Polled, partition_state

log = structlog.get_logger()
CLIENT_SECONDS: Final = 15.0
"""How long the client's thread may take for a call."""
SEEKS: Final = 2
"""So often it is asked to seek: on a machine without CPU to spare it answers late. Asked again, it
seeks to the same place. All of it fits in what Faust waits for a seek, its request time-out: after
that the flow would never go on, without a word."""


class Seats(Protocol):
    """What the transport asks of the worker."""

    async def assigned(self, partitions: set[TP]) -> None:
        """Begin to restore newly assigned partitions; called before the flow resumes."""

    async def revoked(self, partitions: set[TP]) -> None:
        """Cut what is done; called before partitions go."""

    def seek_positions(self) -> Mapping[TP, int]:
        """Return where each assigned partition goes on."""

    def is_restoring_partition(self, tp: TP) -> bool:
        """Whether a partition must not be fetched yet."""


class ChunkConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread with the settings that Faust has no name for."""

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Without this Faust reads aborted records: an alert that never was becomes an incident.
        consumer._isolation_level = "read_committed"
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        consumer._fetch_min_bytes = FETCH_MIN_BYTES
        return consumer

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Keep the membership while states are read back.

        aiokafka sends no heartbeat before this returns: a restore that took longer than a session
        cost the membership, so that whoever got the partitions next had to restore as long.
        """
        assert self._consumer is not None
        self._consumer._coordinator._start_heartbeat_task()
        await super().on_partitions_assigned(assigned, generation_id)

    async def on_thread_stop(self) -> None:
        """Leave the group at a planned stop."""
        await self.leave_group()
        await super().on_thread_stop()

    # --- called in the thread of the client, by `call_thread`

    async def leave_group(self) -> None:
        """Leave the group, once; aiokafka never leaves with a static member id."""
        coordinator = self._coordinator()
        if coordinator is not None:
            coordinator._group_instance_id = None
            try:
                with own_cancels_only():
                    await coordinator.close()
            except TimeoutError:
                # `close` waits for the heartbeats that it cancels. Cancelled before their first
                # step they raise it there, and the group was never told.
                await coordinator._maybe_leave_group()

    async def seek_assigned(self, positions: Mapping[TP, int]) -> list[TP]:
        """Seek those partitions that are assigned; return them."""
        consumer = self._ensure_consumer()
        assigned = [tp for tp in positions if tp in consumer.assignment()]
        for tp in assigned:
            consumer.seek(tp, positions[tp])
            partition_state(consumer, tp).handed_to = positions[tp]
        return assigned

    async def is_member(self) -> bool | None:
        """Ask the broker whether our membership is the group's current one.

        Returns:
            True when it is, so that no other worker can have our partitions before we join again;
            False when it is not or will not be for long, and we are about to join again; None when
            the broker did not say.
        """
        coordinator = self._coordinator()
        if coordinator is None:
            return True  # without a group nobody else can have them
        generation = coordinator.generation
        is_well = await coordinator._do_heartbeat()
        if coordinator.generation != generation or coordinator._rejoin_needed_fut.done():
            return False
        return True if is_well else None

    def _coordinator(self) -> Any:
        """Return aiokafka's coordinator of the group, None outside of one."""
        coordinator = self._consumer._coordinator if self._consumer is not None else None
        return coordinator if hasattr(coordinator, "generation") else None


class NoOffsets(dict[TP, int | None]):
    """Forgets what it is told: Faust drops what is before the newest offset that it has seen.

    It notes a message after it was handed on, maybe after a seek back: what was fetched again
    would be dropped, and the gap be seen with the record after it, if there ever is one.
    """

    def __getitem__(self, tp: TP) -> int | None:
        return None

    def __setitem__(self, tp: TP, offset: int | None) -> None:
        return None

    def update(self, *_args: Any, **_kwargs: Any) -> None:
        """Do nothing."""


class ChunkConsumer(driver.Consumer):
    """Faust's consumer, handing out one message per partition and poll."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_offset = NoOffsets()
        self._wanted = asyncio.Event()
        """Set when a partition may be fetched that could not before."""
        self._held: set[TP] = set()
        """What its task has enough of. Faust's own set of full buffers is not used: a rebalance
        undoes it."""
        self.taken: dict[TP, int] = {}
        """Per partition the fetch position after the last records that left the fetcher."""
        self._end_seen_us: dict[TP, int] = {}
        """Per partition when its end was last reached, 0 while it is not."""

    @property
    def seats(self) -> Seats:
        """The worker's side of assignment."""
        seats: Seats = self.app.seats  # type: ignore[attr-defined]
        return seats

    _thread: ChunkConsumerThread

    def _new_consumer_thread(self) -> ChunkConsumerThread:
        return ChunkConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Fetch partitions again, but those whose state is not there yet: see `go_on`."""
        super().resume_partitions({tp for tp in tps if not self.seats.is_restoring_partition(tp)})
        self._wanted.set()

    def on_buffer_drop(self, tp: TP) -> None:
        """Fetch a partition again that was held."""
        super().on_buffer_drop(tp)
        self._wanted.set()

    def hold(self, tp: TP) -> None:
        """Poll nothing more of a partition until it is released."""
        self._held.add(tp)

    def release(self, tp: TP) -> None:
        """Poll a partition again."""
        self._held.discard(tp)
        self._wanted.set()

    async def _wait_next_records(self, timeout: float) -> Any:
        if self.flow_active and not self._get_active_partitions() - self._held:
            # Faust looks again every second: an assignment would wait for that on its first poll.
            self._wanted.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), timeout)
            return {}, set()
        return await super()._wait_next_records(timeout)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        wanted = (active_partitions or set()) - self._held
        if not wanted:  # for aiokafka none would mean all
            return {}
        polled: Any = await super()._getmany(wanted, min(timeout, FETCH_WAIT_MS / 1000))
        spans = {}
        for tp, found in polled.items():
            if len(found):
                spans[tp] = [found]
                self.taken[tp] = found.end
        # Only here is nothing between fetcher and loop: a position that was looked at later could
        # be past records that no task has seen, and traces would be closed without them.
        for tp in self.assignment():
            self._end_seen_us[tp] = self._read_to_end_us(tp)
        return spans

    def _to_message(self, tp: TP, record: Polled) -> ConsumerMessage:
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            record.end - 1,
            record.batches[-1].base_ms / 1000,
            0,
            [],
            None,
            cast(Any, Chunk(tp.topic, tp.partition, record.begin, record.end, record.batches)),
            None,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )

    # --- Faust's own bookkeeping of offsets is not used

    def _new_offset(self, tp: TP) -> int | None:
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return None

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        return None

    # --- assignment

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Take partitions over before Faust resumes the flow: its own signal comes too late."""
        await self.seats.assigned(set(assigned))
        await super().on_partitions_assigned(assigned, generation_id)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Cut while the partitions are still ours."""
        await self.seats.revoked(set(revoked))
        await super().on_partitions_revoked(revoked)

    async def perform_seek(self) -> None:
        """Seek every partition to where its state stands; committed offsets are not asked."""
        await self.seek_all(self.seats.seek_positions())

    async def again(self, tp: TP, position: int) -> None:
        """Fetch a partition again from a position, after a gap was seen."""
        await self.seek_all({tp: position})

    async def seek_all(self, positions: Mapping[TP, int]) -> None:
        """Fetch partitions again from positions; those that are not ours are left out.

        The client's own thread seeks: its fetcher goes over what it has fetched, a seek takes that
        away (a KeyError of it ended a worker), and no other thread can wake it.

        Raises:
            BrokerError: that thread does not answer.
        """
        before = {tp: self.taken.get(tp) for tp in positions}
        for tp in await self._sought(positions):
            if self.taken.get(tp) == before[tp]:  # else what a poll took meanwhile is on its way
                self.taken[tp] = positions[tp]
            self._end_seen_us[tp] = 0

    async def _sought(self, positions: Mapping[TP, int]) -> list[TP]:
        """Return what of the partitions is ours and was sought."""
        began = time.monotonic()
        for _ in range(SEEKS):
            try:
                return cast(
                    "list[TP]", await self._in_client(self._thread.seek_assigned, dict(positions))
                )
            except TimeoutError:
                log.warning("seek_not_answered", seconds=round(time.monotonic() - began, 1))
        raise BrokerError(
            f"the Kafka client's thread was asked to seek {SEEKS} times, and did not within "
            f"{time.monotonic() - began:.0f} s. "
            "Operator action: look whether the machine has CPU to spare, and at the broker; "
            "nothing uncommitted was published, a restart is safe."
        )

    async def go_on(self, positions: Mapping[TP, int]) -> None:
        """Fetch partitions from now on whose state has been restored."""
        await self.seek_all(positions)
        self.resume_partitions(tp for tp in positions if tp in self.assignment())

    async def leave_group(self) -> None:
        """Leave the group now: the others need not wait until all of the client has stopped."""
        await self._in_client(self._thread.leave_group)

    async def is_member(self) -> bool | None:
        """Ask whether our membership is the group's current one, see `ChunkConsumerThread`."""
        try:
            answer: bool | None = await self._in_client(self._thread.is_member)
        except TimeoutError:
            return None
        return answer

    async def _in_client(self, call: Callable[..., Any], *args: Any) -> Any:
        """Call in the client's thread; one that has died would never answer.

        Raises:
            TimeoutError: it does not, or the call was cancelled there.
        """
        with own_cancels_only():
            return await asyncio.wait_for(self._thread.call_thread(call, *args), CLIENT_SECONDS)

    # --- what aiokafka knows of a partition

    def _partition_state(self, tp: TP) -> Any:
        return partition_state(self._thread._consumer, tp)

    def fetch_position(self, tp: TP) -> int | None:
        """Return where the next fetch of a partition begins, None when that is not known."""
        state = self._partition_state(tp)
        return state.position if state is not None and state.has_valid_position else None

    def handed_out(self, tp: TP) -> int:
        """Return the position after the last records that left the fetcher; 0 for none.

        A poll that is cancelled on its way, as a rebalance does, leaves no other sign of them.
        """
        return max(self.taken.get(tp, 0), getattr(self._partition_state(tp), "handed_to", 0))

    def read_to_end_at_us(self, tp: TP, position: int) -> int:
        """Return when a fetch last found nothing after `position`; 0 if it found more."""
        if self.handed_out(tp) > position:
            return 0
        return self._end_seen_us.get(tp, 0)

    def _read_to_end_us(self, tp: TP) -> int:
        """Return when a fetch last found nothing after the fetch position; 0 if it found more.

        The end is the last stable offset: what an open transaction holds back has not been sent.
        """
        state = self._partition_state(tp)
        known_ms = getattr(state, "known_ms", None)
        if state is None or known_ms is None or not state.has_valid_position:
            return 0
        stamp_us = int(known_ms) * 1000  # before the end, which the fetcher sets first
        end = state.highwater if state.lso is None or state.lso < 0 else state.lso
        return stamp_us if end is not None and state.position >= end else 0

    def connections(self) -> list[Any]:
        """Return the connections to brokers as they are now."""
        consumer = self._thread._consumer
        return list(consumer._client._conns.values()) if consumer is not None else []

    def fetched_at_ms(self, tp: TP) -> int | None:
        """Return when a fetch of a partition was last answered, None for never since assigned."""
        state = self._partition_state(tp)
        return None if state is None or state.timestamp is None else int(state.timestamp)

    def lag(self, tp: TP, position: int) -> int | None:
        """Return how many offsets lie between a position and the end; None when nobody knows.

        As of the last fetch: a partition that is held is not asked. Behind the last record there
        may be a transaction's marker, which no record ever stands for; it is no lag.
        """
        state = self._partition_state(tp)
        if state is None or not state.has_valid_position:
            return None
        end = state.highwater if state.lso is None or state.lso < 0 else state.lso
        if end is None:
            return None
        if state.position >= end and self.handed_out(tp) <= position:
            return 0
        return max(0, int(end) - position)

    def membership(self) -> tuple[int, str, str | None] | None:
        """Return (generation, member id, instance id) in the group, None outside of it."""
        coordinator = self._thread._coordinator()
        if coordinator is None:
            return None
        return coordinator.generation, coordinator.member_id, coordinator._group_instance_id


class ChunkTransport(driver.Transport):
    """Faust's transport with chunked consumers."""

    Consumer = ChunkConsumer


class ChunkApp(faust.App):
    """A Faust app whose consumer hands out chunks; `seats` is set before it starts."""

    seats: Seats

    def _new_transport(self) -> ChunkTransport:
        return ChunkTransport(self.conf.broker_consumer, self, loop=self.loop)
