"""A group's accounts are those of the newest segment of each partition."""

import os
from dataclasses import replace
from typing import cast

import numpy as np

from streams.core.bodies import Bodies
from streams.runtime.accounts import group_accounts
from streams.runtime.reading import Message, Reading, Span
from streams.state.segment import Segment, SegmentRows, encode_pieces, scalars_segment

TOPIC = "spanloom.g.join.state.v1"


class Changelog:
    """Stands in for a broker: the changelog's values by partition."""

    def __init__(self, *partitions: list[bytes]) -> None:
        self.partitions = partitions
        self.asked: list[int] = []

    def topics(self) -> dict[str, int]:
        return {TOPIC: len(self.partitions)}

    def known(self, topics: list[str]) -> list[str]:
        return [topic for topic in topics if topic == TOPIC and self.partitions]

    def spans(self, _topics: list[str]) -> dict[tuple[str, int], Span]:
        return {(TOPIC, p): Span(0, len(values)) for p, values in enumerate(self.partitions)}

    def newest(self, _topic: str, partition: int, count: int) -> list[Message]:
        self.asked.append(count)
        values = self.partitions[partition]
        first = max(0, len(values) - count)
        return [
            Message(TOPIC, partition, first + i, 0, b"", v) for i, v in enumerate(values[first:])
        ]


def segment(accepted: int, joined: int, rows: int = 0) -> Segment:
    """Return a segment that says so; its rows only take room."""
    taken = SegmentRows(
        np.zeros((rows, 2), np.uint64),
        np.zeros(rows, np.uint8),
        np.zeros(rows, np.int64),
        np.zeros(rows, np.bool_),
        np.zeros(rows, np.bool_),
        Bodies.of([os.urandom(300_000) for _ in range(rows)]),
    )
    scalars = {
        "accounts": {"accepted": accepted, "joined": joined, "rejected": 1},
        "reasons": {"bad_magic": 1},
        "positions": {"telemetry.other.v1": accepted},
    }
    return replace(scalars_segment(scalars), rows=taken)


def accounts_of(changelog: Changelog) -> dict[str, int]:
    found = group_accounts(cast(Reading, changelog), "g")
    assert found is not None
    return {name: n for name, n in found.accounts.items() if n} | {"open": found.open}


def test_the_newest_segment_of_each_partition_counts() -> None:
    """Older ones said the same of an earlier moment; partitions are added up."""
    first = encode_pieces(segment(10, 5), 1, 0) + encode_pieces(segment(20, 12), 1, 1)
    second = encode_pieces(segment(7, 6), 4, 0)
    assert accounts_of(Changelog(first, second)) == {
        "accepted": 27,
        "joined": 18,
        "rejected": 2,
        "open": 7,
    }


def test_a_large_segment_is_read_back_to_its_beginning() -> None:
    """The small part stands before the rows: as much is read as it takes, and no more."""
    large = encode_pieces(segment(50, 40, rows=40), 2, 0)
    assert len(large) > 16
    changelog = Changelog(encode_pieces(segment(1, 0), 1, 9) * 2_000 + large)
    assert accounts_of(changelog) == {"accepted": 50, "joined": 40, "rejected": 1, "open": 9}
    assert max(changelog.asked) < 1_000


def test_a_partition_without_commits_counts_for_nothing() -> None:
    """And is told apart from one that counted nothing."""
    found = group_accounts(cast(Reading, Changelog([], encode_pieces(segment(3, 2), 1, 0))), "g")
    assert found is not None
    assert (found.partitions, found.partitions_total, found.accounts["accepted"]) == (1, 2, 3)
    assert found.sources == {"telemetry.other.v1"}


def test_a_group_without_a_changelog_has_no_accounts() -> None:
    """It has never run here."""
    assert group_accounts(cast(Reading, Changelog()), "g") is None
