"""Questions to the archive, answered by DuckDB over its files and its tail.

Owns the SQL: every value comes in as a parameter, and nothing of a question ever becomes text of a
statement. Of what has versions the highest counts.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import duckdb

from streams.codec.records import Record, decode
from streams.console.archive import Archive
from streams.console.files import hour_of
from streams.console.kinds import SCHEMAS, SCOPE
from streams.console.tokens import key_of, token_of

_HOUR_US: Final = 3_600_000_000
LAG_US: Final = 2 * _HOUR_US
"""A trace may be appended so long after its end: when it waited long, or input lagged behind."""
_SUMMARY: Final = (
    'trace_id, revision, flow, status, closed_by, start, "end", duration_us, span_count, '
    "error_count, missing_stages, modules, record_ids, batch_ids, correlation_ids"
)
_INCIDENT: Final = (
    "incident_id, version, event, severity, title, module, owner, opened_at, resolved_at, timestamp"
)
_KEYS: Final = {
    "traces": ("revision", "trace_id", "start"),
    "incidents": ("version", "incident_id", "opened_at"),
}
"""Of what has versions: which one it is, of what, and the time that lists go by."""


class Where(NamedTuple):
    """A condition, and its parameters."""

    text: str
    values: tuple[Any, ...] = ()


class Page(NamedTuple):
    """Rows, and where the next ones begin; "" when there are no more."""

    rows: list[dict[str, Any]]
    continuation_token: str


class Queries:
    """Asks an archive; each question sees what there was when it came."""

    def __init__(self, archive: Archive, memory_bytes: int, threads: int) -> None:
        self._archive = archive
        self._db = duckdb.connect(
            ":memory:", config={"memory_limit": f"{memory_bytes >> 20}MB", "threads": threads}
        )
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
        hours = hour_of(start_us), hour_of(end_us + LAG_US)
        return self._page("traces", _SUMMARY, where, limit, token, hours)

    def trace(self, trace_id: str) -> tuple[Record, list[dict[str, Any]]] | None:
        """Return a trace as of its last revision, and all its revisions; None when unknown."""
        columns = "revision, status, closed_by, span_count, appended_us AS appended"
        return self._one("traces", columns, trace_id)

    def traces_of_record(self, record_id: str, limit: int) -> list[Record]:
        """Return the traces that a record went through, the oldest first."""
        rows = self._ask(
            "traces",
            f"SELECT value FROM ({_last('revision', 'trace_id')}) "
            "WHERE list_contains(record_ids, ?) ORDER BY start, trace_id LIMIT ?",
            (record_id, limit),
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

    def incidents_of(
        self, record_id: str, trace_ids: Sequence[str], limit: int
    ) -> list[dict[str, Any]]:
        """Return the incidents that name a record or one of some traces, the oldest first."""
        return self._ask(
            "incidents",
            f"SELECT {_INCIDENT} FROM ({_last('version', 'incident_id')}) "
            "WHERE list_contains(record_ids, ?) OR list_has_any(trace_ids, ?::VARCHAR[]) "
            "ORDER BY opened_at, incident_id LIMIT ?",
            (record_id, list(trace_ids), limit),
        )

    # --- fidelity ---------------------------------------------------------------------------------

    def fidelity(
        self, start_us: int, end_us: int, conditions: Sequence[Where], limit: int
    ) -> list[dict[str, Any]]:
        """Return the windows of [start, end) at their last revision, by scope and time."""
        where = [Where("window_start >= ? AND window_start < ?", (start_us, end_us)), *conditions]
        scope = ", ".join(SCOPE)
        keys = f"window_start, {scope}"
        return self._ask(
            "fidelity",
            f"SELECT {keys}, window_us, revision, expected, observed, ratio, slo_ratio, "
            f"burn_rate_short, burn_rate_long FROM ({_last('revision', keys)}) WHERE {_and(where)} "
            f"ORDER BY {scope}, window_start LIMIT ?",
            (*_values(where), limit),
            (hour_of(start_us), hour_of(end_us + LAG_US)),
        )

    # --- how --------------------------------------------------------------------------------------

    def _page(
        self,
        kind: str,
        columns: str,
        conditions: Sequence[Where],
        limit: int,
        token: str,
        hours: tuple[str, str] | None = None,
    ) -> Page:
        """Return what has versions at its last one, the newest first, after where a token says."""
        version, id_, time = _KEYS[kind]
        where = list(conditions)
        if token:
            where.append(Where(f"({time}, {id_}) < (?, ?)", key_of(token, (int, str))))
        rows = self._ask(
            kind,
            f"SELECT {columns} FROM ({_last(version, id_)}) WHERE {_and(where)} "
            f"ORDER BY {time} DESC, {id_} DESC LIMIT ?",
            (*_values(where), limit + 1),
            hours,
        )
        shown = rows[:limit]
        is_more = len(rows) > limit
        return Page(shown, token_of((shown[-1][time], shown[-1][id_])) if is_more else "")

    def _one(self, kind: str, columns: str, id_: str) -> tuple[Record, list[dict[str, Any]]] | None:
        """Return the last version of one, and some columns of all its versions."""
        version, key, _ = _KEYS[kind]
        rows = self._ask(
            kind,
            f"SELECT value, {columns} FROM rows WHERE {key} = ? ORDER BY {version}",
            (id_,),
            ids={key: [id_]},
        )
        values = [row.pop("value") for row in rows]
        return (decode(values[-1]), rows) if rows else None

    def _ask(
        self,
        kind: str,
        sql: str,
        values: Sequence[Any],
        hours: tuple[str, str] | None = None,
        ids: Mapping[str, Sequence[str]] | None = None,
    ) -> list[dict[str, Any]]:
        """Run a statement over `rows`, all records of a kind, and return what it gives.

        With `ids`, `rows` has those that hold one of them in its column, and perhaps others.
        """
        look = self._archive.look(kind, hours, ids)
        cursor = self._db.cursor()
        try:
            cursor.register("tail", look.tail)
            source = "SELECT * FROM tail"
            if look.files:
                cursor.register("files", self._archive.dataset(look.files, SCHEMAS[kind]))
                source = f"SELECT * FROM files UNION ALL {source}"
            cursor.execute(f"WITH rows AS ({source}) {sql}", list(values))
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        finally:
            cursor.close()


def _last(version: str, keys: str) -> str:
    """Return a statement for the highest version of what has the same keys."""
    newest = f"row_number() OVER (PARTITION BY {keys} ORDER BY {version} DESC) = 1"
    return f"SELECT * FROM rows QUALIFY {newest}"


def _and(where: Sequence[Where]) -> str:
    return " AND ".join(f"({one.text})" for one in where) or "true"


def _values(where: Sequence[Where]) -> tuple[Any, ...]:
    return tuple(value for one in where for value in one.values)
