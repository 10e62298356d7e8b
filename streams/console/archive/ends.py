"""Where the rows of a kind ended at a moment, and rows and files before that: rules only.

An answer of many pages is of one moment: what was archived since lies behind these ends.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from streams.console.archive.files import Segment
from streams.runtime.reading import Place

Ends = Mapping[Place, int]
"""By topic and partition the offset after the last row; a partition that is not named had none."""


def files_before(files: Iterable[Segment], ends: Ends | None) -> list[Segment]:
    """Return the files that hold something from before some ends; all for None."""
    if ends is None:
        return list(files)
    return [one for one in files if one.first < ends.get((one.topic, one.partition), 0)]


def rows_before(rows: pa.Table, topic: str, partition: int, ends: Ends | None) -> pa.Table:
    """Return the rows of a partition from before some ends; all for None."""
    if ends is None:
        return rows
    return rows.filter(pc.less(rows["offset"], ends.get((topic, partition), 0)))


def cuts(
    files: Iterable[Segment], ends: Ends | None
) -> list[tuple[list[Segment], list[int] | None]]:
    """Return files that are read alike, each with the ends of its partitions, from 0 on.

    None stands for files that lie before the ends as they are.
    """
    whole: list[Segment] = []
    cut: dict[str, list[Segment]] = {}
    for one in files:
        is_whole = ends is None or one.last < ends.get((one.topic, one.partition), 0)
        (whole if is_whole else cut.setdefault(one.topic, [])).append(one)
    found: list[tuple[list[Segment], Any]] = [(whole, None)] if whole else []
    for topic, some in cut.items():
        count = 1 + max(one.partition for one in some)
        found.append((some, [(ends or {}).get((topic, n), 0) for n in range(count)]))
    return found
