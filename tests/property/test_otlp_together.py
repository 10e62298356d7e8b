"""Many spans of OTLP read together, of which some are not like the others."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from streams.codec.otlp import lists, reader
from streams.codec.otlp.alike import leaders
from streams.codec.otlp.attributes import BOOL, DOUBLE, INT, NONE, PAD_BYTES, TEXT, Attributes
from streams.codec.otlp.numbers import number_texts
from streams.codec.otlp.requests import LOGS, SPANS
from streams.codec.otlp.runs import BYTES_MIN, Runs
from streams.codec.otlp.split import split
from streams.codec.otlp.texts import TextHashes
from streams.codec.otlp.walk import walk_spans, words_of
from streams.codec.varints import text
from streams.units import U8
from tests.otlp_cases import attribute, span_id, span_of, traces
from tests.otlp_columns import hold_against_the_decode, quickly, slowly

MANY = 320
LOOKS_LIKE_A_SPAN = "\x12\x14\n\x10"
SCOPE_SPANS = 0x12
LINK_TAG = 0x6A


def _sized(data: bytes, tag: int | None) -> bytes:
    """Return a field with its length in front, and its tag where there is one."""
    return (b"" if tag is None else bytes([tag])) + _size(data) + data


def many(names: list[str]) -> list[Span]:
    """Return spans of a request that is read as runs, one of each name."""
    spans = [span_of(i // 8, i + 1) for i in range(len(names))]
    for i, (span, name) in enumerate(zip(spans, names, strict=True)):
        span.name = name
        span.attributes.extend([attribute("http.route", "/v1/items"), attribute("nth", i)])
        if i % 8:
            span.parent_span_id = span_id(i // 8, i)
    return spans


def heads_of(values: list[bytes]) -> list[list[list[int]]]:
    """Return where the spans of each scope of requests begin, found as runs."""
    data = b"".join(values)
    runs = Runs(np.frombuffer(data, np.uint8))
    base = np.cumsum([0, *map(len, values)])
    found = []
    for value, own, at in zip(values, runs.of_requests(base), base.tolist(), strict=False):
        scopes = split(value, own) or []
        found.append([[*(runs.head[list(one.run)] - at).tolist(), *one.heads] for one in scopes])
    return found


@settings(max_examples=20)
@given(
    st.lists(
        st.lists(st.sampled_from(["a", "b" * 200, LOOKS_LIKE_A_SPAN, "", "c" * 17_000])),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(["", "https://opentelemetry.io/schemas/1.21.0"]),
    st.randoms(use_true_random=False),
)
def test_runs_are_what_is_found_one_by_one(
    drawn: list[list[str]], url: str, rng: random.Random
) -> None:
    """Of whole requests, of damaged ones, and of texts that look like spans."""
    values = []
    for names in drawn:
        request = traces("shop", many(names))
        request.resource_spans[0].scope_spans[0].schema_url = url
        request.resource_spans.append(request.resource_spans[0])
        value = bytearray(request.SerializeToString())
        values.append(bytes(value))
        value[rng.randrange(len(value))] = rng.randrange(256)
        values.append(bytes(value))
    expected = [[one.heads for one in split(value) or []] for value in values]
    assert heads_of(values) == expected


def test_what_only_looks_like_a_span_is_none() -> None:
    """A text does, a span without a trace id does not, and a scope has a URL behind its spans."""
    names = [f"GET /{i}" for i in range(MANY)]
    names[7], names[8] = LOOKS_LIKE_A_SPAN, "x" + LOOKS_LIKE_A_SPAN * 9
    spans = many(names)
    spans[100].trace_id = b""
    request = traces("shop", spans)
    request.resource_spans[0].scope_spans[0].schema_url = "https://x"
    value = request.SerializeToString()
    assert len(value) > BYTES_MIN
    assert quickly([value, value]) == [slowly(value)] * 2
    hold_against_the_decode([value])


@pytest.mark.parametrize("kind", [SPANS, LOGS])
def test_many_fields_that_no_definition_has_stop_nothing(kind: str) -> None:
    """A byte 0 where a tag is to be, in front of what would be an attribute, of hundreds at once.

    Taken for a list of attributes it ended the worker, and each start after it.
    """
    strange = b"\0" + _sized(_sized(b"k", 0x0A) + _sized(_sized(b"v", 0x0A), 0x12), None)
    if kind == SPANS:
        spans = many([f"GET /{i}" for i in range(MANY)])
        items = [span.SerializeToString() + _sized(strange, LINK_TAG) for span in spans]
    else:
        items = [strange] * MANY
    scope = b"\n\0" + b"".join(_sized(item, SCOPE_SPANS) for item in items)
    value = _sized(b"\n\0" + _sized(scope, SCOPE_SPANS), 0x0A)
    hold_against_the_decode([value, traces("shop", many(["n"] * 3)).SerializeToString()], kind)


def test_a_scope_that_ends_within_a_span_is_refused() -> None:
    """Though what follows looks as if its spans went on."""
    value = traces("shop", many(["n"] * MANY)).SerializeToString()
    resource, scope = b"\n\0", b"\n\0"
    (first,) = split(value) or []
    spans = value[first.heads[0] :]
    inner = scope + spans[: first.heads[9] - first.heads[0] + 3]
    broken = resource + bytes([SCOPE_SPANS]) + _size(inner) + inner
    torn = b"\n" + _size(broken) + broken + spans[len(inner) - len(scope) :]
    assert split(torn) is None
    assert heads_of([value, torn, value]) == [[first.heads], [], [first.heads]]
    assert len(value) > BYTES_MIN
    assert quickly([value, torn]) == [slowly(value), slowly(torn)]


def _size(part: bytes) -> bytes:
    """Return the length of a part as protobuf writes it."""
    out, left = bytearray(), len(part)
    while left >= 0x80:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*out, left])


def test_spans_with_the_same_keys_are_told_by_comparing() -> None:
    """Lists of as many keys and bytes differ in one letter, in their order, or not at all."""
    spans = many(["n"] * 3 * MANY)
    rng = random.Random(1)
    for span in spans:
        kind = rng.randrange(6)
        if kind == 0:
            span.attributes[0].key = "http.routf"
        elif kind == 1:
            span.attributes.reverse()
        elif kind == 2:
            span.attributes.append(attribute("spanloom.actor", "ops"))
        elif kind == 3:
            span.attributes.append(attribute("nth", "again"))
    value = traces("shop", spans).SerializeToString()
    assert quickly([value]) == [slowly(value)]
    hold_against_the_decode([value])


def test_leaders_have_the_same_keys_and_origin() -> None:
    """And most spans have one that is not themselves."""
    spans = many(["n"] * 3 * MANY)
    for span in spans[::7]:
        span.attributes[0].key = "http.routf"
    parts = [span.SerializeToString() for span in spans]
    octets = np.frombuffer(b"\0\0" + b"".join(parts) + bytes(PAD_BYTES), np.uint8)
    end = 2 + np.cumsum([len(part) for part in parts])
    attributes = walk_spans(octets, end - [len(part) for part in parts], end).attributes
    origin = np.arange(len(spans)) % 2
    rows = np.arange(len(spans))
    leader = leaders(octets, attributes, rows, origin)
    keys = [[one.key for one in span.attributes] for span in spans]
    assert all(keys[i] == keys[one] for i, one in enumerate(leader.tolist()))
    assert (origin[leader] == origin).all()
    assert len(set(leader.tolist())) < len(spans) // 3


Value = str | int | float | bool
VALUES: tuple[Value, ...] = (
    True,
    7,
    300,
    1 << 40,
    -1,
    0.5,
    "",
    "v",
    "v" * 100,
    "v" * 110,
    "v" * 121,
    "v" * 300,
)


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.sampled_from(VALUES), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, MANY - 1), st.sampled_from(VALUES)), max_size=9),
    st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=9),
)
def test_lists_are_read_as_their_attributes_are_one_by_one(
    common: list[Value], others: list[tuple[int, Value]], damage: list[tuple[int, int]]
) -> None:
    """Values of every kind and length, in spans of which some differ and some are damaged."""
    spans = many(["n"] * MANY)
    for span in spans:
        span.attributes.extend(attribute(f"key.{i}", one) for i, one in enumerate(common))
    for i, given_value in others:
        other = attribute("other", given_value)
        spans[i].attributes[i % len(spans[i].attributes)].CopyFrom(other)
    parts = [span.SerializeToString() for span in spans]
    data = bytearray(b"\0\0" + b"".join(parts) + bytes(PAD_BYTES))
    for at, octet in damage:
        data[2 + at % (len(data) - PAD_BYTES - 2)] = octet
    octets = np.frombuffer(bytes(data), np.uint8)
    end = 2 + np.cumsum([len(part) for part in parts])
    begin = end - [len(part) for part in parts]
    found = walk_spans(octets, begin, end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lists, "SPANS_MIN", MANY + 1)
        expected = walk_spans(octets, begin, end)
    assert found.attributes.like is not None or others or damage
    assert expected.attributes.like is None
    assert found.is_common.tolist() == expected.is_common.tolist()
    keep = np.flatnonzero(expected.is_common)
    for name in ("kind", "start_ns", "end_ns"):
        assert getattr(found, name)[keep].tolist() == getattr(expected, name)[keep].tolist()
    for row in keep.tolist():
        assert _told(found.attributes, octets, row) == _told(expected.attributes, octets, row)


def _told(attributes: Attributes, octets: U8, row: int) -> list[tuple[bytes, int, bytes | int]]:
    """Return key, form and value of a span's attributes."""
    found: list[tuple[bytes, int, bytes | int]] = []
    first = int(attributes.first[row])
    for i in range(first, first + int(attributes.count[row])):
        key, at = int(attributes.key_at[i]), int(attributes.value_at[i])
        text = octets[at : at + int(attributes.value_size[i])].tobytes()
        value = text if attributes.form[i] == TEXT else int(attributes.bits[i])
        form = int(attributes.form[i])
        found.append((octets[key : key + int(attributes.key_size[i])].tobytes(), form, value))
    return found


