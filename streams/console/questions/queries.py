"""Questions to the archive, answered by DuckDB over its files and its tail.

Owns the SQL: every value comes in as a parameter, and nothing of a question ever becomes text of a
statement. Of what has versions the highest counts.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import duckdb

from streams.codec.records import Record, decode
from streams.console.archive.archive import Archive
from streams.console.archive.ends import Ends, cuts
from streams.console.archive.files import HOUR_US
from streams.console.archive.summaries import ALL_KINDS
from streams.console.archive.tail import Look
from streams.console.archive.tally import Span, Tally
from streams.console.limits import fetch
from streams.console.personal import Kept, as_asked
from streams.console.questions.widths import KEYS, once
from streams.console.tokens import key_of, token_of
from streams.core.privacy.treatments import DIMENSION
from streams.errors import ConfigError

SHIFT_US: Final = HOUR_US
"""Between two revisions of a trace its start moves by less."""
LENGTH_US: Final = 24 * HOUR_US
"""No span of a trace begins later after its start."""
_SUMMARY_COLUMNS: Final = (
    "trace_id", "revision", "flow", "status", "closed_by", "start", "end", "duration_us",
    "span_count", "error_count", "missing_stages", "modules", "record_ids", "batch_ids",
    "correlation_ids",
)  # fmt: skip
_SUMMARY: Final = ", ".join(f'"{name}"' for name in _SUMMARY_COLUMNS)
_INCIDENT: Final = (
    "incident_id, version, event, severity, title, module, owner, opened_at, resolved_at, timestamp"
)
_ALERT_COLUMNS: Final = (
    "fingerprint", "version", "state", "severity", "firing_since", "last_seen",
)  # fmt: skip
_KEYS: Final = {
    "traces": ("revision", "trace_id", "start"),
    "incidents": ("version", "incident_id", "opened_at"),
}
"""Of what has versions: which one it is, of what, and the time that lists go by."""


class Scope(NamedTuple):
    """Which rows of a kind a question can need: the less, the fewer files are read.

    Attributes:
        times: [start, end) of the kind's own time, in us; None for all.
        ids: by column, one of `Kind.ids`, the ids of which rows are needed; None for all.
        columns: that the statement names, where rows are looked up by ids; all without it.
        ends: rows behind these are left out; None for no row. With `ids`, `columns` names "offset".
    """

    times: tuple[int, int] | None = None
    ids: Mapping[str, Collection[str]] | None = None
    columns: Collection[str] = ()
    ends: Ends | None = None


ALL: Final = Scope()


class Where(NamedTuple):
    """A condition, its parameters, and the kinds that its text reads besides."""

    text: str
    values: tuple[Any, ...] = ()
    kinds: tuple[str, ...] = ()


OPEN: Final = Where("event NOT IN ('RESOLVED', 'MERGED')")
"""The condition that the last version of an incident says that it is open."""


class Page(NamedTuple):
    """Rows, and where the next ones begin; "" when there are no more."""

    rows: list[dict[str, Any]]
    continuation_token: str


class Spill(NamedTuple):
    """Where questions put what does not fit in memory, and how many bytes of it."""

    folder: Path
    bytes_max: int


class Queries:
    """Asks an archive; each question sees what there was when it came.

    Args:
        archive: what is asked.
        memory_bytes: DuckDB takes no more.
        threads: of each question.
        spill: for sorts that do not fit; None for none. Left alone, DuckDB would fill nine tenths
            of the disk that it was started on.
    """

    def __init__(
        self, archive: Archive, memory_bytes: int, threads: int, spill: Spill | None = None
    ) -> None:
        self._archive = archive
        config: dict[str, Any] = {"memory_limit": f"{memory_bytes >> 20}MB", "threads": threads}
        config["temp_directory"] = "" if spill is None else str(spill.folder)
        if spill is not None:
            config["max_temp_directory_size"] = f"{spill.bytes_max >> 20}MB"
        self._db = duckdb.connect(":memory:", config=config)
        self._db.execute("SET enable_external_access = false")  # pyarrow opens the files
        self._db.execute("SET lock_configuration = true")

    # --- traces -----------------------------------------------------------------------------------

    def traces(
        self, start_us: int, end_us: int, conditions: Sequence[Where], limit: int, token: str
    ) -> Page:
        """Return traces that start within [start, end), the newest first, at their last revision.

        Raises:
            ConfigError: the token is not one of this answer.
        """
        where = [Where("start >= ? AND start < ?", (start_us, end_us)), *conditions]
        near = (start_us - SHIFT_US, end_us + SHIFT_US)
        scopes = {"traces": Scope(near)}
        if any("spans" in one.kinds for one in conditions):
            scopes["spans"] = Scope((start_us - SHIFT_US, end_us + LENGTH_US))
        page = self._page("traces", "trace_id, revision, start", where, limit, token, scopes)
        return Page(self._summaries(page.rows, near), page.continuation_token)

    def _summaries(self, rows: Sequence[dict[str, Any]], near: Span) -> list[dict[str, Any]]:
        """Return what lists tell of some revisions of traces, in their order.

        To read all that of every trace of an hour, for a hundred of them, took most of the time.
        """
        if not rows:
            return []
        trace_ids = [row["trace_id"] for row in rows]
        found = self.ask(
            f"SELECT {_SUMMARY} FROM traces WHERE trace_id IN (SELECT unnest(?::VARCHAR[]))",
            (trace_ids,),
            {"traces": Scope(near, {"trace_id": trace_ids}, _SUMMARY_COLUMNS)},
        )
        by_key = {(row["trace_id"], row["revision"]): row for row in found}
        keys = [(row["trace_id"], row["revision"]) for row in rows]
        return [by_key[key] for key in keys if key in by_key]  # less what expired meanwhile

    def trace(self, trace_id: str) -> tuple[Record, list[dict[str, Any]]] | None:
        """Return a trace as of its last revision, and all its revisions; None when unknown."""
        columns = "revision, status, closed_by, span_count, appended_us AS appended"
        return self._one("traces", columns, trace_id)

    def traces_of_record(self, record_id: str, limit: int) -> list[Record]:
        """Return the traces that a record went through, at their last revision, by start."""
        of_it = Where("list_contains(record_ids, ?)", (record_id,))
        return self._traces(of_it, limit, {"record_ids": [record_id]})

    def traces_of(self, trace_ids: Sequence[str], limit: int) -> list[Record]:
        """Return some traces, the oldest first, at their last revision."""
        if not trace_ids:
            return []
        of_them = one_of("trace_id", trace_ids)
        rows = self.ask(
            f"SELECT value FROM ({last_of('traces', 'revision', 'trace_id')}) "
            f"WHERE {of_them.text} ORDER BY start, trace_id LIMIT ?",
            (*of_them.values, limit),
            {"traces": Scope(ids={"trace_id": trace_ids})},
        )
        return [decode(row["value"]) for row in rows]

    def traces_linking_to(self, trace_ids: Sequence[str], limit: int) -> list[Record]:
        """Return the traces with a span that links to one of some traces, the oldest first."""
        if not trace_ids:
            return []
        linking = Where("list_has_any(linked_trace_ids, ?::VARCHAR[])", (list(trace_ids),))
        return self._traces(linking, limit, {"linked_trace_ids": trace_ids})

    def _traces(self, where: Where, limit: int, ids: Mapping[str, Collection[str]]) -> list[Record]:
        """Return the traces that had something in one of their revisions, at their last one."""
        found = self.ask(
            f"SELECT DISTINCT trace_id FROM traces WHERE {where.text}",
            where.values,
            {"traces": Scope(ids=ids)},
        )
        return self.traces_of([row["trace_id"] for row in found], limit)

    def events_of_record(self, record_id: str, limit: int) -> list[Record]:
        """Return the events that name a record and stand in no trace, the oldest first."""
        rows = self.ask(
            "SELECT value FROM events WHERE record_id = ? ORDER BY timestamp, event_id LIMIT ?",
            (record_id, limit),
            {"events": Scope(ids={"record_id": [record_id]})},
        )
        return [decode(row["value"]) for row in rows]

    # --- incidents --------------------------------------------------------------------------------

    def incidents(self, conditions: Sequence[Where], limit: int, token: str) -> Page:
        """Return incidents as of their last version, the newest first.

        Raises:
            ConfigError: the token is not one of this answer.
        """
        return self._page("incidents", _INCIDENT, conditions, limit, token)

    def incident(self, incident_id: str) -> tuple[Record, list[dict[str, Any]]] | None:
        """Return an incident's last event and all its versions; None when unknown."""
        return self._one("incidents", "version, event, severity, timestamp", incident_id)

    def open_incidents(self, limit: int) -> list[Record]:
        """Return the last events of the incidents that are open, whole, the newest first."""
        rows = self.ask(
            f"SELECT value FROM ({last_of('incidents', 'version', 'incident_id')}) "
            f"WHERE {OPEN.text} ORDER BY opened_at DESC, incident_id LIMIT ?",
            (limit,),
            {"incidents": ALL},
        )
        return [decode(row["value"]) for row in rows]

    def last_alerts(self, fingerprints: Collection[str]) -> dict[str, dict[str, Any]]:
        """Return what alerts said last, by fingerprint; `Kind` alerts has what is known of one."""
        if not fingerprints:
            return {}
        # As one list: there may be a hundred of each of a thousand incidents.
        rows = self.ask(
            "SELECT fingerprint, state, severity, firing_since, last_seen "
            f"FROM ({last_of('alerts', 'version', 'fingerprint')}) "
            "WHERE fingerprint IN (SELECT unnest(?::VARCHAR[]))",
            (list(fingerprints),),
            {"alerts": Scope(ids={"fingerprint": fingerprints}, columns=_ALERT_COLUMNS)},
        )
        return {row["fingerprint"]: row for row in rows}

    def incidents_of(
        self, record_id: str, trace_ids: Sequence[str], limit: int
    ) -> list[dict[str, Any]]:
        """Return the incidents that name a record or one of some traces, the oldest first."""
        found = self.ask(
            "SELECT DISTINCT incident_id FROM incidents "
            "WHERE list_contains(record_ids, ?) OR list_has_any(trace_ids, ?::VARCHAR[])",
            (record_id, list(trace_ids)),
            {"incidents": Scope(ids={"record_ids": [record_id], "trace_ids": trace_ids})},
        )
        incident_ids = [row["incident_id"] for row in found]
        if not incident_ids:
            return []
        of_them = one_of("incident_id", incident_ids)
        return self.ask(
            f"SELECT {_INCIDENT} FROM ({last_of('incidents', 'version', 'incident_id')}) "
            f"WHERE {of_them.text} ORDER BY opened_at, incident_id LIMIT ?",
            (*of_them.values, limit),
            {"incidents": Scope(ids={"incident_id": incident_ids})},
        )

    # --- fidelity ---------------------------------------------------------------------------------

    def recent_windows(self, now_us: int, back_us: int, span_us: int) -> list[Record]:
        """Return the windows that began within a span before the newest one, whole; no rollups.

        Args:
            now_us: what counts as now.
            back_us: how long before it the newest one is looked for.
            span_us: how long before the newest one others may have begun.
        """
        newest = "SELECT max(window_start) FROM fidelity"
        recent = f"(SELECT * FROM fidelity WHERE window_start > ({newest}) - ?)"
        last = last_of(recent, "revision", ", ".join(KEYS))
        rows = self.ask(
            f"SELECT value FROM ({once(f'SELECT *, 0 AS tier FROM ({last})')})",
            (span_us,),
            {"fidelity": Scope((now_us - back_us, now_us))},
        )
        return [decode(row["value"]) for row in rows]

    # --- rejected records -------------------------------------------------------------------------

    def rejected(
        self, start_us: int, end_us: int, conditions: Sequence[Where], limit: int, token: str
    ) -> tuple[Page, dict[str, int]]:
        """Return records rejected within [start, end), the newest first, and how many by reason.

        Raises:
            ConfigError: the token is not one of this answer.
        """
        where = [Where("timestamp >= ? AND timestamp < ?", (start_us, end_us)), *conditions]
        kinds = {"rejected": Scope((start_us, end_us))}
        counts = self.ask(
            f"SELECT reason, count(*) AS records FROM rejected WHERE {both(where)} "
            "GROUP BY reason ORDER BY records DESC, reason",
            values_of(where),
            kinds,
        )
        after = list(where)
        if token:
            key = key_of(token, (int, int, int))
            after.append(Where('(timestamp, partition, "offset") < (?, ?, ?)', key))
        rows = self.ask(
            "SELECT reason, detail, topic, source_partition, source_offset, timestamp, "
            'value_bytes, partition, "offset", appended_us AS appended FROM rejected '
            f"WHERE {both(after)} "
            'ORDER BY timestamp DESC, partition DESC, "offset" DESC LIMIT ?',
            (*values_of(after), limit + 1),
            kinds,
        )
        shown = [_rejected_row(row) for row in rows[:limit]]
        last = rows[limit - 1] if len(rows) > limit else None
        next_ = token_of((last["timestamp"], last["partition"], last["offset"])) if last else ""
        return Page(shown, next_), {row["reason"]: row["records"] for row in counts}

    def rejected_one(self, topic: str, partition: int, offset: int) -> Record | None:
        """Return the record that was rejected at a place, None when none was."""
        rows = self.ask(
            "SELECT value FROM rejected WHERE topic = ? AND source_partition = ? "
            "AND source_offset = ? LIMIT 1",
            (topic, partition, offset),
            {"rejected": ALL},
        )
        return decode(rows[0]["value"]) if rows else None

    # --- how --------------------------------------------------------------------------------------

    def _page(
        self,
        kind: str,
        columns: str,
        conditions: Sequence[Where],
        limit: int,
        token: str,
        scopes: Mapping[str, Scope] | None = None,
    ) -> Page:
        """Return what has versions at its last one, the newest first, after where a token says."""
        version, id_, time = _KEYS[kind]
        where = list(conditions)
        if token:
            where.append(Where(f"({time}, {id_}) < (?, ?)", key_of(token, (int, str))))
        rows = self.ask(
            f"SELECT {columns} FROM ({last_of(kind, version, id_)}) WHERE {both(where)} "
            f"ORDER BY {time} DESC, {id_} DESC LIMIT ?",
            (*values_of(where), limit + 1),
            scopes or {kind: ALL},
        )
        shown = rows[:limit]
        is_more = len(rows) > limit
        return Page(shown, token_of((shown[-1][time], shown[-1][id_])) if is_more else "")

    def _one(self, kind: str, columns: str, id_: str) -> tuple[Record, list[dict[str, Any]]] | None:
        """Return the last version of one, and some columns of all its versions."""
        version, key, _ = _KEYS[kind]
        rows = self.ask(
            f"SELECT value, {columns} FROM {kind} WHERE {key} = ? ORDER BY {version}",
            (id_,),
            {kind: Scope(ids={key: [id_]})},
        )
        values = [row.pop("value") for row in rows]
        return (decode(values[-1]), rows) if rows else None

    def tally(self, kind: str, times: Span, wanted: Mapping[str, Collection[str]]) -> Tally:
        """Return how many events of a kind there are in each minute; see `Archive.tally`."""
        return self._archive.tally(kind, times, wanted)

    def ends(self, kind: str) -> Ends:
        """Return where the rows of a kind end as of now."""
        return self._archive.ends(kind)

    def ask(
        self, sql: str, values: Sequence[Any], kinds: Mapping[str, Scope]
    ) -> list[dict[str, Any]]:
        """Run a statement and return the rows that it gives.

        Args:
            sql: a statement over tables named as the kinds.
            values: of its parameters.
            kinds: those that it reads, and how much of each.
        """
        cursor = self._db.cursor()
        tables, bounds = [], []
        try:
            for kind, look in self._looks(kinds).items():
                cursor.register(f"tail_{kind}", look.tail)
                sources = [f"SELECT * FROM tail_{kind}"]
                schema = ALL_KINDS[kind].schema
                for n, (files, ends) in enumerate(cuts(look.files, kinds[kind].ends)):
                    cursor.register(f"files_{kind}_{n}", self._archive.dataset(files, schema))
                    source = f"SELECT * FROM files_{kind}_{n}"
                    if ends is not None:
                        source += ' WHERE "offset" < list_extract(?::BIGINT[], partition + 1)'
                        bounds.append(ends)
                    sources.append(source)
                tables.append(f"{kind} AS ({' UNION ALL '.join(sources)})")
            return fetch(cursor, f"WITH {', '.join(tables)} {sql}", [*bounds, *values])
        finally:
            cursor.close()

    def _looks(self, kinds: Mapping[str, Scope]) -> dict[str, Look]:
        """Return kinds as of one moment: no summary beside the rows that it sums up."""
        while True:
            before = self._archive.replaced
            found = {kind: self._archive.look(kind, *scope) for kind, scope in kinds.items()}
            if self._archive.replaced == before:
                return found


