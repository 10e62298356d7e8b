"""Which topics there are and how many partitions they have: of the broker, else as it was last.

Owns the file that remembers it, beside the buffer: a collector that starts while Kafka is away goes
on where it was.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from streams.errors import BrokerError, StateError
from streams.runtime import topics
from streams.runtime.link import Link

FILE: Final = "layout.json"

log = structlog.get_logger()


def partitions_of(link: Link, wanted: Sequence[str], folder: Path, *, holds_events: bool) -> int:
    """Return the partition count that all wanted topics have.

    Args:
        link: how to reach the broker.
        wanted: names of topics.
        folder: of the buffer.
        holds_events: whether the buffer holds events that were put into partitions already.

    Raises:
        BrokerError: the broker is away and nothing is remembered; topics are missing, or their
            counts differ.
        StateError: the buffer's events were put into another number of partitions.
    """
    remembered = _read(folder / FILE)
    try:
        link.reach()
    except BrokerError:
        if remembered is None or not set(wanted) <= set(remembered[0]):
            raise
        log.warning("kafka_is_away", action="starts as it was last; events go to the buffer")
        return remembered[1]
    there = topics.partition_counts(topics.admin(link.librdkafka()))
    missing = [name for name in wanted if name not in there]
    if missing:
        raise BrokerError(
            f"topics are missing: {', '.join(missing)}. Operator action: run `spanloom topics "
            "create --broker HOST:PORT --partitions N` with the same --contract as the collector."
        )
    counts = {name: there[name] for name in wanted}
    topics.refuse_several(counts)
    count = counts[wanted[0]]
    if holds_events and remembered is not None and remembered[1] != count:
        raise StateError(
            f"the buffer in {folder} holds events for {remembered[1]} partitions, and the topics "
            f"have {count} now. Operator action: let a collector with the old topics send them "
            "first, or move the buffer's files away to go on without its events."
        )
    _write(folder / FILE, wanted, count)
    return count


def _read(path: Path) -> tuple[list[str], int] | None:
    try:
        said = json.loads(path.read_text("utf-8"))
        return [str(name) for name in said["topics"]], int(said["partitions"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # it is only needed while the broker is away, and then its absence is told


def _write(path: Path, names: Sequence[str], partitions: int) -> None:
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            json.dump({"topics": list(names), "partitions": partitions}, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise StateError(
            f"{path} cannot be written ({error.strerror}). Operator action: let the collector "
            "write its folder, or name another one with --buffer-dir."
        ) from error
