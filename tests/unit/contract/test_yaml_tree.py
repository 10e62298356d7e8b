"""YAML text to a plain tree: lines, refusals, bounds; a hostile file is only ever a problem."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from streams.contract.yaml_tree import DEPTH_MAX, read_tree


def texts(source: str) -> list[str]:
    """Return what is wrong with a text, as "line: text"."""
    return [f"{line}: {problem.text}" for line, problem in read_tree(source).problems]


def test_every_part_remembers_its_line() -> None:
    """A key has the line it is written in; what has no line takes its parent's."""
    tree = read_tree("a: 1\nb:\n  - x\n  - c:\n      d\n")
    assert tree.value == {"a": 1, "b": ["x", {"c": "d"}]}
    assert tree.line_of(("b", 1, "c")) == 4
    assert tree.line_of(("b", 0)) == 3
    assert tree.line_of(("b", 1, "missing")) == 4
    assert tree.line_of(()) == 1


def test_scalars_are_text_numbers_booleans_or_null() -> None:
    """Dates, hexadecimal and sexagesimal numbers stay as they were written."""
    source = "[1, 1.5, true, no, null, '1', 2024-01-31, 0x1F, 1:30, '']"
    assert read_tree(source).value == [
        1, 1.5, True, False, None, "1", "2024-01-31", "0x1F", "1:30", "",
    ]  # fmt: skip


def test_the_first_of_two_equal_keys_stays_and_the_second_is_a_problem() -> None:
    """Both lines are named."""
    tree = read_tree("a: 1\nb: 2\na: {c: 3}\n")
    assert tree.value == {"a": 1, "b": 2}
    assert texts("a: 1\nb: 2\na: {c: 3}\n") == ["3: key 'a' is there already, in line 1; keep one"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a: !!python/object:os.system {}", "tag"),
        ("a: &x {b: 1}\nc: {<<: *x}", "merge keys"),
        ("? [a]\n: b", "a key must be text"),
        ("a: 1\n---\nb: 2", "second document"),
        ("a: &x [*x]", "alias *x"),
        ("a: *nobody", "nobody"),
        ("a: b: c", "not YAML"),
        ("a: \x01", "not YAML"),
        ("[" * (DEPTH_MAX + 1), "nested deeper"),
    ],
)
def test_what_is_not_read_is_refused_by_name(source: str, expected: str) -> None:
    """Each refusal says what it met."""
    assert any(expected in text for text in texts(source))


def test_an_alias_bomb_is_stopped_by_what_it_would_unfold_to() -> None:
    """Nine levels of ten aliases are a billion values in a kilobyte."""
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for i in range(1, 10):
        lines.append(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]")
    assert any("aliases unfolded" in text for text in texts("\n".join(lines)))


def test_an_alias_is_the_value_of_its_anchor() -> None:
    """Anchors are allowed for parts that repeat."""
    assert read_tree("a: &x [1, 2]\nb: *x").value == {"a": [1, 2], "b": [1, 2]}


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(plain)
def test_what_yaml_writes_is_read_back(value: object) -> None:
    """A tree dumped by PyYAML comes back equal."""
    tree = read_tree(yaml.safe_dump(value))
    assert tree.problems == []
    assert tree.value == value


@given(st.text(alphabet="ab:-[]{}&*!?|>'\"\n\t #,<1.", max_size=60))
def test_no_text_is_an_exception(source: str) -> None:
    """Whatever the text, there is a tree or there are problems with lines in it."""
    tree = read_tree(source)
    for line, _ in tree.problems:
        assert 1 <= line <= source.count("\n") + 2
