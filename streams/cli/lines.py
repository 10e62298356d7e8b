"""Records as people read them: one compact line each, with colours that a terminal may show.

Owns the words of a line and the JSON form of a record. Invariant: whatever a record holds, its line
is one line: control characters, which could steer a terminal, are written out.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from rich.text import Text

from streams.codec import records, wire
from streams.codec.plain import plain
from streams.codec.schemas import default_schemas
from streams.errors import RecordError, StateError
from streams.runtime.reading import Message
from streams.state.segment import read_piece
from streams.units import SECOND_US, counted

Record = Mapping[str, Any]
_STYLE: Final = {
    "COMPLETE": "green",
    "INCOMPLETE": "yellow",
    "BROKEN": "red",
    "TRUNCATED": "magenta",
    "FIRING": "bold red",
    "RESOLVED": "green",
    "OPENED": "bold red",
    "REOPENED": "bold red",
    "UPDATED": "yellow",
    "ACKNOWLEDGED": "cyan",
    "MERGED": "cyan",
    "CRITICAL": "bold red",
    "ERROR": "red",
    "WARN": "yellow",
}
_MISSING_SHOWN: Final = 3
_STATE_TOPIC_END: Final = ".state.v1"


def read_value(message: Message) -> tuple[str, dict[str, Any]]:
    """Return the name of a record's schema and the record; what cannot be read says why.

    The name is "" for JSON, "state" for a piece of a task's state, and "unreadable" for a value
    that is none of ours: then the record holds `reason`, `detail` and `bytes`.
    """
    value = message.value
    if value is not None and message.topic.endswith(_STATE_TOPIC_END):
        return _state(value)
    if value is not None and value[:1] == b"{":
        try:
            return "", dict(json.loads(value))
        except ValueError as error:
            return _unreadable(value, "invalid_json", str(error))
    try:
        schema_id, _ = wire.split(value, default_schemas())
        return default_schemas().name_of(schema_id) or "", records.decode(value)
    except RecordError as error:
        return _unreadable(value, error.reason, error.detail)


def _unreadable(value: bytes | None, reason: str, detail: str) -> tuple[str, dict[str, Any]]:
    size = None if value is None else len(value)
    return "unreadable", {"reason": reason, "detail": detail, "bytes": size}


def _state(value: bytes) -> tuple[str, dict[str, Any]]:
    try:
        piece = read_piece(value)
    except StateError as error:
        return _unreadable(value, "invalid_state", str(error))
    return "state", {
        "generation": piece.generation,
        "number": piece.number,
        "piece": piece.index,
        "pieces": piece.count,
        "bytes": len(value),
    }


def as_json(message: Message) -> str:
    """Return a record as one line of JSON: where it lies, its schema's name, and its fields.

    Bytes are base64; numbers that JSON has no word for (NaN, infinities) are null.
    """
    name, record = read_value(message)
    key = message.key
    line = {
        "topic": message.topic,
        "partition": message.partition,
        "offset": message.offset,
        "timestamp_ms": message.timestamp_ms,
        "key": None if key is None else key.decode("utf-8", "backslashreplace"),
        "schema": name,
        "record": record,
    }
    return json.dumps(plain(line), ensure_ascii=False, allow_nan=False)


def as_line(message: Message) -> Text:
    """Return a record as one readable line."""
    name, record = read_value(message)
    line = Text(no_wrap=True)
    write = _WRITERS.get(name)
    if write is not None:
        write(line, record)
    elif name:
        _say(line, (f"{message.topic}/{message.partition}@{message.offset} ", "dim"))
        _say(line, name, " ", _pairs(record))
    else:
        _say(line, (f"{message.topic}/{message.partition}@{message.offset} ", "dim"))
        _say(line, json.dumps(record, ensure_ascii=False))
    return line


def clean(text: str) -> str:
    """Return text that cannot steer a terminal: each control character as its escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def time_of_day(time_us: int) -> str:
    """Write an event time as date and time, UTC, to the millisecond."""
    try:
        at = datetime.fromtimestamp(time_us / SECOND_US, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return f"{time_us} us"
    return at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def length(duration_us: float) -> str:
    """Write a duration with the unit that suits it."""
    if duration_us < 1_000:
        return f"{duration_us:.0f} us"
    if duration_us < SECOND_US:
        return f"{duration_us / 1_000:.3g} ms"
    return f"{duration_us / SECOND_US:.4g} s"


def percent(ratio: float) -> str:
    """Write a ratio in percent with two decimals, cut off, so that 99.999 % never reads 100."""
    return "-" if math.isnan(ratio) else f"{math.floor(ratio * 10_000) / 100:.2f} %"


def edge_name(record: Record) -> str:
    """Write the place of an edge, a stage or a flow."""
    stages = ">".join(s for s in (record["from_stage"], record["to_stage"]) if s)
    return "/".join(part for part in (record.get("flow", ""), stages) if part)


def causes(missing: Mapping[str, int]) -> str:
    """Write the missing by cause, the most frequent first."""
    ranked = sorted(missing.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{cause} {count}" for cause, count in ranked if count)


def _say(line: Text, *parts: str | tuple[str, str]) -> None:
    for part in parts:
        text, style = part if isinstance(part, tuple) else (part, "")
        line.append(clean(text), style)


def _word(text: str, width: int = 0) -> tuple[str, str]:
    return f"{text:<{width}} ", _STYLE.get(text, "")


def _at(time_us: int) -> tuple[str, str]:
    return f"{time_of_day(time_us)} ", "dim"


def _pairs(record: Record) -> str:
    return " ".join(f"{name}={value}" for name, value in record.items())


def _event(line: Text, event: Record) -> None:
    _say(line, _at(event["timestamp"]), f"{event['event_type']:<6} ")
    _say(line, (f"{event['module']}:{event['component']} ", "cyan"), event["name"], " ")
    if event["event_type"] == "TRACE":
        _say(line, f"{length(event['duration_us'])} ", _word(event["status"]))
    elif event["severity"] not in ("DEBUG", "INFO"):
        _say(line, _word(event["severity"]))
    if event["event_type"] == "AUDIT":
        _audit(line, event)
    elif not math.isnan(event["value"]):
        _say(line, f"{event['value']:.6g} {event['unit']} ")
    if event["trace_id"]:
        _say(line, (f"trace {event['trace_id']} span {event['span_id'] or '-'}", "dim"))


def _audit(line: Text, event: Record) -> None:
    """Say who did what to what; of an order also what became of it, and why."""
    told = event["dimensions"]
    _say(line, f"by {event['actor'] or 'nobody named'} ")
    if event["record_id"]:
        _say(line, f"on {event['record_id']} ")
    known = (f"{name}: {told[name]}" for name in ("refused", "reason") if told.get(name))
    _say(line, ", ".join(known) or told.get("outcome", ""), " ")


def _rekeyed(line: Text, batch: Record) -> None:
    _say(line, f"of {batch['topic']}/{batch['partition']}: ")
    if batch["events"]:
        _batch(line, batch)
    else:
        _say(line, "read to the end at ", _at(batch["read_to_us"]))


def _batch(line: Text, batch: Record) -> None:
    events = batch["events"]
    count = counted(len(events), "event")
    _say(line, _at(events[0]["timestamp"]) if events else "", f"{count} in one message ")
    modules = Counter(event["module"] for event in events)
    _say(line, (", ".join(f"{name} {n}" for name, n in sorted(modules.items())), "cyan"))


def _trace(line: Text, trace: Record) -> None:
    _say(line, _at(trace["start"]), _word(trace["status"], 10))
    _say(line, (trace["flow"] or "no flow", "cyan"), f" {counted(trace['span_count'], 'span')} ")
    _say(line, f"{length(trace['duration_us'])} ")
    if trace["error_count"]:
        _say(line, (f"{counted(trace['error_count'], 'error')} ", "red"))
    if trace["evicted_count"]:
        _say(line, (f"{trace['evicted_count']} evicted ", "magenta"))
    for lost in trace["missing"][:_MISSING_SHOWN]:
        place = edge_name(lost) or lost["name"] or f"span {lost['span_id']}"
        _say(line, ("missing ", "yellow"), place, (f" {lost['cause']} ", "yellow"))
    if len(trace["missing"]) > _MISSING_SHOWN:
        _say(line, f"and {len(trace['missing']) - _MISSING_SHOWN} more ")
    _say(line, (f"revision {trace['revision']} trace {trace['trace_id']}", "dim"))


def _alert(line: Text, alert: Record) -> None:
    _say(line, _at(alert["last_seen"]), _word(alert["state"], 8), _word(alert["severity"]))
    _say(line, (f"{alert['kind']} {alert['name'] or alert['module']} ", "cyan"))
    _say(line, f"{alert['value']:.4g} of {alert['threshold']:.4g} {alert['unit']}: ")
    _say(line, alert["explanation"])
    _say(line, (f" version {alert['version']} alert {alert['fingerprint']}", "dim"))


def _incident(line: Text, incident: Record) -> None:
    _say(line, _at(incident["timestamp"]), _word(incident["event"], 12))
    _say(line, _word(incident["severity"]), (incident["title"], "bold"))
    _say(line, f" owner {incident['owner'] or 'unowned'} ")
    alerts = counted(incident["alert_count"] or len(incident["alerts"]), "alert")
    _say(line, f"{alerts}, {counted(incident['blast_radius']['records'], 'record')} ")
    _say(line, (f"version {incident['version']} incident {incident['incident_id']}", "dim"))


def _stats(line: Text, row: Record) -> None:
    _say(line, _at(row["window_start"]), f"{row['window_us'] / SECOND_US:g} s {row['kind']:<6} ")
    place = edge_name(row) if row["kind"] != "module" else row["module"]
    _say(line, (f"{place} " if place else "", "cyan"))
    if row["expected"]:
        style = "red" if row["ratio"] < row["slo_ratio"] else "green"
        _say(line, (percent(row["ratio"]), style), f" {row['observed']} of {row['expected']} ")
        _say(line, f"burn {row['burn_rate_short']:.3g} / {row['burn_rate_long']:.3g} ")
    if any(row["missing"].values()):
        _say(line, ("missing ", "yellow"), causes(row["missing"]), " ")
    _say(line, _counters(row["counters"]))
    reported = f"{row['partitions_reported']} of {row['partitions_total']} partitions"
    _say(line, (f"revision {row['revision']} {reported}", "dim"))


def _counters(counters: Mapping[str, int]) -> str:
    return "".join(f"{name} {count} " for name, count in counters.items() if count)


def _partial(line: Text, partial: Record) -> None:
    _say(line, _at(partial["window_start"]), f"{partial['window_us'] / SECOND_US:g} s partition ")
    _say(line, f"{partial['partition']} of {partial['partitions_total']} ")
    total: Mapping[str, int] = next(
        (s["counters"] for s in partial["scopes"] if s["kind"] == "total"), {}
    )
    _say(line, f"{counted(len(partial['scopes']), 'scope')} ", _counters(total))
    _say(line, (f"sequence {partial['sequence']} ", "dim"))
    _say(line, (f"watermark {time_of_day(partial['watermark'])}", "dim"))


def _signals(line: Text, partial: Record) -> None:
    _say(line, _at(partial["window_start"]), f"{partial['window_us'] / SECOND_US:g} s partition ")
    _say(line, f"{partial['partition']} of {partial['partitions_total']} ")
    kinds = [row["kind"] for row in partial["series"]]
    counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    _say(line, f"{len(kinds)} series ", _counters(counts))
    _say(line, (f"sequence {partial['sequence']} ", "dim"))
    _say(line, (f"watermark {time_of_day(partial['watermark'])}", "dim"))


def _evidence(line: Text, found: Record) -> None:
    _say(line, _at(found["at"]), f"{counted(found['traces'], 'trace')} {found['series']} series ")
    if found["alarms"]:
        _say(line, (f"beyond doubt {', '.join(found['alarms'])} ", "red"))
    first = max(found["evidence"], key=lambda item: item["bits"] * item["weight"], default=None)
    _say(line, counted(len(found["evidence"]), "sign") if first else "nothing unusual")
    if first:
        _say(line, (f", first {first['kind']}: {first['sentence']}", "dim"))


def _rejected(line: Text, event: Record) -> None:
    _say(line, _at(event["timestamp"]), (f"{event['reason']} ", "red"))
    _say(line, f"{event['topic']}/{event['partition']}@{event['offset']} ")
    _say(line, f"{event['value_bytes']} bytes: {event['detail']}")


def _fragment(line: Text, fragment: Record) -> None:
    _say(line, _at(fragment["start"]), (f"{fragment['flow']} ", "cyan"))
    ends = [name for name, has in (("first", "has_first"), ("last", "has_last")) if fragment[has]]
    _say(line, f"record {fragment['record_id'] or '-'} batch {fragment['batch_id'] or '-'} ")
    _say(line, f"{fragment['first_stage']} to {fragment['last_stage']}, ")
    _say(line, f"has {' and '.join(ends) or 'neither first nor last'} stage ")
    _say(line, (f"trace {fragment['trace_id']}", "dim"))


def _unreadable_line(line: Text, what: Record) -> None:
    size = "no value" if what["bytes"] is None else f"{what['bytes']} bytes"
    _say(line, ("unreadable ", "red"), f"{size}, {what['reason']}: {what['detail']}")


_WRITERS: Final[dict[str, Callable[[Text, Record], None]]] = {
    "telemetry_event": _event,
    "telemetry_batch": _batch,
    "rekeyed_batch": _rekeyed,
    "assembled_trace": _trace,
    "alert": _alert,
    "incident_event": _incident,
    "fidelity_stats": _stats,
    "fidelity_partial": _partial,
    "signal_partial": _signals,
    "cause_evidence": _evidence,
    "rejected_event": _rejected,
    "trace_fragment": _fragment,
    "unreadable": _unreadable_line,
}
