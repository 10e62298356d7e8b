"""What is asked of rows that were read together, whoever read them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import polars as pl

from streams.units import F64, I64, U64, Mask


@dataclass(frozen=True, slots=True)
class Entries:
    """e entries of the maps of some rows, those with keys that were asked for.

    Attributes:
        owner: (e,) which of the rows each is of.
        key: (e,) which of the keys it has.
        hash: (e,) of its value; of one text the same in all that one reader reads, 0 of "".
        text: returns the value of an entry.
    """

    owner: I64
    key: I64
    hash: U64
    text: Callable[[int], str]


class Rows(Protocol):
    """n rows that were read together: columns under the names of their fields."""

    @property
    def data(self) -> bytes:
        """The buffer that was read."""

    @property
    def starts(self) -> list[I64]:
        """K + 1 arrays of (n,): where each field of each row begins, and where the row ends."""

    @property
    def is_sound(self) -> Mask:
        """Whether all values of a row are in range, (n,)."""

    def __len__(self) -> int: ...

    def place(self, name: str) -> int:
        """Return which of the fields has a name."""

    def numbers(self, name: str, null: int = 0) -> I64:
        """Return a column of whole numbers, (n,), `null` where there is none."""

    def doubles(self, name: str) -> F64:
        """Return a column of doubles or floats, (n,), NaN for null."""

    def text_bytes(self, name: str) -> I64:
        """Return the lengths of a text column, (n,), 0 for null."""

    def is_there(self, name: str) -> Mask:
        """Return which values of a column that may be null are not, (n,)."""

    def text_hashes(self, names: Sequence[str]) -> Mapping[str, U64]:
        """Return hashes of text columns, (n,) each, by name."""

    def value(self, name: str, row: int) -> Any:
        """Return one value."""

    def frame_of(self, rows: I64, names: Sequence[str] = ()) -> pl.DataFrame:
        """Return some rows, one or more, as polars reads them; of no names all columns."""

    def entries(self, name: str, rows: I64, keys: Sequence[str]) -> Entries:
        """Return the entries of a column of maps of texts that some of the rows have.

        Args:
            name: of the column.
            rows: positions of rows.
            keys: those that are asked for, each once.
        """

    def take(self, at: I64) -> "Rows":
        """Return some of the rows."""
