"""Lines of a recorded file, each with its place; a last line that was cut is told, not taken.

Owns what all recordings of JSON lines have in common: a byte order mark, blank lines, a bound of a
line, and the end of a file whose writer or copier was stopped in the middle of a line.
"""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final, cast

from streams.errors import ConfigError

UNREADABLE: Final = (OSError, EOFError, zlib.error)
"""What reading a file can raise, plain or packed: zlib's own error is none of the others."""
Cut = Callable[[str, str, str], None]
"""Hears of what was cut at a file's end: the reason, as FILE:LINE where, and what was found."""
CUT_LINE: Final = "cut_line"
_MARK: Final = b"\xef\xbb\xbf"
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")


def opened(path: Path) -> IO[bytes]:
    """Open a file, through gzip when its name ends in .gz."""
    return cast(IO[bytes], gzip.open(path, "rb")) if path.name.endswith(".gz") else path.open("rb")


def first_line(path: Path, file: IO[bytes], bytes_max: int) -> bytes:
    """Return a file's first line without the mark that some editors put before it.

    Raises:
        ConfigError: the mark is one of UTF-16.
    """
    line = file.readline(bytes_max + 1)
    if line.startswith(_UTF_16):
        raise ConfigError(f"{path}: UTF-16 text; save it as UTF-8")
    return line.removeprefix(_MARK)


def lines_of(
    path: Path, file: IO[bytes], first: bytes, bytes_max: int, cut: Cut | None
) -> Iterator[tuple[str, bytes]]:
    """Yield the lines that are not blank, each with FILE:LINE.

    Args:
        path: names the file.
        file: read behind its first line.
        first: the first line.
        bytes_max: of a line.
        cut: hears of a last line that was cut, which is not yielded; None: it is, or raises.

    Raises:
        ConfigError: a line is longer than the bound.
        OSError, EOFError: the file cannot be read.
    """
    number, line = 1, first
    while line:
        place = f"{path}:{number}"
        if len(line) > bytes_max:
            raise ConfigError(f"{place}: a line of more than {bytes_max} bytes")
        if cut is not None and number > 1 and _is_cut(line):
            cut(CUT_LINE, place, f"the file ends within this line, after {len(line)} bytes of it")
            return
        if line.strip():
            yield place, line
        number += 1
        try:
            line = file.readline(bytes_max + 1)
        except EOFError:
            if cut is None:
                raise
            cut(CUT_LINE, f"{path}:{number}", "the packed file ends within this line")
            return


def _is_cut(line: bytes) -> bool:
    """Whether a line has no end and says nothing whole."""
    if line.endswith(b"\n") or not line.strip():
        return False
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return True
    return False
