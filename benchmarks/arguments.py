"""Types of arguments that several commands take: what is wrong is told before a long run begins."""

from argparse import ArgumentTypeError
from pathlib import Path


def report_file(text: str) -> Path:
    """Return where a report goes.

    Raises:
        ArgumentTypeError: it could not be written there; an hour of work would be lost for that.
    """
    path = Path(text)
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ArgumentTypeError(f"there is no folder {folder}")
    if path.is_dir():
        raise ArgumentTypeError(f"{path} is a folder; name a file")
    return path


def at_least_one(text: str) -> int:
    """Return a whole number from 1 on.

    Raises:
        ArgumentTypeError: it is none.
    """
    if not text.isascii() or not text.isdigit() or not int(text):
        raise ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)
