"""The intake: requests are inflated, decoded and judged, and answered when their events are safe.

Owns the thread that does it, and the order of the steps. What waits is taken together: a decode of
many events costs little more than one of few. Invariants: each request is answered once; a request
that cannot be read hurts no other; a rejected event is kept with its reason, or counted as unkept.
"""

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from streams.codec.otlp.bodies import TOO_LARGE as OTLP_TOO_LARGE
from streams.codec.records import encode
from streams.collector import inflate as inflating
from streams.collector import native
from streams.collector.inflate import inflate
from streams.collector.judging import Judge
from streams.collector.meters import Meters
from streams.collector.otlp import OtlpValues
from streams.collector.parcel import Parcel, Settled
from streams.collector.request import Bad, Outcome, Refusal, Request
from streams.core.traces.partitioners import murmur2_partition
from streams.errors import RecordError

STEP_REQUESTS: Final = 64
STEP_BYTES: Final = 4 << 20
"""So much is judged at once; a larger request goes alone."""
TOO_MUCH: Final = frozenset({inflating.TOO_LARGE, native.TOO_MANY, OTLP_TOO_LARGE})
"""Reasons to send less at once."""

log = structlog.get_logger()


class Outlet(Protocol):
    """Where parcels go."""

    def send(self, parcel: Parcel, settled: Settled) -> None:
        """Send a parcel; `settled` is told "" when it is safe, else why it is not."""


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """Bounds and names.

    Attributes:
        inflated_bytes_max: of one request.
        retry_after_seconds: when senders come again if there is no room.
        rejected_topic: where rejected events are kept.
        partitions: of that topic.
    """

    inflated_bytes_max: int
    retry_after_seconds: float
    rejected_topic: str
    partitions: int


@dataclass(slots=True)
class _Pending:
    """A request whose events are on their way to safety."""

    request: Request
    values: list[tuple[int, bytes]]
    bad: list[Bad]
    left: int = 1
    failed: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)


