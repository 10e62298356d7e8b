"""Tables on a terminal: no id is ever cut, and no word broken that somebody may want to copy.

Owns how wide columns are. A terminal that is too narrow for what must stay whole shows each row as
lines of its own; what is read by a program has a row a line, however long.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

WORD_CHARS_MAX: Final = 16
"""A longer word in a text may be broken; sentences and pairs of name=value have such."""
PIPED_COLUMNS: Final = 2_000
"""Of a table that goes into a file, a pager or a program: there nothing need be folded."""
_GAP: Final = 2
"""Between columns, as rich draws a table without a box."""
_WHOLE: Final = frozenset(
    {
        "id", "fingerprint",
        "timestamp", "start", "end", "at", "opened_at", "firing_since", "last_seen", "resolved_at",
    }
)  # fmt: skip


def table_console() -> Console:
    """Return a console as wide as the terminal; where there is none, wider than any table."""
    is_bounded = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, width=None if is_bounded else PIPED_COLUMNS)


def fits(table: Table, console: Console) -> bool:
    """Return whether a table has room without folding or cutting any cell."""
    endless = console.options.update_width(PIPED_COLUMNS)
    return Measurement.get(console, endless, table).maximum <= console.width


def is_whole(column: str) -> bool:
    """Return whether the values of a column are never broken: ids and times."""
    return column.endswith(("_id", "_ids")) or column in _WHOLE


def least(column: str, texts: Sequence[str]) -> int:
    """Return how wide a column is at least: of ids a whole value, of all else a word."""
    words = [word for text in texts for word in ([text] if is_whole(column) else text.split())]
    longest = max(map(len, words), default=0)
    return max(len(column), longest if is_whole(column) else min(longest, WORD_CHARS_MAX))


def print_table(name: str, columns: Mapping[str, Sequence[str]]) -> None:
    """Print a table, or its rows one after the other where the terminal is too narrow for it.

    Args:
        name: above it.
        columns: of each its texts, all of one length.
    """
    widths = {column: least(column, texts) for column, texts in columns.items()}
    console = Console()
    is_bounded = console.is_terminal or "COLUMNS" in os.environ
    if not is_bounded:
        whole = (max(map(len, (column, *texts))) for column, texts in columns.items())
        console = Console(width=max(len(name), sum(one + _GAP for one in whole)))
    elif sum(one + _GAP for one in widths.values()) > console.width:
        _print_rows(console, name, columns)
        return
    table = Table(title=name, box=None, title_justify="left", header_style="bold")
    for column, width in widths.items():
        table.add_column(column, overflow="fold", min_width=width, no_wrap=is_whole(column))
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    console.print(table)


def _print_rows(console: Console, name: str, columns: Mapping[str, Sequence[str]]) -> None:
    console.print(name, style="italic", markup=False, highlight=False)
    wide = max(map(len, columns))
    for row in zip(*columns.values(), strict=True):
        for column, text in zip(columns, row, strict=True):
            if text:  # the terminal breaks a line that is too long, and copies it as one
                line = f"  {column:<{wide}}  {text}"
                console.print(line, markup=False, highlight=False, soft_wrap=True)
        console.print()
