"""W3C Trace Context and Baggage: header values to what they mean, and back.

Pure, and of the standard library alone, so that an instrumented program can import it for next to
nothing. Invariant: what is not valid by the specification is never passed on; a value that cannot
be read is no context, and is no error.

Sources: W3C Trace Context, level 2 (level 1 where it does not say otherwise); W3C Baggage.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

SAMPLED: Final = 1
RANDOM: Final = 2
"""Trace flag of level 2: the right-most 56 bits of the trace id were chosen at random."""
TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
BAGGAGE: Final = "baggage"

MEMBERS_MAX: Final = 32
"""Members of a tracestate; one with more is dropped whole (Trace Context, 3.3.1.1)."""
STATE_CHARACTERS_MAX: Final = 4_096
"""Of a tracestate that is passed on; at least 512 must be (Trace Context, 3.3.1.5)."""
LONG_MEMBER_CHARACTERS: Final = 128
"""Longer members are removed first where something must be removed (Trace Context, 3.3.1.5)."""
BAGGAGE_MEMBERS_MAX: Final = 180
BAGGAGE_BYTES_MAX: Final = 8_192
"""A baggage up to 64 members and this size must be passed on whole (Baggage, 3.3.2)."""

_KNOWN_FLAGS: Final = SAMPLED | RANDOM
_FORBIDDEN_VERSION: Final = "ff"
_BLANKS: Final = " \t"
_PARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_KEY: Final = re.compile(r"[a-z0-9][a-z0-9_\-*/@]{0,255}")
_VALUE: Final = re.compile(r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_OCTETS: Final = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")
_PROPERTY: Final = re.compile(
    rf"{_TOKEN.pattern}[ \t]*(=[ \t]*[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*)?"
)
_UNQUOTED: Final = "!#$&'()*+-./:<=>?@[]^_`{|}~"
"""Characters of a baggage value that need no percent sign: octets of the grammar but `%`."""


class TraceParent(NamedTuple):
    """Where a caller stands.

    Attributes:
        trace_id: 32 lower-case hex digits, not all zero.
        span_id: 16 lower-case hex digits, not all zero.
        flags: 0 to 255.
    """

    trace_id: str
    span_id: str
    flags: int


TraceState = tuple[tuple[str, str], ...]
"""(key, value) of each vendor, the latest first."""


class Item(NamedTuple):
    """A value of a baggage, decoded, and its properties as they were written (`;`-separated)."""

    value: str
    properties: str = ""


Baggage = dict[str, Item]


class Received(NamedTuple):
    """What a message's headers say: `parent` is None where a new trace begins.

    `baggage_cut` is how many members of the baggage are beyond its bounds, and not in it.
    """

    parent: TraceParent | None
    state: TraceState
    baggage: Baggage
    baggage_cut: int = 0


def parse_traceparent(value: str) -> TraceParent | None:
    """Return what a traceparent says, None where it is not valid: then a new trace begins.

    A version above 00 is read as 00, what it adds is left out (Trace Context, 4.3).
    """
    found = _PARENT.fullmatch(value.strip(_BLANKS))
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    # Version 00 has four fields; what follows in a higher one is for those who know it.
    if version == _FORBIDDEN_VERSION or (version == "00" and more is not None):
        return None
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return TraceParent(trace_id, span_id, int(flags, 16) & _KNOWN_FLAGS)


def format_traceparent(parent: TraceParent) -> str:
    """Return the header of version 00; flags that version 00 does not know are cleared."""
    return f"00-{parent.trace_id}-{parent.span_id}-{parent.flags & _KNOWN_FLAGS:02x}"


def parse_tracestate(values: Iterable[str]) -> TraceState | None:
    """Return the members of all tracestate headers of a message, None where one is not valid.

    Of a key that comes twice the first is kept: it is the later one of the two writers.
    """
    members: dict[str, str] = {}
    count = 0
    for member in (one.strip(_BLANKS) for value in values for one in value.split(",")):
        if not member:
            continue
        key, is_pair, text = member.partition("=")
        if not is_pair or not _KEY.fullmatch(key) or not _VALUE.fullmatch(text):
            return None
        count += 1
        if count > MEMBERS_MAX:  # at once: a megabyte of them takes half a second
            return None
        members.setdefault(key, text)
    return tuple(members.items())


def format_tracestate(state: Sequence[tuple[str, str]]) -> str:
    """Return the header, "" for no member; what is too long goes, long members first."""
    members = [f"{key}={value}" for key, value in state[:MEMBERS_MAX]]
    for is_short in (False, True):
        for member in reversed(tuple(members)):
            if sum(map(len, members)) + len(members) - 1 <= STATE_CHARACTERS_MAX:
                break
            if is_short or len(member) > LONG_MEMBER_CHARACTERS:
                members.remove(member)
    return ",".join(members)


def parse_baggage(values: Iterable[str]) -> tuple[Baggage, int]:
    """Return the members of all baggage headers within the bounds, and how many are beyond.

    A member that is not valid is left out; of a key that comes twice the last is kept. Escapes
    that are no UTF-8 become U+FFFD, as the specification asks.
    """
    found: Baggage = {}
    size = 0
    members = [one.strip(_BLANKS) for value in values for one in value.split(",")]
    for number, member in enumerate(members):
        size += len(member) + 1
        if size > BAGGAGE_BYTES_MAX + 1 or len(found) >= BAGGAGE_MEMBERS_MAX:
            return found, len(members) - number
        pair, *properties = (part.strip(_BLANKS) for part in member.split(";"))
        key, is_pair, text = pair.partition("=")
        key, text = key.rstrip(_BLANKS), text.lstrip(_BLANKS)
        if is_pair and _TOKEN.fullmatch(key) and _OCTETS.fullmatch(text):
            kept = [one for one in properties if _PROPERTY.fullmatch(one)]
            found[key] = Item(unquote(text, errors="replace"), ";".join(kept))
    return found, 0


def format_baggage(baggage: Mapping[str, Item]) -> tuple[str, int]:
    """Return the header, "" for no member, and how many are not in it: no token, or beyond."""
    members: list[str] = []
    size = -1
    for key, (value, properties) in baggage.items():
        if not _TOKEN.fullmatch(key):
            continue
        text = quote(value, safe=_UNQUOTED, errors="replace")
        member = f"{key}={text};{properties}" if properties else f"{key}={text}"
        size += len(member) + 1
        if size > BAGGAGE_BYTES_MAX or len(members) >= BAGGAGE_MEMBERS_MAX:
            break
        members.append(member)
    return ",".join(members), len(baggage) - len(members)


def read_headers(headers: Iterable[tuple[str, str]]) -> Received:
    """Return the context that a message's headers carry.

    Args:
        headers: names, in any case, and values, repeats included, in their order.
    """
    parents: list[str] = []
    states: list[str] = []
    baggage: list[str] = []
    wanted = {TRACEPARENT: parents, TRACESTATE: states, BAGGAGE: baggage}
    for name, value in headers:
        found = wanted.get(name.lower())
        if found is not None:
            found.append(value)
    # Two parents are ambiguous: neither is used (Trace Context, 3.2).
    parent = parse_traceparent(parents[0]) if len(parents) == 1 else None
    state = parse_tracestate(states) if parent is not None else None
    return Received(parent, state or (), *parse_baggage(baggage))


def write_headers(
    parent: TraceParent, state: Sequence[tuple[str, str]], baggage: Mapping[str, Item]
) -> tuple[list[tuple[str, str]], int]:
    """Return the headers of an outgoing message, and how many members of the baggage are not in.

    Headers without a value are left out.
    """
    out = [(TRACEPARENT, format_traceparent(parent))]
    if state:
        out.append((TRACESTATE, format_tracestate(state)))
    text, cut = format_baggage(baggage) if baggage else ("", 0)
    if text:
        out.append((BAGGAGE, text))
    return out, cut
