"""Somebody is erased: their pseudonyms are replaced in the whole archive.

Owns that it is written down with who and why, and never with the person's value or pseudonym.
"""

import threading
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from streams.console.access.audit_log import AccessLog
from streams.console.archive.erasing import Erased, HeldError
from streams.console.asked import TEXT_CHARS_MAX
from streams.console.paths.path import ConflictError, Path
from streams.console.questions.queries import Queries
from streams.core.privacy.pseudonyms import FORM, Pseudonyms
from streams.errors import ConfigError

REASON_CHARS_MAX = 1_024
Erase = Callable[[Collection[str]], Erased]
"""Replaces pseudonyms; raises HeldError, OSError, ConfigError."""
Secret = Annotated[SecretStr, Field(min_length=1, max_length=TEXT_CHARS_MAX)]


class Erasure(BaseModel):
    """Who is erased; one of the two names them.

    Attributes:
        person: the value that stands for them in events; never written down.
        pseudonym: that of them, as the archive has it.
        reason: why; it is written down, and does not name them.
    """

    model_config = ConfigDict(extra="forbid")

    person: Secret | None = None
    pseudonym: Secret | None = None
    reason: Annotated[str, Field(min_length=1, max_length=REASON_CHARS_MAX)]


def pseudonyms_of(erasure: Erasure, pseudonyms: Pseudonyms | None) -> list[str]:
    """Return what is to be erased.

    Raises:
        ConfigError: nobody is named, or the reason names them; no key is there to find them by.
    """
    if (erasure.person is None) == (erasure.pseudonym is None):
        raise ConfigError("person, pseudonym: give one of the two")
    if erasure.pseudonym is not None:
        text = erasure.pseudonym.get_secret_value()
        if not FORM.fullmatch(text):
            raise ConfigError("pseudonym: is none; it looks like ~k1: and 26 letters and digits")
        return [text]
    assert erasure.person is not None, "one of the two is there"
    text = erasure.person.get_secret_value()
    if text.lower() in erasure.reason.lower():
        raise ConfigError("reason: names the person; it is kept, so give the number of the request")
    if pseudonyms is None:
        raise ConfigError(
            "person: there are no keys to find the pseudonyms by; give console_pseudonym_keys_file "
            "(SPANLOOM_CONSOLE_PSEUDONYM_KEYS_FILE), or the pseudonym"
        )
    return pseudonyms.all_of(text)


def erased(
    erasure: Erasure, who: str, pseudonyms: Pseudonyms | None, erase: Erase, log: AccessLog
) -> dict[str, Any]:
    """Erase somebody and return what was changed.

    Args:
        erasure: who and why; that it was ordered is written down already.
        who: orders it.
        pseudonyms: what they are found by; None without keys.
        erase: does it.
        log: takes down how it ended.

    Raises:
        ConfigError: as `pseudonyms_of`, or the list of holds cannot be read.
        ConflictError: some of it is under a hold.
        OSError: it could not be done to its end; ordered again, the rest is done.
        StateError: it was done, and could not be written down.
    """
    try:
        found = erase(pseudonyms_of(erasure, pseudonyms))
    except HeldError as error:
        log.note("erasure", "held", actor=who, hold=str(error))
        raise ConflictError(str(error)) from error
    except OSError as error:
        log.note("erasure", "failed", actor=who, error=str(error))
        raise
    log.write(
        "erasure", "done", actor=who, reason=erasure.reason, rows=found.rows, files=found.files
    )
    return found._asdict()


def paths(pseudonyms: Pseudonyms | None, erase: Erase, log: AccessLog) -> tuple[Path, ...]:
    """Return the path that erases; its arguments are those of `erased`."""
    turn = threading.Lock()

    def ask(_: Queries, asked: dict[str, Any], __: Mapping[str, str]) -> Any:
        if not turn.acquire(blocking=False):
            raise ConflictError("somebody is being erased; order it again when that is done")
        try:
            return erased(asked["body"], asked["actor"].name, pseudonyms, erase, log)
        finally:
            turn.release()

    return (
        Path(
            "/api/v1/privacy/erasures",
            "Replace a person's pseudonyms in all that the archive has; refused under a hold.",
            (),
            ask,
            "POST",
            Erasure,
            role="personal",
            is_order=True,
        ),
    )
