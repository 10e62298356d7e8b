"""Rows are walked by compiled loops to the same columns as polars gives, or not at all."""

import io
import random
from typing import Any

import fastavro
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings

from streams.codec.columnar import Block, ColumnarReader, Field, schema_fields
from streams.codec.otlp.texts import is_utf8
from streams.codec.recordbatch import BatchReader, Record, RecordBatch, Shape
from streams.codec.rows import Rows
from streams.codec.walked import TEXT_BYTES_MAX, VALUE_BYTES_MAX, WalkedBlock, WalkedReader
from streams.compiled import loading, loops
from streams.compiled.loops import Loops
from streams.core.bodies import Bodies
from tests.judge_cases import randoms
from tests.record_batches import batch

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Plain",
    "fields": [
        {"name": "text", "type": "string"},
        {"name": "maybe_text", "type": ["null", "string"]},
        {"name": "text_maybe", "type": ["string", "null"]},
        {"name": "octets", "type": "bytes"},
        {"name": "long", "type": "long"},
        {"name": "maybe_long", "type": ["null", "long"]},
        {"name": "int", "type": "int"},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B", "C"]}},
        {"name": "maybe_double", "type": ["null", "double"]},
        {"name": "float", "type": "float"},
        {"name": "is_hot", "type": "boolean"},
        {"name": "fixed", "type": {"type": "fixed", "name": "Fixed", "size": 11}},
        {"name": "map", "type": {"type": "map", "values": "string"}},
        {"name": "doubles", "type": {"type": "array", "items": "double"}},
        {
            "name": "points",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Point",
                    "fields": [{"name": "at", "type": "long"}, {"name": "said", "type": "string"}],
                },
            },
        },
    ],
}
PARSED = fastavro.parse_schema(SCHEMA)
FIELDS = schema_fields(PARSED)
PLAIN: dict[str, Any] = {
    "text": "alpha.ingest", "maybe_text": None, "text_maybe": "x", "octets": b"\xff\x80",
    "long": 1_790_000_000_000_000, "maybe_long": -3, "int": 7, "kind": "B", "maybe_double": 2.5,
    "float": 0.5, "is_hot": True, "fixed": b"\x80" * 11, "map": {}, "doubles": [], "points": [],
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def loaded() -> None:
    """The loops, as a worker has them."""
    assert loading.load()


def body(**changes: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, PARSED, PLAIN | changes)
    return out.getvalue()


def batch_of(bodies: list[bytes], key: bytes | None = b"k" * 32) -> RecordBatch:
    return batch([Record(10 + i, 1_000 - 3 * i, key, one) for i, one in enumerate(bodies)])


def walked(one: RecordBatch, is_keyed: bool = True) -> WalkedBlock | None:
    """Return what the walk gives, None when it leaves a batch to polars."""
    found = BatchReader(FIELDS, 0, ["text"]).read([one], Shape(is_keyed, 0))
    return found.block if found is not None and isinstance(found.block, WalkedBlock) else None


def columns(rows: Rows, fields: list[Field]) -> dict[str, Any]:
    """Return all that rows tell of the schema's fields."""
    found: dict[str, Any] = {"starts": [(s - rows.starts[0][0]).tolist() for s in rows.starts]}
    found["sound"] = rows.is_sound.tolist()
    for field in fields:
        name = field.name
        found[name] = [rows.value(name, i) for i in range(len(rows))] if _is_told(field) else None
        if field.null_branch >= 0:
            found[f"{name} is there"] = rows.is_there(name).tolist()
        if field.kind in ("string", "bytes"):
            found[f"{name} size"] = rows.text_bytes(name).tolist()
        elif field.kind == "list":
            found[name] = rows.frame_of(np.arange(len(rows)), [name])[name].to_list()
        elif field.kind == "long":
            found[f"{name} numbers"] = rows.numbers(name, -9).tolist()
        elif field.kind in ("double", "float"):
            found[f"{name} bits"] = np.nan_to_num(rows.doubles(name), nan=-1.5).tolist()
    return found


def _is_told(field: Field) -> bool:
    return field.kind in ("string", "long")


def hold_against_polars(one: RecordBatch, *, is_keyed: bool = True) -> bool:
    """Compare both ways where the walk returns something; return whether it did."""
    block = walked(one, is_keyed)
    plain = BatchReader(FIELDS, 0).read([one], Shape(is_keyed, 0))
    if block is None:
        return False
    assert plain is not None
    assert columns(block, FIELDS) == columns(plain.block, FIELDS)
    for rows in (list(range(len(block))), [len(block) - 1, 0], []):
        assert entries_of(block, rows) == entries_of(plain.block, rows)
    return True


def entries_of(rows: Rows, at: list[int]) -> list[tuple[int, str, str]]:
    """Return the entries of a map that rows have, of two keys, in their order."""
    keys = ["k", "größe"]
    found = rows.entries("map", np.array(at, np.int64), keys)
    texts = [found.text(i) for i in range(len(found.owner))]
    of_hash = dict(zip(found.hash.tolist(), texts, strict=True))
    assert len(of_hash) == len(set(texts)), "one hash for each text"
    asked = [keys[i] for i in found.key.tolist()]
    return list(zip(found.owner.tolist(), asked, texts, strict=True))


TEXTS = ("", "a", "name", "x" * 63, "x" * 64, "x" * TEXT_BYTES_MAX, "naïve", "日本", "a" * 9)
LONGS = (0, 1, -1, 63, 64, -64, -65, 8191, 8192, 1 << 40, -(1 << 55), 1 << 62, -(1 << 63))


def any_body(rng: random.Random) -> bytes:
    """Return a row of the common form."""
    return body(
        text=rng.choice(TEXTS),
        maybe_text=rng.choice((None, *TEXTS)),
        text_maybe=rng.choice((None, *TEXTS)),
        octets=rng.randbytes(rng.randrange(70)),
        long=rng.choice(LONGS),
        maybe_long=rng.choice((None, *LONGS)),
        int=rng.choice((0, -(2**31), 2**31 - 1, 100)),
        kind=rng.choice("ABC"),
        maybe_double=rng.choice((None, 0.0, -1.25, 1e300)),
        float=rng.choice((0.0, -2.5)),
        is_hot=rng.random() < 0.5,
        fixed=rng.randbytes(11),
        map={
            key: rng.choice((*TEXTS, "z" * VALUE_BYTES_MAX))
            for key in rng.sample(("k", "größe", "", "kk", "x" * 70), rng.choice((0, 0, 1, 3)))
        },
        doubles=[rng.random() for _ in range(rng.choice((0, 0, 1, 70)))],
        points=[
            {"at": rng.choice(LONGS), "said": rng.choice(TEXTS)}
            for _ in range(rng.choice((0, 0, 1, 2)))
        ],
    )


@settings(max_examples=150)
@given(randoms)
def test_rows_of_the_common_form_are_walked_to_what_polars_reads(rng: random.Random) -> None:
    """Each kind of value, null and not, one to eight bytes of numbers, any text."""
    key = rng.choice((None, b"", b"k" * 32, b"\xff" * 70))
    bodies = [any_body(rng) for _ in range(rng.randint(1, 12))]
    assert hold_against_polars(batch_of(bodies, key), is_keyed=key is not None)


@settings(max_examples=300)
@given(randoms)
def test_bytes_that_were_changed_are_never_walked_to_something_else(rng: random.Random) -> None:
    """A walk that returns rows has found what polars finds, whatever the bytes are."""
    one = batch_of([any_body(rng) for _ in range(rng.randint(1, 4))])
    payload = bytearray(one.payload)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(payload))
        kind = rng.randrange(4)
        if kind == 0:
            payload[at] = rng.choice((0, 1, 2, 4, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == 1:
            payload.insert(at, rng.randrange(256))
        elif kind == 2 and len(payload) > 1:
            del payload[at]
        else:
            payload[at] ^= 1 << rng.randrange(8)
    broken = RecordBatch(
        one.base_offset, one.next_offset, one.base_ms, one.append_ms, one.count, bytes(payload)
    )
    hold_against_polars(broken)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (body(text="abcd"), body(text="abcd").replace(b"abcd", b"ab\xffd")),
        (body(maybe_text="abcd"), body(maybe_text="abcd").replace(b"abcd", b"\xc0\x80cd")),
        (body(long=3), body(long=3).replace(b"\x06\x02\x05", b"\x86\x00\x02\x05")),
        (body(kind="C", int=5), body(kind="C", int=5).replace(b"\x0a\x04", b"\x0a\x06")),
        (body(text="y" * TEXT_BYTES_MAX), body(text="y" * (TEXT_BYTES_MAX + 1))),
        (body(map={"k": "v"}), body(map={"k": "v"}).replace(b"\x02k", b"\x02\xff")),
        (body(doubles=[2.0]), body(doubles=[2.0]).replace(b"\x02\0\0", b"\x01\x10\0\0")),
    ],
    ids=["not utf-8", "overlong", "long form", "no symbol", "long text", "in a map", "sized list"],
)
def test_one_strange_row_leaves_all_to_polars(good: bytes, bad: bytes) -> None:
    """Texts that are none, numbers not in their shortest form, and what is too long to hash."""
    assert good != bad
    assert walked(batch_of([body(), good])) is not None
    assert walked(batch_of([body(), bad, body()])) is None


