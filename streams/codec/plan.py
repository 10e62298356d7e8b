"""What a row is made of, as the arrays of numbers that a compiled loop goes by."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from streams.codec.columnar import Field
from streams.compiled.kinds import BOOLEAN, BYTES, FIXED, LIST, LONG, TEXT
from streams.units import I64

_KIND: Final = {"string": TEXT, "bytes": BYTES, "long": LONG, "boolean": BOOLEAN, "list": LIST}
_SIZE_BYTES: Final = {"double": 8, "float": 4, "boolean": 1}
_ANY: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Plan:
    """k fields of a row.

    Attributes:
        fields: (k, 6): kind, the null's branch or -1, bytes of a fixed size, bytes that a text has
            at most, and from where to where the kinds of a list's items are in `items`.
        ranges: (k, 2): the smallest and the largest number.
        items: kinds of the items of all lists.
    """

    fields: I64
    ranges: I64
    items: I64

    @staticmethod
    def of(fields: Sequence[Field], short: Collection[str], bytes_max: int) -> "Plan":
        """Return the plan of a row.

        Args:
            fields: of the row.
            short: names of texts that are to be short.
            bytes_max: how many bytes those have at most.
        """
        rows: list[tuple[int, ...]] = []
        items: list[int] = []
        for field in fields:
            begin = len(items)
            items += [_KIND.get(item.kind, FIXED) for item in field.items]
            longest = bytes_max if field.name in short else _ANY
            size_bytes = _SIZE_BYTES.get(field.kind, field.size)
            kind = _KIND.get(field.kind, FIXED)
            rows.append((kind, field.null_branch, size_bytes, longest, begin, len(items)))
        return Plan(
            np.array(rows, np.int64),
            np.array([(field.low, field.high) for field in fields], np.int64),
            np.array(items, np.int64),
        )
