"""The accounts of a group as its join tasks last committed them, read from their changelog.

Owns finding the newest segment of a changelog partition without reading the state around it.
Invariant: what is returned was committed together with the outputs and offsets it speaks of.
"""

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from streams.engine.join_state import ACCOUNTS
from streams.errors import StateError
from streams.runtime.host import changelog_topic
from streams.runtime.reading import Reading
from streams.state.segment import Piece, read_piece

_FIRST_LOOK = 16
_LOOK_FACTOR = 8


@dataclass(frozen=True, slots=True)
class GroupAccounts:
    """What became of a group's telemetry, over all partitions.

    Attributes:
        accounts: accepted and each outcome but `open`, added up.
        reasons: why, where an outcome has several reasons.
        partitions: partitions that have committed.
        partitions_total: partitions of the changelog.
        sources: topics that the group has read.
    """

    accounts: dict[str, int]
    reasons: dict[str, int]
    partitions: int
    partitions_total: int
    sources: frozenset[str] = frozenset()

    @property
    def open(self) -> int:
        """Events in no published revision yet: what the accounts leave over."""
        return self.accounts["accepted"] - sum(
            n for name, n in self.accounts.items() if name != "accepted"
        )


def group_accounts(reading: Reading, group: str) -> GroupAccounts | None:
    """Return the accounts of a group, None when it has no changelog of a join.

    Raises:
        BrokerError: the broker does not answer.
        StateError: a piece of the changelog is damaged.
    """
    topic = changelog_topic(group, "join")
    if not reading.known([topic]):
        return None
    total = reading.topics()[topic]
    sources: set[str] = set()
    accounts = dict.fromkeys(ACCOUNTS, 0)
    reasons: dict[str, int] = {}
    reported = 0
    for partition in range(total):
        scalars = newest_scalars(reading, topic, partition)
        if scalars is None:
            continue
        reported += 1
        sources |= set(scalars["positions"])
        for into, counts in ((accounts, scalars["accounts"]), (reasons, scalars["reasons"])):
            for name, n in counts.items():
                into[name] = into.get(name, 0) + n
    return GroupAccounts(accounts, reasons, reported, total, frozenset(sources))


def newest_scalars(reading: Reading, topic: str, partition: int) -> dict[str, Any] | None:
    """Return the small part of a partition's newest segment, None when it has none."""
    span = reading.spans([topic])[topic, partition]
    count = _FIRST_LOOK
    while True:
        values = [m.value for m in reading.newest(topic, partition, count) if m.value is not None]
        scalars = _scalars(read_piece(value) for value in values)
        if scalars is not None or span.high - count <= span.low:
            return scalars
        count *= _LOOK_FACTOR


def _scalars(pieces: Iterable[Piece]) -> dict[str, Any] | None:
    """Return the scalars of the newest segment that these pieces hold whole enough to read."""
    newest: tuple[int, int] = (-1, -1)
    parts: dict[int, bytes] = {}
    for piece in pieces:
        segment = (piece.generation, piece.number)
        if segment > newest:
            newest, parts = segment, {}
        if segment == newest:
            parts[piece.index] = piece.payload
    if 0 not in parts:
        return None
    # The scalars come first in a segment; the pieces after them are of another kind.
    payloads = [parts[i] for i in range(len(parts)) if i in parts]
    document = b"".join(p[1:] for p in payloads if p[:1] == b"s")
    try:
        scalars: dict[str, Any] = json.loads(zlib.decompress(document))["scalars"]
    except (zlib.error, ValueError, KeyError) as error:
        raise StateError(
            f"the newest segment of the changelog cannot be read: {error}. Operator action: look "
            "at it with `spanloom tail`, and restart the worker, which checks all of it."
        ) from error
    return scalars
