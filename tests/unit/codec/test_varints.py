"""Longs and strings, byte for byte as fastavro writes them."""

from hypothesis import example, given
from hypothesis import strategies as st

from streams.codec.records import encode_body
from streams.codec.varints import text, varint

FIELDS = [{"name": "n", "type": "long"}, {"name": "s", "type": "string"}]
SCHEMA = {"type": "record", "name": "R", "fields": FIELDS}


def test_longs_of_the_specification() -> None:
    """The examples of the Avro specification, "Binary encoding"."""
    assert [varint(n).hex() for n in (0, -1, 1, -2, 2, -64, 64)] == [
        "00", "01", "02", "03", "04", "7f", "8001",
    ]  # fmt: skip


@given(number=st.integers(-(2**63), 2**63 - 1), words=st.text(max_size=100))
@example(number=2**63 - 1, words="")
@example(number=-(2**63), words="é" * 64)
@example(number=2**13 - 1, words="a")
@example(number=2**13, words="a")
@example(number=2**27, words="a")
@example(number=2**41, words="a")
def test_bytes_are_those_of_fastavro(number: int, words: str) -> None:
    """Every long and every text has its one canonical form."""
    assert varint(number) + text(words) == encode_body(SCHEMA, {"n": number, "s": words})
