"""The pages as the tests read them: blocks, links, tables, and the commands that they name."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import typer

from streams.cli.commands import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = tuple(sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]))


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    language: str
    text: str


def name_of(page: Path) -> str:
    """Return a page's name from the repository's root."""
    return page.relative_to(ROOT).as_posix()


def text_of(name: str) -> str:
    """Return the text of a page by its name from the repository's root."""
    return (ROOT / name).read_text(encoding="utf-8")


def blocks() -> Iterator[Block]:
    """Yield all fenced blocks of all pages."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for language, body in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            yield Block(name_of(page), language, body)


def prose(text: str) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield (page, words) of every call of spanloom, in blocks and in running text."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [
            line for block in blocks() if block.page == name_of(page) for line in _lines(block)
        ]
        lines += re.findall(r"`(spanloom [^`]*)`", prose(text))
        for line in lines:
            if line.startswith("spanloom "):
                yield name_of(page), shlex.split(line.rstrip(" &"), comments=True)[1:]


def _lines(block: Block) -> list[str]:
    return block.text.replace("\\\n", " ").splitlines()


def command_fault(words: list[str]) -> str:
    """Return what is wrong with a call of spanloom, "" for nothing."""
    group: Any = typer.main.get_command(app)
    rest = list(words)
    while rest and hasattr(group, "commands") and not rest[0].startswith("-"):
        word = rest.pop(0)
        group = group.get_command(None, word)
        if group is None:
            return f"no command {word}"
    options = {name for one in group.params for name in (*one.opts, *one.secondary_opts)}
    options |= {"--help"}
    given = [word.partition("=")[0] for word in rest if word.startswith("-") and word != "-"]
    unknown = [word for word in given if word not in options]
    return f"no option {unknown[0]}" if unknown else ""


def options_of(command: str) -> set[str]:
    """Return the long options of a command."""
    group: Any = typer.main.get_command(app)
    return {name for one in group.get_command(None, command).params for name in one.opts}


def rows(page: str, column: int = 0) -> list[list[str]]:
    """Return the cells of all table rows of a page whose cell at `column` is code."""
    found = []
    for line in prose(text_of(page)).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) > column and cells[column].startswith("`"):
            found.append(cells)
    return found


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as hosting sites make them."""
    titles = re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
