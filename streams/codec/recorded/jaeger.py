"""Reads traces as Jaeger's interface and its page's download write them.

Owns that layout: `data[]` of traces with `spans` and `processes`, or one such trace alone. A span's
`logs` become LOG events of the span. Refused, with the line it begins in: a span whose field is
missing or of another type, whose process is not there, that names another trace than the one it
lies in, or itself as its parent.

Source: Jaeger, `model/json/model.go`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from streams.codec.recorded import fields
from streams.codec.recorded.account import Account, Event, RecordedTrace, RowError
from streams.codec.recorded.places import JsonFile, read_text
from streams.core.columns import SEVERITIES, SPAN_KINDS
from streams.errors import ConfigError

_SEVERITY: Final = {"WARNING": "WARN", "FATAL": "CRITICAL", "TRACE": "DEBUG"}
_SAMPLED: Final = 1
_LOGS_MAX: Final = 10_000
_TAG_TYPES: Final = {"string": str, "bool": bool, "int64": int, "float64": float | int}


def jaeger_traces(path: Path, account: Account) -> Iterator[RecordedTrace]:
    """Read the traces of a file, plain or .gz, in its order.

    Raises:
        ConfigError: the file cannot be read, is not JSON, or is no Jaeger export at all.
    """
    file = JsonFile(path, read_text(path))
    letter, at = file.first()
    if letter != "{":
        raise ConfigError(f"{path}: no Jaeger export: it does not begin with {{")
    top = file.members(at)
    seen = set()
    for key, place in top:
        seen.add(key)
        if key == "data" and file.first(place)[0] == "[":
            traces = file.items(place)
            for _, start in traces:
                trace, traces.end = _trace(file, start, account)
                yield trace
            top.end = traces.end
        else:
            value, top.end = file.value(place)
            if key == "data" and value is not None:  # null: a question that found nothing
                raise file.refuse(place, "no Jaeger export: `data` is no list")
    if "spans" in seen:
        yield _trace(file, at, account)[0]
    elif "data" not in seen:
        raise ConfigError(f"{path}: no Jaeger export: neither `data` nor `spans` in it")
    if file.first(top.end)[0]:
        raise file.refuse(top.end, "more after the end of the export")


def _trace(file: JsonFile, at: int, account: Account) -> tuple[RecordedTrace, int]:
    """Read one trace and return where it ends."""
    place = file.place(at)
    named: object = None
    processes: Any = {}
    rows: list[tuple[str, Any]] = []
    members = file.members(at)
    for key, start in members:
        if key == "spans" and file.first(start)[0] == "[":
            spans = file.items(start)
            for _, begin in spans:
                row, spans.end = file.value(begin)
                rows.append((file.place(begin), row))
            members.end = spans.end
            continue
        value, members.end = file.value(start)
        if key == "traceID":
            named = value
        elif key == "processes":
            processes = value
    if not isinstance(processes, dict):
        raise ConfigError(f"{place}: `processes` is not an object")
    events: list[Event] = []
    if named is None and rows and isinstance(rows[0][1], dict):
        named = rows[0][1].get("traceID")
    for line, row in rows:
        account.rows += 1
        try:
            span = _span(row, named, processes, account)
            events.append(fields.checked(span))
            events += _logs(span, row.get("logs"), line, account)
        except RowError as error:
            account.refuse(line, error)
    trace_id = events[0]["trace_id"] if events else ""
    return RecordedTrace(place, trace_id, events), members.end


def _span(row: Any, named: object, processes: Mapping[str, Any], account: Account) -> Event:
    """Return a span."""
    if not isinstance(row, dict):
        raise RowError("invalid_span", "not an object")
    if row.get("traceID") != named:
        raise RowError("other_trace", f"traceID {row.get('traceID')!r} within trace {named!r}")
    event = fields.blank_event()
    event["trace_id"] = fields.trace_id(named, account)
    event["span_id"] = fields.span_id(row.get("spanID"), account)
    event["timestamp"] = fields.time_us(row, "startTime")
    event["duration_us"] = fields.length_us(row, "duration", needed=True)
    event["name"] = fields.text(row, "operationName", needed=True)
    process = row.get("process") or processes.get(str(row.get("processID")))
    if not isinstance(process, dict):
        raise RowError("unknown_process", f"processID {row.get('processID')!r}")
    event["module"] = fields.text(process, "serviceName", needed=True)
    flags = row.get("flags", _SAMPLED)
    if type(flags) is not int:
        raise RowError("invalid_flags", f"flags is {flags!r}")
    event["trace_flags"] = flags & _SAMPLED
    tags = {**_tags(process.get("tags")), **_tags(row.get("tags"))}
    event["span_kind"] = _kind(tags.pop("span.kind", ""))
    event["status"] = _status(tags)
    if event["status"] == "ERROR":
        event["severity"] = "ERROR"  # as of a span of OpenTelemetry
    fields.take_tags(event, tags)
    _place_in_trace(event, row, named, account)
    event["event_id"] = fields.span_uuid(event)
    return event


def _place_in_trace(event: Event, row: Mapping[str, Any], named: object, account: Account) -> None:
    """Set parent and links: the first CHILD_OF of the trace is the parent, else a FOLLOWS_FROM.

    A parent of zeros is none, as in Jaeger's own model.
    """
    references = row.get("references") or []
    if not isinstance(references, list) or not all(isinstance(r, dict) for r in references):
        raise RowError("invalid_references", "references is not a list of objects")
    references = [r for r in references if not (_is_child(r) and fields.is_zero(r.get("spanID")))]
    own = [r for r in references if r.get("traceID") == named]
    parents = [r for r in own if _is_child(r)] or [
        r for r in own if r.get("refType") == "FOLLOWS_FROM"
    ]
    for reference in references:
        if reference.get("refType") not in ("CHILD_OF", "FOLLOWS_FROM"):
            raise RowError("invalid_references", f"refType {reference.get('refType')!r}")
    if parents:
        event["parent_span_id"] = fields.span_id(parents[0].get("spanID"), account)
    elif row.get("parentSpanID") and not fields.is_zero(row["parentSpanID"]):
        event["parent_span_id"] = fields.span_id(row["parentSpanID"], account)
    if event["parent_span_id"] == event["span_id"]:
        raise RowError("own_parent", f"span {row['spanID']!r} is its own parent")
    event["links"] = [
        {
            "trace_id": fields.trace_id(reference.get("traceID"), account),
            "span_id": fields.span_id(reference.get("spanID"), account),
        }
        for reference in references
        if not parents or reference is not parents[0]
    ]


def _is_child(reference: Mapping[str, Any]) -> bool:
    return reference.get("refType") == "CHILD_OF"


def _tags(tags: object) -> dict[str, str]:
    """Return tags as texts.

    Raises:
        RowError: they are no list of {key, type, value}, or a value is not of its type.
    """
    if tags is None:
        return {}
    if not isinstance(tags, list):
        raise RowError("invalid_tags", "tags is not a list")
    found = {}
    for tag in tags:
        if not isinstance(tag, dict) or not isinstance(tag.get("key"), str) or "value" not in tag:
            raise RowError("invalid_tags", "a tag has no key of text, or no value")
        kind = _TAG_TYPES.get(str(tag.get("type", "")))
        # Numbers may come as text: JavaScript's are too short for 64 bits.
        if kind is not None and not isinstance(tag["value"], kind | str):
            raise RowError("invalid_tags", f"tag {tag['key']!r} is no {tag['type']}")
        found[tag["key"]] = fields.as_text(tag["value"])
    return found


def _kind(text: str) -> str:
    kind = text.upper()
    return kind if kind in SPAN_KINDS else "INTERNAL"


def _status(tags: dict[str, str]) -> str:
    """Take the status out of the tags. Source: OpenTelemetry, "OpenTelemetry to Jaeger", status."""
    said = tags.pop("otel.status_code", "").upper()
    if said in ("OK", "ERROR"):
        tags.pop("error", None)
        return said
    error = tags.get("error", "")
    if error in ("true", "false", ""):
        tags.pop("error", None)
    return "ERROR" if error not in ("false", "") else "UNSET"


def _logs(span: Event, logs: object, place: str, account: Account) -> Iterator[Event]:
    """Yield a span's logs as events; a bad one is refused alone.

    Raises:
        RowError: they are no list.
    """
    if logs is None:
        return
    if not isinstance(logs, list) or len(logs) > _LOGS_MAX:
        raise RowError("invalid_logs", "logs is not a list, or a very long one")
    for number, row in enumerate(logs):
        account.rows += 1
        try:
            yield fields.checked(_log(span, row, number))
        except RowError as error:
            account.refuse(place, error)


def _log(span: Event, row: Any, number: int) -> Event:
    """Return one log of a span."""
    if not isinstance(row, dict):
        raise RowError("invalid_logs", "a log is no object")
    tags = _tags(row.get("fields"))
    event = fields.blank_event() | {
        name: span[name] for name in ("trace_id", "span_id", "module", "component", "trace_flags")
    }
    event["event_type"] = "LOG"
    event["timestamp"] = fields.time_us(row, "timestamp")
    level = tags.pop("level", "").upper()
    level = _SEVERITY.get(level, level)
    event["severity"] = level if level in SEVERITIES else "INFO"
    event["name"] = tags.pop("event", "") or tags.get("message", "") or "log"
    event["event_id"] = fields.derived_uuid("log", span["trace_id"], span["span_id"], number)
    fields.take_tags(event, tags)
    return event
