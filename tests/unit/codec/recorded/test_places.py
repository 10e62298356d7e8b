"""JSON element by element: the same values as json.loads, each with its line."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.codec.recorded import places
from streams.codec.recorded.places import JsonFile, read_text
from streams.errors import ConfigError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


def items_of(text: str) -> list[object]:
    """Return the items of an array, one by one."""
    file = JsonFile(Path("x"), text)
    walk = file.items(0)
    found = []
    for _, at in walk:
        value, walk.end = file.value(at)
        found.append(value)
    assert file.first(walk.end)[0] == ""
    return found


@settings(max_examples=15)
@given(st.lists(VALUES), st.sampled_from([None, 2]))
def test_a_walk_over_an_array_gives_its_items(values: list[object], indent: int | None) -> None:
    """However it is laid out."""
    assert items_of(json.dumps(values, indent=indent)) == values


@settings(max_examples=15)
@given(st.dictionaries(st.text(max_size=4), VALUES))
def test_a_walk_over_an_object_gives_its_members(values: dict[str, object]) -> None:
    """Keys and values in their order."""
    file = JsonFile(Path("x.json"), " \n" + json.dumps(values, indent=1))
    walk = file.members(0)
    found = {}
    for key, at in walk:
        found[key], walk.end = file.value(at)
    assert list(found.items()) == list(values.items())


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[1\n 2]", "x:2"),
        ("[1,\n\n]", "x:3"),
        ("{}", "x:1"),
        ("[1,\n2", "x:2"),
        ("[1, tru]", "x:1"),
    ],
)
def test_what_is_not_json_is_said_with_its_line(text: str, place: str) -> None:
    """The line is where it goes wrong."""
    with pytest.raises(ConfigError, match=f"^{place}: not JSON"):
        items_of(text)


def test_deep_nesting_is_refused() -> None:
    """Not by the interpreter's stack."""
    file = JsonFile(Path("x"), "[" * 200_000)
    with pytest.raises(ConfigError, match="x:1: not JSON"):
        file.value(0)


def test_a_file_is_bounded_once_inflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes that unpack to many are refused."""
    monkeypatch.setattr(places, "FILE_BYTES_MAX", 1_000)
    bomb = tmp_path / "x.json.gz"
    bomb.write_bytes(gzip.compress(b"[" + b" " * 2_000))
    with pytest.raises(ConfigError, match="unpacks to more than 1000 bytes"):
        read_text(bomb)


def test_a_file_that_is_no_text_is_refused_with_its_line(tmp_path: Path) -> None:
    """And one that is not there, and one that is cut short."""
    path = tmp_path / "x.json"
    path.write_bytes(b"[\n\xff]")
    with pytest.raises(ConfigError, match=r"x\.json:2: not UTF-8"):
        read_text(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_text(tmp_path / "gone")
    cut = tmp_path / "y.json.gz"
    cut.write_bytes(gzip.compress(b"[1, 2, 3]")[:-4])
    with pytest.raises(ConfigError, match="cannot be read"):
        read_text(cut)
