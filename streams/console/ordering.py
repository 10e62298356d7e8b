"""Orders as the console takes them: whether any are taken, and what is written down of each.

Owns the two lines of an order in the access log: the first is on the disk before it is given, the
second says what became of it; `order_id` is in both. An order with the first line alone was cut
short, by the end of the console or a full disk: it may have been given or not.
"""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from streams.console.access.audit_log import AccessLog
from streams.console.paths.path import ConflictError
from streams.console.personal import PersonalError
from streams.errors import ConfigError
from streams.serving.bounds import BusyError

WORDS_BYTES_MAX: Final = 800
"""Of the file that closes orders: what it says is shown to people, and sent with each beat."""
ERROR_CHARS_MAX: Final = 500
_REFUSED: Final = (ConfigError, ConflictError, PersonalError)
"""What is wrong with an order itself; all else is that it could not be given."""


def closed(file: Path | None) -> str:
    """Return why no orders are taken now, "" when they are.

    Args:
        file: while it is there, none are; what it says is why. None for always.
    """
    if file is None:
        return ""
    try:
        with file.open("rb") as opened:
            words = opened.read(WORDS_BYTES_MAX).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    except OSError as error:  # it is there: what it closes stays closed
        return f"the file that says why cannot be read: {error.strerror}"
    return " ".join(words.split()) or "whoever runs this console has closed them"


def check_open(file: Path | None) -> None:
    """Refuse an order while none are taken.

    Raises:
        BusyError: none are; says why.
    """
    if why := closed(file):
        raise BusyError("orders_closed", f"no orders are taken: {why}")


def given(log: AccessLog, give: Callable[[], Any], order: dict[str, Any], **about: Any) -> Any:
    """Give an order and return its answer; None where there is nothing of its id.

    Args:
        log: where it is written down, before and after.
        give: gives it.
        order: what was asked.
        about: who ordered it, from where, and by which path.

    Raises:
        StateError: it cannot be written down, so it was not given.
        Exception: as `give`.
    """
    about |= {"order_id": uuid.uuid4().hex}
    log.write("order", "asked", **about, order=order)
    try:
        found = give()
    except Exception as error:
        outcome = "refused" if isinstance(error, _REFUSED) else "failed"
        why = str(error)[:ERROR_CHARS_MAX] or type(error).__name__
        log.after("order", outcome, **about, error=why)
        raise
    log.after("order", "absent" if found is None else "taken", **about, answer=found)
    return found
