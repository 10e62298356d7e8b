"""When there is a list of ids of an hour: once it is over, and until somebody in it is erased.

Owns that no list of an hour keeps an id that no file has any more because it was erased.
"""

from collections.abc import Callable, Collection, Iterable
from threading import Lock

from streams.console.archive.files import Segment
from streams.console.archive.ids import groups, wanted
from streams.console.archive.kinds import KIND
from streams.console.archive.store import HOUR_FILES_MIN, Store
from streams.console.archive.times import FileTimes


def list_hours(
    store: Store,
    turn: Lock,
    files: Iterable[Segment],
    times: FileTimes,
    hour_over: str,
    is_over: Callable[[], bool],
) -> None:
    """Write the lists of hours that are over, of which too many files are in none.

    Args:
        store: where they lie.
        turn: held while one is read or written.
        files: all there are.
        times: of them.
        hour_over: the last hour that is over.
        is_over: whether no further list should be begun.

    Raises:
        OSError: the disk is full, or the bucket is away; nothing is lost.
    """
    by_hour: dict[tuple[str, str], list[Segment]] = {}
    for one in files:
        if one.kind in KIND and KIND[one.kind].ids and one.hour <= hour_over:
            by_hour.setdefault((one.kind, one.hour), []).append(one)
    for (kind, hour), some in by_hour.items():
        if len(some) < HOUR_FILES_MIN or is_over():
            continue
        list_ = store.hour_list(kind, hour)
        unknown = [one for one in some if list_ is None or one not in list_.numbers]
        if len(unknown) >= HOUR_FILES_MIN:
            with turn:
                store.list_hour(times.of(KIND[kind], some))


def unlist(store: Store, turn: Lock, files: Iterable[Segment], ids: Collection[str]) -> None:
    """Remove the lists of hours that hold some ids, be it those of files that are gone.

    Args:
        store: where they lie.
        turn: held while one is read or removed.
        files: all there are, and those that are about to be removed.
        ids: in whatever column.

    Raises:
        OSError: one cannot be read or removed.
    """
    for kind, hour in sorted({(one.kind, one.hour) for one in files if one.kind in KIND}):
        hashes = wanted(dict.fromkeys(KIND[kind].ids, ids))
        with turn:
            list_ = store.hour_list(kind, hour)
            if list_ is not None and groups(list_.entries, hashes):
                store.unlist_hour(kind, hour)
