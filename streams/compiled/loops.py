"""Whether the compiled loops are there.

Without them everything is read by polars and numpy, to the same result: in a process that reads
little, on a machine for which there is no compiler, in the first second of a worker.
"""

from collections.abc import Callable
from typing import Protocol


class Loops(Protocol):
    """What `streams.compiled.kernels` has, and says."""

    walk: Callable[..., bool]
    entries: Callable[..., None]
    gather: Callable[..., None]
    hashes: Callable[..., None]


_loaded: list[Loops] = []
"""One or none."""


def loops() -> Loops | None:
    """Return the loops, None where they are not loaded."""
    return _loaded[0] if _loaded else None


def use(made: Loops) -> None:
    """Use these from now on."""
    _loaded[:] = [made]
