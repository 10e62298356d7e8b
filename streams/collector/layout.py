"""Which topics there are and how many partitions each has: of the broker, else as it was last.

Owns the file that remembers it, beside the buffer: a collector that starts while Kafka is away goes
on where it was. Counts may differ: a topic that has grown is placed anew by the workers (--rekey),
and meanwhile a collector must start. Invariant: while the buffer holds events, the file says by
which counts they were placed.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog

from streams.errors import BrokerError, StateError
from streams.runtime import topics
from streams.runtime.link import Link
from streams.serving.wholefiles import replace_file

FILE: Final = "layout.json"

log = structlog.get_logger()


def partitions_of(
    link: Link, telemetry: Sequence[str], rejected: str, folder: Path, *, holds_events: bool
) -> dict[str, int]:
    """Return the partition count of each topic.

    Args:
        link: how to reach the broker.
        telemetry: names of the topics that events go to.
        rejected: that of rejected events. It has as many partitions as the state of the workers.
        folder: of the buffer.
        holds_events: whether the buffer holds events that were put into partitions already.

    Raises:
        BrokerError: the broker is away and nothing is remembered, or topics are missing.
        StateError: the buffer's events were put into another number of partitions, and no worker
            would place them anew.
    """
    wanted = [*telemetry, rejected]
    remembered = _read(folder / FILE)
    try:
        link.reach()
    except BrokerError:
        if not set(wanted) <= remembered.keys():
            raise
        log.warning("kafka_is_away", action="starts as it was last; events go to the buffer")
        return {name: remembered[name] for name in wanted}
    there = topics.partition_counts(topics.admin(link.librdkafka()))
    missing = [name for name in wanted if name not in there]
    if missing:
        raise BrokerError(
            f"topics are missing: {', '.join(missing)}. Operator action: run `spanloom topics "
            "create --broker HOST:PORT --partitions N` with the same --contract as the collector."
        )
    counts = {name: there[name] for name in wanted}
    placed = remembered if holds_events else {}
    if torn := _torn(placed, there, rejected):
        then = ", ".join(f"{name} had {placed[name]} and has {there[name]}" for name in torn)
        raise StateError(
            f"the buffer in {folder} holds events that were put into partitions by other counts: "
            f"{then}. Operator action: let a collector with the old topics send them "
            "first, or move the buffer's files away to go on without its events."
        )
    _tell_odd(counts, rejected)
    _write(folder / FILE, counts | placed)
    return counts


def _torn(placed: Mapping[str, int], there: Mapping[str, int], rejected: str) -> list[str]:
    """Return the topics whose traces events placed by older counts would tear, or that lost some.

    One that has grown beyond the workers' count is rekeyed by them, or they do not start: there any
    partition is right. One that has the count of the others again may be read as it lies.
    """
    changed = [name for name, count in placed.items() if there.get(name, count) != count]
    return [
        name
        for name in changed
        if there[name] < placed[name] or (name != rejected and there[name] == there[rejected])
    ]


def _tell_odd(counts: Mapping[str, int], rejected: str) -> None:
    """Say which topics workers must place anew: nothing else at the collector would show it."""
    odd = {name: count for name, count in counts.items() if count != counts[rejected]}
    if odd:
        log.warning(
            "partition_counts_differ",
            partitions=odd,
            others=counts[rejected],
            action=f"start all workers of the group with --rekey {','.join(odd)}, see "
            "docs/runbook.md; until then they read none of it. Events go on by each topic's count",
        )


def _read(path: Path) -> dict[str, int]:
    """Return the counts that are remembered; none where there is no such file, or it is damaged.

    They are needed while the broker is away alone, and then their absence is told.
    """
    try:
        said = json.loads(path.read_text("utf-8"))
        found = said["topics"]
        if isinstance(found, list):  # of older collectors: one count for all
            return {str(name): int(said["partitions"]) for name in found}
        return {str(name): int(count) for name, count in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write(path: Path, counts: Mapping[str, int]) -> None:
    try:
        replace_file(path, json.dumps({"topics": counts}).encode())
    except OSError as error:
        raise StateError(
            f"{path} cannot be written ({error.strerror}). Operator action: let the collector "
            "write its folder, or name another one with --buffer-dir."
        ) from error
