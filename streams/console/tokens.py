"""Continuation tokens: where the next page of an answer begins, as text that says nothing else.

A token belongs to the question whose answer gave it: its digest stands before the key, so that a
token is not taken for a place in another answer. It proves nothing about who made it.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

from streams.errors import ConfigError

NAME: Final = "continuation_token"
_DIGEST_BYTES: Final = 8
_KEY_CHARS_MAX: Final = 256 << 10
"""The audit's says where each partition ended: 2 KB for a hundred of them, in a request's body."""
TOKEN_CHARS_MAX: Final = _KEY_CHARS_MAX + 2 * _DIGEST_BYTES
_PAGING: Final = ("limit", NAME)
"""What may differ from page to page of one answer."""


def token_of(key: tuple[Any, ...]) -> str:
    """Return the token of the last row's sort key; numbers and texts."""
    text = json.dumps(list(key), separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def key_of(token: str, kinds: tuple[type, ...]) -> tuple[Any, ...]:
    """Return the sort key that a token holds.

    Raises:
        ConfigError: it is not a token of this answer.
    """
    try:
        if len(token) > _KEY_CHARS_MAX:
            raise ValueError("too long")
        found = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        if not isinstance(found, list) or [type(v) for v in found] != list(kinds):
            raise ValueError("of another answer")
        for value in found:
            if isinstance(value, str):
                value.encode()  # JSON may name halves of characters, which no text has
            elif not -(1 << 63) <= value < 1 << 63:
                raise ValueError("longer than any column")
    except (ValueError, binascii.Error, RecursionError) as error:
        raise foreign() from error
    return tuple(found)


def foreign() -> ConfigError:
    """Return what is said of a token that is not one of this answer."""
    return ConfigError(f"{NAME}: not one that this answer gave; leave it out to begin anew")


def digest_of(path: str, asked: Mapping[str, Any]) -> str:
    """Return what tells a question from others, as the begin of its answer's tokens.

    Args:
        path: of the interface.
        asked: what was asked, JSON-able; how long a page is and where it begins do not count.
    """
    question = {name: value for name, value in asked.items() if name not in _PAGING}
    text = json.dumps([path, question], sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()


def bound(token: str, digest: str) -> str:
    """Return a token as one of a question; "" stays, which says that there are no more rows."""
    return digest + token if token else ""


def unbound(token: str, digest: str) -> str:
    """Return a token without its question; "" stays.

    Raises:
        ConfigError: it is one of another question.
    """
    if not token:
        return ""
    if not token.startswith(digest):
        raise foreign()
    return token.removeprefix(digest) or "-"  # a digest alone is no token
