"""What an edge or a worker keeps in place of what is personal: the contract's rules, and the keys.

Invariants: without a class nothing is read or looked up; no secret is in a message.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog
from pydantic import SecretStr

from streams.contract.model import Contract
from streams.core.privacy.keys import HOW, keys_of_text
from streams.core.privacy.pseudonyms import Key, Pseudonyms
from streams.core.privacy.records import Privacy
from streams.core.privacy.treatments import rules_of
from streams.errors import ConfigError
from streams.settings import WorkerSettings, secret_text

FILE: Final = "pseudonym_keys_file (SPANLOOM_PSEUDONYM_KEYS_FILE)"
TEXT: Final = "pseudonym_keys (SPANLOOM_PSEUDONYM_KEYS)"

log = structlog.get_logger()


def privacy_of(contract: Contract | None, settings: WorkerSettings) -> Privacy | None:
    """Return what becomes of personal fields; None when there is none, or no key.

    Raises:
        ConfigError: the keys cannot be read, or are required and not there.
    """
    rules = rules_of(contract.field_classes, contract.field_treatments) if contract else None
    if not rules:
        return None
    keys = keys_of(settings)
    if keys:
        return Privacy(rules, Pseudonyms(keys))
    if settings.pseudonyms_required:
        raise ConfigError(
            f"{FILE}: missing: the contract's field_classes call {', '.join(rules.names)} "
            f"personal, and pseudonyms_required (SPANLOOM_PSEUDONYMS_REQUIRED) is set; {HOW}"
        )
    return None


def keys_of(settings: WorkerSettings) -> Sequence[Key]:
    """Return the keys that are given; as `keys_given`."""
    return keys_given(settings.pseudonym_keys_file, settings.pseudonym_keys, (FILE, TEXT))


def keys_given(path: Path | None, text: SecretStr, names: tuple[str, str]) -> Sequence[Key]:
    """Return the keys in a file or in a text, the one that makes new pseudonyms first.

    Args:
        path: of the file; None where none is named.
        text: keys separated by commas, "" for none.
        names: what the settings of both are called.

    Raises:
        ConfigError: they cannot be read, or there are both; names where, the line and the fix.
    """
    of_file, of_text = names
    plain = text.get_secret_value()
    if path is not None and plain:
        raise ConfigError(f"{of_file}: there is {of_text} too; set one of them")
    if path is None:
        return keys_of_text(plain.replace(",", "\n"), of_text)
    place = f"{of_file}: {path}"
    keys = keys_of_text(secret_text(path, place), place)
    if not keys:
        raise ConfigError(f"{place}: holds no key; {HOW}")
    return keys


def untreated(contract: Contract | None, privacy: Privacy | None) -> Sequence[str]:
    """Return the personal fields that stay as they are, for want of a key."""
    if contract is None or privacy is not None:
        return ()
    return rules_of(contract.field_classes, contract.field_treatments).names


def tell(contract: Contract | None, privacy: Privacy | None) -> None:
    """Say at the start what becomes of personal fields: nothing may happen to them in silence."""
    if plain := untreated(contract, privacy):
        log.warning(
            "personal_fields_untreated",
            fields=plain,
            why="no key of pseudonyms is given: topics, state and logs hold their plain values",
            action=f"set SPANLOOM_PSEUDONYM_KEYS_FILE, the same for all that treat; {HOW}",
        )
    elif privacy is not None:
        fields, keys = privacy.rules.names, privacy.pseudonyms.key_ids
        log.info("personal_fields_treated", fields=fields, key=keys[0])
