"""Who asks or sends, and what they may.

Owns what a role grants. Pure.
"""

from typing import Final, Literal, NamedTuple

Role = Literal["viewer", "operator", "auditor", "personal", "admin", "sender"]
ROLES: Final[tuple[Role, ...]] = ("viewer", "operator", "auditor", "personal", "admin", "sender")
GRANTS: Final[dict[Role, frozenset[Role]]] = {
    "viewer": frozenset({"viewer"}),
    "operator": frozenset({"viewer", "operator"}),
    "auditor": frozenset({"viewer", "auditor"}),
    "personal": frozenset({"viewer", "auditor", "personal"}),
    "admin": frozenset({"viewer", "operator", "auditor", "personal", "admin"}),
    "sender": frozenset({"sender"}),
}
"""What each role may do: an operator orders, an auditor asks the audit by pseudonyms, `personal` by
plain values too and has somebody erased; an admin does all of it. A sender sends telemetry to a
collector and sees nothing; nobody else may."""
NOBODY: Final = "console"
"""The actor's name while nobody logs in and no order says who gives it."""


class Actor(NamedTuple):
    """Somebody who asks.

    Attributes:
        name: who it is, as audit entries and orders say it.
        roles: what they have.
        how: none, key or oidc: what vouches for them.
        key_id: of the key that they came with; "" for none.
    """

    name: str
    roles: frozenset[Role]
    how: Literal["none", "key", "oidc"]
    key_id: str = ""

    def may(self, role: Role) -> bool:
        """Say whether one of their roles grants another."""
        return any(role in GRANTS[one] for one in self.roles)


ANYBODY: Final = Actor(NOBODY, frozenset({"admin"}), "none")
"""Whoever asks on the loopback while nobody logs in."""
