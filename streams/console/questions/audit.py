"""The audit query: which events there were, by time, place, person and id (rows S2-25 to S2-27).

Owns what counts as one entry: an event counts once, however many revisions of its trace repeat it
and however often it was sent. A span is told by its trace and its span id, all else by its event
id; whose sender gives one event id to several events has each of another time as an entry of its
own, in the pages as in their total. Spans are looked for among the archived spans, everything else
among the archived events; an entry is the event as it came.

All pages are of one moment: what is archived after the first one was made is on none of them.

What is asked for by id is looked up. All else is counted by minute, from the counts beside the
files where they tell, from the rows where they do not; and the page is read from the first minutes
that have enough.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

from streams.codec.records import Record, decode
from streams.console.archive.ends import Ends
from streams.console.archive.tally import Span, Tally
from streams.console.questions.queries import Queries, Scope, Where, both, one_of, values_of
from streams.console.questions.snapshots import Snapshot, snapshot_of, text_of
from streams.console.questions.windows import windows
from streams.console.tokens import foreign, key_of, token_of
from streams.serving.bounds import BusyError

_REVISED_MAX: Final = 1_000
"""Traces with a later revision that are told apart by name in a statement."""
_KINDS: Final = ("spans", "events")
_PLACE: Final = ("timestamp", "event_id", "trace_id", "record_id", "partition", "offset")
"""Where an entry stands in the answer, and where in the archive."""
_OF: Final = {"spans": ("trace_id", "span_id"), "events": ("''", "''")}
"""By kind, what tells entries apart besides time and event id."""
_ENTRY: Final = "timestamp, event_id, of_trace, of_span"
"""What one entry is, and the order of the answer."""
_DIFFERENT: Final = {
    "spans": "timestamp, event_id, trace_id, span_id",
    "events": "timestamp, event_id",
}
"""By kind, what one entry is."""
_LOOKED_UP: Final = ("trace_id", "record_id", "correlation_id", "batch_id")
"""Columns of ids, the narrowest first."""

Wanted = Mapping[str, Collection[str]]
"""By column, the values that an event may have."""


class Entries(NamedTuple):
    """A page of entries.

    Attributes:
        entries: of this page.
        total_count: of all pages.
        as_of: when the first page was made, in us: what was archived since is on none.
        continuation_token: where the next page begins; "" when there is none.
    """

    entries: list[Record]
    total_count: int
    as_of: int
    continuation_token: str


Entry = tuple[int, str, str, str]
"""Time, event id, and of a span its trace and span id: what one entry is, in the answer's order."""


class _After(NamedTuple):
    """Where the page before ended: its last entry, the total of all pages, what they are of."""

    last: Entry
    total: int
    snapshot: Snapshot


class _Rows(NamedTuple):
    """Where the first events lie, how many there are, and where the rows end that count."""

    rows: list[dict[str, Any]]
    total: int
    ends: Mapping[str, Ends]


def audit(
    queries: Queries, span: Span, wanted: Wanted, limit: int, token: str = "", now_us: int = 0
) -> Entries:
    """Return the events with a timestamp within [start, end), the oldest first.

    Args:
        queries: the archive.
        span: [start, end) in us.
        wanted: what they are, by columns that `spans` and `events` share.
        limit: entries of a page.
        token: of the page before; "" for the first. It carries the total, which is counted once,
            and where the rows ended of which all pages are.
        now_us: wall time.

    Raises:
        ConfigError: the token is not one of this answer.
        BusyError: the console began anew, and has not read again yet what the first page is of.
    """
    after = _after(queries, token) if token else None
    ids = next(({name: wanted[name]} for name in _LOOKED_UP if name in wanted), None)
    if ids is not None:
        found = _looked_up(queries, span, wanted, ids, after, limit + 1)
    else:
        found = _searched(queries, span, wanted, after, limit + 1)
    shown = found.rows[:limit]
    snapshot = Snapshot(now_us, found.ends) if after is None else after.snapshot
    next_ = ""
    if len(found.rows) > limit:
        next_ = token_of((*_entry(shown[-1]), found.total, text_of(snapshot)))
    return Entries(_events(queries, shown), found.total, snapshot.at_us, next_)


def _after(queries: Queries, token: str) -> _After:
    """Return where a page begins.

    Raises:
        ConfigError, BusyError: as `audit`.
    """
    *last, total, text = key_of(token, (int, str, str, str, int, str))
    snapshot = snapshot_of(text)
    if total < 0 or set(snapshot.ends) != set(_KINDS):
        raise foreign()
    for kind, ends in snapshot.ends.items():
        now = queries.ends(kind)
        if any(end > now.get(place, 0) for place, end in ends.items()):
            words = "the console reads again what it had when this answer began; ask in a moment"
            raise BusyError("snapshot_behind", words)
    timestamp, *ids = last
    return _After((timestamp, *ids), total, snapshot)


