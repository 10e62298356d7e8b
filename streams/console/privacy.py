"""What a console keeps in place of what is personal: the contract's rules and the keys given.

Owns where keys are given, and the key that a console makes itself when none is.
Invariant: no secret is in a message; those name the variable or the file.
"""

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import structlog

from streams.console.settings import ConsoleSettings
from streams.contract.model import Contract
from streams.core.privacy.keys import HOW
from streams.core.privacy.pseudonyms import Key, Pseudonyms
from streams.core.privacy.records import Privacy
from streams.core.privacy.treatments import Rules, rules_of
from streams.errors import ConfigError, StateError
from streams.runtime.personal import keys_given
from streams.serving.wholefiles import PRIVATE, make_file

_FILE: Final = "console_pseudonym_keys_file (SPANLOOM_CONSOLE_PSEUDONYM_KEYS_FILE)"
_TEXT: Final = "console_pseudonym_keys (SPANLOOM_CONSOLE_PSEUDONYM_KEYS)"
MADE_SUFFIX: Final = ".pseudonym-keys"
"""Of the file beside an archive that holds the key that a console made."""
_SECRET_BYTES: Final = 32
"""As many as SHA-256 makes: a longer key would be hashed to these."""
_KEEP: Final = (
    "keep it, and apart from backups of the archive: who has both can try out names; "
    "SPANLOOM_CONSOLE_PSEUDONYM_KEYS_FILE names another"
)

log = structlog.get_logger()


def privacy_of(
    contract: Contract | None,
    settings: ConsoleSettings,
    holds_files: Callable[[], bool] = lambda: False,
) -> Privacy | None:
    """Return what becomes of personal fields; None when the contract names none.

    Without a key one is made for an archive in a folder, which whoever calls has locked.

    Args:
        contract: whose classes count; None for none.
        settings: of the console.
        holds_files: whether the archive has files already.

    Raises:
        ConfigError: it names some, and there is no key for a bucket, or one that is none.
        StateError: a key cannot be written beside the archive.
    """
    check_keys(contract, settings)
    rules = _rules(contract)
    if not rules:
        return None
    made = made_keys_file(settings)
    if made is not None and not _is_given(settings):
        _make_sure(made, holds_files)
    return Privacy(rules, Pseudonyms(keys_of(settings)))


def check_keys(contract: Contract | None, settings: ConsoleSettings) -> None:
    """Refuse what `privacy_of` would refuse, before anything is made.

    Raises:
        ConfigError: as `privacy_of`.
    """
    rules = _rules(contract)
    if not rules or keys_of(settings):
        return
    made = made_keys_file(settings)
    if made is None or made.exists():
        raise ConfigError(
            f"{_FILE}: missing: the contract's field_classes call {', '.join(rules.names)} "
            f"personal, and the archive keeps pseudonyms of those; {HOW}"
        )


def _rules(contract: Contract | None) -> Rules | None:
    if contract is None:
        return None
    return rules_of(contract.field_classes, contract.field_treatments) or None


def keys_of(settings: ConsoleSettings) -> Sequence[Key]:
    """Return the keys that are given or were made, the one that makes new pseudonyms first.

    Raises:
        ConfigError: they cannot be read; names where they are, the line and the fix.
    """
    path, text = settings.pseudonym_keys_file, settings.pseudonym_keys
    made = made_keys_file(settings)
    if path is None and not text.get_secret_value() and made is not None and made.exists():
        path = made
    return keys_given(path, text, (_FILE, _TEXT))


def made_keys_file(settings: ConsoleSettings) -> Path | None:
    """Return where the key lies that a console makes without a given one; None for a bucket."""
    if "://" in settings.archive:
        return None
    folder = Path(settings.archive).absolute()
    return folder.with_name(folder.name + MADE_SUFFIX)


def _is_given(settings: ConsoleSettings) -> bool:
    return bool(settings.pseudonym_keys_file or settings.pseudonym_keys.get_secret_value())


def _make_sure(file: Path, holds_files: Callable[[], bool]) -> None:
    """Make a key in a file unless it is there, and say that it is used.

    Raises:
        StateError: it cannot be written.
    """
    if file.exists():
        log.warning("pseudonym_keys_own", file=str(file), action=_KEEP)
        return
    try:
        make_file(file, f"k1 {secrets.token_hex(_SECRET_BYTES)}\n".encode(), PRIVATE)
    except OSError as error:
        raise StateError(
            f"a key of pseudonyms cannot be written to {file}: {error.strerror}. Operator action: "
            f"let the console write its key there, or give one with {_FILE}; {HOW}"
        ) from error
    if holds_files():
        log.error(
            "pseudonym_keys_lost",
            file=str(file),
            why="the archive has files, and its key is gone: a new one was made, and what older "
            "pseudonyms stand for cannot be searched by plain value any more",
            action=f"if there is a copy of the old key, put its line behind the new one; {_KEEP}",
        )
        return
    log.warning("pseudonym_keys_made", file=str(file), action=_KEEP)
