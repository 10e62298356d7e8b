"""The slow, obvious version of what a target is told and of what may be committed."""

from collections.abc import Mapping, Sequence
from typing import Any

RANKS = ["INFO", "WARN", "ERROR", "CRITICAL"]


def is_told(topic: Mapping[int, Mapping[str, Any]], offset: int, severity: str) -> bool:
    """Say whether the event at an offset is told, by walking the whole topic before it."""
    event = topic[offset]
    followed = False
    for at in sorted(topic):
        earlier = topic[at]
        if at >= offset:
            break
        if earlier["incident_id"] == event["incident_id"]:
            passes = RANKS.index(earlier["severity"]) >= RANKS.index(severity)
            followed = (followed or passes) and earlier["event"] not in ("RESOLVED", "MERGED")
    return followed or RANKS.index(event["severity"]) >= RANKS.index(severity)


def committable(read: int, told: Sequence[int], done: set[int]) -> tuple[int, set[int]]:
    """Return the lowest offset that is not done, and which offsets from there to `read` are done.

    Args:
        read: the next offset to read.
        told: offsets that are to be told, of those read.
        done: of those, the ones that are done.
    """
    undone = [offset for offset in told if offset not in done]
    low = min(undone, default=read)
    return low, {offset for offset in range(low, read) if offset not in undone}