def test_fields_in_any_order_are_read() -> None:
    """Each span has its own: those that wait for others come to their turn."""
    rng = random.Random(2)
    whole = many(["n"] * 60)
    parts = []
    for span in whole:
        fields = []
        for descriptor, _ in span.ListFields():
            one = Span()
            one.MergeFrom(span)
            for other, _ in span.ListFields():
                if other.name != descriptor.name:
                    one.ClearField(other.name)
            fields.append(one.SerializeToString())
        rng.shuffle(fields)
        parts.append(b"".join(fields))
    octets = np.frombuffer(b"\0\0" + b"".join(parts) + bytes(PAD_BYTES), np.uint8)
    size = np.array([len(part) for part in parts])
    end = 2 + np.cumsum(size)
    found = walk_spans(octets, end - size, end)
    assert found.is_common.all()
    assert found.start_ns.tolist() == [span.start_time_unix_nano for span in whole]
    assert found.attributes.count.tolist() == [len(span.attributes) for span in whole]


def test_no_change_of_a_text_takes_another_back() -> None:
    """Whatever the secret: the highest bit of a word, and what a product makes of it in the next.

    Lists of keys that pass for one another would not be looked at.
    """
    one = b"abcdefghijklmnop"
    other = bytearray(one)
    for bit in (63, 64 + 63, 64 + 34):
        other[bit // 8] ^= 1 << bit % 8
    octets = np.frombuffer(bytes(8) + one + bytes(other) + bytes(8), np.uint8)
    at, size = np.array([8, 24]), np.array([16, 16])
    for _ in range(8):
        first, second = TextHashes(40).of(words_of(octets), at, size).tolist()
        assert first != second


def test_blocks_are_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that none is read with, and those that are refused, keep their places."""
    monkeypatch.setattr(reader, "BLOCK_BYTES", 1)
    small = traces("shop", many(["n"] * 9)).SerializeToString()
    strange = traces("shop", [span_of(1, 1)])
    strange.resource_spans[0].scope_spans[0].spans[0].trace_id = b"x"
    values = [small, b"\x0ajunk", strange.SerializeToString(), small, b"\x0a\0"]
    assert quickly(values) == [slowly(value) for value in values]
    hold_against_the_decode(values)


def test_keys_of_spans_that_are_alike_lie_whole_between_values_of_any_length() -> None:
    """Of two lists of keys that many have, and of others between them, from several services."""
    spans = many(["n" * (1 + i % 90) for i in range(5 * MANY)])
    for i, span in enumerate(spans):
        span.attributes[0].value.string_value = "v" * (i % 150)
        span.attributes.append(attribute("k", "w" * (i % 7)))
        span.attributes.append(attribute("server.address", "x" * (i * 7 % 140)))
        if i % 3 == 0:
            del span.attributes[1]
        if i % 50 == 0:
            span.attributes.append(attribute(f"own.{i}", "o" * (i % 40)))
        span.status.code = i % 3
    parts = 6
    values = [traces(f"s{i}", spans[i::parts]).SerializeToString() for i in range(parts)]
    values.append(traces("all", spans).SerializeToString())
    assert quickly(values) == [slowly(value) for value in values]
    hold_against_the_decode(values)


def test_numbers_that_find_no_room_behind_their_requests_are_written_too() -> None:
    """Where the room behind a block is too small for its numbers, they are joined to it."""
    spans = many(["n"] * MANY)
    for i, span in enumerate(spans):
        span.attributes.extend([attribute(f"{j}", 60_000 + i + 97 * j) for j in range(100)])
    value = traces("shop", spans).SerializeToString()
    assert len(value) // 8 + PAD_BYTES + (4 << 10) < 8 * 101 * MANY
    assert quickly([value]) == [slowly(value)]


def test_numbers_are_written_as_text_has_them() -> None:
    """On both sides of the table's end, and other values beside them."""
    ints = [0, 1, 9, 10, 99, 65_535, 65_536, 1 << 40, (1 << 63) - 1]
    bits = np.array([*ints, 0, 1, 0, 0], np.uint64)
    form = np.array([INT] * len(ints) + [BOOL, BOOL, NONE, DOUBLE], np.uint8)
    expected = [*map(str, ints), "false", "true", "", "0.0"]
    for some in (slice(None), slice(0, 6), slice(5, 8)):
        data, start, size = number_texts(form[some], bits[some])
        found = [data[a : a + n].tobytes() for a, n in zip(start, size, strict=True)]
        assert found == [text(one) for one in expected[some]]
