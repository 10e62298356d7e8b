"""Tables of a terminal: ids whole at every width, rows that a program can tell apart."""

import re

import pytest
from rich.console import Console
from rich.table import Table

from streams.cli.tables import WORD_CHARS_MAX, fits, least, print_table, table_console

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
    print_table("incidents", COLUMNS)
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
    print_table("incidents", COLUMNS)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert re.fullmatch(rf" 2026\S+ +{ID} +CRITICAL +Module BETA .* good while *", lines[2])


def test_how_wide_a_column_is_at_least() -> None:
    """Its name, an id, or the longest word as far as words go."""
    assert least("trace_id", [ID]) == 32
    assert least("record_ids", ["a, b, c"]) == 10
    assert least("title", ["of five words", "none"]) == 5
    assert least("dimensions", ["x" * 60]) == WORD_CHARS_MAX


def test_what_is_no_terminal_has_room_for_any_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipe has no width; COLUMNS says one."""
    table = Table("edge", "cause")
    table.add_row("a" * 300, "b " * 200)
    monkeypatch.delenv("COLUMNS", raising=False)
    assert fits(table, table_console())
    table_console().print(table)
    assert f"{'a' * 300} │ {'b ' * 199}b" in capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "80")
    assert table_console().width == 80
    assert not fits(table, table_console())


def test_a_table_fits_when_no_cell_is_folded() -> None:
    """Two columns of 3 letters need 13 places, with what is between and around them."""
    table = Table("abc", "def")
    assert fits(table, Console(width=13))
    assert not fits(table, Console(width=12))
