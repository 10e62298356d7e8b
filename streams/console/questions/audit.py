"""The audit query: which events there were, by time, place, person and id (rows S2-25 to S2-27).

Owns what counts as one entry: an event counts once, however many revisions of its trace repeat it
and however often it was sent. Spans are looked for among the archived spans, everything else among
the archived events; an entry is the event as it came.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

from streams.codec.records import Record, decode
from streams.console.questions.queries import Queries, Scope, Where, both, one_of, values_of
from streams.console.tokens import key_of, token_of
from streams.units import SECOND_US

_WINDOW_US: Final = 60 * SECOND_US
_WINDOW_GROWTH: Final = 16
_REVISED_MAX: Final = 1_000
"""Traces with a later revision that are told apart by name in a statement."""
_KINDS: Final = ("spans", "events")
_PLACE: Final = 'timestamp, event_id, trace_id, record_id, partition, "offset"'


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
    ids: Mapping[str, Collection[str]] | None = None,
) -> Entries:
    """Return the events with a timestamp within [start, end), the oldest first.

    Args:
        queries: the archive.
        start_us: the begin of the range, in us.
        end_us: its end.
        conditions: on the columns that `spans` and `events` share.
        limit: entries of a page.
        token: of the page before; "" for the first. It carries the total, which is counted once.
        ids: by column, one of `Kind.ids`, the ids that the conditions ask for: they are looked up.

    Raises:
        ConfigError: the token is not one of this answer.
    """
    where = [Where("timestamp >= ? AND timestamp < ?", (start_us, end_us)), *conditions]
    scope = Scope((start_us, end_us), ids)
    if token:
        at, event_id, total = key_of(token, (int, str, int))
        after = [
            *where,
            Where("timestamp >= ? AND (timestamp, event_id) > (?, ?)", (at, at, event_id)),
        ]
        scope = Scope((max(at, start_us), end_us), ids)
    else:
        after, total = where, _count(queries, where, scope)
    rows = _first(queries, after, scope, limit + 1)
    shown = rows[:limit]
    more = len(rows) > limit
    last = (shown[-1]["timestamp"], shown[-1]["event_id"], total) if more else ()
    return Entries(_events(queries, shown), total, token_of(last) if more else "")


def _union(columns: str, where: Sequence[Where]) -> tuple[str, tuple[Any, ...]]:
    """Return a statement over spans and events, and its parameters."""
    parts = (
        f"SELECT '{kind}' AS kind, {columns} FROM {kind} WHERE {both(where)}" for kind in _KINDS
    )
    return " UNION ALL ".join(parts), values_of(where) * len(_KINDS)


def _count(queries: Queries, where: Sequence[Where], scope: Scope) -> int:
    """Return how many different events there are.

    A span is repeated by later revisions of its trace and by nothing else: where no trace has
    one, its rows are counted, without a look at their ids.
    """
    text, values = both(where), values_of(where)
    revised = queries.ask(
        f"SELECT DISTINCT trace_id FROM spans WHERE {text} AND revision > 1 LIMIT ?",
        (*values, _REVISED_MAX + 1),
        {"spans": scope},
    )
    total = _total(queries, "count(DISTINCT event_id)", "events", where, scope)
    if len(revised) > _REVISED_MAX:
        return total + _total(queries, "count(DISTINCT event_id)", "spans", where, scope)
    if not revised:
        return total + _total(queries, "count(*)", "spans", where, scope)
    of_them = one_of("trace_id", [row["trace_id"] for row in revised])
    others = Where(f"NOT ({of_them.text})", of_them.values)
    total += _total(queries, "count(DISTINCT event_id)", "spans", [*where, of_them], scope)
    return total + _total(queries, "count(*)", "spans", [*where, others], scope)


def _total(queries: Queries, what: str, kind: str, where: Sequence[Where], scope: Scope) -> int:
    sql = f"SELECT {what} AS total FROM {kind} WHERE {both(where)}"
    (row,) = queries.ask(sql, values_of(where), {kind: scope})
    return int(row["total"])


def _first(
    queries: Queries, where: Sequence[Where], scope: Scope, count: int
) -> list[dict[str, Any]]:
    """Return the first different events by (timestamp, event id): where each lies.

    They are looked for in the first minute of the range, then in ever more of it: where events are
    many the first ones are near, and files and row groups of later times are not read. What repeats
    an event stands beside it in this order, so that few rows more than asked for are enough; in a
    log full of repeats they are asked for again, twice as many each time.
    """
    start_us, end_us = scope.times or (0, 0)
    # What is looked up by its id is found at once: to look again would cost more.
    until_us = end_us if scope.ids else min(start_us + _WINDOW_US, end_us)
    size = 2 * count
    while True:
        union, values = _union(_PLACE, [*where, Where("timestamp < ?", (until_us,))])
        rows = queries.ask(
            f'SELECT * FROM ({union}) ORDER BY timestamp, event_id, "offset" LIMIT ?',
            (*values, size),
            dict.fromkeys(_KINDS, scope._replace(times=(start_us, until_us))),
        )
        found: dict[str, dict[str, Any]] = {}
        for row in rows:
            found.setdefault(row["event_id"], row)
        if len(found) >= count:
            break
        if len(rows) == size:  # full of repeats
            size *= 2
        elif until_us >= end_us:
            break
        else:
            until_us = min(start_us + (until_us - start_us) * _WINDOW_GROWTH, end_us)
    return list(found.values())[:count]


def _events(queries: Queries, rows: Sequence[dict[str, Any]]) -> list[Record]:
    """Return the events that some rows stand for, whole, in their order."""
    events: dict[str, Record] = {}
    for column, some in _by_id([row for row in rows if row["kind"] == "events"]).items():
        wanted = one_of("event_id", [row["event_id"] for row in some])
        times = [row["timestamp"] for row in some]
        within = Where("timestamp BETWEEN ? AND ?", (min(times), max(times)))
        where = [within, wanted]
        ids = {column: {row[column] for row in some}} if column else None
        scope = Scope((min(times), max(times) + 1), ids)
        sql = f"SELECT value FROM events WHERE {both(where)}"
        for row in queries.ask(sql, values_of(where), {"events": scope}):
            event = decode(row["value"])
            events[event["event_id"]] = event
    of_traces = [row for row in rows if row["kind"] == "spans"]
    if of_traces:
        places = {(row["partition"], row["offset"]) for row in of_traces}
        ids = {"trace_id": {row["trace_id"] for row in of_traces}}
        at = one_of("offset", sorted({offset for _, offset in places}))
        sql = f'SELECT partition, "offset", value FROM traces WHERE {at.text}'
        for row in queries.ask(sql, at.values, {"traces": Scope(ids=ids)}):
            if (row["partition"], row["offset"]) in places:
                for event in decode(row["value"])["spans"]:
                    events.setdefault(event["event_id"], event)
    # What has expired between the two looks is not there any more.
    return [events[row["event_id"]] for row in rows if row["event_id"] in events]


def _by_id(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return rows by the column to look them up by; "" where they have no id."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        column = next((name for name in ("trace_id", "record_id") if row[name]), "")
        found.setdefault(column, []).append(row)
    return found