class Intake:
    """The thread.

    Args:
        judge: used by it alone.
        otlp: reads requests of OTLP.
        outlet: where parcels go.
        meters: of the process.
        settings: bounds and names.
    """

    def __init__(
        self,
        judge: Judge,
        otlp: OtlpValues,
        outlet: Outlet,
        meters: Meters,
        settings: IntakeSettings,
    ) -> None:
        self._otlp = otlp
        self._judge, self._outlet, self._meters, self._settings = judge, outlet, meters, settings
        self._queue: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="spanloom-intake", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether its thread works."""
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Requests that wait for it."""
        return self._queue.qsize()

    def submit(self, request: Request) -> None:
        """Take a request; its `done` is called once."""
        self._queue.put(request)

    def close(self) -> None:
        """Finish what was submitted, and end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_over = False
        while not is_over:
            some, is_over = self._gather()
            self._step(some)

    def _gather(self) -> tuple[list[Request], bool]:
        """Wait for a request, and take those that wait with it."""
        found: list[Request] = []
        size = 0
        while len(found) < STEP_REQUESTS and size < STEP_BYTES:
            try:
                request = self._queue.get(block=not found)
            except queue.Empty:
                break
            if request is None:
                return found, True
            found.append(request)
            size += len(request.body)
        return found, False

    def _step(self, requests: Sequence[Request]) -> None:
        pending = [p for p in map(self._read, requests) if p is not None]
        try:
            self._judge_all(pending)
        except Exception:
            # A fault of ours. Nobody was told that anything is safe, so each is told to come again.
            log.exception("intake_failed", requests=len(pending))
            for one in pending:
                self._settle(one, "internal")

    # --- one request

    def _read(self, request: Request) -> _Pending | None:
        """Return the values of a request; None when all of it is refused, which it is told."""
        meters = self._meters
        meters.received_bytes[request.kind] += len(request.body)
        try:
            plain = inflate(request.coding, request.body, self._settings.inflated_bytes_max)
            meters.inflated_bytes[request.kind] += len(plain)
            if request.kind == "events":
                values, bad = native.values_of(request.form, plain)
            else:
                values, bad = self._otlp.values_of(request.kind, request.form, plain), []
        except RecordError as error:
            self._refuse(request, error)
            return None
        except Exception:  # one request that finds a fault of ours must not take others with it
            log.exception("request_failed", kind=request.kind, source=request.source)
            request.done(Refusal(500, "internal", "the collector failed on this request"))
            return None
        return _Pending(request, values, bad)

    def _refuse(self, request: Request, error: RecordError) -> None:
        """Tell that nothing of a request can be read, and keep its begin."""
        status = 413 if error.reason in TOO_MUCH else 400
        shown = request.body[: native.SHOWN_BYTES_MAX]
        self._keep([Bad(0, error.reason, error.detail, shown)], request)
        request.done(Refusal(status, error.reason, f"{error.reason}: {error.detail}"))

    def _keep(self, bad: Sequence[Bad], request: Request) -> None:
        """Send rejected events to their topic; those that find no room are counted."""
        kind, meters = request.kind, self._meters
        if len(bad) > native.BAD_MAX:
            with meters.lock:
                meters.unkept_rejections["too_many"] += len(bad) - native.BAD_MAX
        for one in bad:
            meters.rejected_events[kind, one.reason] += 1
        for one in bad[: native.BAD_MAX]:

            def settled(said: str) -> None:
                if said:
                    with meters.lock:
                        meters.unkept_rejections[said] += 1

            self._outlet.send(self._rejected(one, request), settled)

    def _rejected(self, bad: Bad, request: Request) -> Parcel:
        settings = self._settings
        key = request.source.encode()
        record = {
            "reason": bad.reason,
            "detail": f"from {request.source}, {request.kind}, number {bad.number}: {bad.detail}",
            "topic": f"collector/{request.kind}",
            "partition": -1,
            "offset": -1,
            "timestamp": time.time_ns() // 1_000,
            "key": key,
            "value": bad.value[: native.SHOWN_BYTES_MAX],
            "value_bytes": len(bad.value),
        }
        partition = murmur2_partition(key, settings.partitions)
        return Parcel(settings.rejected_topic, partition, key, encode("rejected_event", record), 0)

    # --- several at once

    def _judge_all(self, pending: Sequence[_Pending]) -> None:
        """Judge the values of requests together, and send what is good of them."""
        values = [value for one in pending for _, value in one.values]
        owner = [n for n, one in enumerate(pending) for _ in one.values]
        place = [index for one in pending for index, _ in one.values]
        judged = self._judge.judge(values) if values else None
        if judged is not None:
            for verdict in judged.rejected:
                row = verdict.row
                bad = Bad(place[row], verdict.reason, verdict.detail, values[row])
                pending[owner[row]].bad.append(bad)
        for one in pending:
            self._keep(one.bad, one.request)
        for parcel, rows in zip(judged.parcels, judged.rows, strict=True) if judged else ():
            owners = {owner[row] for row in rows}
            for n in owners:
                with pending[n].lock:
                    pending[n].left += 1

            def settled(said: str, owners: set[int] = owners) -> None:
                for n in owners:
                    self._settle(pending[n], said)

            self._outlet.send(parcel, settled)
        for one in pending:
            self._settle(one, "")  # what was held so that none is answered before all are sent

    def _settle(self, one: _Pending, said: str) -> None:
        """Take in what became of a parcel; answer the request when it was the last."""
        with one.lock:
            one.left -= 1
            one.failed = one.failed or said
            if one.left:
                return
        if one.failed:
            wait_seconds = self._settings.retry_after_seconds
            words = f"there is no room for these events now ({one.failed}): send them again"
            one.request.done(Refusal(503, one.failed, words, wait_seconds))
            return
        taken = len(one.values) + _of_no_value(one) - len(one.bad)
        with self._meters.lock:
            self._meters.taken_events[one.request.kind] += taken
        one.request.done(Outcome(taken, tuple(sorted(one.bad))))


def _of_no_value(one: _Pending) -> int:
    """Return how many of the bad events never became a value."""
    indexes = {index for index, _ in one.values}
    return sum(bad.number not in indexes for bad in one.bad)
