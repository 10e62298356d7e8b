"""64-bit hashes of text, the same for a column and for a single value.

The values hold within one version of polars (it promises no more): compare them in memory, or
pin polars with the state that keeps them, as pyproject.toml does.
"""

from typing import Final

import numpy as np
import polars as pl

from streams.units import U64

_SEED: Final = 0x5BA71007


def text_hash(column: pl.Series) -> U64:
    """Return the (n,) hashes of a text column: 0 for "" and null, never 0 for other text."""
    out = column.hash(_SEED).to_numpy().copy()
    out[out == 0] = 1
    out[(column.fill_null("") == "").to_numpy()] = 0
    return np.asarray(out, np.uint64)


def value_hash(text: str) -> int:
    """Return the hash that a column would have for `text`; 0 for ""."""
    return int(text_hash(pl.Series([text], dtype=pl.String))[0])


def names_hash(frame: pl.DataFrame) -> U64:
    """Return the (n,) hashes of a frame's rows: all its columns are text, in this order."""
    row = pl.struct(frame.columns).hash(_SEED)
    return np.asarray(frame.select(row).to_series().to_numpy(), np.uint64)
