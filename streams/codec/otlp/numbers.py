"""Values of attributes that are no texts, as the Avro bytes of their text.

Of numbers up to 65,535 and the like a table that is made once has the text, as a word each; others
are written when they come, each different one once.
"""

import json
import struct
from functools import cache
from typing import Final

import numpy as np

from streams.codec.otlp.attributes import BOOL, DOUBLE, INT, NONE, TEXT
from streams.codec.otlp.values import number
from streams.codec.varints import text
from streams.units import I64, U8, U64

_INTS: Final = 1 << 16
NUMBER_BYTES: Final = 8
"""Of the text of a number from the table, and what lies behind it."""
_OCTET: Final = np.uint64(0xFF)
_EMPTY, _FALSE, _TRUE, _FIRST_INT = range(4)


@cache
def _table() -> U64:
    """Return the encoded texts, each in the first bytes of a word; none takes more."""
    texts = ["", json.dumps(False), json.dumps(True), *map(str, range(_INTS))]
    return np.frombuffer(b"".join(text(one).ljust(NUMBER_BYTES, b"\0") for one in texts), "<u8")


def number_texts(form: U8, bits: U64) -> tuple[U8, I64, I64]:
    """Return the encoded texts of m values, in a buffer, and where each lies there.

    Those of form TEXT lie elsewhere: of them nothing is said. Where the buffer has no more than
    `NUMBER_BYTES` for each, they lie there in their order.

    Args:
        form: (m,) as `Attributes` has them.
        bits: (m,) as `Attributes` has them.
    """
    code = np.zeros(len(form), np.int64)  # of NONE it is 0
    is_bool = form == BOOL
    if is_bool.any():
        code[is_bool] = _FALSE + bits[is_bool].astype(np.int64)
    is_small = (form == INT) & (bits < np.uint64(_INTS))
    if is_small.all():
        code = bits.astype(np.int64) + _FIRST_INT
    else:
        code[is_small] = _FIRST_INT + bits[is_small].astype(np.int64)
    word = _table().take(code)
    start = NUMBER_BYTES * np.arange(len(word))
    size = (word & _OCTET).astype(np.int64) // 2 + 1  # of what stands behind the length
    texts = word.view(np.uint8)
    others = np.flatnonzero((form != TEXT) & (form != NONE) & ~is_bool & ~is_small)
    if not len(others):
        return texts, start, size
    is_double = form[others] == DOUBLE
    new = b""
    for mine, write in ((others[~is_double], _int_text), (others[is_double], _double_text)):
        distinct, place = np.unique(bits[mine], return_inverse=True)
        made = [write(one) for one in distinct.tolist()]
        made_bytes = np.array([len(one) for one in made], np.int64)
        start[mine] = (np.cumsum(made_bytes) - made_bytes)[place] + len(texts) + len(new)
        size[mine] = made_bytes[place]
        new += b"".join(made)
    return np.concatenate([texts, np.frombuffer(new, np.uint8)]), start, size


def _int_text(bits: int) -> bytes:
    return text(str(bits))


def _double_text(bits: int) -> bytes:
    return text(number(struct.unpack("<d", bits.to_bytes(8, "little"))[0]))
