"""JSON files, element by element, each with the line it begins in; tables, line by line.

Owns the opening of recordings. Invariant: a file that unpacks to more than the bound is refused
before it is parsed, and what is wrong is said with file and line.
"""

import json
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from streams.codec.linefile import UNREADABLE, opened
from streams.errors import ConfigError, reason_of

FILE_BYTES_MAX: Final = 256 << 20
"""Of one JSON file, inflated: it is parsed as a whole, which takes some ten times as much."""

_SPACE: Final = " \t\n\r"


def read_text(path: Path) -> str:
    """Return the text of a file, through gzip when its name ends in .gz.

    Raises:
        ConfigError: it cannot be read, is too large, or is no UTF-8.
    """
    try:
        with opened(path) as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except UNREADABLE as error:
        raise ConfigError(f"{path}: cannot be read ({reason_of(error)})") from error
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError(f"{path}: unpacks to more than {FILE_BYTES_MAX} bytes; split the export")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text") from error


class JsonFile:
    """A JSON text that is walked through once.

    Args:
        path: names it in errors.
        text: the whole text.

    Raises:
        ConfigError: from every method, when the text is not JSON at that place; names the line.
    """

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._text = text
        self._decoder = json.JSONDecoder()
        self._lines = [at for at, letter in enumerate(text) if letter == "\n"]

    def place(self, at: int) -> str:
        """Return FILE:LINE of a position."""
        return f"{self._path}:{bisect_right(self._lines, at - 1) + 1}"

    def first(self, at: int = 0) -> tuple[str, int]:
        """Return the first character from a position on that is no space, and where it is."""
        text = self._text
        while at < len(text) and text[at] in _SPACE:
            at += 1
        return (text[at] if at < len(text) else "", at)

    def value(self, at: int) -> tuple[Any, int]:
        """Return the value that begins at a position, and where it ends."""
        try:
            return self._decoder.raw_decode(self._text, self.first(at)[1])
        except json.JSONDecodeError as error:
            raise ConfigError(f"{self.place(error.pos)}: not JSON ({error.msg})") from error
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{self.place(at)}: not JSON ({error})") from error

    def items(self, at: int) -> "Walk":
        """Return a walk over the items of the array at a position."""
        return Walk(self, at, "[", "]")

    def members(self, at: int) -> "Walk":
        """Return a walk over the members of the object at a position."""
        return Walk(self, at, "{", "}")

    def refuse(self, at: int, what: str) -> ConfigError:
        """Return an error that names a position."""
        return ConfigError(f"{self.place(at)}: {what}")


class Walk:
    """Goes through an array or an object; whoever walks says where each value ended.

    Iterating yields (key, position of the value); key is "" in an array. Before the next step
    `end` must be set to where the value ended.
    """

    def __init__(self, file: JsonFile, at: int, opening: str, closing: str) -> None:
        self._file = file
        self._closing = closing
        self._opening = opening
        self.end = at

    def __iter__(self) -> Iterator[tuple[str, int]]:
        file = self._file
        letter, at = file.first(self.end)
        if letter != self._opening:
            raise file.refuse(at, f"not JSON of this kind ({self._opening!r} was expected)")
        letter, at = file.first(at + 1)
        while letter != self._closing:
            key = ""
            if self._opening == "{":
                key, at = file.value(at)
                letter, at = file.first(at)
                if not isinstance(key, str) or letter != ":":
                    raise file.refuse(at, "not JSON (a key and ':' were expected)")
                _, at = file.first(at + 1)
            yield key, at
            letter, at = file.first(self.end)
            if letter == ",":
                letter, at = file.first(at + 1)
                if letter == self._closing:
                    raise file.refuse(at, "not JSON (a value was expected after ',')")
            elif letter != self._closing:
                raise file.refuse(at, f"not JSON (',' or {self._closing!r} was expected)")
        self.end = at + 1
