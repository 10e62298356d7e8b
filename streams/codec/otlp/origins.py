"""What the spans of one resource and scope share, encoded once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from streams.codec.otlp.bodies import OtlpEncoder
from streams.codec.otlp.events import FIELD_KEYS, Origin
from streams.codec.otlp.services import Place
from streams.codec.otlp.values import Dimensions
from streams.codec.varints import text, varint
from streams.core.columns import ERROR, INFO, TRACE

KNOWN_MAX: Final = 1_000
"""Pairs of resource and scope that are remembered."""
_WORD: Final = 0xFFFF_FFFF_FFFF_FFFF


@dataclass(frozen=True, slots=True)
class QuickOrigin:
    """One resource and scope.

    Attributes:
        origin: what the encoder makes of them.
        is_common: whether they leave each span's fields to the span.
        emitter: the bytes of `module` and `component`.
        places: the bytes from `module` to `severity`, of spans, for INFO and for ERROR.
        entries: the dimensions that come of them, encoded.
        count: how many those are.
        keys: their keys.
        hashed: differs between origins.
        place: who emits their spans.
        place_hashed: differs between places.
        dimensions: what `entries` are of.
    """

    origin: Origin
    is_common: bool
    emitter: bytes
    places: tuple[bytes, bytes]
    entries: bytes
    count: int
    keys: frozenset[bytes]
    hashed: int
    place: Place
    place_hashed: int
    dimensions: Mapping[str, str]


class Origins:
    """Remembers origins.

    Args:
        encoder: makes them.
    """

    def __init__(self, encoder: OtlpEncoder) -> None:
        self._encoder = encoder
        self._known: dict[tuple[bytes, bytes], QuickOrigin] = {}

    def of(self, resource: bytes, scope: bytes) -> QuickOrigin | None:
        """Return the origin of two messages; None when they are none."""
        found = self._known.get((resource, scope))
        if found is None:
            try:
                origin = self._encoder.origin(
                    Resource.FromString(resource), InstrumentationScope.FromString(scope)
                )
            except (DecodeError, RecursionError, ValueError):
                return None
            if len(self._known) >= KNOWN_MAX:
                self._known = {}
            found = self._known[resource, scope] = _encoded(origin, hash((resource, scope)))
        return found


def _encoded(origin: Origin, hashed: int) -> QuickOrigin:
    dimensions = Dimensions(origin.dimensions)
    place = origin.place(dimensions)
    fields = [dimensions.take(key) for key in FIELD_KEYS]
    entries = dimensions.plain()
    is_common = bool(entries) and not dimensions.dropped and not any(fields)
    emitter = text(place.module) + text(place.component)
    info, error = (emitter + varint(TRACE) + varint(severity) for severity in (INFO, ERROR))
    return QuickOrigin(
        origin,
        is_common,
        emitter,
        (info, error),
        b"".join(text(key) + text(value) for key, value in entries.items()),
        len(entries),
        frozenset(key.encode() for key in entries),
        hashed & _WORD,
        place,
        hash(place) & _WORD,
        entries,
    )
