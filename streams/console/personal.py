"""Who may search by a plain personal value, and what the archive is asked for in its place.

Owns that a plain value is turned into its pseudonyms for whoever has the role `personal`, that this
is written down first, and that nothing but the pseudonyms is. Others ask by pseudonym.
"""

from collections.abc import Callable
from typing import Any, Final

from streams.core.privacy.pseudonyms import is_pseudonym
from streams.core.privacy.records import Privacy
from streams.errors import ConfigError
from streams.serving.roles import Actor

Kept = Callable[[str, str], list[str]]
"""Returns what the archive may hold in place of a value of a field."""


class PersonalError(Exception):
    """Who asks by a plain value has not the role for it."""


class Asking:
    """What one question asks for of personal fields; called as `Kept`.

    Args:
        privacy: what is kept in place of personal values; None for nothing of that.
        actor: who asks.
        write: writes down, before the answer is made, by what somebody was searched for.
    """

    def __init__(
        self, privacy: Privacy | None, actor: Actor, write: Callable[..., None] = lambda **_: None
    ) -> None:
        self._privacy, self._actor, self._write = privacy, actor, write
        self._known: dict[tuple[str, str], list[str]] = {}

    def __call__(self, field: str, text: str) -> list[str]:
        """Return what the archive may hold in place of a value of a field.

        Raises:
            PersonalError: it is a plain value, and who asks has not the role.
            ConfigError: the field is not kept at all.
            StateError: it could not be written down.
        """
        if self._privacy is None or self._privacy.rules.of(field) is None or is_pseudonym(text):
            return [text]
        if (field, text) not in self._known:
            self._known[field, text] = self._turned(self._privacy, field, text)
        return self._known[field, text]

    def _turned(self, privacy: Privacy, field: str, text: str) -> list[str]:
        kept = privacy.all_of(field, text)
        if kept == [text]:  # it is as the archive has it
            return kept
        if not any(kept):
            raise ConfigError(f"{field}: the contract has it dropped: the archive holds none")
        if not self._actor.may("personal"):
            raise PersonalError
        self._write(field=field, kept=kept)
        return kept


def as_asked(_: str, text: str) -> list[str]:
    """Return a value itself, as when nothing is personal."""
    return [text]


def kept_of(asked: dict[str, Any]) -> Kept:
    """Return how a question's personal values are turned."""
    found: Kept = asked.get(ASKING, as_asked)
    return found


ASKING: Final = "asking"
"""Key of a question's `Asking` in what was asked."""
