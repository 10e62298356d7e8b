"""Patterns that people write: `*` and `?` stand for characters, all else for itself."""

from fnmatch import fnmatchcase


def fits(text: str, pattern: str) -> bool:
    """Say whether a text is what a pattern means.

    A bracket is a character as others are, though not in a shell: lines of a log begin with them.

    Args:
        text: whole; letters in another case are other letters.
        pattern: `*` stands for any characters, also none, `?` for one.
    """
    return fnmatchcase(text, pattern.replace("[", "[[]"))
