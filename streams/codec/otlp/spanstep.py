"""The spans of many requests in one buffer, taken apart."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Final

import numpy as np

from streams.codec.otlp.attributes import PAD_BYTES
from streams.codec.otlp.bodies import MESSAGE_BYTES_MAX, OtlpEncoder
from streams.codec.otlp.entries import read_spans
from streams.codec.otlp.events import Origin
from streams.codec.otlp.links import SpanLinks
from streams.codec.otlp.origins import Origins, QuickOrigin
from streams.codec.otlp.runs import BYTES_MIN, Runs
from streams.codec.otlp.split import scopes_of
from streams.codec.otlp.walk import Spans, words_of
from streams.units import I64, U8, U64

Read = Callable[[U8, I64, I64], tuple[U8, Spans, SpanLinks]]
"""As `read_spans`."""
_ROOM_SHARE: Final = 8
"""Behind so many bytes of requests a byte is free for what bodies have that requests have not."""
_ROOM_BYTES_MIN: Final = 4 << 10


@dataclass(frozen=True, slots=True)
class SpanStep:
    """The n spans of a step.

    Attributes:
        values: the requests.
        octets, words: all of them, one after the other, and composed keys.
        request: (n,) each span's request.
        origin: (n,) each span's origin.
        origins: the origins, each once.
        begin, end: (n,) where each lies in `octets`.
        base: (requests,) where each request begins there.
        spans: what is in them.
        links: their links.
        room: `octets`, and bytes behind them that are free; nothing where there is no room.
    """

    values: Sequence[bytes]
    octets: U8
    words: U64
    request: I64
    origin: I64
    origins: Sequence[QuickOrigin]
    begin: I64
    end: I64
    base: I64
    spans: Spans
    links: SpanLinks
    room: U8 = field(default_factory=lambda: np.zeros(0, np.uint8), kw_only=True)

    def origin_of(self, row: int) -> Origin:
        """Return what the encoder makes of a span's resource and scope."""
        return self.origins[int(self.origin[row])].origin

    def bytes_of(self, row: int) -> bytes:
        """Return one span as it came."""
        i = int(self.request[row])
        base = int(self.base[i])
        return self.values[i][int(self.begin[row]) - base : int(self.end[row]) - base]


def step_of(
    values: Sequence[bytes], known: Origins, encoder: OtlpEncoder, read: Read = read_spans
) -> SpanStep:
    """Split requests and take their spans apart; those of another form have no spans here.

    Args:
        values: requests of one kind, protobuf.
        known: resources and scopes.
        encoder: tells how many spans a request may hold.
        read: takes the spans apart; or log records, as if they were spans.
    """
    base = np.cumsum([0, *map(len, values)])
    room_bytes = int(base[-1]) // _ROOM_SHARE + _ROOM_BYTES_MIN
    room = np.frombuffer(bytearray().join((*values, bytes(PAD_BYTES + room_bytes))), np.uint8)
    buffer = room[: base[-1] + PAD_BYTES]
    runs = Runs(buffer[: base[-1]]) if base[-1] >= BYTES_MIN else None
    of_requests = runs.of_requests(base) if runs else repeat(None)
    request: list[int] = []
    origin: list[int] = []
    counts: list[int] = []
    heads: list[I64] = []
    origins: dict[int, int] = {}
    found: list[QuickOrigin] = []
    for i, (value, own) in enumerate(zip(values, of_requests, strict=False)):
        scopes = [] if len(value) > MESSAGE_BYTES_MAX else scopes_of(value, own)
        many = sum(scope.span_count for scope in scopes)
        if many > encoder.events_max_of(value):
            continue
        ours = [known.of(scope.resource, scope.scope) for scope in scopes]
        for scope, one in zip(scopes, ours, strict=True) if None not in ours else ():
            assert one is not None
            request.append(i)
            if id(one) not in origins:
                origins[id(one)] = len(found)
                found.append(one)
            origin.append(origins[id(one)])
            counts.append(scope.span_count)
            if runs and scope.run:
                heads.append(runs.head[scope.run.start : scope.run.stop])
            if scope.heads:
                heads.append(np.array(scope.heads, np.int64) + base[i])
    begins, ends = spans_at(buffer, np.concatenate([np.zeros(0, np.int64), *heads]))
    octets, spans, links = read(buffer, begins, ends)
    return SpanStep(
        values,
        octets,
        words_of(octets),
        np.repeat(np.array(request, np.int64), counts),
        np.repeat(np.array(origin, np.int64), counts),
        found,
        begins,
        ends,
        base,
        spans,
        links,
        room=room if octets is buffer else room[:0],
    )


def spans_at(octets: U8, head: I64) -> tuple[I64, I64]:
    """Return where spans begin and end whose fields begin so; their lengths are right."""
    octet = octets.take(head + 1)
    begin, size = head + 2, (octet & 0x7F).astype(np.int64)
    goes_on = octet >= 0x80
    shift = 0
    while goes_on.any():
        shift += 7
        octet = octets.take(begin)
        size += goes_on * ((octet & 0x7F).astype(np.int64) << shift)
        begin += goes_on
        goes_on &= octet >= 0x80
    return begin, begin + size