def _rejected_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with the place that a record was rejected at as its own."""
    return {
        **{name: row[name] for name in ("reason", "detail", "topic")},
        "partition": row["source_partition"],
        "offset": row["source_offset"],
        **{name: row[name] for name in ("timestamp", "value_bytes", "appended")},
    }


def last_of(kind: str, version: str, keys: str) -> str:
    """Return a statement for the highest version of what has the same keys."""
    newest = f"row_number() OVER (PARTITION BY {keys} ORDER BY {version} DESC) = 1"
    return f"SELECT * FROM {kind} QUALIFY {newest}"


def both(where: Sequence[Where]) -> str:
    """Return the text of some conditions that hold together."""
    return " AND ".join(f"({one.text})" for one in where) or "true"


def values_of(where: Sequence[Where]) -> tuple[Any, ...]:
    """Return the parameters of some conditions."""
    return tuple(value for one in where for value in one.values)


def one_of(column: str, values: Sequence[Any]) -> Where:
    """Return the condition that a column has one of some values: a list that a scan can use."""
    marks = ", ".join("?" * len(values))
    return Where(f'"{column}" IN ({marks})', tuple(values))


def with_dimension(text: str, kept: Kept = as_asked) -> Where:
    """Return the condition that a row has a dimension, given as name=value.

    Raises:
        ConfigError: it is not written so.
        PersonalError: as `kept`, which says what the archive has in place of the value.
    """
    name, is_pair, value = text.partition("=")
    if not (name and is_pair):
        raise ConfigError(f"dimension: {text[:40]!r} is no name=value")
    values = kept(DIMENSION + name, value)
    return Where(" OR ".join(["dimensions[?] = ?"] * len(values)), _pairs(name, values))


def _pairs(name: str, values: Sequence[str]) -> tuple[str, ...]:
    return tuple(text for value in values for text in (name, value))
