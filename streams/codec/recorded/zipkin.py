"""Reads traces as Zipkin's interface (v2) writes them: a list of spans, or a list of such lists.

Owns what Zipkin does differently: both sides of a call may share one span id (B3), which here is
the identity of one span. A span may be told in parts, which are merged first (`zipkin_parts`). The
client's side keeps the id; each other side gets an id of its own that depends on what it says, with
the client's as its parent, and the spans that the other side made are put below it. A side that
shares an id whose first half is not in the recording keeps the id. Times are as recorded: clocks
that differ are counted, not corrected. A span without a start begins with its first annotation.

Source: Zipkin, `zipkin-api/zipkin2-api.yaml` (v2) and `zipkin/src/main/java/zipkin2/internal/
SpanNode.java`, which puts a span below the half of its parent that has the same endpoint.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from functools import reduce
from pathlib import Path
from typing import Any, Final

from streams.codec.checks import TIMESTAMP_MAX_US
from streams.codec.recorded import fields
from streams.codec.recorded.account import (
    Account,
    Event,
    RecordedTrace,
    RowError,
    bound_events,
)
from streams.codec.recorded.places import JsonFile, read_text
from streams.codec.recorded.zipkin_parts import (
    ENDPOINT,
    SIDES_MAX,
    endpoint,
    is_equal,
    merged,
    merged_rows,
)
from streams.core.columns import SPAN_KINDS
from streams.errors import ConfigError

_ANNOTATIONS_MAX: Final = 10_000
_NO_LEFT_HALF: Final = "0" * 16
"""Of a trace id of 64 bits, as 32 digits."""
_Row = Mapping[str, Any]
_Side = tuple[Event, _Row, str]
"""A span, the row that it was read from, and the row's place."""


def zipkin_traces(paths: Sequence[Path], account: Account) -> Iterator[RecordedTrace]:
    """Read the traces of files, plain or .gz; a trace begins where its first span does.

    The sides of a call, and the parts of a span, may lie in several files: each service's, say.
    A row that another file has, too, is read once.

    Raises:
        ConfigError: a file cannot be read, is not JSON, or is no list of spans; or they hold too
            many rows.
    """
    by_trace: dict[str, list[_Side]] = {}
    elsewhere: dict[tuple[str, str], list[_Row]] = {}
    for nth, path in enumerate(paths):
        found = list(_sides(path, account))
        bound_events(account.rows)
        for side in found:
            event, row, _ = side
            if any(is_equal(row, one) for one in elsewhere.get(_ids(event), ())):
                account.merged += 1
            else:
                by_trace.setdefault(event["trace_id"], []).append(side)
        if nth + 1 < len(paths):
            for event, row, _ in found:
                known = elsewhere.setdefault(_ids(event), [])
                if len(known) < SIDES_MAX:
                    known.append(row)
    _join_halved_ids(by_trace)
    for trace_id, parts in by_trace.items():
        sides = _spans(parts, account)
        if not sides:
            continue
        _split_shared(sides)
        events: list[Event] = []
        for event, row, place in sides:
            events.append(event)
            events += _annotations(event, row, place, account)
        yield RecordedTrace(sides[0][2], trace_id, events)


def _ids(event: Event) -> tuple[str, str]:
    return event["trace_id"], event["span_id"]


def _sides(path: Path, account: Account) -> Iterator[_Side]:
    """Yield what each row of a file says of its span."""
    file = JsonFile(path, read_text(path))
    if file.first()[0] != "[":
        raise ConfigError(f"{path}: no Zipkin export: it does not begin with [")
    for place, row in _rows(file):
        account.rows += 1
        try:
            event = _part(row, account)
            yield event, _with_notes(row, place, account), place
        except RowError as error:
            account.refuse(place, error)


def _rows(file: JsonFile) -> Iterator[tuple[str, Any]]:
    """Yield each span's row with its place, whether it lies in one list or in lists of a list."""
    outer = file.items(0)
    for _, at in outer:
        if file.first(at)[0] == "[":
            inner = file.items(at)
            for _, begin in inner:
                row, inner.end = file.value(begin)
                yield file.place(begin), row
            outer.end = inner.end
        else:
            row, outer.end = file.value(at)
            yield file.place(at), row
    if file.first(outer.end)[0]:
        raise file.refuse(outer.end, "more after the end of the list")


