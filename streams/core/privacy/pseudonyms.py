"""Pseudonyms: what stands for a person, and can be made again only by who has the key.

Owns the form: `~KEY_ID:BASE32`, the first 128 bits of HMAC-SHA-256 (RFC 2104) under the key that
the id names. One value has one pseudonym in whatever field it stands, so that a person is one over
all of them. Invariants: what has the form is passed on as it is, so that nothing is made a
pseudonym of twice, by an edge and an archive or under an old key and a new one; no repr shows a
secret.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

ERASED: Final = "~erased"
"""Stands where the pseudonym of somebody stood who was erased."""
SECRET_CHARACTERS_MIN: Final = 32
KEY_ID: Final = re.compile(r"[a-z0-9]{1,16}")
FORM: Final = re.compile(r"~[a-z0-9]{1,16}:[a-z2-7]{26}")
HELD_MAX: Final = 65_536
"""Values whose pseudonym is remembered: one takes some 5 us to make and 0.1 to find."""
_BITS: Final = 128
_PURPOSE: Final = b"spanloom pseudonym 1\0"
"""Goes before each value: a key that is used for something else too gives nothing away here."""


@dataclass(frozen=True)
class Key:
    """A key: its id, which each pseudonym names, and its secret."""

    key_id: str
    secret: bytes = field(repr=False)

    def pseudonym(self, text: str) -> str:
        """Return what stands for a value."""
        octets = text.encode("utf-8", "surrogatepass")
        digest = hmac.digest(self.secret, _PURPOSE + octets, hashlib.sha256)
        short = base64.b32encode(digest[: _BITS // 8]).decode().rstrip("=").lower()
        return f"~{self.key_id}:{short}"


class Pseudonyms:
    """Makes pseudonyms.

    Args:
        keys: the first makes new ones, all are searched by; at least one.
    """

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple(keys)
        self.of = lru_cache(HELD_MAX)(self._of)
        """Returns what is kept in place of a value: itself when nothing, or none, is left of it."""

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of the keys, the writing one first."""
        return tuple(key.key_id for key in self._keys)

    def _of(self, text: str) -> str:
        return text if not text or is_pseudonym(text) else self._keys[0].pseudonym(text)

    def all_of(self, text: str) -> list[str]:
        """Return all that may be kept in place of a value: one for each key."""
        if not text or is_pseudonym(text):
            return [text]
        return [key.pseudonym(text) for key in self._keys]


def is_pseudonym(text: str) -> bool:
    """Whether a text has the form of a pseudonym, of whatever key, or of one that was erased."""
    return text.startswith("~") and (text == ERASED or FORM.fullmatch(text) is not None)