def _entry(row: Mapping[str, Any]) -> Entry:
    return row["timestamp"], row["event_id"], row["of_trace"], row["of_span"]


def _conditions(wanted: Wanted) -> list[Where]:
    return [one_of(column, sorted(values)) for column, values in wanted.items()]


def _within(span: Span) -> Where:
    return Where("timestamp >= ? AND timestamp < ?", span)


def _union(kinds: Collection[str], where: Sequence[Where]) -> Where:
    """Return a statement over some kinds, and its parameters."""
    columns = ", ".join(f'"{name}"' for name in _PLACE)
    parts = (
        f"SELECT '{kind}' AS kind, {columns}, {_OF[kind][0]} AS of_trace, "
        f"{_OF[kind][1]} AS of_span FROM {kind} WHERE {both(where)}"
        for kind in _KINDS
        if kind in kinds
    )
    return Where(" UNION ALL ".join(parts), values_of(where) * len(kinds))


# --- by id ----------------------------------------------------------------------------------------


def _looked_up(
    queries: Queries, span: Span, wanted: Wanted, ids: Wanted, after: _After | None, count: int
) -> _Rows:
    """Return the first events with one of some ids.

    They are few, and to find them is what costs: they are found once, for the page and the total.
    """
    union = _union(_KINDS, [_within(span), *_conditions(wanted)])
    last, total = ((span[0], "", "", ""), 0) if after is None else after[:2]
    ends = {kind: queries.ends(kind) for kind in _KINDS} if after is None else after.snapshot.ends
    columns = {*_PLACE, "span_id", *wanted}
    rows = queries.ask(
        "SELECT *, count(*) OVER () AS total FROM "
        f'(SELECT DISTINCT ON ({_ENTRY}) * FROM ({union.text}) ORDER BY {_ENTRY}, "offset") '
        f"WHERE ({_ENTRY}) > (?, ?, ?, ?) ORDER BY {_ENTRY} LIMIT ?",
        (*union.values, *last, count),
        {kind: Scope(span, ids, columns, ends[kind]) for kind in _KINDS},
    )
    if after is None:
        total = rows[0]["total"] if rows else 0
    return _Rows(rows, total, ends)


# --- by what they are -----------------------------------------------------------------------------


def _searched(
    queries: Queries, span: Span, wanted: Wanted, after: _After | None, count: int
) -> _Rows:
    """Return the first events of a sort."""
    where = _conditions(wanted)
    begin = span[0] if after is None else max(span[0], after.last[0])
    tallies = {kind: queries.tally(kind, (begin, span[1]), wanted) for kind in _KINDS}
    if after is None:
        ends: Mapping[str, Ends] = {kind: tally.ends for kind, tally in tallies.items()}
        total = _count(queries, tallies, where)
        return _Rows(_first(queries, tallies, where, ends, count, None), total, ends)
    # These counts have what came since, too: where they promise enough, the next parts are read.
    ends = after.snapshot.ends
    rows = _first(queries, tallies, where, ends, count, after.last)
    return _Rows(rows, after.total, ends)


def _count(queries: Queries, tallies: Mapping[str, Tally], where: Sequence[Where]) -> int:
    """Return how many different events there are.

    An event has one timestamp, so that what is counted of times that are apart adds up.
    """
    total = 0
    for kind, tally in tallies.items():
        total += int(tally.rows.sum())
        for span in tally.untold:
            scope = Scope(span, ends=tally.ends)
            total += _counted(queries, kind, scope, [_within(span), *where])
    return total


def _counted(queries: Queries, kind: str, scope: Scope, where: Sequence[Where]) -> int:
    """Return how many different events of a kind there are in a time, from its rows.

    A span is repeated by later revisions of its trace and by nothing else: where no trace has
    one, its rows are counted, without a look at their ids.
    """
    if kind == "events":
        return _total(queries, kind, where, scope, is_different=True)
    revised = queries.ask(
        f"SELECT DISTINCT trace_id FROM spans WHERE {both(where)} AND revision > 1 LIMIT ?",
        (*values_of(where), _REVISED_MAX + 1),
        {"spans": scope},
    )
    if len(revised) > _REVISED_MAX:
        return _total(queries, kind, where, scope, is_different=True)
    if not revised:
        return _total(queries, kind, where, scope)
    of_them = one_of("trace_id", [row["trace_id"] for row in revised])
    others = Where(f"NOT ({of_them.text})", of_them.values)
    total = _total(queries, kind, [*where, of_them], scope, is_different=True)
    return total + _total(queries, kind, [*where, others], scope)