def test_texts_have_one_hash_in_all_blocks() -> None:
    """Equal texts hash alike wherever they lie, others differ; rows that are taken keep theirs."""
    reader = BatchReader(FIELDS, 0, ["text"])
    found = []
    for texts in (("alpha", "beta", "alpha"), ("beta", "", "alpha")):
        read = reader.read([batch_of([body(text=t) for t in texts])], Shape(True, 0))
        assert read is not None
        assert isinstance(read.block, WalkedBlock)
        found.append(read.block.text_hashes(["text"])["text"].tolist())
        part = read.block.take(np.array([2, 0]))
        assert part.text_hashes(["text"])["text"].tolist() == [found[-1][2], found[-1][0]]
        assert [part.value("text", i) for i in range(2)] == [texts[2], texts[0]]
    assert found[0] == [found[1][2], found[1][0], found[1][2]]
    assert len({*found[0], *found[1]}) == 3


@pytest.mark.parametrize("text", ["é", "߿", "ࠀ", "퟿", "\ue000", "￿", "𐀀", "\U0010ffff", "aé" * 9])
def test_characters_of_each_length_are_texts(text: str) -> None:
    """The first and the last of each form of UTF-8, and all their prefixes are not."""
    assert walked(batch_of([body(text=text)])) is not None
    for end in range(1, len(text.encode())):
        part = text.encode()[:end]
        row = body(text="x" * end).replace(b"x" * end, part)
        assert (walked(batch_of([row])) is not None) == is_utf8(part)


