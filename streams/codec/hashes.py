"""64-bit hashes of text, the same for a column and for a single value.

The values hold within one version of polars (it promises no more): compare them in memory, or
pin polars with the state that keeps them, as pyproject.toml does.
"""

from typing import Final

import numpy as np
import polars as pl

from streams.units import I64, U64

_SEED: Final = 0x5BA71007


def hash_expression(column: str) -> pl.Expr:
    """Return the raw hash of a text column."""
    return pl.col(column).hash(_SEED)


def settled(raw: U64, text_bytes: I64) -> U64:
    """Return (n,) raw hashes with 0 for "" (no bytes) and never 0 for other text."""
    out: U64 = np.where(raw == 0, np.uint64(1), raw)
    out[text_bytes == 0] = 0
    return out


def text_hash(column: pl.Series) -> U64:
    """Return the (n,) hashes of a text column: 0 for "" and null, never 0 for other text."""
    text_bytes = column.str.len_bytes().fill_null(0).to_numpy()
    return settled(column.hash(_SEED).to_numpy(), text_bytes)


def value_hash(text: str) -> int:
    """Return the hash that a column would have for `text`; 0 for ""."""
    return int(text_hash(pl.Series([text], dtype=pl.String))[0])
