"""How long to wait for a trace whose flow says nothing: learned from the traces that closed.

Owns a histogram of completion times (last event less first) over logarithmic buckets, a quarter
of an octave wide, so an estimate is at most 19 % too long. The estimate is state like any other.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from streams.units import I64, SECOND_US

_PER_OCTAVE: Final = 4
_BUCKETS: Final = 45 * _PER_OCTAVE  # up to 2**45 us, a year


@dataclass(frozen=True, slots=True)
class WaitSettings:
    """Bounds of the learned wait.

    Attributes:
        initial_us: the wait until `traces_min` traces have closed.
        floor_us, ceiling_us: the learned wait stays within.
        quantile: share of the traces that shall be complete within the wait.
        traces_min: how many traces make an estimate.
    """

    initial_us: int = 30 * SECOND_US
    floor_us: int = 5 * SECOND_US
    ceiling_us: int = 300 * SECOND_US
    quantile: float = 0.999
    traces_min: int = 1_000


class LearnedWait:
    """The wait, from the completion times seen so far."""

    def __init__(self, settings: WaitSettings) -> None:
        self._settings = settings
        self._histogram = np.zeros(_BUCKETS, np.int64)
        self._wait_us = settings.initial_us

    def learn(self, completion_us: I64) -> None:
        """Take in the completion times of traces that closed; (k,) microseconds, >= 0."""
        bucket = np.ceil(np.log2(np.maximum(completion_us, 1)) * _PER_OCTAVE).astype(np.int64)
        np.add.at(self._histogram, np.minimum(bucket, _BUCKETS - 1), 1)
        total = int(self._histogram.sum())
        settings = self._settings
        if total < settings.traces_min:
            return
        need = int(np.ceil(total * settings.quantile))
        edge = int(np.searchsorted(np.cumsum(self._histogram), need))
        learned = int(2 ** (edge / _PER_OCTAVE))
        self._wait_us = min(max(learned, settings.floor_us), settings.ceiling_us)

    @property
    def wait_us(self) -> int:
        """The wait in force, microseconds after a trace's last event."""
        return self._wait_us

    def snapshot(self) -> dict[str, list[int] | int]:
        """Return the whole state, JSON-able; only buckets in use."""
        used = np.flatnonzero(self._histogram)
        return {
            "bucket": used.tolist(),
            "traces": self._histogram[used].tolist(),
            "wait_us": self._wait_us,
        }

    def restore(self, snapshot: dict[str, list[int] | int]) -> None:
        """Take over a state made by `snapshot`."""
        self._histogram[snapshot["bucket"]] = snapshot["traces"]
        self._wait_us = int(snapshot["wait_us"])  # type: ignore[arg-type]
