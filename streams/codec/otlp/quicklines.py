"""Requests of log records as event bodies, all requests of a step at once: see `quick`.

Invariant: a body is byte for byte what `OtlpEncoder` makes of the record, event ids included.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from streams.codec.otlp.attributes import TEXT
from streams.codec.otlp.bodies import NO_TEXT, OtlpEncoder
from streams.codec.otlp.events import EVENT_NAME, NAME_BYTES_MAX
from streams.codec.otlp.heads import ID_BYTES, ROOT_BYTES, heads_of, write_uuids
from streams.codec.otlp.keys import NO_FIELD, KeyCodes
from streams.codec.otlp.layout import Layout
from streams.codec.otlp.lines import (
    SEVERITY_TEXT,
    Lines,
    is_plain_line,
    plain_line_of,
    read_lines,
)
from streams.codec.otlp.links import SpanLinks
from streams.codec.otlp.pieces import copy_rows
from streams.codec.otlp.quick import QuickBodies, SpanRun
from streams.codec.otlp.requests import LOGS
from streams.codec.otlp.spanstep import SpanStep
from streams.codec.otlp.walk import NAME, Spans
from streams.codec.varints import varint
from streams.core.columns import LOG, SEVERITIES
from streams.units import I64, U8, Mask

_TRACE_AT, _SPAN_AT, _TIME_AT = ID_BYTES, ID_BYTES + 33, ROOT_BYTES - 8
"""Where trace id, span id and time lie in the head of a root."""
_NOTHING, _NO_SPAN, _WHOLE = range(3)
_HEAD_BYTES = np.array([_TRACE_AT + 3 + 8, _SPAN_AT + 2 + 8, ROOT_BYTES], np.int64)
"""Of a record outside traces, of one in a trace, and of one in a span."""
_ID_ROOM = bytes(ID_BYTES)


def with_room(body: bytes) -> bytes:
    """Return a body without an event id with room for one."""
    return _ID_ROOM + body[len(NO_TEXT) :]


class QuickHashed(QuickBodies):
    """Makes event bodies whose ids follow from all that they say."""

    def run(self, values: Sequence[bytes]) -> SpanRun | None:
        """Return the records of requests as bodies, none of them as columns.

        None when the encoder must judge all of the requests.
        """
        made = self.made(values)
        if made is None:
            return None
        return SpanRun(made.counts, made.body, np.zeros(0, np.int64), None)

    def _finished(self, out: U8, begin: I64, size: I64, request: I64) -> bytes:
        """Write event ids: of all that a body says, and how many equal ones come before it."""
        data = out.tobytes()
        seen: Counter[bytes] = Counter()
        digests: list[bytes] = []
        of = -1
        for at, one, i in zip(begin.tolist(), size.tolist(), request.tolist(), strict=True):
            if i != of:
                of = i
                seen.clear()
            body = NO_TEXT + data[at + ID_BYTES : at + one]
            digests.append(hashlib.blake2b(body + b"%d" % seen[body], digest_size=16).digest())
            seen[body] += 1
        numbers = np.frombuffer(b"".join(digests), ">u8").astype(np.uint64).reshape(-1, 2)
        ids = np.empty((len(begin), ID_BYTES), np.uint8)
        write_uuids(ids, numbers[:, 0], numbers[:, 1])
        copy_rows(ids, out, begin, 0, ID_BYTES)
        return out.tobytes()


class QuickLines(QuickHashed):
    """Makes event bodies of requests of log records, protobuf or JSON.

    Args:
        encoder: makes what is not common.
    """

    kind = LOGS
    texts = (NAME, SEVERITY_TEXT)

    def __init__(self, encoder: OtlpEncoder) -> None:
        super().__init__(encoder, (EVENT_NAME,))

    def _read(self, octets: U8, begin: I64, end: I64) -> tuple[U8, Spans, SpanLinks]:
        return read_lines(octets, begin, end)

    def _slow_body(self, step: SpanStep, row: int) -> bytes:
        record = LogRecord.FromString(step.bytes_of(row))
        return with_room(self._encoder.line_body(record, step.origin_of(row)))

    def _are_plain(self, step: SpanStep) -> Mask:
        return is_plain_line(_lines(step))

    def _layout(self, step: SpanStep, is_quick: Mask, keys: KeyCodes) -> Layout:
        rows = np.flatnonzero(is_quick)
        return LineLayout(step, rows, plain_line_of(step.words, _lines(step), rows), keys)

    def _is_quick(self, step: SpanStep) -> tuple[Mask, KeyCodes]:
        """Take names of attributes over too, of records that have none as a field."""
        is_quick, keys = super()._is_quick(step)
        lines, attributes = _lines(step), step.spans.attributes
        is_origin_named = np.array([EVENT_NAME in one.dimensions for one in step.origins], np.bool_)
        is_quick &= lines.is_named | ~is_origin_named[step.origin]
        nth = np.flatnonzero(keys.field == NO_FIELD - 1)
        nth = nth[is_quick[attributes.span[nth]] & ~lines.is_named[attributes.span[nth]]]
        size, span = attributes.value_size[nth], attributes.span[nth]
        is_name = (attributes.form[nth] == TEXT) & (size > 0) & (size <= NAME_BYTES_MAX)
        is_quick[span[~is_name]] = False
        lines.at[NAME][span[is_name]] = attributes.value_at[nth[is_name]]
        lines.size[NAME][span[is_name]] = size[is_name]
        return is_quick, keys


class LineLayout(Layout):
    """The bodies of log records: heads of three lengths, five severities."""

    def _form(self) -> I64:
        lines = _lines(self._step)
        return lines.has_trace[self.rows].astype(np.int64) + lines.has_span[self.rows]

    def _head_sizes(self) -> I64:
        return np.asarray(_HEAD_BYTES[self._form()])

    def _write_heads(self, out: U8, begin: I64) -> None:
        heads, form = heads_of(self.plain), self._form()
        time = slice(_TIME_AT, ROOT_BYTES)
        nothing = np.zeros((len(heads), 3), np.uint8)
        for one, parts in (
            (_NOTHING, (heads[:, :_TRACE_AT], nothing, heads[:, time])),
            (_NO_SPAN, (heads[:, :_SPAN_AT], nothing[:, :2], heads[:, time])),
            (_WHOLE, (heads[:, :ROOT_BYTES],)),
        ):
            mine = np.flatnonzero(form == one)
            if len(mine):
                rows = np.concatenate([part[mine] for part in parts], axis=1)
                copy_rows(rows, out, begin[mine], 0, int(_HEAD_BYTES[one]))

    def _emitters(self, origin: I64) -> tuple[list[bytes], I64]:
        severity = _lines(self._step).severity[self.rows]
        emitters = [one.emitter + varint(LOG) for one in self._step.origins]
        texts = [one + varint(code) for one in emitters for code in range(len(SEVERITIES))]
        return texts, len(SEVERITIES) * origin + severity


def _lines(step: SpanStep) -> Lines:
    assert isinstance(step.spans, Lines)
    return step.spans
