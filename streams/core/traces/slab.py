"""Arrays that live about equally long, side by side and outside of the heap.

Small arrays that are kept for minutes, among many that go at once, leave a heap full of holes when
they go at last. Here each lies in a mapping of its own with its neighbours in time, which the
system takes back whole when the last of them is gone. Nobody frees anything: an array holds its
mapping for as long as it is held itself.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from streams.core.traces.table import mapped

SLAB_BYTES: Final = 4 << 20
_ALIGN_BYTES: Final = 8


class Slab:
    """Gives arrays a place, one after the other."""

    def __init__(self) -> None:
        self._mapping = mapped(SLAB_BYTES)
        self._used_bytes = 0

    def laid(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a copy of an array that lies in the slab, or in the next one if this is full."""
        size_bytes = -(-array.nbytes // _ALIGN_BYTES) * _ALIGN_BYTES
        if size_bytes > len(self._mapping) - self._used_bytes:
            self._mapping = mapped(max(SLAB_BYTES, size_bytes))
            self._used_bytes = 0
        at = self._used_bytes
        self._used_bytes += size_bytes
        place = np.frombuffer(self._mapping, array.dtype, array.size, at).reshape(array.shape)
        place[...] = array
        return place
