"""Signatures of requests, by which a receiver knows who sent a body, and when.

Pure: the time is an argument. Source: Standard Webhooks 1.0 (`webhook-id`, `webhook-timestamp`,
`webhook-signature`); `webhook-key-id` names the keys in the order of the signatures, and
`idempotency-key` repeats the id under the name that gateways know.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final, NamedTuple

SECRET_CHARACTERS_MIN: Final = 16
_PREFIX: Final = "whsec_"


class Key(NamedTuple):
    """A signing key; its secret is in no repr."""

    key_id: str
    secret: str

    def __repr__(self) -> str:
        """Say which key it is, and nothing else."""
        return f"Key({self.key_id})"


def key_bytes(secret: str) -> bytes:
    """Return the bytes of a secret: base64 after `whsec_`, else the text itself as UTF-8."""
    if secret.startswith(_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except ValueError:
            pass
    return secret.encode()


def signed_headers(
    delivery_id: str, body: bytes, keys: Sequence[Key], now_s: int
) -> dict[str, str]:
    """Return the headers that sign a body; the idempotency key alone when there is no key.

    The signature covers id, time and body, so that none of them can be put on another one, and an
    old request can be told from a new one.

    Args:
        delivery_id: of the version of the incident.
        body: the bytes that are sent.
        keys: every one of them signs.
        now_s: Unix seconds; receivers refuse what is minutes old.
    """
    headers = {"idempotency-key": delivery_id}
    if not keys:
        return headers
    content = f"{delivery_id}.{now_s}.".encode() + body
    signatures = []
    for key in keys:
        digest = hmac.new(key_bytes(key.secret), content, hashlib.sha256).digest()
        signatures.append(f"v1,{base64.b64encode(digest).decode()}")
    return headers | {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(now_s),
        "webhook-signature": " ".join(signatures),
        "webhook-key-id": " ".join(key.key_id for key in keys),
    }
