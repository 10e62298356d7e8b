"""What a console keeps in place of what is personal: the contract's rules and the keys given.

Owns the form in which keys are given. Invariant: no secret is in a message; those name the variable
or the file.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from streams.console.settings import ConsoleSettings
from streams.contract.model import Contract
from streams.core.privacy.pseudonyms import KEY_ID, SECRET_CHARACTERS_MIN, Key, Pseudonyms
from streams.core.privacy.records import Privacy
from streams.core.privacy.treatments import rules_of
from streams.errors import ConfigError
from streams.settings import secret_text

KEYS_MAX: Final = 16
"""Each is tried when somebody is searched for."""
_FILE: Final = "console_pseudonym_keys_file (SPANLOOM_CONSOLE_PSEUDONYM_KEYS_FILE)"
_TEXT: Final = "console_pseudonym_keys (SPANLOOM_CONSOLE_PSEUDONYM_KEYS)"
_HOW: Final = 'make one with: echo "k1 $(openssl rand -hex 32)" > FILE; chmod 600 FILE'


def privacy_of(contract: Contract | None, settings: ConsoleSettings) -> Privacy | None:
    """Return what becomes of personal fields; None when the contract names none.

    Raises:
        ConfigError: it names some, and there is no key, or one that is none.
    """
    if contract is None:
        return None
    rules = rules_of(contract.field_classes, contract.field_treatments)
    if not rules:
        return None
    keys = keys_of(settings)
    if not keys:
        names = ", ".join([*rules.fields, *(f"dimensions.{key}" for key in rules.dimensions)])
        raise ConfigError(
            f"{_FILE}: missing: the contract's field_classes call {names} personal, and the "
            f"archive keeps pseudonyms of those; {_HOW}"
        )
    return Privacy(rules, Pseudonyms(keys))


def keys_of(settings: ConsoleSettings) -> list[Key]:
    """Return the keys that are given, the one that makes new pseudonyms first.

    Raises:
        ConfigError: they cannot be read; names where they are, the line and the fix.
    """
    path, text = settings.pseudonym_keys_file, settings.pseudonym_keys.get_secret_value()
    if path is not None and text:
        raise ConfigError(f"{_FILE}: there is {_TEXT} too; set one of them")
    if path is not None:
        place = f"{_FILE}: {path}"
        return _keys(secret_text(path, place).splitlines(), place)
    return _keys(text.replace(",", "\n").splitlines(), _TEXT)


def _keys(lines: Sequence[str], place: str) -> list[Key]:
    keys = list(_read(lines, place))
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
                f"letters and digits; {_HOW}"
            )
        if len(parts[1]) < SECRET_CHARACTERS_MIN:
            raise ConfigError(
                f"{place}: key {parts[0]} is shorter than {SECRET_CHARACTERS_MIN} characters; "
                f"{_HOW}"
            )
        yield Key(parts[0], parts[1].encode())
