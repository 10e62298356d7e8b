"""Inflates what senders compress, piece by piece and never beyond a cap.

Owns the codings. Invariant: no more than the cap and one piece are ever in memory, whatever a few
bytes claim to become.
Source: RFC 9110, "Content Codings": deflate is the format of zlib; RFC 8878 for zstd; RFC 1952: a
gzip file may have members.
"""

import zlib
from typing import Final, Literal

from backports import zstd

from streams.errors import RecordError

Coding = Literal["identity", "gzip", "deflate", "zstd"]
TOO_LARGE: Final = "inflated_too_large"
BROKEN: Final = "invalid_compression"
PIECE_BYTES: Final = 256 << 10
GIVEN_BYTES: Final = 64 << 10
"""A library is given so much at once: at the end of each member it copies what it was given and has
not used, and with all of a body that is the square of it."""
MEMBERS_MAX: Final = 1_024
"""Of gzip, or frames of zstd: those of 64 KiB, as tools cut them, make 64 MiB. Empty ones take 10
microseconds each, and a body of 20 MiB has 2 million."""
WINDOW_LOG_MAX: Final = 25
"""Of zstd, 32 MiB: what its common encoders use at most; more would be memory for the asking."""
_GZIP: Final = 16 + zlib.MAX_WBITS
_ZSTD: Final = {int(zstd.DecompressionParameter.window_log_max): WINDOW_LOG_MAX}


def inflate(coding: Coding, body: bytes, bytes_max: int) -> bytes:
    """Return the bytes that were compressed.

    Raises:
        RecordError: `inflated_too_large`: they are more than `bytes_max`; `invalid_compression`:
            the body is no such file, or ends too early.
    """
    if coding == "identity":
        if len(body) > bytes_max:
            raise _too_large(bytes_max)
        return body
    return _zstd(body, bytes_max) if coding == "zstd" else _zlib(coding, body, bytes_max)


def _zlib(coding: Coding, body: bytes, bytes_max: int) -> bytes:
    """Inflate gzip, members one after the other, or deflate, which has one."""
    pieces: list[bytes] = []
    total = members = at = 0
    given = b""
    while given or at < len(body):
        if members and coding == "deflate":
            left = len(given) + len(body) - at
            raise RecordError(BROKEN, f"deflate: {left} bytes behind its end")
        members = _one_more(members, coding)
        member = zlib.decompressobj(_GZIP if coding == "gzip" else zlib.MAX_WBITS)
        try:
            while not member.eof:
                if not given:
                    given = body[at : at + GIVEN_BYTES]
                    at += len(given)
                piece = member.decompress(given, PIECE_BYTES)
                given = member.unconsumed_tail
                total += len(piece)
                if total > bytes_max:
                    raise _too_large(bytes_max)
                pieces.append(piece)
                if not piece and not given and at >= len(body) and not member.eof:
                    raise RecordError(BROKEN, f"{coding}: it ends too early")
        except zlib.error as error:
            raise RecordError(BROKEN, f"{coding}: {error}"[:200]) from error
        given = member.unused_data
    if not pieces:
        raise RecordError(BROKEN, f"{coding}: no bytes")
    return b"".join(pieces)


def _zstd(body: bytes, bytes_max: int) -> bytes:
    pieces: list[bytes] = []
    total = frames = at = 0
    given = b""
    while given or at < len(body) or not pieces:
        frames = _one_more(frames, "zstd")
        frame = zstd.ZstdDecompressor(options=_ZSTD)
        try:
            while not frame.eof:
                if not given and frame.needs_input:
                    given = body[at : at + GIVEN_BYTES]
                    at += len(given)
                piece = frame.decompress(given, PIECE_BYTES)
                given = b""
                total += len(piece)
                if total > bytes_max:
                    raise _too_large(bytes_max)
                pieces.append(piece)
                if frame.needs_input and at >= len(body) and not frame.eof:
                    raise RecordError(BROKEN, "zstd: it ends too early")
        except zstd.ZstdError as error:
            raise RecordError(BROKEN, f"zstd: {error}"[:200]) from error
        given = frame.unused_data
    return b"".join(pieces)


def _one_more(members: int, coding: Coding) -> int:
    if members == MEMBERS_MAX:
        raise RecordError(BROKEN, f"{coding}: more than {MEMBERS_MAX} files one after the other")
    return members + 1


def _too_large(bytes_max: int) -> RecordError:
    return RecordError(TOO_LARGE, f"more than {bytes_max} bytes when inflated")
