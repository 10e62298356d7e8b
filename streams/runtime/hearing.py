"""When a broker last answered this worker, over all connections of its consumer.

aiokafka stamps a connection when an answer arrives, but also when it is made, and a broker whose
process is stopped still has a kernel that accepts connections: each retry would look like an
answer. So the first stamp of a connection does not count.
"""

import time
from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary


class Hearing:
    """Remembers when a broker last answered, on the monotonic clock."""

    def __init__(self) -> None:
        self.at_seconds = time.monotonic()
        """When the last answer came; at first when listening began."""
        self._made: WeakKeyDictionary[Any, float] = WeakKeyDictionary()

    def listen(self, connections: Iterable[Any]) -> float:
        """Look at the connections as they are now; return when the last answer came."""
        for connection in connections:
            stamp: float = connection._last_action
            if stamp != self._made.setdefault(connection, stamp):
                self.at_seconds = max(self.at_seconds, stamp)
        return self.at_seconds
