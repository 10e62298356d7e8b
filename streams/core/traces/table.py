"""A growing struct of arrays: rows of numbers and object references, appended in blocks."""

import math
import mmap
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
_LARGE_ROWS: Final = 1 << 17
_MAPPED_BYTES: Final = 1 << 20
_PRIVATE: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


class Table:
    """Columns of equal capacity; the first `used` rows hold values.

    Appending makes room by a constant factor when it is full, so a row is copied a constant number
    of times; a large table grows by a quarter only, since its spare rows are memory too.
    """

    __slots__ = ("_columns", "_fill", "capacity", "used")

    def __init__(
        self,
        dtypes: Mapping[str, tuple[Any, tuple[int, ...]]],
        fill: Mapping[str, Any],
        capacity: int = 1024,
    ) -> None:
        self._fill = dict(fill)
        self.capacity = capacity
        self.used = 0
        self._columns = {
            name: self._made(name, capacity, shape, dtype)
            for name, (dtype, shape) in dtypes.items()
        }

    def __getitem__(self, name: str) -> Array:
        """Return a whole column, spare capacity included; valid until the next `reserve`."""
        return self._columns[name]

    def names(self) -> list[str]:
        """Return the names of the columns."""
        return list(self._columns)

    def reserve(self, extra: int) -> None:
        """Make room for `extra` more rows."""
        need = self.used + extra
        if need <= self.capacity:
            return
        capacity = max(need, _with_spare(self.capacity))
        for name, old in self._columns.items():
            new = self._made(name, capacity, old.shape[1:], old.dtype)
            new[: self.used] = old[: self.used]
            self._columns[name] = new
        self.capacity = capacity

    def append(self, values: Mapping[str, Array], count: int) -> int:
        """Append `count` rows and return the position of the first; every column must be given."""
        self.reserve(count)
        start = self.used
        for name, column in self._columns.items():
            column[start : start + count] = values[name]
        self.used += count
        return start

    def keep(self, rows: Array) -> None:
        """Keep only the given rows, in the given order, and give spare memory back."""
        count = len(rows)
        capacity = max(1024, _with_spare(count))
        for name, old in self._columns.items():
            new = self._made(name, capacity, old.shape[1:], old.dtype)
            np.take(old, rows, axis=0, out=new[:count], mode="clip")  # "raise" would make a copy
            self._columns[name] = new
        self.capacity = capacity
        self.used = count

    def _made(self, name: str, capacity: int, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return a column of fill values; zeros take no memory until they are written to.

        A large one is mapped on its own: in the heap it would leave a hole that nothing fits into
        each time it grows.
        """
        value = self._fill.get(name, 0)
        made = zeros((capacity, *shape), dtype)
        if value:
            made[:] = value
        return made


def zeros(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an array of zeros; a large one is mapped, and takes no memory until it is written."""
    size_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    if size_bytes < _MAPPED_BYTES:
        return np.zeros(shape, dtype)
    return np.frombuffer(mapped(size_bytes), dtype).reshape(shape)


def mapped(size_bytes: int) -> mmap.mmap:
    """Return zeroed memory outside of the heap, which goes back whole with its last user."""
    return mmap.mmap(-1, size_bytes, _PRIVATE)


def _with_spare(rows: int) -> int:
    return 2 * rows if rows < _LARGE_ROWS else rows + rows // 4