@pytest.mark.parametrize(
    "octets",
    [
        *("80", "c080", "c1bf", "e09fbf", "eda080", "edbfbf", "f08fbfbf", "f4908080", "f5808080"),
        *("e282", "e28228", "f0908028", "ff", "fe"),
    ],
)
def test_bytes_that_are_no_characters_are_no_text(octets: str) -> None:
    """Later bytes, overlong forms, surrogates, beyond the last character, and what is cut."""
    part = bytes.fromhex(octets)
    assert not is_utf8(part)
    row = body(text="Q" * len(part)).replace(b"Q" * len(part), part)
    assert walked(batch_of([body(), row])) is None


def test_a_value_too_long_to_hash_is_hashed_by_polars() -> None:
    """With the others that are asked for at once, which then have one hash a text, too."""
    long = "y" * (VALUE_BYTES_MAX + 1)
    block = walked(batch_of([body(map={"k": long}), body(map={"k": "v", "größe": long})]))
    assert block is not None
    assert entries_of(block, [0, 1]) == [(0, "k", long), (1, "k", "v"), (1, "größe", long)]


def test_a_field_of_another_kind_than_it_is_asked_for_is_what_polars_makes_of_it() -> None:
    """Foreign schemas: a flag as a number, a count as a value, a number as a name."""
    bodies = [body(maybe_long=None, maybe_double=None), body(is_hot=False, int=100_000, long=-8)]
    block = walked(batch_of(bodies))
    plain = BatchReader(FIELDS, 0).read([batch_of(bodies)], Shape(True, 0))
    assert block is not None
    assert plain is not None
    for name in ("is_hot", "maybe_double", "float", "maybe_long"):
        assert block.numbers(name, 5).tolist() == plain.block.numbers(name, 5).tolist()
    for name in ("long", "maybe_long", "kind", "is_hot"):
        np.testing.assert_array_equal(block.doubles(name), plain.block.doubles(name))
    for name in ("int", "octets"):
        hashes = [one.text_hashes([name])[name].tolist() for one in (block, plain.block)]
        assert hashes[0] == hashes[1]
    for name in ("is_hot", "float", "maybe_double", "octets", "fixed"):
        assert [block.value(name, i) for i in (1, 0)] == [
            plain.block.value(name, i) for i in (1, 0)
        ]
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        block.text_bytes("long")


