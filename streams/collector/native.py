"""Requests of events of our own, JSON or Avro, become wire values, one an event.

Owns the forms of `/v1/events`: one JSON object, a list of them, JSON lines, and Avro in Confluent
wire format (`telemetry_event` or `telemetry_batch`). Invariant: what cannot be told into events is
refused whole; a bad event among good ones is told by its position.
"""

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final

from streams.codec import records, wire
from streams.codec.columnar import ColumnarReader, schema_fields
from streams.codec.eventlog import event_of
from streams.codec.schemas import default_schemas
from streams.codec.strict import Walk
from streams.collector.mending import mended
from streams.collector.request import Bad, Form
from streams.errors import ConfigError, RecordError

NAME: Final = "telemetry_event"
BATCH: Final = "telemetry_batch"
INVALID_JSON: Final = "invalid_json"
INVALID_EVENT: Final = "invalid_event"
TOO_MANY: Final = "too_many_events"
TOO_MANY_BAD: Final = "too_many_rejected"
EVENTS_MAX: Final = 100_000
"""Of one request: a body of 20 MiB can claim to be half a million empty ones."""
BAD_MAX: Final = 1_000
"""With more bad events a request is refused whole: each of them would be kept."""
SLOW_BYTES_MAX: Final = 2 << 20
"""Of a batch that is read event by event, which takes 20 times its bytes in memory."""
SHOWN_BYTES_MAX: Final = 64 << 10
"""Of a rejected event, as of one that the worker rejects."""
_DETAIL_CHARACTERS: Final = 200
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_DECODER: Final = json.JSONDecoder()


def values_of(form: Form, body: bytes) -> tuple[list[tuple[int, bytes]], list[Bad]]:
    """Return the wire values of a request's events by their position, and the events that are none.

    Raises:
        RecordError: the body as a whole cannot be read; says why.
    """
    if form == "avro":
        return _of_avro(body), []
    items = _lines(body) if form == "lines" else enumerate(_json_values(_text(body)))
    values: list[tuple[int, bytes]] = []
    bad: list[Bad] = []
    for index, item in items:
        if index >= EVENTS_MAX:
            raise RecordError(TOO_MANY, f"more than {EVENTS_MAX} events")
        if len(bad) > BAD_MAX:
            raise RecordError(TOO_MANY_BAD, f"more than {BAD_MAX} events are none: {bad[0].detail}")
        if isinstance(item, Bad):
            bad.append(item)
            continue
        try:
            event = event_of(item, "event")
            values.append((index, records.encode(NAME, mended(event, {}))))
        except ConfigError as error:
            bad.append(_bad(index, str(error).removeprefix("event: "), item))
        except (ValueError, TypeError, OverflowError) as error:  # what Avro cannot say
            bad.append(_bad(index, f"no value of its schema: {error}", item))
    if not values and not bad:
        raise RecordError("empty_value", "no events")
    return values, bad


def _bad(index: int, why: str, item: object) -> Bad:
    shown = json.dumps(item).encode()[:SHOWN_BYTES_MAX]
    return Bad(index, INVALID_EVENT, why[:_DETAIL_CHARACTERS], shown)


def _of_avro(body: bytes) -> list[tuple[int, bytes]]:
    """Return one event as it came, or those of a batch."""
    schemas = default_schemas()
    schema_id, inner = wire.split(body, schemas)
    name = schemas.name_of(schema_id)
    if name == NAME:
        return [(0, body)]
    if name != BATCH:
        raise RecordError("unknown_schema_id", f"{schema_id} is {name}, not {NAME} or {BATCH}")
    header = wire.header(schemas.id_of(NAME))
    bodies = _of_batch(schema_id, inner)
    if not bodies:
        raise RecordError("empty_value", "no events")
    return [(index, header + body) for index, body in enumerate(bodies)]


def _of_batch(schema_id: int, inner: bytes) -> Sequence[bytes]:
    """Return the events of a batch: as columns when they lie in one block, else one by one."""
    schemas = default_schemas()
    count, begin = Walk(inner).long(0, "events")
    if count > EVENTS_MAX:
        raise RecordError(TOO_MANY, f"{count} events, {EVENTS_MAX} are taken at once")
    is_ours = schema_id == schemas.id_of(BATCH) and inner[-1:] == b"\x00"
    if count > 0 and is_ours:
        block = _columns().read_block([inner[begin:-1]], count)
        if block is not None:
            starts, ends = block.starts[0].tolist(), block.starts[-1].tolist()
            return [block.data[a:b] for a, b in zip(starts, ends, strict=True)]
    if len(inner) > SLOW_BYTES_MAX:
        raise RecordError(
            TOO_MANY, f"more than {SLOW_BYTES_MAX} bytes: write its events in one block"
        )
    schema = schemas.current(NAME)
    batch = records.decode_body(schemas.writer(schema_id), inner, schemas.current(BATCH))
    return [records.encode_body(schema, event) for event in batch["events"]]


@cache
def _columns() -> ColumnarReader:
    return ColumnarReader(schema_fields(default_schemas().current(NAME)))


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise RecordError(INVALID_JSON, f"not UTF-8 at byte {error.start}") from error


def _lines(body: bytes) -> Iterator[tuple[int, Any]]:
    """Yield what each line says; a line that is no JSON is bad by itself."""
    for index, line in enumerate(line for line in body.split(b"\n") if line.strip()):
        try:
            yield index, json.loads(line)
        except (ValueError, RecursionError) as error:
            why = f"not JSON: {error}"[:_DETAIL_CHARACTERS]
            yield index, Bad(index, INVALID_JSON, why, line[:SHOWN_BYTES_MAX])


def _json_values(text: str) -> Iterator[Any]:
    """Yield the elements of a list one after the other, or values that follow each other.

    A list is never held as a whole: its elements become bytes one by one.
    """
    at = _after_space(text, 0)
    if text[at : at + 1] != "[":
        while at < len(text):
            value, at = _value(text, at)
            yield value
            at = _after_space(text, at)
        return
    at = _after_space(text, at + 1)
    while text[at : at + 1] != "]":
        value, at = _value(text, at)
        yield value
        at = _after_space(text, at)
        following = text[at : at + 1]
        if following == ",":
            at = _after_space(text, at + 1)
            if text[at : at + 1] == "]":
                raise RecordError(INVALID_JSON, f"a comma before the end of the list, at {at}")
        elif following != "]":
            raise RecordError(INVALID_JSON, f"neither comma nor end of the list at {at}")
    if _after_space(text, at + 1) != len(text):
        raise RecordError(INVALID_JSON, f"more after the end of the list, at {at + 1}")


def _value(text: str, at: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError) as error:
        raise RecordError(INVALID_JSON, f"not JSON: {error}"[:_DETAIL_CHARACTERS]) from error


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None, "no space is space too"
    return found.end()
