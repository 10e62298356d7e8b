"""Event ids that follow from what an event is, so that an event sent again is the same event."""

import hashlib
from typing import Final

SPAN_FACTORS: Final = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)
"""Odd, so that different spans of a trace differ in both halves of their ids."""
_WORD: Final = 0xFFFF_FFFF_FFFF_FFFF


def event_id(content: bytes) -> str:
    """Return a UUID of version 4's form that depends on the content alone."""
    digest = hashlib.blake2b(content, digest_size=16).digest()
    return as_uuid(digest.hex())


def span_event_id(trace_id: bytes, span_id: bytes) -> str:
    """Return a UUID of version 4's form that depends on ids of 16 and 8 bytes alone.

    A column of such ids is a few operations on numbers; other lengths are hashed.
    """
    if len(trace_id) != 16 or len(span_id) != 8:
        return event_id(trace_id + b"/" + span_id)
    span = int.from_bytes(span_id, "big")
    high, low = int.from_bytes(trace_id[:8], "big"), int.from_bytes(trace_id[8:], "big")
    mixed = (high ^ span * SPAN_FACTORS[0] & _WORD) << 64 | low ^ span * SPAN_FACTORS[1] & _WORD
    return as_uuid(f"{mixed:032x}")


def as_uuid(text: str) -> str:
    """Return 32 hex digits as a UUID; version and variant take the place of 6 bits."""
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"
