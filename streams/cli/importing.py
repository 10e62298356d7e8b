"""Imports that cost less."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Import without the cycle collector: what modules make stays, and is looked at in vain."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
