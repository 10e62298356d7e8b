"""Measures the fields of events in the telemetry topics: how often they are there, how many bytes.

Owns what is looked at: the newest records of each partition, within a window of event time. Joins
no group, keeps nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from streams.codec.records import Record
from streams.codec.varints import varint
from streams.contract.minimising import Size, Sizes
from streams.core.privacy.treatments import DIMENSION
from streams.errors import RecordError
from streams.runtime.counting import own_events
from streams.runtime.reading import Message, Reading

KEYS_MAX: Final = 10_000
"""Different dimensions that are told apart: a key with an id in it must not eat the memory."""
_NUMBER_BYTES: Final = 8
_ONE_BYTE: Final = 1


def field_sizes(
    reading: Reading,
    topics: Sequence[str],
    newest: int,
    since_us: int,
    events_of: Callable[[Message], Sequence[Record]] = own_events,
) -> tuple[Sizes, bool]:
    """Return what fields cost, and whether older records were left out.

    Args:
        reading: a connection.
        topics: telemetry topics that are there.
        newest: offsets that are looked at, per partition.
        since_us: events from this time on count, Unix microseconds.
        events_of: reads the events of a record.

    Raises:
        BrokerError: the broker does not answer.
    """
    sizes = Sizes()
    spans = reading.spans(topics)
    starts = {at: max(span.low, span.high - newest) for at, span in spans.items()}
    for message in reading.records(starts):
        if message is None:
            continue
        try:
            events = events_of(message)
        except RecordError:
            continue  # it has no fields; `spanloom coverage` counts it
        for event in events:
            if event["timestamp"] >= since_us:
                add(sizes, event)
    return sizes, any(starts[at] > span.low for at, span in spans.items())


def add(sizes: Sizes, event: Mapping[str, Any]) -> None:
    """Add the fields of an event."""
    sizes.events += 1
    for name, size_bytes in _measured(event):
        sizes.size_bytes += size_bytes
        found = sizes.fields.get(name)
        if found is None:
            if len(sizes.fields) >= KEYS_MAX:
                sizes.beyond += 1
                continue
            found = Size(0, 0)
        sizes.fields[name] = Size(found.events + 1, found.size_bytes + size_bytes)


def _measured(event: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield each field that has a value, and its bytes in Avro."""
    for name, value in event.items():
        if name == "dimensions":
            for key, text in value.items():
                yield DIMENSION + key, _text_bytes(key) + _text_bytes(text)
        elif name == "links":
            if value:
                yield name, sum(_text_bytes(t) for link in value for t in link.values())
        elif name in ("event_type", "severity", "status", "span_kind"):
            yield name, _ONE_BYTE
        elif isinstance(value, str):
            if value:
                yield name, _text_bytes(value)
        elif isinstance(value, float):
            if value == value:  # noqa: PLR0124  NaN stands for none
                yield name, _NUMBER_BYTES
        elif value:
            yield name, len(varint(value))


def _text_bytes(text: str) -> int:
    size = len(text.encode("utf-8", "surrogatepass"))
    return size + len(varint(size))
