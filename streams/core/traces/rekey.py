"""Which messages carry events to the partitions of their traces.

Owns the cutting of a step's events into messages. Invariant: each event is in one message, every
message is of one partition, and the events of a partition keep the order they came in.
"""

from typing import NamedTuple

import numpy as np

from streams.units import I64


class Cutting(NamedTuple):
    """How n events are cut into m messages.

    Attributes:
        order: (n,) the events, those of a message together.
        start: (m + 1,) where in `order` each message begins; the last is where all end.
        partition: (m,) where each message goes.
    """

    order: I64
    start: I64
    partition: I64


def cut(partition: I64, size_bytes: I64, bytes_max: int) -> Cutting:
    """Return the messages of events by the partitions they go to, in the order of these.

    A message is as full as it may be: the next event of its partition does not fit any more.

    Args:
        partition: (n,) where each event goes, >= 0.
        size_bytes: (n,) what each event takes, >= 0.
        bytes_max: what a message takes at most; one event that is larger travels alone.
    """
    assert len(partition) == len(size_bytes), (len(partition), len(size_bytes))
    order = np.argsort(partition, kind="stable")
    target = partition[order]
    end_bytes = np.cumsum(size_bytes[order])
    edges = np.flatnonzero(np.diff(target)) + 1
    starts: list[int] = []
    for first, last in zip([0, *edges.tolist()], [*edges.tolist(), len(order)], strict=True):
        at = first
        while at < last:
            starts.append(at)
            before = int(end_bytes[at - 1]) if at else 0
            fits = int(np.searchsorted(end_bytes[:last], before + bytes_max, side="right"))
            at = max(fits, at + 1)
    start = np.array([*starts, len(order)], np.int64)
    return Cutting(order, start, target[start[:-1]])
