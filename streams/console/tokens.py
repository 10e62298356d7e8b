"""Continuation tokens: where the next page of an answer begins, as text that says nothing else."""

import base64
import binascii
import json
from typing import Any

from streams.errors import ConfigError

_TOKEN_CHARS_MAX = 500


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
        if len(token) > _TOKEN_CHARS_MAX:
            raise ValueError("too long")
        found = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        if not isinstance(found, list) or [type(v) for v in found] != list(kinds):
            raise ValueError("of another answer")
    except (ValueError, binascii.Error, RecursionError) as error:
        raise ConfigError(
            "continuation_token: not one that this answer gave; leave it out to begin anew"
        ) from error
    return tuple(found)
