"""The counts that a file is written with, as far as the archive's other files let them be told."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

import pyarrow as pa

from streams.console.archive.counts import Counts, counts_of, summed
from streams.console.archive.files import Segment
from streams.console.archive.kinds import Kind
from streams.console.archive.repeats import CONTENT, WITHIN, repeats
from streams.console.archive.store import Store
from streams.console.archive.tally import hour_number
from streams.console.archive.times import FileTimes

COUNTED: Final = ("spans", "events")
"""Kinds whose files have counts."""


def counts_of_rows(
    store: Store, kind: Kind, table: pa.Table, times: FileTimes, others: Sequence[Segment]
) -> Counts | None:
    """Return the counts of a file that is about to be written.

    Args:
        store: where files are.
        kind: of its rows.
        table: its rows.
        times: of files.
        others: the files of its kind that there are.

    Returns:
        None when its kind has none, or it cannot be told what repeats rows of other files.

    Raises:
        OSError: another file cannot be read.
    """
    if kind.name not in COUNTED:
        return None

    def earlier(ids: Mapping[str, Collection[str]]) -> Iterator[tuple[int, pa.Table]]:
        at = table[kind.time].to_numpy()
        some = times.within(kind, others, (int(at.min()), int(at.max()) + 1))
        for one, rows in store.find(kind, some, ids, CONTENT):
            yield hour_number(one.hour), rows

    hour = repeats(kind.name, table, earlier)
    if hour is None:
        return None
    is_kept = hour != WITHIN
    if is_kept.all():
        return counts_of(table, hour)
    return counts_of(table.filter(pa.array(is_kept)), hour[is_kept])


def counts_of_files(store: Store, files: Sequence[Segment]) -> Counts | None:
    """Return the counts of files together, None when one of them has none."""
    parts = [store.counts(one) if one.kind in COUNTED else None for one in files]
    known = [part for part in parts if part is not None]
    return summed(known) if len(known) == len(parts) else None
