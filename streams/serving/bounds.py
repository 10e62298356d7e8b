"""Bounds of a server: how often, and how many at once.

Owns the counting. Rules are functions of what they are told and of `now`.
"""

from collections import OrderedDict
from typing import Final

CLIENTS_MAX: Final = 10_000
"""Clients whose pace is remembered; the one that was quiet longest is forgotten first."""


class BusyError(Exception):
    """The server has too much to do; `reason` is a bounded name."""

    def __init__(self, reason: str, words: str) -> None:
        super().__init__(words)
        self.reason = reason


class Pace:
    """A bucket of tokens for each client: `burst` at once, then `per_second` on.

    Args:
        per_second: tokens that come back.
        burst: tokens at most.
        clients: how many are remembered.
    """

    def __init__(self, per_second: float, burst: float, clients: int = CLIENTS_MAX) -> None:
        self._per_second, self._burst, self._clients = per_second, burst, clients
        self._held: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def _left(self, client: str, now: float) -> float:
        tokens, at = self._held.get(client, (self._burst, now))
        return min(self._burst, tokens + (now - at) * self._per_second)

    def wait_seconds(self, client: str, now: float) -> float:
        """Return how long a client must wait for its next token; 0 when it has one."""
        return max(0.0, (1 - self._left(client, now)) / self._per_second)

    def take(self, client: str, now: float) -> float:
        """Take a token for a client; return 0, or how long it must wait when there is none."""
        left = self._left(client, now)
        wait_seconds = max(0.0, (1 - left) / self._per_second)
        self._held[client] = (left if wait_seconds else left - 1, now)
        self._held.move_to_end(client)
        if len(self._held) > self._clients:
            self._held.popitem(last=False)
        return wait_seconds

    def __len__(self) -> int:
        return len(self._held)


class Room:
    """A number of things at once, of which there may be so many.

    Args:
        limit: how many.
        reason, words: of the error when there are too many.
    """

    def __init__(self, limit: int, reason: str, words: str) -> None:
        self._limit, self._reason, self._words = limit, reason, words
        self.taken = 0

    def take(self, count: int = 1) -> None:
        """Take room.

        Raises:
            BusyError: there is not enough; none was taken.
        """
        if self.taken + count > self._limit:
            raise BusyError(self._reason, self._words)
        self.taken += count

    def leave(self, count: int = 1) -> None:
        """Give room back."""
        self.taken -= count
