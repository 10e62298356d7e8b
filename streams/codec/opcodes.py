"""The codes of operations, found by hashes of their names: a text is looked at once."""

from collections.abc import Callable
from threading import Lock

import numpy as np

from streams.core.columns import Operation, Operations
from streams.units import I32, I64, U64, Mask


class OperationCodes:
    """Remembers which hash is which operation.

    Hashes of several functions may stand beside each other: each is 64 bits of the three names.

    Args:
        operations: interns (module, component, name); shared with the engine.
    """

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        # Tasks share it, and restore in threads of their own: both arrays change in one go.
        self._known = np.zeros(0, np.uint64), np.zeros(0, np.int32)
        self._naming = Lock()

    def codes(self, hashes: U64, is_good: Mask, name: Callable[[int], Operation]) -> I32:
        """Return the operation of each good row; what is rejected gets no code of its own.

        Args:
            hashes: (n,) of module, component and name together.
            is_good: (n,) whether the row is a good event.
            name: returns the operation of one row.
        """
        codes, is_known = self._look_up(hashes)
        rows = np.flatnonzero(is_good & ~is_known)
        if len(rows):
            with self._naming:
                codes[rows] = self._new_codes(hashes[rows], rows, name)
        return codes

    def _look_up(self, hashes: U64) -> tuple[I32, Mask]:
        known_hash, known_code = self._known
        if not len(known_hash):
            return np.zeros(len(hashes), np.int32), np.zeros(len(hashes), np.bool_)
        at = np.minimum(np.searchsorted(known_hash, hashes), len(known_hash) - 1)
        return known_code[at], known_hash[at] == hashes

    def _new_codes(self, hashes: U64, rows: I64, name: Callable[[int], Operation]) -> I32:
        """Return the codes of rows whose operations were not seen before."""
        distinct, first, place = np.unique(hashes, return_index=True, return_inverse=True)
        codes = np.empty(len(distinct), np.int32)
        keep = np.zeros(len(distinct), np.bool_)
        for i in np.argsort(first).tolist():  # codes as they came: hashes may be of this process
            operation = name(int(rows[first[i]]))
            codes[i] = self._operations.code(operation)
            # What is beyond the bound is not remembered: its code is not its own.
            keep[i] = self._operations[int(codes[i])] == operation
        known, first_known = np.unique(
            np.concatenate([self._known[0], distinct[keep]]), return_index=True
        )
        self._known = known, np.concatenate([self._known[1], codes[keep]])[first_known]
        return codes[place]
