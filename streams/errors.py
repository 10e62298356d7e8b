"""The exception tree.

    SpanloomError
      ConfigError      a setting or the contract is wrong; only at start; says what to change
      RecordError      this record is bad: it is rejected with a reason, never raised past the codec
      StateError       state cannot be trusted; stops the worker; ends with "Operator action: ..."
      BrokerError      the broker cannot be used; stops the worker after the retry budget
        RightError     the broker forbids it; stops the worker at once, since asking again is idle
      StalledError     the worker does not get on though it could; it ends so that another one does

Late, duplicate, untraced and evicted are outcomes of a row, not exceptions.
"""

from typing import Final


def reason_of(error: Exception) -> str:
    """Return what an error says for a message that names the file: the system's words alone.

    `str` of an OSError has its number and the path again: "[Errno 21] Is a directory: 'x'".
    """
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def said_of(error: BaseException) -> str:
    """Return what a log may say of an error: its kind, its words where they are safe, its place.

    Words of ours, of the system and of a broker name places and settings. What Python or a library
    says of data it cannot take quotes them ("could not convert string to float: ..."), and what
    is quoted may be personal: of such an error only kind and place are said.
    """
    kind = type(error)
    name = kind.__name__
    if isinstance(error, SpanloomError):
        return str(error)
    library = kind.__module__.partition(".")[0].lstrip("_")
    is_safe = isinstance(error, OSError) or library in _ABOUT_BROKERS or (library, name) in _SAFE
    place = _place_of(error)
    words = f": {error}" if is_safe and str(error) else ""
    return f"{name}{words}{f' at {place}' if place else ''}"


def _place_of(error: BaseException) -> str:
    """Return the last line of ours that an error came through; "" for none."""
    found = ""
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file.startswith(_OURS):
            found = f"streams/{file.removeprefix(_OURS)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


_OURS: Final = __file__.removesuffix("errors.py")
"""Where our code lies: other packages have rooms named `streams` too."""
_ABOUT_BROKERS: Final = frozenset({"aiokafka", "cimpl", "confluent_kafka", "kafka"})
"""Libraries that know telemetry as bytes alone, and never quote it."""
_SAFE: Final = frozenset({("duckdb", "IOException"), ("duckdb", "OutOfMemoryException")})
"""Other errors that name files and bounds: (library, kind)."""


class SpanloomError(Exception):
    """Root of all errors raised on purpose; `exit_code` is what the command ends with."""

    exit_code = 1


class ConfigError(SpanloomError):
    """A setting, an argument or the contract is wrong; the message names the place and the fix."""

    exit_code = 2


class RecordError(SpanloomError):
    """One record is bad; `reason` is a bounded name fit for a metric label."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class StateError(SpanloomError):
    """State is damaged or cannot be read. Operator action: named at the end of each message."""

    exit_code = 3


class BrokerError(SpanloomError):
    """The broker is away, refuses, or its topics do not fit; the message names what to do."""

    exit_code = 3


class RightError(BrokerError):
    """The broker knows us and forbids what we asked for; the message names the missing right."""


class StalledError(SpanloomError):
    """The worker has work, a broker and no excuse, and does not get on; says for how long."""

    exit_code = 3