def _join_halved_ids(by_trace: dict[str, list[_Side]]) -> None:
    """Put rows whose trace id lost its left half on the way to the trace that has the whole one.

    Tracers of 64 bits do that to one of 128. Source: zipkin2/Span.java, `traceId`, and Trace.java,
    which takes the longest. Where two whole ids end alike, neither is guessed.
    """
    whole: dict[str, list[str]] = {}
    for trace_id in by_trace:
        if not trace_id.startswith(_NO_LEFT_HALF):
            whole.setdefault(trace_id[len(_NO_LEFT_HALF) :], []).append(trace_id)
    for halved in [one for one in by_trace if one.startswith(_NO_LEFT_HALF)]:
        found = whole.get(halved[len(_NO_LEFT_HALF) :], ())
        if len(found) == 1:
            for event, row, place in by_trace.pop(halved):
                event["trace_id"] = found[0]
                event["event_id"] = fields.span_uuid(event)
                by_trace[found[0]].append((event, {**row, "traceId": found[0]}, place))


def _spans(parts: Sequence[_Side], account: Account) -> list[_Side]:
    """Return the spans of a trace in the order of their first rows; parts of one are merged."""
    by_id: dict[str, list[int]] = {}
    for at, (event, _, _) in enumerate(parts):
        by_id.setdefault(event["span_id"], []).append(at)
    found: dict[int, _Side] = {}
    for group in by_id.values():
        rows = [parts[at][1] for at in group]
        for own in [[0]] if len(rows) == 1 else merged_rows(rows):
            event, row, place = parts[group[own[0]]]
            try:
                if len(own) > 1:
                    row = reduce(merged, (rows[at] for at in own))
                    event = _part(row, Account())
                found[group[min(own)]] = (_placed(event, row), row, place)
                account.merged += len(own) - 1
            except RowError as error:
                for at in own:
                    account.refuse(parts[group[at]][2], error)
    return [found[at] for at in sorted(found)]


def _placed(event: Event, row: _Row) -> Event:
    """Return a span that has a time and a service.

    Raises:
        RowError: no row says when it began, or whose it is.
    """
    if not event["module"]:
        raise RowError("no_service", f"no row of span {row['id']!r} names its localEndpoint")
    if not event["timestamp"]:
        times = [n.get("timestamp") for n in row.get("annotations") or () if isinstance(n, dict)]
        known = [at for at in times if type(at) is int and 0 < at <= TIMESTAMP_MAX_US]
        if not known:
            raise RowError("no_start", f"no row of span {row['id']!r} says when it began")
        event["timestamp"] = min(known)
        event["dimensions"]["zipkin.start"] = "first annotation"
    return event


def _part(row: Any, account: Account) -> Event:
    """Return what one row says of its span, with the id that it has; 0 and "" for what it leaves.

    Raises:
        RowError: a field is of another type, or one that every row has is missing.
    """
    if not isinstance(row, dict):
        raise RowError("invalid_span", "not an object")
    if "binaryAnnotations" in row:
        raise RowError("zipkin_v1", "a span of version 1; export with /api/v2/traces")
    event = fields.blank_event()
    event["trace_id"] = fields.trace_id(row.get("traceId"), account)
    event["span_id"] = fields.span_id(row.get("id"), account)
    if row.get("parentId") and not fields.is_zero(row["parentId"]):
        event["parent_span_id"] = fields.span_id(row["parentId"], account)
    if event["parent_span_id"] == event["span_id"]:
        raise RowError("own_parent", f"span {row['id']!r} is its own parent")
    if row.get("timestamp") is not None:
        event["timestamp"] = fields.time_us(row, "timestamp")
    event["duration_us"] = fields.length_us(row, "duration", needed=False)
    event["module"] = fields.text(_endpoint(row, "localEndpoint"), "serviceName")
    kind = fields.text(row, "kind")
    if kind not in ("", *SPAN_KINDS[1:]):
        raise RowError("invalid_kind", f"kind is {kind!r}")
    event["span_kind"] = kind or "INTERNAL"
    # Version 2 leaves the name out where the other side's is the better one.
    event["name"] = fields.text(row, "name") or kind.lower() or "unknown"
    if not isinstance(row.get("shared") or False, bool):
        raise RowError("invalid_shared", f"shared is {row['shared']!r}")
    tags = _tags(row)
    if "error" in tags:  # present means failed, whatever it says
        event["status"] = event["severity"] = "ERROR"
    fields.take_tags(event, tags)
    event["event_id"] = fields.span_uuid(event)
    return fields.checked(event)


