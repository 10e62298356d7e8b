"""Tables on a terminal: no id and no name is ever cut, nor broken where somebody may copy it.

Owns how wide columns are, for all commands. A terminal that is too narrow for what must stay whole
shows each row as lines of its own; what is read by a program has a row a line, however long.
Invariant: a cell's text is shown as it is; no word in it is taken for markup.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

Cell = str | Text
WORD_CHARS_MAX: Final = 16
"""A longer word in a text may be broken; sentences and pairs of name=value have such."""
_GAP: Final = 2
"""Between columns, as rich draws a table without a box."""
_PIPE_COLUMNS: Final = 100_000
"""Wider than any row: what goes into a file or a pager is broken by whoever shows it."""
_WHOLE: Final = frozenset(
    {
        "id", "fingerprint",
        "timestamp", "start", "end", "at", "opened_at", "firing_since", "last_seen", "resolved_at",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: above it.
        is_prose: its texts may be broken between words, and within long ones.
        is_number: its texts stand at the right.
    """

    name: str
    is_prose: bool = False
    is_number: bool = False

    def least(self, texts: Sequence[str]) -> int:
        """Return how wide it is at least: as its longest text, of prose as its longest word."""
        words = [word for text in texts for word in (text.split() if self.is_prose else [text])]
        longest = max(map(len, words), default=0)
        return max(len(self.name), min(longest, WORD_CHARS_MAX) if self.is_prose else longest)


def columns_of(*names: str, numbers: Iterable[str] = (), prose: Iterable[str] = ()) -> list[Column]:
    """Return columns by their names; those named again hold numbers, or prose."""
    return [Column(name, name in [*prose], name in [*numbers]) for name in names]


def is_whole(column: str) -> bool:
    """Return whether the values of a column are never broken: ids and times."""
    return column.endswith(("_id", "_ids")) or column in _WHOLE


def terminal() -> Console:
    """Return what a command prints on: as wide as the terminal, or without a width in a pipe."""
    found = Console(highlight=False)
    is_bounded = found.is_terminal or "COLUMNS" in os.environ
    return found if is_bounded else Console(highlight=False, width=_PIPE_COLUMNS)


def print_columns(title: str, columns: Mapping[str, Sequence[str]]) -> None:
    """Print a table of columns that are known by their names alone.

    Args:
        title: above it.
        columns: of each its texts, all of one length.
    """
    known = [Column(name, is_prose=not is_whole(name)) for name in columns]
    print_table(terminal(), title, known, list(zip(*columns.values(), strict=True)))


def print_table(
    console: Console, title: str, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]
) -> None:
    """Print a table, or its rows one after the other where the terminal is too narrow for it.

    Args:
        console: see `terminal`.
        title: above it; "" for none.
        columns: what its columns are.
        rows: of each its cells, in the order of the columns.
    """
    texts = [[Text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    widths = [column.least([row[at].plain for row in texts]) for at, column in enumerate(columns)]
    if sum(one + _GAP for one in widths) > console.width:
        _print_rows(console, title, columns, texts)
        return
    head = Text(title, "italic") if title else None
    table = Table(title=head, box=None, title_justify="left", header_style="bold")
    for column, width in zip(columns, widths, strict=True):
        table.add_column(
            Text(column.name),
            overflow="fold",
            min_width=width,
            no_wrap=not column.is_prose,
            justify="right" if column.is_number else "left",
        )
    for row in texts:
        table.add_row(*row)
    console.print(table)


def _print_rows(
    console: Console, title: str, columns: Sequence[Column], rows: Sequence[Sequence[Text]]
) -> None:
    """Print the cells of each row below each other, with the names of their columns."""
    if title:
        console.print(Text(title, "italic"))
    wide = max(len(column.name) for column in columns)
    for row in rows:
        for column, text in zip(columns, row, strict=True):
            if text.plain:  # the terminal breaks a line that is too long, and copies it as one
                line = Text.assemble(f"  {column.name:<{wide}}  ", text)
                console.print(line, soft_wrap=True)
        console.print()