def _total(
    queries: Queries,
    kind: str,
    where: Sequence[Where],
    scope: Scope,
    *,
    is_different: bool = False,
) -> int:
    rows = f"{kind} WHERE {both(where)}"
    if is_different:
        rows = f"(SELECT DISTINCT {_DIFFERENT[kind]} FROM {rows})"
    (row,) = queries.ask(f"SELECT count(*) AS total FROM {rows}", values_of(where), {kind: scope})
    return int(row["total"])


def _first(
    queries: Queries,
    tallies: Mapping[str, Tally],
    where: Sequence[Where],
    ends: Mapping[str, Ends],
    count: int,
    after: Entry | None,
) -> list[dict[str, Any]]:
    """Return the first different events, or those after one: where each lies."""
    found: list[dict[str, Any]] = []
    for window in windows(tallies, count):
        span = window.begin, window.end
        union = _union(window.kinds, [_within(span), *where])
        kinds = {kind: Scope(span, ends=ends[kind]) for kind in window.kinds}
        found += _different(queries, union, kinds, count - len(found), after)
        if len(found) == count:
            break
    return found


def _different(
    queries: Queries, union: Where, kinds: Mapping[str, Scope], count: int, after: Entry | None
) -> list[dict[str, Any]]:
    """Return the first different events of a statement, or those after one.

    What repeats an event stands beside it in this order, so that few rows more than asked for are
    enough; in a log full of repeats they are asked for again, twice as many each time.
    """
    size = 2 * count
    beyond = "" if after is None else f"WHERE ({_ENTRY}) > (?, ?, ?, ?)"
    while True:
        rows = queries.ask(
            f'SELECT * FROM ({union.text}) {beyond} ORDER BY {_ENTRY}, "offset" LIMIT ?',
            (*union.values, *(after or ()), size),
            kinds,
        )
        found: dict[Entry, dict[str, Any]] = {}
        for row in rows:
            found.setdefault(_entry(row), row)
        if len(found) >= count or len(rows) < size:
            return list(found.values())[:count]
        size *= 2


def _events(queries: Queries, rows: Sequence[dict[str, Any]]) -> list[Record]:
    """Return the events that some rows stand for, whole, in their order."""
    events: dict[tuple[int, int, Entry], Record] = {}
    for column, some in _by_id([row for row in rows if row["kind"] == "events"]).items():
        wanted = one_of("event_id", sorted({row["event_id"] for row in some}))
        times = [row["timestamp"] for row in some]
        within = Where("timestamp BETWEEN ? AND ?", (min(times), max(times)))
        where = [within, wanted]
        ids = {column: {row[column] for row in some}} if column else None
        columns = ("timestamp", "event_id", "partition", "offset", "value")
        scope = Scope((min(times), max(times) + 1), ids, columns)
        sql = f'SELECT partition, "offset", value FROM events WHERE {both(where)}'
        for row in queries.ask(sql, values_of(where), {"events": scope}):
            event = decode(row["value"])
            entry = event["timestamp"], event["event_id"], "", ""
            events[row["partition"], row["offset"], entry] = event
    of_traces = [row for row in rows if row["kind"] == "spans"]
    if of_traces:
        ids = {"trace_id": {row["trace_id"] for row in of_traces}}
        scope = Scope(ids=ids, columns=("partition", "offset", "value"))
        at = one_of("offset", sorted({row["offset"] for row in of_traces}))
        places = {(row["partition"], row["offset"]) for row in of_traces}
        sql = f'SELECT partition, "offset", value FROM traces WHERE {at.text}'
        for row in queries.ask(sql, at.values, {"traces": scope}):
            place = row["partition"], row["offset"]
            for event in decode(row["value"])["spans"] if place in places else ():
                own = event["trace_id"], event["span_id"]
                events[*place, (event["timestamp"], event["event_id"], *own)] = event
    # What has expired between the two looks is not there any more.
    keys = [(row["partition"], row["offset"], _entry(row)) for row in rows]
    return [events[key] for key in keys if key in events]


def _by_id(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return rows by the column to look them up by; "" where they have no id."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        column = next((name for name in ("trace_id", "record_id") if row[name]), "")
        found.setdefault(column, []).append(row)
    return found