def _with_notes(row: _Row, place: str, account: Account) -> _Row:
    """Return a row whose annotations are a list; others are refused, and the span is read."""
    notes = row.get("annotations") or []
    if isinstance(notes, list) and len(notes) <= _ANNOTATIONS_MAX:
        return row
    account.refuse(place, RowError("invalid_annotations", "no list, or a very long one"))
    return {**row, "annotations": []}


def _tags(row: _Row) -> dict[str, str]:
    tags = row.get("tags") or {}
    if not isinstance(tags, dict) or not all(isinstance(v, str) for v in tags.values()):
        raise RowError("invalid_tags", "tags is not an object of texts")
    remote = _endpoint(row, "remoteEndpoint")
    if remote.get("serviceName"):
        tags = {"peer.service": fields.text(remote, "serviceName"), **tags}
    return tags


def _endpoint(row: _Row, name: str) -> _Row:
    found = endpoint(row, name)
    if not isinstance(found, dict):
        raise RowError("invalid_endpoint", f"{name} is not an object")
    return found


def _address(row: _Row) -> tuple[object, ...]:
    return tuple(endpoint(row, "localEndpoint").get(name) for name in ENDPOINT)


def _split_shared(sides: Sequence[_Side]) -> None:
    """Give each further side of a shared id an id of its own, and its children to it."""
    by_id: dict[str, list[_Side]] = {}
    for side in sides:
        by_id.setdefault(side[0]["span_id"], []).append(side)
    halves: dict[str, list[_Side]] = {}
    for shared_id, group in by_id.items():
        kinds = {event["span_kind"] for event, _, _ in group}
        is_far = [_is_far_side(side, kinds) for side in group]
        if all(is_far):
            # Several far sides of a call whose caller is not there: the first keeps the id.
            is_far[0] = False
        for side in (side for side, far in zip(group, is_far, strict=True) if far):
            event, row, _ = side
            said = (*_address(row), event["span_kind"], event["timestamp"], event["name"])
            event["span_id"] = fields.derived_span_id(event["trace_id"], shared_id, *said)
            event["parent_span_id"] = shared_id
            event["event_id"] = fields.span_uuid(event)
            event["dimensions"]["zipkin.shared_id"] = shared_id
            halves.setdefault(shared_id, []).append(side)
    if halves:
        for side in sides:
            parent = side[0]["parent_span_id"]
            if parent in halves and "zipkin.shared_id" not in side[0]["dimensions"]:
                side[0]["parent_span_id"] = _half_of(side, by_id[parent])


def _is_far_side(side: _Side, kinds: Set[str]) -> bool:
    """Whether a row is the receiving side of a call whose sender has the same id.

    Args:
        side: the row and its span.
        kinds: of all spans of its id.
    """
    event, row, _ = side
    if row.get("shared"):
        return True
    return (event["span_kind"] == "SERVER" and "CLIENT" in kinds) or (
        event["span_kind"] == "CONSUMER" and "PRODUCER" in kinds
    )


def _half_of(child: _Side, halves: Sequence[_Side]) -> str:
    """Return the id of the side that made a child: the same endpoint, else the same service.

    Of several the last that began before the child; where none is of its service, the sender.
    """
    address = _address(child[1])
    near = halves[:SIDES_MAX]
    for fits in (
        lambda other: _address(other[1]) == address,
        lambda other: other[0]["module"] == child[0]["module"],
    ):
        found = [half for half in near if fits(half)]
        if found:
            began = [h for h in found if h[0]["timestamp"] <= child[0]["timestamp"]]
            best = max(began or found, key=lambda half: int(half[0]["timestamp"]))
            return str(best[0]["span_id"])
    return str(child[0]["parent_span_id"])


def _annotations(span: Event, row: _Row, place: str, account: Account) -> Iterator[Event]:
    """Yield what a span noted, as LOG events; a bad one is refused alone."""
    for number, note in enumerate(row.get("annotations") or ()):
        account.rows += 1
        try:
            if not isinstance(note, dict):
                raise RowError("invalid_annotations", "an annotation is no object")
            event = fields.blank_event() | {
                name: span[name] for name in ("trace_id", "span_id", "module", "component")
            }
            event["event_type"] = "LOG"
            event["timestamp"] = fields.time_us(note, "timestamp")
            event["name"] = fields.text(note, "value", needed=True)
            ids = (span["trace_id"], span["span_id"], number)
            event["event_id"] = fields.derived_uuid("annotation", *ids)
            yield fields.checked(event)
        except RowError as error:
            account.refuse(place, error)
