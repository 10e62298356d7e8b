"""The audit query, as the request and the answer name their fields (rows S2-25 to S2-27)."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from streams.console.asked import LIMIT, LIMIT_MAX, TEXT_CHARS_MAX
from streams.console.paths.path import SEVERITIES, Path
from streams.console.personal import Kept, as_asked, kept_of
from streams.console.questions.audit import audit
from streams.console.questions.queries import Queries
from streams.console.times import iso, time_us
from streams.console.tokens import TOKEN_CHARS_MAX
from streams.errors import ConfigError
from streams.runtime.clock import wall_us

IDS_MAX: Final = 1_000

Text = Annotated[str, Field(min_length=1, max_length=TEXT_CHARS_MAX)]
Time = Annotated[Text, Field(json_schema_extra={"format": "date-time"})]
Texts = Annotated[list[Text], Field(max_length=IDS_MAX)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TimeRange(_Part):
    """[start, end), ISO 8601; without an offset in UTC."""

    start: Time
    end: Time


class AuditQuery(_Part):
    """What to look for; what is absent or empty asks for all.

    Attributes:
        time_range: of the events' timestamps.
        record_ids, trace_ids, modules, event_types: one of each.
        severity_minimum: this or graver.
        actor, component, correlation_id, batch_id, operation: exactly this.
        limit: entries of a page.
        continuation_token: of the page before.
    """

    time_range: TimeRange
    record_ids: Texts = []
    trace_ids: Texts = []
    modules: Texts = []
    event_types: list[Literal["METRIC", "LOG", "TRACE", "AUDIT"]] = Field(default=[], max_length=4)
    severity_minimum: Literal["DEBUG", "INFO", "WARN", "ERROR", "CRITICAL"] | None = None
    actor: Text | None = None
    component: Text | None = None
    correlation_id: Text | None = None
    batch_id: Text | None = None
    operation: Text | None = None
    limit: int = Field(default=LIMIT, ge=1, le=LIMIT_MAX, strict=True)
    continuation_token: Annotated[str, Field(max_length=TOKEN_CHARS_MAX)] | None = None


_LISTS: Final = {
    "record_ids": "record_id",
    "trace_ids": "trace_id",
    "modules": "module",
    "event_types": "event_type",
}
_SINGLE: Final = ("actor", "component", "correlation_id", "batch_id", "operation")


def wanted(query: AuditQuery, kept: Kept = as_asked) -> dict[str, list[str]]:
    """Return what an event has to be, besides its time: by column, the values that it may have.

    Raises:
        PersonalError, ConfigError: as `kept`, which says what the archive has in place of a value.
    """
    asked: dict[str, list[str]] = {name: getattr(query, of) for of, name in _LISTS.items()}
    asked["trace_id"] = [one.lower() for one in query.trace_ids]
    for name in _SINGLE:
        if (value := getattr(query, name)) is not None:
            asked[name] = [value]
    found = {
        column: sorted({one for value in values for one in kept(column, value)})
        for column, values in asked.items()
    }
    if query.severity_minimum is not None:
        found["severity"] = list(SEVERITIES[SEVERITIES.index(query.severity_minimum) :])
    return {column: values for column, values in found.items() if values}


def _audit(queries: Queries, asked: dict[str, Any], _: Mapping[str, str]) -> Any:
    query: AuditQuery = asked["body"]
    start_us = time_us(query.time_range.start, "time_range.start")
    end_us = time_us(query.time_range.end, "time_range.end")
    if end_us < start_us:
        raise ConfigError("time_range.end: before time_range.start")
    token = query.continuation_token or ""
    now_us = wall_us()
    values = wanted(query, kept_of(asked))
    found = audit(queries, (start_us, end_us), values, query.limit, token, now_us)
    return found._asdict() | {"as_of": iso(found.as_of)}


PATHS: Final = (
    Path(
        "/api/v1/audit/query",
        "Events by time, place, person and id, the oldest first; each counts once. All pages are "
        "of what the archive had `as_of` the first one.",
        (),
        _audit,
        "POST",
        AuditQuery,
        table="entries",
        command="audit",
        role="auditor",
    ),
)
