"""Files that are there whole or not at all, whatever ends the process that writes them.

A file is written beside its place, brought to the disk, and moved there. Invariant: who opens a
name of these sees all of one version.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

UNFINISHED: Final = ".unfinished"
"""Ends the name of a file until it is whole; one that a kill left goes with the next write."""
PRIVATE: Final = 0o600
"""Mode of a file with secrets."""


def replace_file(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Put content in the place of a file, which need not be there.

    Args:
        path: of the file, in a folder that is there.
        content: all of it.
        mode: of the file, less what the process's mask takes away.

    Raises:
        OSError: it cannot be written; what was there still is.
    """
    with _beside(path, content, mode) as unfinished:
        unfinished.replace(path)


def make_file(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Make a file that is not there yet, and bring its name to the disk, too.

    Raises:
        OSError: it cannot be written, or is there, by then or before.
    """
    with _beside(path, content, mode) as unfinished:
        os.link(unfinished, path)  # which a file that is there already is not replaced by
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def _beside(path: Path, content: bytes, mode: int) -> Iterator[Path]:
    """Write a file beside another's place; of that name there is none afterwards."""
    unfinished = path.with_name(path.name + UNFINISHED)
    unfinished.unlink(missing_ok=True)
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield unfinished
    finally:
        unfinished.unlink(missing_ok=True)
