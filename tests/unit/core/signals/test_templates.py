"""Log lines to templates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.signals.series import TEXT_MAX
from streams.core.signals.templates import TOKENS_MAX, template_of


@pytest.mark.parametrize(
    ("line", "template"),
    [
        ("took 12 ms at db-3", "took <*> ms at <*>"),
        ("connection from 10.0.0.7:8080 refused", "connection from <*> refused"),
        ("user=bob@example.org id=4f2a retry=3/5", "user=<*> id=<*> retry=<*>"),
        ('cannot parse "anything at all": line 4', "cannot parse <*>: line <*>"),
        ("received ack from peer", "received ack from peer"),
        ("sizes [1, 2, 3]", "sizes [<*>]"),
        ("hash deadbeefdeadbeefdeadbeef", "hash <*>"),
        ("don't panic", "don't panic"),
        ("boom at 7\n  File x, line 3\n", "boom at <*>"),
        ("", ""),
    ],
)
def test_what_varies_is_masked(line: str, template: str) -> None:
    """Numbers, ids, addresses and quoted texts are parameters; words are not."""
    assert template_of(line) == template


@given(st.text(max_size=400))
def test_a_template_is_its_own_template_and_bounded(line: str) -> None:
    """Masking twice changes nothing, and no line makes a template beyond its bounds."""
    template = template_of(line)
    assert len(template) <= TEXT_MAX
    assert len(template.split()) <= TOKENS_MAX
    assert template_of(template) == template


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_numbers_never_tell_lines_apart(one: int, other: int) -> None:
    """Lines that differ in numbers alone have one template."""
    assert template_of(f"job {one} took {other} s") == template_of(f"job {other} took {one} s")
