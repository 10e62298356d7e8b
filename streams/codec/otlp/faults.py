"""What is wrong with a request that protobuf's readers refuse, in words that name the field.

Theirs begin with a field's whole ancestry, say it in words of the library or of Python, and may
hold a value; the end, which matters, is beyond what is kept of a reason.
"""

import re
from typing import Final

_FIELD: Final = re.compile(r"Failed to parse (\w+) field: ")
_NAMES_MAX: Final = 6
_WORDS: Final = (
    ("must be in []", "no list"),
    ("is not iterable", "no list"),
    ("out of range", "a number out of range"),
    ("Couldn't parse integer", "no whole number"),
    ("invalid literal for int", "no whole number"),
    ("Bool value", "true or false where a number belongs"),
    ("Couldn't parse float", "no number"),
    ("could not convert string to float", "no number"),
    ("Unpaired surrogate", "half a character"),
    ("ecursion", "nested too deeply"),
    ("too deep", "nested too deeply"),
    ("oneof", "two values where one belongs"),
    ("has no field named", "a field that there is not"),
    ("base64", "no base64"),
    ("padding", "no base64"),
)
"""By what the library's words hold; the first that fits."""


def fault_of(error: Exception) -> str:
    """Return what is wrong: FIELD.FIELD: words."""
    text = str(error)
    names = _FIELD.findall(text)
    if len(names) > _NAMES_MAX:  # values within values
        names = [*names[: _NAMES_MAX - 1], "", names[-1]]
    path = ".".join(names)
    last = text.rpartition(" field: ")[2]
    words = next((ours for theirs, ours in _WORDS if theirs in last), "not of its type")
    return f"{path}: {words}" if path else words
