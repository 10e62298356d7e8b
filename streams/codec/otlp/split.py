"""Where in a request its resources, scopes and spans, log records or metrics lie.

Owns the walk over the outer levels of protobuf's bytes. A request that has anything else there than
resources, scopes, spans and schema URLs is not split: the official reader judges it.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from streams.codec.otlp.runs import RequestRuns

_FIRST, _SECOND, _THIRD = 0x0A, 0x12, 0x1A
_LENGTH_BYTES_MAX: Final = 4
SCOPES_MAX: Final = 100_000
"""Resources and scopes of a request: each costs some microseconds and hundreds of bytes, also one
that takes two bytes and holds nothing. 50,000 spans that have each its own need so many."""


class Scope(NamedTuple):
    """The spans of one scope: bytes of resource and scope; where the field of each span begins.

    Those of a run come before the others; it says where they are.
    """

    resource: bytes
    scope: bytes
    heads: list[int]
    run: range = range(0)

    @property
    def span_count(self) -> int:
        """How many spans it has."""
        return len(self.run) + len(self.heads)


class StrangeError(Exception):
    """Not the common form."""


class CrowdedError(Exception):
    """More than `SCOPES_MAX` resources and scopes."""


def split(value: bytes, runs: RequestRuns | None = None) -> list[Scope] | None:
    """Return the scopes of a request of spans in its order; None when it has another form.

    Args:
        value: the request.
        runs: its runs of spans, where they are known.

    Raises:
        CrowdedError: it has more than `SCOPES_MAX`.
    """
    scopes: list[Scope] = []
    resources = 0
    try:
        for tag, begin, end in fields(value, 0, len(value)):
            if tag != _FIRST:
                return None
            scopes += _of_resource(value, begin, end, runs)
            resources += 1
            if resources + len(scopes) > SCOPES_MAX:
                raise CrowdedError
    except (IndexError, StrangeError):
        return None
    return scopes


def scopes_of(value: bytes, runs: RequestRuns | None = None) -> list[Scope]:
    """Return the same; none of a request that the official reader has to judge."""
    try:
        return split(value, runs) or []
    except CrowdedError:
        return []


def _of_resource(value: bytes, begin: int, end: int, runs: RequestRuns | None) -> Iterator[Scope]:
    resources: list[bytes] = []
    places: list[tuple[int, int]] = []
    for tag, at, stop in fields(value, begin, end):
        if tag == _FIRST:
            resources.append(value[at:stop])
        elif tag == _SECOND:
            places.append((at, stop))
            if len(places) > SCOPES_MAX:
                raise CrowdedError
        else:
            _expect_url(tag, value[at:stop])
    if len(resources) > 1:
        raise StrangeError  # the parts of a message that comes twice are merged
    for at, stop in places:
        yield _of_scope(value, at, stop, b"".join(resources), runs)


def _of_scope(value: bytes, at: int, end: int, resource: bytes, runs: RequestRuns | None) -> Scope:
    """Return a scope; spans are many, so their lengths of one or two bytes are read in place."""
    scopes: list[bytes] = []
    heads: list[int] = []
    add = heads.append
    run = range(0)
    if runs is not None and at < end and value[at] == _FIRST:
        _, begin, at = next(fields(value, at, end))
        scopes.append(value[begin:at])
        run, at = runs.of(at, end)
    while at < end:
        tag, size = value[at], value[at + 1]
        if tag == _SECOND and size < 0x80:
            add(at)
            at += size + 2
        elif tag == _SECOND and value[at + 2] < 0x80:
            add(at)
            at += size + (value[at + 2] << 7) - 0x80 + 3
        else:
            tag, begin, stop = next(fields(value, at, end))
            if tag == _FIRST:
                scopes.append(value[begin:stop])
            elif tag == _SECOND:
                add(at)
            else:
                _expect_url(tag, value[begin:stop])
            at = stop
    if at > end or len(scopes) > 1:
        raise StrangeError
    return Scope(resource, b"".join(scopes), heads, run)


def _expect_url(tag: int, text: bytes) -> None:
    if tag != _THIRD or not text.isascii():
        raise StrangeError


def fields(value: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield tag, begin and end of fields that have a length; each within its message."""
    while at < end:
        tag, size = value[at], value[at + 1]
        at += 2
        if size >= 0x80:
            size &= 0x7F
            for shift in range(7, 7 * _LENGTH_BYTES_MAX, 7):
                octet = value[at]
                at += 1
                size |= (octet & 0x7F) << shift
                if octet < 0x80:
                    break
            else:
                raise StrangeError
        stop = at + size
        if stop > end:
            raise StrangeError
        yield tag, at, stop
        at = stop
