"""Which incidents a target is told of.

Owns the filters, and the rule that who was told of an incident is told of its end too. Pure.
Invariant: an incident is followed from the first event that its target was to be told until an end
of it is done; no other event than RESOLVED and MERGED is an end, so a silence never is one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from streams.contract.notify import Filters

SEVERITIES: Final = ("INFO", "WARN", "ERROR", "CRITICAL")
ENDS: Final = frozenset({"RESOLVED", "MERGED"})

Incident = Mapping[str, Any]
"""A record of schemas/incident_event.v1.avsc; fields that are not known here are passed on."""


def is_end(event: Incident) -> bool:
    """Say whether an incident is over, or goes on as part of another."""
    return event["event"] in ENDS


def matches(filters: Filters, event: Incident) -> bool:
    """Say whether an incident is one that the filters let through; kinds of event aside."""
    severity = event["severity"]
    rank = SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)
    if rank < SEVERITIES.index(filters.severity):
        return False
    allowed = (filters.owners, filters.modules, filters.channels)
    names = (event["owner"], event["module"], event["channel"])
    return all(not some or name in some for some, name in zip(allowed, names, strict=True))


@dataclass(slots=True)
class _Life:
    """From the event that a target was first told of to the end, which may be yet to come."""

    began: int
    ended: int | None = None


@dataclass(slots=True)
class Book:
    """What one target was told, or is being told.

    Args:
        filters: of the target.
    """

    filters: Filters
    _lives: dict[str, list[_Life]] = field(default_factory=dict)

    def wants(self, offset: int, event: Incident) -> bool:
        """Say whether an event is told, and follow its incident from now on if it is.

        The answer depends on the topic alone, not on what is done of it: a restart that reads the
        topic from `follow_from` on gives the same answers.

        Args:
            offset: of the event; events come in the topic's order.
            event: what would be told.
        """
        if not self._passes(event):
            return False
        lives = self._lives.get(event["incident_id"])
        if lives and lives[-1].ended is None:
            if is_end(event):
                lives[-1].ended = offset
            return True
        if not matches(self.filters, event):
            return False
        if not is_end(event):  # an end alone: its opening was before our time
            self._lives.setdefault(event["incident_id"], []).append(_Life(offset))
        return True

    def _passes(self, event: Incident) -> bool:
        # A kind that this version does not know is told, unless the file lists kinds.
        return not self.filters.events or event["event"] in self.filters.events

    def done(self, offset: int, event: Incident) -> None:
        """Note that an event is done: told, told before a restart, or dropped."""
        lives = self._lives.get(event["incident_id"])
        if lives and lives[0].ended == offset:
            del lives[0]
            if not lives:
                del self._lives[event["incident_id"]]

    def follow_from(self) -> int | None:
        """Return the earliest offset that a restart must read again; None for none."""
        return min((lives[0].began for lives in self._lives.values()), default=None)

    @property
    def followed(self) -> int:
        """Return how many incidents the target was told of that are not over."""
        return sum(lives[-1].ended is None for lives in self._lives.values())
