"""Silences: what is not told for a while because a person, or the contract, said so.

Owns matching. A silence hides an alert from people, never from the books: it is counted, and told
when the silence ends and it still fires. Invariant: a matcher names at least one field, and a field
that nothing has matches nothing.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from streams.core.alerts.finding import time_text
from streams.core.patterns import fits
from streams.units import is_unicode

_INCIDENT: Final = "incident_id"
FIELDS: Final = (
    "module",
    "component",
    "kind",
    "owner",
    "severity",
    "flow",
    "from_stage",
    "to_stage",
    "name",
    "rule_id",
    "source",
    "fingerprint",
    _INCIDENT,
)
WINDOW: Final = "maintenance/"
"""The ids of windows that the contract declares begin so."""
_REASON_SHOWN: Final = 200
LABEL: Final = "labels."
"""A matcher's key `labels.<name>` asks for a label of the alert."""
MATCHER_FIELDS_MAX: Final = 64
"""As many as an alert has labels. A silence is one entry of the state and its answer one record:
both are bounded."""
TEXT_MAX: Final = 1_024
"""Characters of a field's name and of a pattern, as of a label's value."""


@dataclass(frozen=True, slots=True)
class Silence:
    """One silence.

    Attributes:
        silence_id: the id of the command that made it, or `maintenance/<name>`.
        matcher: field to pattern (`*` and `?` stand for any characters, `[` for itself); an alert
            must match all of them.
        from_us, until_us: wall time, [from, until).
        actor, reason: who wants it, and why.
    """

    silence_id: str
    matcher: Mapping[str, str]
    from_us: int
    until_us: int
    actor: str = ""
    reason: str = ""

    def holds(self, now_us: int) -> bool:
        """Say whether the silence holds at a time."""
        return self.from_us <= now_us < self.until_us

    def matches(
        self, alert: Mapping[str, Any], owner: str, incident_ids: Collection[str] = ()
    ) -> bool:
        """Say whether an alert is meant.

        Args:
            alert: in the shape of schemas/alert.v1.avsc.
            owner: who answers for it.
            incident_ids: its incident, and those that it was in before they were merged.
        """
        for key, pattern in self.matcher.items():
            values = incident_ids if key == _INCIDENT else (_value(alert, owner, key),)
            if not any(value and fits(value, pattern) for value in values):
                return False
        return bool(self.matcher)

    @property
    def is_declared(self) -> bool:
        """Say whether the contract declares it as a window, and no command made it."""
        return self.silence_id.startswith(WINDOW)

    @property
    def name(self) -> str:
        """Return what people call it: whose it is, or the window's name."""
        if self.is_declared:
            return f"the window {self.silence_id.removeprefix(WINDOW)!r} of the contract"
        return f"the silence of {self.actor}"

    @property
    def text(self) -> str:
        """Return who wants it, until when, and why, in one line."""
        whose = self.name if self.is_declared else self.actor
        return f"{whose}, until {time_text(self.until_us)}{because(self.reason)}"

    def command(self) -> dict[str, Any]:
        """Return the command that made it, as an incident keeps it."""
        return {
            "command": "silence",
            "command_id": self.silence_id,
            "actor": self.actor,
            "reason": self.reason,
            "at_us": self.from_us,
        }

    def record(self) -> dict[str, Any]:
        """Return it as an incident's record tells it."""
        return {
            "silence_id": self.silence_id,
            "actor": self.actor,
            "reason": self.reason,
            "start": self.from_us,
            "end": self.until_us,
        }


def because(reason: str) -> str:
    """Return a reason as the end of a line of history, shortened; the whole is in the record."""
    said = " ".join(reason.split())
    short = said if len(said) <= _REASON_SHOWN else said[: _REASON_SHOWN - 1] + "\u2026"
    return f": {short}" if short else ""


def _value(alert: Mapping[str, Any], owner: str, key: str) -> str:
    if key == "owner" and owner:
        return owner
    if key.startswith(LABEL):
        found = alert.get("labels", {}).get(key.removeprefix(LABEL))
    else:
        found = alert.get(key)
    return str(found or "")


def matcher_fault(matcher: object) -> str:
    """Return what is wrong with a matcher, "" for nothing."""
    if not isinstance(matcher, Mapping) or not matcher:
        return "matcher must name at least one field"
    for key, pattern in matcher.items():
        is_label = isinstance(key, str) and key.startswith(LABEL) and len(key) > len(LABEL)
        if key not in FIELDS and not is_label:
            name = repr(key)[:64]
            return f"matcher knows no field {name}; known: {', '.join(FIELDS)}, labels.<name>"
        if not isinstance(pattern, str) or not pattern:
            return f"matcher.{key[:64]} must be a text that is not empty"
        if len(key) > TEXT_MAX or len(pattern) > TEXT_MAX:
            return f"matcher.{key[:64]} is longer than {TEXT_MAX} characters"
        if not is_unicode(key + pattern):
            return "matcher is no valid Unicode: it holds half of a surrogate pair"
    if len(matcher) > MATCHER_FIELDS_MAX:
        return f"matcher names {len(matcher)} fields, {MATCHER_FIELDS_MAX} at most"
    return ""


def silenced_by(
    silences: Iterable[Silence],
    alert: Mapping[str, Any],
    owner: str,
    incident_ids: Collection[str],
) -> str:
    """Return the id of the first silence that means an alert, "" for none."""
    for silence in silences:
        if silence.matches(alert, owner, incident_ids):
            return silence.silence_id
    return ""
