"""The intake: requests are inflated, decoded and judged, and answered when their events are safe.

Owns the thread that does it, and the order of the steps. What waits is taken together: a decode of
many events costs little more than one of few. Invariants: each request is answered once; a request
that cannot be read hurts no other; a rejected event is kept with its reason, or counted as unkept.
"""

import queue
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import structlog

from streams.codec.inflate import TOO_LARGE as INFLATED_TOO_LARGE
from streams.codec.inflate import inflate
from streams.codec.otlp.requests import TOO_LARGE as OTLP_TOO_LARGE
from streams.codec.records import encode
from streams.codec.treating import RejectedTreating
from streams.collector import native
from streams.collector.judging import Judge, Judged
from streams.collector.meters import Meters
from streams.collector.otlp import QUICK_KINDS, OtlpValues
from streams.collector.parcel import Parcel, Settled
from streams.collector.request import Bad, Kind, Outcome, Refusal, Request
from streams.core.traces.murmur2 import murmur2_partition
from streams.errors import RecordError
from streams.runtime.clock import wall_us
from streams.units import I64

STEP_REQUESTS: Final = 64
STEP_BYTES: Final = 512 << 10
"""So much is judged at once; a larger request goes alone. Of requests of 28 KB each a second of CPU
takes a tenth more spans in steps of 16 or 24 than in steps of 37, which no cache of a core holds,
and who waits for the next step waits half as long. In steps of 4 it takes half as many."""
TOO_MUCH: Final = frozenset({INFLATED_TOO_LARGE, native.TOO_MANY, OTLP_TOO_LARGE})
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
    """A request on its way.

    Attributes:
        request: itself.
        plain: its bytes, inflated.
        values: its events, each with its number; none while it is read with others.
        bad: events that are rejected.
        events: how many are good.
        left: parcels that are not settled yet, and one for itself.
        failed: why a parcel is not safe.
        is_refused: it was told so.
    """

    request: Request
    plain: bytes
    values: list[tuple[int, bytes]] = field(default_factory=list)
    bad: list[Bad] = field(default_factory=list)
    events: int = 0
    left: int = 1
    failed: str = ""
    is_refused: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_quick(self) -> bool:
        """Whether its spans or log records may be read with those of others."""
        return OtlpValues.is_quick(self.request.kind, self.request.form, self.plain)


