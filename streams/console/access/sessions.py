"""Logins of browsers: a random name in a cookie, and here who it is and until when.

Owns the sessions. They live in memory alone: a restart ends them, one can be ended at once, and no
secret lies on a disk. What is kept of a session's name is its hash. Invariants: at most `limit` are
held; one that is over opens nothing.
"""

import hashlib
import secrets
from collections import OrderedDict
from typing import NamedTuple

from streams.serving.roles import Actor


class Session(NamedTuple):
    """A login: who, and until when."""

    actor: Actor
    expires_us: int


class Sessions:
    """The logins of this console.

    Args:
        seconds: how long one lasts.
        limit: how many there are at most; the oldest ends for a new one.
    """

    def __init__(self, seconds: float, limit: int) -> None:
        self.seconds, self._limit = seconds, limit
        self._held: OrderedDict[bytes, Session] = OrderedDict()
        self.displaced = 0
        """Logins that ended for a new one."""

    def __len__(self) -> int:
        return len(self._held)

    def begin(self, actor: Actor, now_us: int) -> str:
        """Return the name of a new login."""
        self._forget(now_us)
        name = secrets.token_urlsafe(32)
        self._held[_hash(name)] = Session(actor, now_us + round(self.seconds * 1_000_000))
        while len(self._held) > self._limit:
            self._held.popitem(last=False)
            self.displaced += 1
        return name

    def of(self, name: str, now_us: int) -> Actor | None:
        """Return whose login it is, None when there is none or it is over."""
        found = self._held.get(_hash(name))
        if found is None:
            return None
        if now_us >= found.expires_us:
            del self._held[_hash(name)]
            return None
        return found.actor

    def end(self, name: str) -> Actor | None:
        """End a login; return whose it was."""
        found = self._held.pop(_hash(name), None)
        return None if found is None else found.actor

    def _forget(self, now_us: int) -> None:
        # All last equally long, so the oldest is the first to be over.
        while self._held and next(iter(self._held.values())).expires_us <= now_us:
            self._held.popitem(last=False)


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
