"""Columns of OTLP messages held against those of a decode of the same events' bodies."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from streams.codec.events import EventDecoder
from streams.codec.otlp.bodies import OtlpEncoder
from streams.codec.otlp.requests import SPANS
from streams.codec.otlp.services import Place, Services
from streams.codec.recordbatch import Record
from streams.codec.schemas import default_schemas
from streams.codec.wire import header
from streams.core.columns import EventColumns, Operations
from streams.errors import RecordError
from tests.otlp_cases import START_NS
from tests.record_batches import batch

SERVICES = Services({"pay": Place("GAMMA", "ack")}, ["ALPHA"])
ENCODER = OtlpEncoder(default_schemas().current("telemetry_event"), SERVICES)
HEADER = header(default_schemas().id_of("telemetry_event"))
WANTED = ("k", "http.method", "service.name", "spanloom.actor", "cached", "instance")
EVENT_BYTES_MAX = 600


def slowly(value: bytes, kind: str = SPANS) -> list[bytes] | str:
    """Return what the encoder makes of a request, or why it makes nothing."""
    try:
        return ENCODER.bodies(kind, value)
    except RecordError as error:
        return error.reason


def quickly(values: Sequence[bytes], kind: str = SPANS) -> list[list[bytes] | str]:
    """Return what the decoder makes of requests that come together."""
    decoder = EventDecoder(default_schemas(), Operations(), otlp_kinds={0: kind}, services=SERVICES)
    sent = batch([Record(i, START_NS // 10**6, b"k", value) for i, value in enumerate(values)])
    events, rejected, step = decoder.decode_batches([sent], [0], [0])
    out: list[list[bytes] | str] = [[] for _ in values]
    bad = dict(zip(rejected.row, rejected.reason, strict=True))
    good = dict(zip(events.row.tolist(), events.body, strict=True))
    for row in range(len(step)):
        record = step.record(row)
        found = out[record.offset]
        assert record.value is not None
        if bad.get(row) in ("invalid_otlp", "otlp_too_large", "empty_value"):
            out[record.offset] = bad[row]
            continue
        assert isinstance(found, list)
        found.append(record.value[5:])
        assert (row in bad) != (row in good)
        assert good.get(row, found[-1]) == found[-1]
    return out


def columns_of(events: EventColumns, operations: Operations) -> dict[str, list[Any]]:
    """Return columns as lists; operations by their names, bodies as bytes."""
    found = {
        name: getattr(events, name).tolist()
        for name in EventColumns.__slots__
        if name not in ("operation", "body", "dimension", "topic", "kafka_us", "value")
    }
    found |= {key: column.tolist() for key, column in events.dimension.items()}
    found["value"] = list(map(str, events.value.tolist()))  # NaN is not equal to itself
    found["operation"] = [operations[code] for code in events.operation.tolist()]
    return found | {"body": list(events.body)}


def hold_against_the_decode(values: Sequence[bytes], kind: str = SPANS) -> None:
    """Compare columns and rejections of requests with those of their bodies as native events."""
    native: list[bytes | None] = []
    for made in (slowly(value, kind) for value in values):
        native += [None] if isinstance(made, str) else [HEADER + body for body in made]
    ours, theirs = Operations(), Operations()
    options: dict[str, Any] = {"dimensions": WANTED, "max_event_bytes": EVENT_BYTES_MAX}
    decoder = EventDecoder(
        default_schemas(), ours, otlp_kinds={0: kind}, services=SERVICES, **options
    )
    records = [Record(i, START_NS // 10**6, b"k", value) for i, value in enumerate(values)]
    found, bad, step = decoder.decode_batches([batch(records)], [0], [0])
    keys: list[bytes | None] = [None] * len(native)
    times = np.zeros(len(native), np.int64)
    told, refused = EventDecoder(default_schemas(), theirs, **options).decode(
        0, keys, native, times
    )
    assert len(step) == len(native)
    assert columns_of(found, ours) == columns_of(told, theirs)
    rows = zip(bad.row, bad.reason, bad.detail, strict=True)
    expected = zip(refused.row, refused.reason, refused.detail, strict=True)
    assert [one for one in rows if native[one[0]]] == [one for one in expected if native[one[0]]]
