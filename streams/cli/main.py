"""The `spanloom` command's entry: listens to signals, imports the commands, tells errors.

Owns the first moment, in which half a second goes by with imports: whoever is told to stop then
ends with a word and a code of its own, not by the signal. Nothing but the standard library is
imported here before that.
"""

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import Final

_CODES: Final = {"worker": 0, "console": 0, "collector": 0, "notify run": 0, "demo": 1}
"""What commands that run long end with. Services do so when they are told to: that is a good end. A
demonstration that was stopped before it began did not pass."""
_BROKEN: Final = 3
"""Exit code when a library that reads or keeps data fails in itself."""


class _Stopped(SystemExit):
    """A signal came before the command listened to signals itself; nothing was in its hands."""


def main() -> None:
    """Run the command line; errors that are ours become one message and their exit code."""
    named = (sys.argv[1:2], sys.argv[1:3])
    code = next((_CODES[one] for one in map(" ".join, named) if one in _CODES), None)
    if code is not None:
        _listen()
    try:
        _run()
    except _Stopped as stopped:
        _say(str(stopped))
        # Threads that were begun may wait for a broker: nobody waits for them.
        os._exit(code or 0)


def _run() -> None:
    from streams.cli.commands import app  # a third of a second
    from streams.errors import SpanloomError, said_of

    try:
        app()
    except SpanloomError as error:
        _say(str(error))
        sys.exit(error.exit_code)
    except BaseException as error:
        library = _library_of(error)
        if not library:
            raise
        _say(
            f"{library} failed amid its work: {said_of(error)}. "
            "Operator action: report this with the lines above it and what was read; telemetry "
            "and archive are as they were, and the command may be given again."
        )
        sys.exit(_BROKEN)


def _say(text: str) -> None:
    """Say the last word; where nobody can be told, on a full disk say, the exit code still is."""
    with contextlib.suppress(OSError):
        print(f"spanloom: {text}", file=sys.stderr, flush=True)


def _library_of(error: BaseException) -> str:
    """Return the library whose own failure an error is; "" for none.

    A panic of polars is a BaseException, and neither library is imported for the question.
    """
    known = {"polars": ("exceptions", "PanicException"), "duckdb": ("", "Error")}
    for library, (part, name) in known.items():
        module = sys.modules.get(f"{library}.{part}".rstrip("."))
        if module is not None and isinstance(error, getattr(module, name)):
            return library
    return ""


def _listen() -> None:
    """Be stopped by SIGTERM and SIGHUP until the command itself says what they do.

    What `nohup` lets a process ignore it goes on ignoring. Ctrl-C is Python's own.
    """
    for one in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(one) is not signal.SIG_IGN:
            signal.signal(one, _told)


def _told(number: int, _frame: FrameType | None) -> None:
    name = signal.Signals(number).name
    raise _Stopped(
        f"told to stop ({name}) before it had begun; nothing was in hand, nothing is lost"
    )


if __name__ == "__main__":
    main()
