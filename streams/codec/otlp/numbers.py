"""Values of attributes that are no texts, as the Avro bytes of their text.

Numbers up to 65,535 and the like lie in a table that is made once; others are written when they
come, each different one once.
"""

import json
import struct
from functools import cache
from typing import Final, NamedTuple

import numpy as np

from streams.codec.otlp.values import number
from streams.codec.otlp.walk import BOOL, DOUBLE, INT, NONE, TEXT
from streams.codec.varints import text
from streams.units import I64, U8, U64

_INTS: Final = 1 << 16
_EMPTY, _FALSE, _TRUE, _FIRST_INT = range(4)


class Table(NamedTuple):
    """Texts one after the other, with where each lies."""

    data: bytes
    start: I64
    size: I64


@cache
def _table() -> Table:
    texts = ["", json.dumps(False), json.dumps(True), *map(str, range(_INTS))]
    return _of([text(one) for one in texts])


def _of(encoded: list[bytes]) -> Table:
    size = np.array([len(one) for one in encoded], np.int64)
    return Table(b"".join(encoded), np.cumsum(size) - size, size)


def number_texts(form: U8, bits: U64) -> tuple[bytes, I64, I64]:
    """Return the encoded texts of m values, in a buffer, and where each lies there.

    Those of form TEXT lie elsewhere: of them nothing is said.

    Args:
        form: (m,) as `Attributes` has them.
        bits: (m,) as `Attributes` has them.
    """
    table = _table()
    code = np.zeros(len(form), np.int64)  # of NONE it is 0
    is_bool = form == BOOL
    code[is_bool] = _FALSE + bits[is_bool].astype(np.int64)
    is_small = (form == INT) & (bits < np.uint64(_INTS))
    code[is_small] = _FIRST_INT + bits[is_small].astype(np.int64)
    start, size = table.start[code], table.size[code]
    others = np.flatnonzero((form != TEXT) & (form != NONE) & ~is_bool & ~is_small)
    if not len(others):
        return table.data, start, size
    is_double = form[others] == DOUBLE
    new: list[bytes] = []
    for mine, write in ((others[~is_double], _int_text), (others[is_double], _double_text)):
        distinct, place = np.unique(bits[mine], return_inverse=True)
        made = _of([write(one) for one in distinct.tolist()])
        start[mine] = made.start[place] + len(table.data) + sum(map(len, new))
        size[mine] = made.size[place]
        new.append(made.data)
    return b"".join((table.data, *new)), start, size


def _int_text(bits: int) -> bytes:
    return text(str(bits))


def _double_text(bits: int) -> bytes:
    return text(number(struct.unpack("<d", bits.to_bytes(8, "little"))[0]))