class Intake:
    """The thread.

    Args:
        judge: used by it alone.
        otlp: reads requests of OTLP.
        outlet: where parcels go.
        meters: of the process.
        settings: bounds and names.
        treating: takes out of rejected events what is personal; None for nothing.
    """

    def __init__(
        self,
        judge: Judge,
        otlp: OtlpValues,
        outlet: Outlet,
        meters: Meters,
        settings: IntakeSettings,
        treating: RejectedTreating | None = None,
    ) -> None:
        self._otlp, self._treating = otlp, treating
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
        """Take requests, so many at once as are small enough when they are inflated."""
        some: list[_Pending] = []
        size = 0
        for request in requests:
            one = self._inflated(request)
            if one is None:
                continue
            some.append(one)
            size += len(one.plain)
            if size >= STEP_BYTES:
                self._take(some)
                some, size = [], 0
        if some:
            self._take(some)

    def _take(self, some: Sequence[_Pending]) -> None:
        """Read and judge requests, and send what is good of them."""
        said = ""
        try:
            rest = list(some)
            for kind in QUICK_KINDS:
                rest = self._take_runs(kind, rest)
            read = [one for one in rest if self._read(one)]
            for is_native in (True, False):
                some_read = [one for one in read if (one.request.kind == "events") == is_native]
                self._take_values(some_read, are_native=is_native)
        except Exception:
            # A fault of ours. Nobody was told that anything is safe, so each is told to come again.
            log.exception("intake_failed", requests=len(some))
            said = "internal"
        for one in some:
            if not one.is_refused:
                one.bad = self._keep(one.bad, one.request)
                self._settle(one, said)  # it was held, so that none is answered too early

    # --- one request

    def _inflated(self, request: Request) -> _Pending | None:
        """Return a request with its bytes; None when it is refused."""
        self._meters.received_bytes[request.kind] += len(request.body)
        try:
            plain = inflate(request.coding, request.body, self._settings.inflated_bytes_max)
        except RecordError as error:
            self._refuse(request, error)
            return None
        self._meters.inflated_bytes[request.kind] += len(plain)
        return _Pending(request, plain)

    def _read(self, one: _Pending) -> bool:
        """Read the values of a request; say whether there is anything left to do with it."""
        request = one.request
        try:
            if request.kind == "events":
                one.values, one.bad = native.values_of(request.form, one.plain)
            else:
                values = self._otlp.values_of(request.kind, request.form, one.plain)
                one.values = list(enumerate(values))
        except RecordError as error:
            one.is_refused = True
            self._refuse(request, error)
            return False
        except Exception:  # one request that finds a fault of ours must not take others with it
            log.exception("request_failed", kind=request.kind, source=request.source)
            one.is_refused = True
            request.done(Refusal(500, "internal", "the collector failed on this request"))
            return False
        return True

    def _refuse(self, request: Request, error: RecordError) -> None:
        """Tell that nothing of a request can be read, and keep its begin."""
        status = 413 if error.reason in TOO_MUCH else 400
        shown = request.body[: native.SHOWN_BYTES_MAX]
        (told,) = self._keep([Bad(0, error.reason, error.detail, shown)], request)
        request.done(Refusal(status, error.reason, f"{error.reason}: {told.detail}"))

    def _keep(self, bad: Sequence[Bad], request: Request) -> list[Bad]:
        """Send rejected events to their topic; those that find no room are counted.

        Returns:
            Them as their sender may be told: without what is personal, which it would log.
        """
        kind, meters = request.kind, self._meters
        if len(bad) > native.BAD_MAX:
            with meters.lock:
                meters.unkept_rejections["too_many"] += len(bad) - native.BAD_MAX
        for one in bad:
            meters.rejected_events[kind, one.reason] += 1
        told = list(bad) if self._treating is None else [one._replace(detail="") for one in bad]
        for n, one in enumerate(bad[: native.BAD_MAX]):
            record: dict[str, Any] = {
                "detail": one.detail,
                "value": one.value,
                "value_bytes": len(one.value),
            }
            if self._treating is not None:
                record = self._treating.at_edge(record | {"reason": one.reason, "key": b""})
                told[n] = one._replace(detail=record["detail"], value=b"")

            def settled(said: str) -> None:
                if said:
                    with meters.lock:
                        meters.unkept_rejections[said] += 1

            self._outlet.send(self._rejected(one, record, request), settled)
        return told

    def _rejected(self, bad: Bad, kept: Mapping[str, Any], request: Request) -> Parcel:
        settings = self._settings
        key = request.source.encode()
        place = f"from {request.source}, {request.kind}, number {bad.number}: "
        record = {
            "reason": bad.reason,
            "detail": place + kept["detail"],
            "topic": f"collector/{request.kind}",
            "partition": -1,
            "offset": -1,
            "timestamp": wall_us(),
            "key": key,
            "value": kept["value"][: native.SHOWN_BYTES_MAX],
            "value_bytes": kept["value_bytes"],
        }
        partition = murmur2_partition(key, settings.partitions)
        return Parcel(settings.rejected_topic, partition, key, encode("rejected_event", record), 0)

    # --- several at once

    def _take_runs(self, kind: Kind, some: list[_Pending]) -> list[_Pending]:
        """Take the requests of a kind that can be read together; return the others."""
        quick = [one for one in some if one.request.kind == kind and one.is_quick]
        run = self._otlp.run(kind, [one.plain for one in quick])
        if run is None or not len(run.body):
            return some
        counts = run.counts.tolist()
        whole = [one for one, count in zip(quick, counts, strict=True) if count]
        self._send(self._judge.judge_spans(run), _Owners(whole, [n for n in counts if n]))
        taken = set(map(id, whole))
        return [one for one in some if id(one) not in taken]

    def _take_values(self, some: Sequence[_Pending], *, are_native: bool) -> None:
        """Take requests whose values were read one by one."""
        values = [value for one in some for _, value in one.values]
        if values:
            owners = _Owners(some, [len(one.values) for one in some])
            self._send(self._judge.judge(values, are_native=are_native), owners)

    def _send(self, judged: Judged, owners: "_Owners") -> None:
        """Send what is good, and tell each request what of it is not.

        Args:
            judged: n values.
            owners: of those values.
        """
        for one, count in zip(owners.requests, owners.counts, strict=True):
            one.events += count
        for verdict in judged.rejected:
            owner, number = owners.place_of(verdict.row)
            owner.events -= 1
            value = judged.value_of(verdict.row)[: native.SHOWN_BYTES_MAX]
            owner.bad.append(Bad(number, verdict.reason, verdict.detail, value))
        for parcel, rows in zip(judged.parcels, judged.rows, strict=True):
            concerned = owners.among(rows)
            for one in concerned:
                with one.lock:
                    one.left += 1

            def settled(said: str, concerned: list[_Pending] = concerned) -> None:
                for one in concerned:
                    self._settle(one, said)

            self._outlet.send(parcel, settled)

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
        with self._meters.lock:
            self._meters.taken_events[one.request.kind] += one.events
        one.request.done(Outcome(one.events, tuple(sorted(one.bad))))


class _Owners:
    """The requests that n values of a step came with.

    Args:
        requests: all of them, in the order of their values.
        counts: how many each has.

    Attributes:
        of: (n,) the position of each value's request.
    """

    def __init__(self, requests: Sequence[_Pending], counts: Sequence[int]) -> None:
        self.requests, self.counts = requests, counts
        self.of: I64 = np.repeat(np.arange(len(requests)), counts)
        self._first = np.cumsum([0, *counts])

    def place_of(self, row: int) -> tuple[_Pending, int]:
        """Return the request of a value, and the value's number there."""
        at = int(self.of[row])
        request = self.requests[at]
        nth = row - int(self._first[at])
        return request, request.values[nth][0] if request.values else nth

    def among(self, rows: I64) -> list[_Pending]:
        """Return the requests that some values came with."""
        is_there = np.zeros(len(self.requests), np.bool_)
        is_there[self.of[rows]] = True
        return [self.requests[i] for i in np.flatnonzero(is_there).tolist()]
