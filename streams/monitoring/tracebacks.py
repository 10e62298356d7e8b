"""What a log says of an error: where it came from, line by line of code, and no value of telemetry.

Owns the text under `exception` of an event. A traceback's frames are code; an error's own words may
quote what it stumbled over, so they are there only as `said_of` lets them.
"""

import sys
import traceback
from collections.abc import Iterator, MutableMapping
from typing import Any, Final

from streams.errors import said_of

ERRORS_MAX: Final = 20
"""Of a chain of causes, or of a group."""
_CAUSED: Final = "\nThe above was the cause of:\n\n"


def without_values(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
    """Put the trace of an event's error under `exception`: a processor of structlog."""
    given = event.pop("exc_info", None)
    if given is True:
        given = sys.exc_info()
    error = given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["exception"] = trace_of(error)
    return event


def trace_of(error: BaseException) -> str:
    """Return the frames of an error and of its causes, and what may be said of each."""
    causes = list(_causes(error))[::-1]
    return _CAUSED.join("".join(_lines(one)).rstrip() for one in causes)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen and len(seen) < ERRORS_MAX:
        seen.add(id(found))
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


def _lines(error: BaseException) -> Iterator[str]:
    if error.__traceback__ is not None:
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(error.__traceback__)
    yield said_of(error)
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions[:ERRORS_MAX]:
            yield f"\nOne of them: {said_of(one)}"
