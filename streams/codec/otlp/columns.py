"""The columns of spans as they are known when their bodies are put together.

Owns which spans need no second look: what is straight here is a good event whatever judges it, and
its columns are those that a decode of its body gives. Every other span is decoded like any event.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from streams.codec.checks import TIMESTAMP_MAX_US
from streams.codec.columnar import ColumnarReader, Field
from streams.codec.hashes import text_hash, value_hash
from streams.codec.otlp.heads import Plain
from streams.codec.otlp.keys import NO_FIELD
from streams.codec.otlp.layout import Layout
from streams.codec.otlp.origins import QuickOrigin
from streams.codec.otlp.pieces import all_or
from streams.codec.otlp.spanstep import SpanStep
from streams.codec.otlp.texts import TextHashes
from streams.codec.otlp.walk import NAME
from streams.core.bodies import Bodies
from streams.core.columns import ERROR, INFO, STATUS_ERROR, Operation
from streams.units import I64, U8, U64, Mask

NAME_BYTES_MAX: Final = 128
"""Longer names are hashed by the decode."""
_TEXT: Final = "text"


@dataclass(frozen=True, slots=True)
class SpanColumns:
    """n straight spans; all arrays but `origins` have the length n.

    Attributes:
        trace_id: (n, 2) high and low half.
        span_id, parent_span_id: (n,) parent 0 for none.
        timestamp_us, duration_us: (n,) start and length.
        severity, status, trace_flags: (n,) codes as on the wire.
        operation: (n,) hashes of module, component and name together.
        origin: (n,) index into `origins`.
        origins: resources and scopes.
        name: the names.
        dimension: per requested dimension key, (n,) 64-bit hash of its value, 0 for absent.
    """

    trace_id: U64
    span_id: U64
    parent_span_id: U64
    timestamp_us: I64
    duration_us: I64
    severity: U8
    status: U8
    trace_flags: U8
    operation: U64
    origin: I64
    origins: Sequence[QuickOrigin]
    name: Bodies
    dimension: dict[str, U64]

    def __len__(self) -> int:
        return len(self.span_id)

    def take(self, index: I64) -> "SpanColumns":
        """Return the rows at `index`, in that order."""
        names = self.__slots__
        arrays = {
            n: getattr(self, n)[index] for n in names if n not in ("origins", "name", "dimension")
        }
        return SpanColumns(
            **arrays,
            origins=self.origins,
            name=self.name.take(index),
            dimension={key: value[index] for key, value in self.dimension.items()},
        )

    def named(self, row: int) -> Operation:
        """Return the operation of a span."""
        place = self.origins[int(self.origin[row])].place
        return Operation(place.module, place.component, self.name[row].decode())


def is_straight(step: SpanStep, rows: I64, plain: Plain) -> Mask:
    """Return which of some plain spans are good events whose columns are made here, (q,) bool."""
    has_id = (plain.trace[:, 0] | plain.trace[:, 1] != 0) & (plain.span != 0)
    is_named = step.spans.size[NAME][rows] <= NAME_BYTES_MAX
    has_module = np.array([bool(one.place.module) for one in step.origins], np.bool_)
    is_time = plain.start_us <= np.uint64(TIMESTAMP_MAX_US)
    return np.asarray(has_id & is_named & is_time & has_module[step.origin[rows]])


class SpanReader:
    """Makes the columns of straight spans.

    Args:
        dimensions: keys of the dimensions that become columns.
    """

    def __init__(self, dimensions: Sequence[str] = ()) -> None:
        self._dimensions = tuple(dimensions)
        self._names = TextHashes(NAME_BYTES_MAX)
        self._factor = np.uint64(secrets.randbits(64) | 1)
        self._texts = ColumnarReader([Field(_TEXT, "string")])

    def columns(
        self, step: SpanStep, layout: Layout, begin: I64, some: I64, field: I64, data: bytes
    ) -> SpanColumns:
        """Return the columns of some spans.

        Args:
            step: the spans.
            layout: the q bodies that were put together.
            begin: (q,) where these begin in `data`.
            some: (k,) which of them.
            field: as `KeyCodes` has it.
            data: the bodies.
        """
        plain, rows = layout.plain, layout.rows[some]
        pick = all_or(some, len(layout.rows))
        name_at, name_size = step.spans.at[NAME][rows], step.spans.size[NAME][rows]
        places = np.array([one.place_hashed for one in step.origins], np.uint64) * self._factor
        origin = step.origin[rows]
        status = plain.status[pick]
        texts = self._text_hashes(step, layout, some, field)
        return SpanColumns(
            trace_id=plain.trace[pick].byteswap(),
            span_id=plain.span[pick].byteswap(),
            parent_span_id=plain.parent[pick].byteswap(),
            timestamp_us=plain.start_us[pick].astype(np.int64),
            duration_us=plain.length_us[pick].astype(np.int64),
            severity=np.where(status == STATUS_ERROR, ERROR, INFO).astype(np.uint8),
            status=status,
            trace_flags=plain.flags[pick],
            operation=self._names.of(step.words, name_at, name_size) ^ places[origin],
            origin=origin,
            origins=step.origins,
            name=Bodies(data, layout.name_at(begin)[pick], name_size),
            dimension={
                key: texts(NO_FIELD - 1 - i) | self._of_origin(step, origin, key)
                for i, key in enumerate(self._dimensions)
            },
        )

    def _text_hashes(
        self, step: SpanStep, layout: Layout, some: I64, field: I64
    ) -> Callable[[int], U64]:
        """Return what gives the hashes of the attributes of one code, (k,), 0 where it has none."""
        place = np.full(len(step.begin), len(some), np.int64)
        place[layout.rows[some]] = np.arange(len(some))
        is_quick = np.zeros(len(step.begin), np.bool_)
        is_quick[layout.rows] = True
        span = step.spans.attributes.span
        coded = np.flatnonzero(field != NO_FIELD)
        coded = coded[is_quick[span[coded]]]

        def of(code: int) -> U64:
            out = np.zeros(len(some) + 1, np.uint64)
            nth = coded[field[coded] == code]
            if len(nth):
                block = self._texts.read_block([layout.values_of(nth)], len(nth))
                assert block is not None, "values are texts behind their lengths"
                out[place[span[nth]]] = text_hash(block.frame[_TEXT])
            return out[:-1]

        return of

    @staticmethod
    def _of_origin(step: SpanStep, origin: I64, key: str) -> U64:
        texts = [one.dimensions.get(key, "") for one in step.origins]
        return np.array([value_hash(text) for text in texts], np.uint64)[origin]
