"""Tables of a terminal: ids whole at every width, rows that a program can tell apart."""

import re

import pytest

from streams.cli.tables import (
    WORD_CHARS_MAX,
    Column,
    columns_of,
    print_columns,
    print_table,
    terminal,
)
from tests.unit.cli.shell import set_width

ID = "9097e159bfa7dca676a10eafd309e165"
COLUMNS = {
    "opened_at": ["2026-11-27T17:18:54.000Z"] * 2,
    "incident_id": [ID, ID[::-1]],
    "severity": ["CRITICAL", "WARN"],
    "title": ["Module BETA is silent and has said nothing for a good while", ""],
}


@pytest.mark.parametrize("width", [20, 60, 80, 100, 110, 150, 400])
def test_no_id_is_cut(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor a time or a word: as a table where there is room, else row by row."""
    monkeypatch.setenv("COLUMNS", str(width))
    print_columns("incidents", COLUMNS)
    shown = capsys.readouterr().out
    for text in (ID, ID[::-1], "2026-11-27T17:18:54.000Z", "CRITICAL"):
        assert text in shown
    is_table = re.search("opened_at +incident_id", shown) is not None
    assert is_table == (width >= 80)
    if is_table:
        assert max(map(len, shown.splitlines())) <= width


def test_a_program_reads_a_row_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there is no terminal nothing is broken at all."""
    monkeypatch.delenv("COLUMNS", raising=False)
    print_columns("incidents", COLUMNS)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert re.fullmatch(rf" 2026\S+ +{ID} +CRITICAL +Module BETA .* good while *", lines[2])


def test_how_wide_a_column_is_at_least() -> None:
    """Its name, a whole text, or of prose the longest word as far as words go."""
    assert Column("trace_id").least([ID]) == 32
    assert Column("record_ids").least(["a, b, c"]) == 10
    assert Column("title", is_prose=True).least(["of five words", "none"]) == 5
    assert Column("dimensions", is_prose=True).least(["x" * 60]) == WORD_CHARS_MAX


@pytest.mark.parametrize("width", ["30", "80", ""])
def test_no_text_is_taken_for_markup(
    width: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Brackets in an answer are shown: they neither vanish nor end the command."""
    set_width(monkeypatch, width)
    print_columns("entries [b]", {"name": ["list[str]", "[/x]"], "record_id": ["a[b]c" * 5, ""]})
    shown = capsys.readouterr().out
    for text in ("entries [b]", "list[str]", "[/x]", "a[b]c" * 5):
        assert text in shown


@pytest.mark.parametrize("width", [20, 60, 80, 200])
def test_numbers_stand_at_the_right(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there is a table; where there is none, beside the name of their column."""
    monkeypatch.setenv("COLUMNS", str(width))
    name = "derived.events.rejected.and.more.v1"
    columns = columns_of("topic", "records", numbers=["records"])
    print_table(terminal(), "lag", columns, [[name, "1,234"], ["b", "7"]])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    if width >= 60:
        assert [line.split() for line in lines[2:]] == [[name, "1,234"], ["b", "7"]]
        assert len({len(line) for line in lines[1:]}) == 1
    else:
        assert f"  topic    {name}" in lines
