"""The wall clock of the processes; the core and the engine are told the time."""

import time


def wall_us() -> int:
    """Return wall time, Unix microseconds, UTC."""
    return time.time_ns() // 1_000
