"""Spans of many OTLP requests taken apart together: where each field of each span lies.

Owns the reading of protobuf's bytes a column at a time. It knows the common form of a span only:
fields of the usual types, lengths below 16 KiB, attributes of plain values. A span of another form
is named, not guessed at: the official reader judges it. Events and links have walks of their own.
Invariant: what is returned as read lies within its span, and the fields of a span take exactly its
bytes.
Source: Protocol Buffers, "Encoding"; opentelemetry-proto, `trace.proto`, `common.proto`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from streams.codec.otlp.attributes import CONTINUES, Attributes, KeyValues, read_attributes, size_at
from streams.codec.otlp.lists import AttributeLists
from streams.units import I64, U8, U64, Mask

ROUNDS_MAX: Final = 96
"""So many fields of a span are looked at in any case; one with more may be of no common form."""
_WAITS_MAX: Final = 96
"""Rounds in which some spans may wait for others."""
TRACE_ID, SPAN_ID, PARENT_ID, NAME, KIND = 0x0A, 0x12, 0x22, 0x2A, 0x30
START, END, ATTRIBUTE, STATUS, FLAGS = 0x39, 0x41, 0x4A, 0x7A, 0x85
TRACE_STATE, EVENT, LINK = 0x1A, 0x5A, 0x6A
EVENT_TIME, EVENT_NAME, EVENT_ATTRIBUTE, EVENT_DROPPED = 0x09, 0x12, 0x1A, 0x20
LINK_TRACE, LINK_SPAN, LINK_STATE, LINK_ATTRIBUTE = 0x0A, 0x12, 0x1A, 0x22
LINK_DROPPED, LINK_FLAGS = 0x28, 0x35
LENGTH, FIXED64, FIXED32, VARINT, PASSED32, FLAGS32 = 1, 2, 3, 4, 5, 6
"""Forms of fields: a FIXED32 has a tag of two bytes, the others of one; a PASSED32 is not kept."""
_SPAN: Final = {
    **dict.fromkeys((TRACE_ID, SPAN_ID, PARENT_ID, NAME, TRACE_STATE), LENGTH),
    **dict.fromkeys((ATTRIBUTE, STATUS, EVENT, LINK), LENGTH),
    **dict.fromkeys((START, END), FIXED64),
    FLAGS: FIXED32,  # field 16: its tag has a second byte, 1
    KIND: VARINT,
}
_EVENT: Final = {
    EVENT_TIME: FIXED64,
    EVENT_NAME: LENGTH,
    EVENT_ATTRIBUTE: LENGTH,
    EVENT_DROPPED: VARINT,
}
_LINK: Final = {
    **dict.fromkeys((LINK_TRACE, LINK_SPAN, LINK_STATE, LINK_ATTRIBUTE), LENGTH),
    LINK_DROPPED: VARINT,
    LINK_FLAGS: PASSED32,
}
_STEP: Final = np.array([0, 0, 9, 6, 2, 5, 5], np.int64)
_NUMBERS: Final = (VARINT, FIXED32, FLAGS32)


@dataclass(frozen=True, slots=True)
class Parts:
    """m parts of spans, as they were found.

    Attributes:
        span: (m,) whose.
        nth: (m,) which of the span's, from 0.
        begin, end: (m,) where each lies.
    """

    span: I64
    nth: I64
    begin: I64
    end: I64


@dataclass(frozen=True, slots=True)
class Events:
    """n events of spans; all arrays (n,).

    Attributes:
        is_common: whether the event has the common form; of the others nothing below holds.
        time_ns: when.
        name_at, name_size: where the name lies.
        attributes: whose `span` is the event.
    """

    is_common: Mask
    time_ns: U64
    name_at: I64
    name_size: I64
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Links:
    """n links of spans; all arrays (n,).

    Attributes:
        is_common: whether the link has the common form; of the others nothing below holds.
        at, size: where trace id, span id and trace state lie, by tag; size 0 for none.
        attributes: whose `span` is the link.
    """

    is_common: Mask
    at: dict[int, I64]
    size: dict[int, I64]
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Spans:
    """n spans; all arrays (n,).

    Attributes:
        is_common: whether the span has the common form; of the others nothing below holds.
        at, size: where trace id, span id, parent id, name, trace state and, under STATUS, the
            status' message lie, by tag; size 0 for none.
        kind, status, flags: as the protocol numbers them.
        start_ns, end_ns: times.
        attributes: of the common spans, and of others.
        events, links: likewise.
    """

    is_common: Mask
    at: dict[int, I64]
    size: dict[int, I64]
    kind: I64
    status: I64
    flags: I64
    start_ns: U64
    end_ns: U64
    attributes: Attributes
    events: Parts
    links: Parts


def words_of(octets: U8) -> U64:
    """Return a view of bytes: word i is the eight bytes from byte i on, the first one lowest."""
    return np.ndarray((len(octets) - 7,), np.dtype("<u8"), octets, strides=(1,))


def walk_spans(octets: U8, begin: I64, end: I64) -> Spans:
    """Return the fields of the spans that lie from `begin` to `end`.

    Args:
        octets: the bytes, with `PAD_BYTES` after the last span.
        begin: (n,) where each span begins.
        end: (n,) where each ends.
    """
    found = Found(octets, len(begin), _SPAN, (ATTRIBUTE, EVENT, LINK), listed=ATTRIBUTE)
    found.walk(begin, end)
    return Spans(
        found.is_common,
        found.at,
        found.size,
        found.number[KIND],
        found.number[STATUS],
        found.number[FLAGS],
        found.time[START],
        found.time[END],
        found.attributes(ATTRIBUTE),
        found.parts(EVENT),
        found.parts(LINK),
    )


def walk_events(octets: U8, begin: I64, end: I64) -> Events:
    """Return the fields of the events that lie from `begin` to `end`; see `walk_spans`."""
    found = Found(octets, len(begin), _EVENT, (EVENT_ATTRIBUTE,))
    found.walk(begin, end)
    return Events(
        found.is_common,
        found.time[EVENT_TIME],
        found.at[EVENT_NAME],
        found.size[EVENT_NAME],
        found.attributes(EVENT_ATTRIBUTE),
    )


def walk_links(octets: U8, begin: I64, end: I64) -> Links:
    """Return the fields of the links that lie from `begin` to `end`; see `walk_spans`."""
    found = Found(octets, len(begin), _LINK, (LINK_ATTRIBUTE,))
    found.walk(begin, end)
    return Links(found.is_common, found.at, found.size, found.attributes(LINK_ATTRIBUTE))


class Found:
    """What was found so far.

    Args:
        octets: the bytes.
        n: how many messages are walked.
        form: the form of each field, by tag.
        several: the tags of fields that may come more than once.
        is_strict: a text that comes twice is strange; else the last one counts.
        told: tags of FIXED64 fields of which it is told whether they are there; once at most.
        listed: tag of fields that are attributes, of which many messages have the same list;
            None for none: 0 may stand where a tag does.
    """

    def __init__(
        self,
        octets: U8,
        n: int,
        form: Mapping[int, int],
        several: tuple[int, ...],
        *,
        is_strict: bool = False,
        told: tuple[int, ...] = (),
        listed: int | None = None,
    ) -> None:
        self.has = {tag: np.zeros(n, np.bool_) for tag in told}
        self._is_strict = is_strict
        self._octets, self._words, self._form = octets, words_of(octets), form
        self._listed, self._lists = listed, AttributeLists(octets)
        self.is_common = np.ones(n, np.bool_)
        self._several = several
        single = [tag for tag, one in form.items() if one == LENGTH and tag not in self._several]
        self.at = {tag: np.zeros(n, np.int64) for tag in single}
        self.size = {tag: np.zeros(n, np.int64) for tag in single}
        numbers = [tag for tag, one in form.items() if one in _NUMBERS or tag == STATUS]
        self.number = {tag: np.zeros(n, np.int64) for tag in numbers}
        self.time = {tag: np.zeros(n, np.uint64) for tag, one in form.items() if one == FIXED64}
        self._has_status = np.zeros(n, np.bool_)
        self._count = {tag: np.zeros(n, np.int64) for tag in self._several}
        self._parts: dict[int, list[Parts]] = {tag: [] for tag in self._several}

    def walk(self, begin: I64, end: I64) -> None:
        """Take the fields of messages, one of each message in a round.

        Writers write fields in the order of their tags. So where messages stand before different
        ones those before the lowest are taken, and the others wait: then all go on together,
        though some have a field more. Messages in any other order may use the waits up; after that
        none waits.
        """
        rows, at, stop = np.arange(len(begin)), begin, end
        waits = 0
        for _ in range(ROUNDS_MAX + _WAITS_MAX):
            is_left = at < stop
            if not is_left.all():
                left = np.flatnonzero(is_left)
                rows, at, stop = rows[left], at[left], stop[left]
            if not len(rows):
                break
            tag = self._octets.take(at)
            lowest = int(tag.min())
            if lowest == self._listed and waits < _WAITS_MAX and self._lists.may_be(len(rows)):
                after = self._take_lists(lowest, tag, rows, at, stop)
            elif (tag == lowest).all():
                after = self._take(lowest, rows, at, stop)
            elif waits < _WAITS_MAX:
                waits += 1
                after = at.copy()
                self._take_some(lowest, tag, (rows, at, stop), after)
            else:
                after = np.zeros(len(rows), np.int64)
                for one in np.flatnonzero(np.bincount(tag)).tolist():
                    self._take_some(one, tag, (rows, at, stop), after)
            is_good = after > 0
            if not is_good.all():
                self.is_common[rows[~is_good]] = False
                rows, after, stop = rows[is_good], after[is_good], stop[is_good]
            at = after
        else:
            self.is_common[rows[at < stop]] = False

    def _take_lists(self, one: int, tag: U8, rows: I64, at: I64, stop: I64) -> I64:
        """Take whole lists of attributes, of which many are the same; return what follows."""
        after = at.copy()
        mine = np.flatnonzero(tag == one)
        after[mine] = self._lists.take(rows[mine], at[mine], stop[mine])
        for found in self._lists.found:
            self._count[one][found.rows] = found.count
        return after

    def _take_some(self, one: int, tag: U8, places: tuple[I64, I64, I64], after: I64) -> None:
        """Take the field of those that stand before one tag, and write where the next begins."""
        mine = np.flatnonzero(tag == one)
        after[mine] = self._take(one, *(place[mine] for place in places))

    def _take(self, tag: int, rows: I64, at: I64, stop: I64) -> I64:
        """Take one field of some spans; return where the next one begins, 0 for a strange one."""
        form = self._form.get(tag)
        first = self._octets.take(at + 1)
        if form is None:
            return np.zeros(len(rows), np.int64)
        if form == LENGTH:
            return self._take_bytes(tag, rows, at, stop, first)
        after = at + _STEP[form]
        is_good = after <= stop
        if form == FIXED64:
            self._put(self.time[tag], rows, self._words[at + 1])
            if tag in self.has:
                is_good &= ~self.has[tag][rows]
                self.has[tag][rows] = True
        elif form == VARINT:
            is_good &= first < CONTINUES
            self._put(self.number[tag], rows, first)
        elif form == FIXED32:
            is_good &= first == 1
            self._put(self.number[tag], rows, self._words[at + 2] & _LOW)
        elif form == FLAGS32:
            self._put(self.number[tag], rows, self._words[at + 1] & _LOW)
        return np.asarray(after * is_good, np.int64)

    def _take_bytes(self, tag: int, rows: I64, at: I64, stop: I64, first: U8) -> I64:
        """Take a field of a length of one byte or two."""
        size, value_at = first.astype(np.int64), at + 2
        is_good: Mask | bool = True
        is_long = first >= CONTINUES
        if is_long.any():
            second = self._octets.take(value_at)
            size += is_long * ((second.astype(np.int64) << 7) - CONTINUES)
            value_at += is_long
            is_good = ~is_long | (second < CONTINUES)
        after = value_at + size
        after *= (after <= stop) & is_good
        if tag in self._several:
            count = self._count[tag]
            self._parts[tag].append(Parts(rows, count[rows], value_at, after))
            count[rows] += 1
        elif tag == STATUS:
            self._take_status(rows, value_at, after)
        else:
            if self._is_strict:
                after *= self.size[tag][rows] == 0
            self._put(self.at[tag], rows, value_at)
            self._put(self.size[tag], rows, size)
        return after

    @staticmethod
    def _put(column: Any, rows: I64, values: Any) -> None:
        if len(rows) == len(column):  # all of them: they never change their order
            column[:] = values
        else:
            column[rows] = values

    def _take_status(self, row: I64, at: I64, end: I64) -> None:
        """Take statuses: a message and a code, either alone, or nothing."""
        octets = self._octets
        self.is_common[row[self._has_status[row]]] = False  # one that comes twice is merged
        self._has_status[row] = True
        is_there = octets.take(at) == 0x12
        if (is_there & (at < end)).any():
            size, head = size_at(octets, at + 1)
            is_there &= (at < end) & (size >= 0) & (at + 1 + head + size <= end)
            self.at[STATUS][row] = (at + 1 + head) * is_there
            self.size[STATUS][row] = size * is_there
            at = at + (1 + head + size) * is_there
        else:
            self.size[STATUS][row] = 0
        code = octets.take(at + 1)
        is_code = (end - at == 2) & (octets.take(at) == 0x18) & (code < CONTINUES)
        self.number[STATUS][row] = code * is_code
        self.is_common[row[~is_code & (at != end)]] = False

    def parts(self, tag: int) -> Parts:
        """Return all parts of one tag."""
        found = self._parts[tag] or [Parts(*[np.zeros(0, np.int64)] * 4)]
        columns = ([getattr(one, name) for one in found] for name in Parts.__slots__)
        return Parts(*map(np.concatenate, columns))

    def _laid(self, tag: int, first: I64, count: int) -> tuple[I64, I64]:
        """Return where parts begin and end, span by span; `first` is where those of each begin."""
        at, end = np.zeros(count, np.int64), np.zeros(count, np.int64)
        parts = self._parts[tag]
        if count and all(len(part.span) == len(first) for part in parts):  # as many in each
            for nth, part in enumerate(parts):
                at[nth :: len(parts)], end[nth :: len(parts)] = part.begin, part.end
            return at, end
        for part in parts:
            place = first[part.span] + part.nth
            at[place], end[place] = part.begin, part.end
        return at, end

    def attributes(self, tag: int) -> Attributes:
        """Lay the attributes span by span and take them apart."""
        count = self._count[tag]
        first = np.cumsum(count) - count
        span = np.repeat(np.arange(len(count)), count)
        if tag == self._listed and self._lists.found:
            return self._with_lists(tag, span, first, count)
        laid = self._laid(tag, first, len(span))
        read, is_bad = read_attributes(self._octets, self._words, *laid)
        if is_bad.any():
            self.is_common[span[is_bad]] = False
        return Attributes(*read.columns, span, first, count)

    def _with_lists(self, tag: int, span: I64, first: I64, count: I64) -> Attributes:
        """Return the attributes, of which some spans have them in lists that others have too."""
        rest = self.parts(tag)
        read, is_bad = read_attributes(self._octets, self._words, rest.begin, rest.end)
        if is_bad.any():
            self.is_common[rest.span[is_bad]] = False
        place = first[rest.span] + rest.nth
        columns: list[Any] = [np.empty(len(span), part.dtype) for part in read.columns]
        for column, part in zip(columns, read.columns, strict=True):
            column[place] = part
        out = KeyValues(*columns)
        like = np.full(len(count), -1)
        for one in self._lists.found:
            one.lay(first, out)
            like[one.rows[count[one.rows] == one.count]] = one.rows[0]
        return Attributes(*out.columns, span, first, count, like)


_LOW: Final = np.uint64(0xFFFF_FFFF)
