"""The audit query: which events there were, by time, place, person and id (rows S2-25 to S2-27).

Owns what counts as one entry: an event counts once, however many revisions of its trace repeat it
and however often it was sent. Spans are looked for among the archived spans, everything else among
the archived events; an entry is the event as it came.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from streams.codec.records import Record, decode
from streams.console.files import hour_of
from streams.console.queries import LAG_US, Hours, Queries, Where, both, one_of, values_of
from streams.console.tokens import key_of, token_of

_ROUNDS_MAX: Final = 8
_KINDS: Final = ("spans", "events")


class Entries(NamedTuple):
    """A page of entries, how many there are on all pages, and where the next page begins."""

    entries: list[Record]
    total_count: int
    continuation_token: str


def audit(
    queries: Queries,
    start_us: int,
    end_us: int,
    conditions: Sequence[Where],
    limit: int,
    token: str,
) -> Entries:
    """Return the events with a timestamp within [start, end), the oldest first.

    Args:
        queries: the archive.
        start_us: the begin of the range, in us.
        end_us: its end.
        conditions: on the columns that `spans` and `events` share.
        limit: entries of a page.
        token: of the page before; "" for the first. It carries the total, which is counted once.

    Raises:
        ConfigError: the token is not one of this answer.
    """
    where = [Where("timestamp >= ? AND timestamp < ?", (start_us, end_us)), *conditions]
    hours = hour_of(start_us), hour_of(end_us + LAG_US)
    if token:
        at, event_id, total = key_of(token, (int, str, int))
        after = [
            *where,
            Where("timestamp >= ? AND (timestamp, event_id) > (?, ?)", (at, at, event_id)),
        ]
    else:
        after, total = where, _count(queries, where, hours)
    rows = _first(queries, after, hours, limit + 1)
    shown = rows[:limit]
    more = len(rows) > limit
    last = (shown[-1]["timestamp"], shown[-1]["event_id"], total) if more else ()
    return Entries(_events(queries, shown, hours), total, token_of(last) if more else "")


def _union(columns: str, where: Sequence[Where]) -> tuple[str, tuple[Any, ...]]:
    """Return a statement over spans and events, and its parameters."""
    parts = (
        f"SELECT '{kind}' AS kind, {columns} FROM {kind} WHERE {both(where)}" for kind in _KINDS
    )
    return " UNION ALL ".join(parts), values_of(where) * len(_KINDS)


def _count(queries: Queries, where: Sequence[Where], hours: Hours) -> int:
    """Return how many different events there are."""
    union, values = _union("event_id", where)
    sql = f"SELECT count(DISTINCT event_id) AS total FROM ({union})"
    (row,) = queries.ask(sql, values, dict.fromkeys(_KINDS, hours))
    return int(row["total"])


def _first(
    queries: Queries, where: Sequence[Where], hours: Hours, count: int
) -> list[dict[str, Any]]:
    """Return the first different events by (timestamp, event id): where each lies.

    What repeats an event stands beside it in this order, so that few rows more than asked for
    are enough; in a log full of repeats they are asked for again, twice as many each time.
    """
    union, values = _union('timestamp, event_id, partition, "offset"', where)
    found: dict[str, dict[str, Any]] = {}
    for round_ in range(1, _ROUNDS_MAX + 1):
        size = count << round_
        rows = queries.ask(
            f'SELECT * FROM ({union}) ORDER BY timestamp, event_id, "offset" LIMIT ?',
            (*values, size),
            dict.fromkeys(_KINDS, hours),
        )
        found = {}
        for row in rows:
            found.setdefault(row["event_id"], row)
        if len(found) >= count or len(rows) < size:
            break
    return list(found.values())[:count]


def _events(queries: Queries, rows: Sequence[dict[str, Any]], hours: Hours) -> list[Record]:
    """Return the events that some rows stand for, whole, in their order."""
    events: dict[str, Record] = {}
    ids = [row["event_id"] for row in rows if row["kind"] == "events"]
    if ids:
        sql = f"SELECT value FROM events WHERE {one_of('event_id', ids).text}"
        for row in queries.ask(sql, ids, {"events": hours}):
            event = decode(row["value"])
            events[event["event_id"]] = event
    places = {(row["partition"], row["offset"]) for row in rows if row["kind"] == "spans"}
    if places:
        offsets = sorted({offset for _, offset in places})
        sql = (
            f'SELECT partition, "offset", value FROM traces WHERE {one_of("offset", offsets).text}'
        )
        for row in queries.ask(sql, offsets, {"traces": hours}):
            if (row["partition"], row["offset"]) in places:
                for event in decode(row["value"])["spans"]:
                    events.setdefault(event["event_id"], event)
    return [events[row["event_id"]] for row in rows]
