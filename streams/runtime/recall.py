"""Reading a trace's last revision back from the output topic, when a late span asks for it.

The closed set knows the cut that published a trace, and a cut's records carry one Kafka
timestamp, so the broker finds the place; nothing but the trace's own cut is read.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from streams.codec.recalled import TraceReader
from streams.errors import BrokerError
from streams.runtime import refusals
from streams.runtime.link import open_client

_SECONDS: Final = 10.0
VISIBLE_MS: Final = 30_000
"""By then a committed cut can be read; before, one that is not seen may not be visible yet."""
Recalled = dict[bytes, list[bytes] | None]


def recall(
    base: Mapping[str, object],
    topic: str,
    partition: int,
    wanted: Sequence[tuple[bytes, int, int]],
    reader: TraceReader,
    *,
    can_seek_time: bool,
    is_over: Callable[[], bool],
) -> Recalled:
    """Return the events of earlier revisions; None for a trace that is not there any more.

    A trace is left out while an open transaction, of a dead worker perhaps, hides what follows.
    Blocking.

    Args:
        base: connection settings of the client.
        topic: where the traces were published.
        partition: and in which partition.
        wanted: (trace id, cut_ms, revision) of each trace.
        reader: reads the values.
        can_seek_time: false for a broker without look-up by time: everything it holds is read.
        is_over: asked twice a second: nobody wants the answer any more.

    Raises:
        BrokerError: the topic cannot be read, or not before it is over.
    """
    consumer = open_client(
        Consumer,
        {
            **base,
            "group.id": "spanloom-recall",  # never committed, never joined
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        },
    )
    found: Recalled = dict.fromkeys((trace_id for trace_id, _, _ in wanted), None)
    try:
        by_cut: dict[int, dict[bytes, tuple[bytes, int]]] = {}
        for trace_id, cut_ms, revision in wanted:
            cut = by_cut.setdefault(cut_ms if can_seek_time else 0, {})
            cut[trace_id.hex().encode()] = (trace_id, revision)
        cuts = _Cuts(consumer, topic, partition)
        for cut_ms, keys in sorted(by_cut.items()):
            cuts.begin(cut_ms)
            _read_cut(cuts, cut_ms, keys, reader, found, is_over)
    except KafkaException as error:
        raise BrokerError(
            f"{topic}/{partition} cannot be read back: {error.args[0].str()}. Operator action: "
            "check that the worker may read the topic it writes."
        ) from error
    finally:
        consumer.close()
    return found


def settled(
    found: Mapping[bytes, list[bytes] | None], wanted: Sequence[tuple[bytes, int, int]], now_ms: int
) -> Recalled:
    """Return the answers that will not change; the others are to be asked for again.

    A cut that is being committed, or whose commit has not reached every partition, cannot be read
    yet: a trace that is missing in it is not lost, and its late spans must not be counted so.

    Args:
        found: what `recall` gave.
        wanted: (trace id, cut_ms, revision) of each trace.
        now_ms: the clock that `cut_ms` was taken from.
    """
    cut_ms = {trace_id: cut for trace_id, cut, _ in wanted}
    return {
        trace_id: bodies
        for trace_id, bodies in found.items()
        if bodies is not None or now_ms - cut_ms[trace_id] > VISIBLE_MS
    }


class _Cuts:
    """A consumer that reads one cut of a partition after the other."""

    def __init__(self, consumer: Consumer, topic: str, partition: int) -> None:
        self.consumer, self.topic, self.partition = consumer, topic, partition
        self._is_assigned = False

    def begin(self, cut_ms: int) -> None:
        """Go to a cut, 0: to the beginning; to the end if nothing that can be read is so new."""
        at = TopicPartition(self.topic, self.partition, cut_ms or OFFSET_BEGINNING)
        if cut_ms:
            at = self.consumer.offsets_for_times([at], timeout=_SECONDS)[0]
        if self._is_assigned:
            # Assigning once more would stop the fetching of the same partition a second time: if
            # that meets a close, librdkafka aborts the process (issue 5573 there).
            self.consumer.seek(at)
        else:
            self.consumer.assign([at])
            self._is_assigned = True

    def is_hidden_from(self, offset: int) -> bool:
        """Whether there is more, at an offset where no more can be read: a transaction is open."""
        at = TopicPartition(self.topic, self.partition)
        _, end = self.consumer.get_watermark_offsets(at, cached=True)
        return bool(offset < end)


def _read_cut(
    cuts: _Cuts,
    cut_ms: int,
    keys: dict[bytes, tuple[bytes, int]],
    reader: TraceReader,
    found: Recalled,
    is_over: Callable[[], bool],
) -> None:
    waiting = dict(keys)
    deadline = time.monotonic() + _SECONDS
    while waiting and time.monotonic() < deadline and not is_over():
        for message in cuts.consumer.consume(200, 0.5):
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    if cuts.is_hidden_from(message.offset()):
                        for trace_id, _ in waiting.values():
                            del found[trace_id]
                    return
                if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    raise refusals.of_right(error, "Read", f"topic {cuts.topic}")
                continue
            if cut_ms and message.timestamp()[1] > cut_ms:
                return
            known = waiting.get(message.key())
            if known is None:
                continue
            revision, bodies = reader.read(message.value())
            if revision == known[1]:
                found[known[0]] = bodies
                del waiting[message.key()]
    if waiting:  # not the same as a trace that is not there any more
        why = "before the worker ended" if is_over() else f"within {_SECONDS:.0f} s"
        raise BrokerError(
            f"{cuts.topic}/{cuts.partition} could not be read back {why}. Operator action: look at "
            "the broker; the traces are asked for again."
        )
