"""What an answer of many pages is of: where the rows ended when its first page was made.

Owns the text of that in a continuation token: short, and read with care, for anybody may write one.
"""

import base64
import binascii
import json
import zlib
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any, Final, NamedTuple

from streams.console.archive.ends import Ends
from streams.console.tokens import foreign
from streams.runtime.reading import Place

JSON_BYTES_MAX: Final = 1 << 20
"""Of the ends of all partitions; those of a thousand are 12 KB."""
PARTITIONS_MAX: Final = 100_000
_LEVEL: Final = 9


class Snapshot(NamedTuple):
    """A moment of the archive.

    Attributes:
        at_us: when it was, in us.
        ends: by kind, where its rows ended.
    """

    at_us: int
    ends: Mapping[str, Ends]


def text_of(snapshot: Snapshot) -> str:
    """Return the text of a snapshot."""
    ends = {
        kind: {topic: _by_partition(some) for topic, some in groupby(sorted(ends.items()), _topic)}
        for kind, ends in snapshot.ends.items()
    }
    text = json.dumps([snapshot.at_us, ends], separators=(",", ":"))
    return base64.urlsafe_b64encode(zlib.compress(text.encode(), _LEVEL)).decode()


def _topic(item: tuple[tuple[str, int], int]) -> str:
    return item[0][0]


def _by_partition(some: Any) -> list[int]:
    """Return the ends of a topic's partitions from 0 on; 0 where there is none."""
    known = {partition: end for (_, partition), end in some}
    return [known.get(n, 0) for n in range(1 + max(known))]


def snapshot_of(text: str) -> Snapshot:
    """Return the snapshot of a text.

    Raises:
        ConfigError: it is none.
    """
    try:
        packed = base64.urlsafe_b64decode(text)
        reader = zlib.decompressobj()
        found = json.loads(reader.decompress(packed, JSON_BYTES_MAX))
        at_us, kinds = found
        ends = {kind: dict(_places(topics)) for kind, topics in kinds.items()}
        return Snapshot(_end(at_us), ends)
    except (ValueError, TypeError, AttributeError, binascii.Error, zlib.error, RecursionError) as e:
        raise foreign() from e


def _places(topics: Any) -> Iterator[tuple[Place, int]]:
    """Yield the partitions of some topics, and their ends."""
    for topic, ends in topics.items():
        if not isinstance(ends, list) or len(ends) > PARTITIONS_MAX:
            raise ValueError("no list of ends")
        yield from (((topic, n), _end(end)) for n, end in enumerate(ends))


def _end(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 62:
        raise ValueError("no offset")
    return value
