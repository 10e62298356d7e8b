"""Imports that cost less."""

import gc
import os
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


def without_blas_threads() -> None:
    """Let numpy's linear algebra have no threads of its own, unless the environment says how many.

    Nothing here multiplies matrices, and each thread turns for a while before it rests: 40 ms of a
    start, and one per cent of a worker's CPU in a minute. To be called before numpy is imported.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
