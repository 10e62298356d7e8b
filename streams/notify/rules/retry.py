"""How an answer is judged, and how long to wait after a bad one.

Owns the classes of outcomes and the backoff. Pure: chance is a hash of what is tried, so a run can
be repeated.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Literal

from streams.codec.retry_after import patience_us
from streams.units import SECOND_US

Outcome = Literal["delivered", "failed", "misconfigured", "refused"]
"""delivered: the receiver took it. failed: it is away or busy. misconfigured: no try can succeed
until a person mends something, here or there. refused: it calls this one event wrong."""

RETRY_AFTER_US_MAX: Final = 600 * SECOND_US
"""A receiver may ask for so much patience at most."""
_BUSY: Final = frozenset({408, 409, 423, 425, 429})
_WRONG_BODY: Final = frozenset({400, 406, 410, 411, 413, 414, 415, 422, 431, 451})


@dataclass(frozen=True, slots=True)
class Policy:
    """How one target is tried.

    Attributes:
        parallel: attempts at once.
        backoff_us, backoff_us_max: first and longest wait.
        breaker_failures: failures in a row that open the breaker.
        refused_attempts_max: attempts of an event that is refused.
        lone_failures_max: failures of an event while others went through.
        give_up_us: age at which a failed event is dropped.
        window_offsets: how far reading runs ahead of the oldest event that is not done.
        pending_max: events held at once.
        pending_bytes_max: bytes of the events held at once.
    """

    parallel: int = 4
    backoff_us: int = SECOND_US
    backoff_us_max: int = 30 * SECOND_US
    breaker_failures: int = 5
    refused_attempts_max: int = 3
    lone_failures_max: int = 20
    give_up_us: int = 86_400 * SECOND_US
    window_offsets: int = 4_096
    pending_max: int = 1_024
    pending_bytes_max: int = 16 << 20


def of_status(status: int) -> Outcome:
    """Return what an HTTP status says of an attempt.

    A redirect is never followed, so it needs a person, like a missing page or a refused user.
    """
    if 200 <= status < 300:
        return "delivered"
    if status in _BUSY or status >= 500:
        return "failed"
    return "refused" if status in _WRONG_BODY else "misconfigured"


def wait_us(policy: Policy, failures: int, seed: str) -> int:
    """Return how long to wait after so many failures in a row, microseconds.

    Doubles with each failure up to the longest wait; between half of that and the whole, so that
    what failed together does not come back together.

    Args:
        policy: first and longest wait.
        failures: in a row, from 1.
        seed: what is tried; the same gives the same wait.
    """
    assert failures >= 1, failures
    doublings = min(failures - 1, 40)
    whole = min(policy.backoff_us << doublings, policy.backoff_us_max)
    digest = blake2b(f"{seed}|{failures}".encode(), digest_size=8).digest()
    share = int.from_bytes(digest, "big") / (1 << 64)
    return max(1, int(whole * (0.5 + share / 2)))


def retry_after_us(header: str | None, date: str | None, now_us: int) -> int:
    """Return the patience that a receiver is given, microseconds; 0 for none or for nonsense.

    Args:
        header: as `patience_us`, which reads it.
        date: as there.
        now_us: as there.
    """
    return min(patience_us(header, date, now_us) or 0, RETRY_AFTER_US_MAX)
