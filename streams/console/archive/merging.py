"""Which files become one, and which are of no use any more. Rules only: nothing is read or written.

Files are small at first, so that little is lost from sight when the console dies. Within an hour
that goes on, enough files of about one size become one; of an hour that is over, all do. Only files
that follow one another in a partition are merged, so that what covers them covers nothing else.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

from streams.console.archive.files import At, Segment

SMALLEST_BYTES: Final = 64 << 10
"""Files up to this size count as of one size."""
MERGED_BYTES: Final = 64 << 20
"""No merged file is larger: it is made in memory, where it takes about five times as much."""


def merges(
    sizes: Mapping[Segment, int],
    same_size: int,
    hour_over: str,
    filling: Collection[tuple[At, str]] = (),
) -> list[tuple[Segment, ...]]:
    """Return what should become one file each, the oldest first; no file is named twice.

    Args:
        sizes: bytes of each file.
        same_size: so many files of about one size become one while their hour goes on.
        hour_over: the last hour (UTC) that is over.
        filling: hours of partitions that more is coming of, though they are over: it is old.
    """
    found = []
    ordered = sorted(sizes, key=lambda one: (one.at, one.first))
    for (at, hour), run in groupby(ordered, lambda one: (one.at, one.hour)):
        files = list(run)
        if hour <= hour_over and (at, hour) not in filling:
            found += list(_whole(files, sizes))
        else:
            found += list(_alike(files, sizes, same_size))
    return sorted(found, key=lambda some: (some[0].hour, some[0].at, some[0].first))


def _whole(files: Sequence[Segment], sizes: Mapping[Segment, int]) -> Iterator[tuple[Segment, ...]]:
    """Yield files that follow one another, as many as fit into one."""
    some: list[Segment] = []
    total = 0
    for one in files:
        if some and total + sizes[one] > MERGED_BYTES:
            yield from _if_many(some)
            some, total = [], 0
        some.append(one)
        total += sizes[one]
    yield from _if_many(some)


def _alike(
    files: Sequence[Segment], sizes: Mapping[Segment, int], same_size: int
) -> Iterator[tuple[Segment, ...]]:
    """Yield `same_size` files that follow one another and are about as large."""

    def tier(one: Segment) -> int:
        found = 0
        while sizes[one] > SMALLEST_BYTES * same_size**found:
            found += 1
        return found

    for at, run in groupby(files, tier):
        same = list(run)
        if SMALLEST_BYTES * same_size ** (at + 1) <= MERGED_BYTES:
            for begin in range(0, len(same) - same_size + 1, same_size):
                yield tuple(same[begin : begin + same_size])


def _if_many(files: Sequence[Segment]) -> Iterator[tuple[Segment, ...]]:
    if len(files) > 1:
        yield tuple(files)


def merged(files: Sequence[Segment]) -> Segment:
    """Return the file that some, in their order, become."""
    return files[0]._replace(last=files[-1].last)


def covered(files: Iterable[Segment]) -> list[Segment]:
    """Return the files that lie within a larger one: a merge was ended before it removed them."""
    found = []
    largest: Segment | None = None
    for one in sorted(files, key=lambda one: (one.at, one.first, -one.last)):
        if largest is not None and largest.at == one.at and one.last <= largest.last:
            found.append(one)
        else:
            largest = one
    return found
