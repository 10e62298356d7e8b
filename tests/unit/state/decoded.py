"""A segment from its pieces, read at once: the worker reads them piece by piece."""

from collections.abc import Sequence

from streams.state.segment import (
    Segment,
    closed_of,
    read_document,
    read_frame,
    rows_of,
)


def decode_pieces(payloads: Sequence[bytes]) -> Segment:
    """Return the segment that `encode_pieces` turned into these payloads, in order."""
    small = read_document(payloads)
    removed = [p[i : i + 16] for p in payloads if p[:1] == b"d" for i in range(1, len(p), 16)]
    rows = [read_frame(payload) for payload in payloads if payload[:1] == b"r"]
    closed = [read_frame(payload) for payload in payloads if payload[:1] == b"c"]
    is_whole = any(payload[:1] == b"w" for payload in payloads)
    return Segment(
        rows_of(rows),
        removed,
        closed_of(closed),
        small.reopened,
        small.scalars,
        small.rejected,
        is_whole,
    )
