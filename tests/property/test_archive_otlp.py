"""OTLP messages as rows: those of the worker's events one by one, whatever they are like."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from streams.codec import wire
from streams.codec.events import EventDecoder
from streams.codec.otlp.bodies import OtlpEncoder
from streams.codec.otlp.requests import LOGS, METRICS
from streams.codec.records import encode
from streams.codec.schemas import default_schemas
from streams.console.archive.decoded import Decoded
from streams.console.archive.decoding import Decoding
from streams.console.archive.kinds import KIND, Row
from streams.console.archive.otlpcolumns import OtlpSource
from streams.console.archive.treated import Treating
from streams.core.columns import Operations
from streams.core.privacy.records import Privacy
from streams.errors import RecordError
from streams.runtime.reading import Message
from tests.otlp_cases import as_json
from tests.otlp_columns import SERVICES
from tests.otlp_strategies import damaged_bytes, log_requests
from tests.property.test_otlp_points import requests as metric_requests
from tests.tiers import tried
from tests.unit.console.at_hand import event
from tests.unit.console.canaries import PRIVACY

KINDS = (KIND["events"],)
EVENT_BYTES_MAX = 400
"""So few that some are larger."""
SOURCE = OtlpSource({"lines": LOGS, "points": METRICS}, SERVICES, EVENT_BYTES_MAX)
NATIVE = encode("telemetry_event", event("log"))


@st.composite
def messages(draw: st.DrawFn) -> list[tuple[str, bytes | None]]:
    """Draw messages with their topics: requests in both forms, hurt ones, and events of ours."""
    found: list[tuple[str, bytes | None]] = []
    for _ in range(draw(st.integers(1, 5))):
        topic = draw(st.sampled_from(("lines", "points", "points", "ours")))
        if topic == "ours" or draw(st.integers(0, 9)) == 0:
            found.append((topic, draw(st.sampled_from((NATIVE, b"", None)))))
            continue
        request: Any = draw(log_requests if topic == "lines" else metric_requests)
        value = request.SerializeToString()
        how = draw(st.sampled_from(("whole", "whole", "whole", "json", "hurt")))
        if how == "json":
            value = as_json(request)
        elif how == "hurt" and value:
            value = damaged_bytes(value, random.Random(draw(st.integers(0, 1 << 16))))
        found.append((topic, value))
    return found


def values_of(topic: str, value: bytes | None) -> Iterator[bytes | None]:
    """Yield what a message would be if each of its good events had been sent alone.

    Raises:
        RecordError: it is no request.
    """
    if topic == "ours" or (value or b"")[:1] == bytes([wire.MAGIC]):
        yield value
        return
    schemas = default_schemas()
    encoder = OtlpEncoder(schemas.current("telemetry_event"), SERVICES)
    decoder = EventDecoder(schemas, Operations(1_000), max_event_bytes=EVENT_BYTES_MAX)
    header = wire.header(schemas.id_of("telemetry_event"))
    for body in encoder.bodies(SOURCE.kinds[topic], value or b""):
        _, rejected = decoder.decode(0, [None], [header + body], np.zeros(1, np.int64))
        if not len(rejected):
            yield header + body


def one_by_one(
    given: Sequence[tuple[str, bytes | None]], privacy: Privacy | None
) -> tuple[list[tuple[int, Row]], list[int]]:
    """Return the rows of messages, each with its message's index, and which cannot be read."""
    treating = None if privacy is None else Treating(privacy)
    rows: list[tuple[int, Row]] = []
    unreadable: list[int] = []
    for i, (topic, value) in enumerate(given):
        try:
            for one in values_of(topic, value):
                kept = one if treating is None else treating.alone(KINDS, one)
                rows += [(i, row) for row in KINDS[0].rows(kept)]
        except RecordError:
            unreadable.append(i)
    return rows, unreadable


def told(decoded: Decoded) -> list[str]:
    """Return rows as texts: no NaN is like another one."""
    rows = decoded.rows["events"]
    pairs = zip(rows.message.tolist(), rows.table.to_pylist(), strict=True)
    return [repr((i, tuple(row.values()))) for i, row in pairs]


def hold(given: Sequence[tuple[str, bytes | None]], privacy: Privacy | None) -> None:
    """Fail unless the rows are those of the events one by one."""
    read = [Message(topic, 0, n, 0, None, value) for n, (topic, value) in enumerate(given)]
    found = Decoding(privacy, SOURCE).rows(KINDS, read)
    rows, unreadable = one_by_one(given, privacy)
    assert sorted(found.unreadable) == unreadable
    assert told(found) == [repr(one) for one in rows]


@tried(messages(), few=25, many=150)
def test_rows_are_those_of_the_events_one_by_one(given: list[tuple[str, bytes | None]]) -> None:
    """What the worker rejects is none; a broken message costs itself alone."""
    hold(given, None)


@tried(messages(), few=15, many=80)
def test_treated_rows_are_those_of_treated_events(given: list[tuple[str, bytes | None]]) -> None:
    """In columns and in bytes."""
    hold(given, PRIVACY)