def test_entries_of_what_is_no_map_of_texts_are_not_walked() -> None:
    """A number would be taken for a length, and bytes beyond the buffer for a value."""
    texts, values = {"type": "map", "values": "string"}, {"type": "map", "values": "long"}
    names = ("key", "value", "more")
    wider = {
        "type": "array",
        "items": {"type": "record", "name": "E", "fields": [
            {"name": name, "type": "string"} for name in names
        ]},
    }  # fmt: skip
    fields = [("text", "string"), ("texts", texts), ("numbers", values), ("wider", wider)]
    schema: Any = {"type": "record", "name": "Odd", "fields": [
        {"name": name, "type": kind} for name, kind in fields
    ]}  # fmt: skip
    row = {"text": "t", "texts": {"k": "v"}, "numbers": {"k": 1 << 61}}
    row["wider"] = [dict(zip(names, ("k", "v", "k"), strict=True))] * 2
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), row)
    odd = schema_fields(fastavro.parse_schema(schema))
    block = WalkedReader(ColumnarReader(odd), ["text"], is_framed=False).read_block(
        [out.getvalue()], [1]
    )
    assert block is not None
    at = np.zeros(1, np.int64)
    found = block.entries("wider", at, ["k"])
    assert [found.text(i) for i in range(len(found.owner))] == ["v", "v"]
    with pytest.raises(pl.exceptions.PolarsError):
        block.entries("numbers", at, ["k"])
    assert len(block.entries("numbers", at[:0], ["k"]).owner) == 0


def test_rows_that_do_not_fill_their_bytes_are_not_walked() -> None:
    """Too few bytes, too many, and a length that leads beyond."""
    one = batch_of([body(), body()])
    for payload, count in (
        (one.payload, 1), (one.payload, 3), (one.payload[:-1], 2), (one.payload + b"\0", 2),
        (b"\xff", 1), (b"\x80" * 12, 1),
    ):  # fmt: skip
        broken = RecordBatch(0, 2, 0, -1, count, payload)
        assert walked(broken) is None


def test_rows_without_a_length_end_with_their_piece() -> None:
    """Events of batch messages: a piece has as many as it says, or nothing is returned."""
    reader = WalkedReader(ColumnarReader(FIELDS), ["text"], is_framed=False)
    rows = [body(text=text, map={"k": text}) for text in ("a", "bb", "ccc")]
    block = reader.read_block([b"".join(rows[:2]), rows[2]], [2, 1])
    assert block is not None
    assert list(Bodies(block.data, block.starts[0], block.starts[-1] - block.starts[0])) == rows
    assert entries_of(block.take(np.array([2, 0])), [0, 1]) == [(0, "k", "ccc"), (1, "k", "a")]
    for counts in ([1, 1], [1, 2], [3, 1], [2, 2]):
        assert reader.read_block([b"".join(rows[:2]), rows[2]], counts) is None


def test_without_the_loops_polars_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that cannot compile says so, and reads the same."""

    def no_compiler(_: bool) -> Loops:
        raise ImportError("no wheel for this machine")

    monkeypatch.setattr(loops, "_loaded", [])
    monkeypatch.setattr(loading, "_made", no_compiler)
    assert not loading.load()
    read = BatchReader(FIELDS, 0, ["text"]).read([batch_of([body(text="t")])], Shape(True, 0))
    assert read is not None
    assert isinstance(read.block, Block)
    assert read.block.value("text", 0) == "t"
