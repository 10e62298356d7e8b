"""Keys of pseudonyms as they are written: `ID SECRET`, one a line, the writing one first.

Invariant: no secret is in a message; those name the place and the line.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from streams.core.privacy.pseudonyms import KEY_ID, SECRET_CHARACTERS_MIN, Key
from streams.errors import ConfigError

KEYS_MAX: Final = 16
"""Each is tried when somebody is searched for."""
HOW: Final = 'make one with: echo "k1 $(openssl rand -hex 32)" > FILE; chmod 600 FILE'


def keys_of_text(text: str, place: str) -> list[Key]:
    """Return the keys that a file or a variable holds.

    Args:
        text: of the file or the variable.
        place: what names it in messages.

    Raises:
        ConfigError: a line is none, two have one id, or there are too many.
    """
    keys = list(_read(text.splitlines(), place))
    if len({key.key_id for key in keys}) < len(keys):
        raise ConfigError(f"{place}: two keys have one id; give each its own")
    if len(keys) > KEYS_MAX:
        raise ConfigError(f"{place}: {len(keys)} keys; at most {KEYS_MAX} are searched by")
    return keys


def _read(lines: Sequence[str], place: str) -> Iterator[Key]:
    for n, line in enumerate(lines, start=1):
        parts = line.split()
        if not parts or parts[0].startswith("#"):
            continue
        if len(parts) != 2 or not KEY_ID.fullmatch(parts[0]):
            raise ConfigError(
                f"{place}: key {n} is not written as ID SECRET, the id of 1 to 16 lower-case "
                f"letters and digits; {HOW}"
            )
        if len(parts[1]) < SECRET_CHARACTERS_MIN:
            raise ConfigError(
                f"{place}: key {parts[0]} is shorter than {SECRET_CHARACTERS_MIN} characters; {HOW}"
            )
        yield Key(parts[0], parts[1].encode())
