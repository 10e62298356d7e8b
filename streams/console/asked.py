"""What may be asked: the parameters of each path, read and checked by one description.

Owns the description; the OpenAPI document is made of it, so that the two cannot differ.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from streams.console.times import time_us
from streams.errors import ConfigError

TEXT_CHARS_MAX: Final = 200
LIMIT: Final = 100
LIMIT_MAX: Final = 1_000
NUMBER_MAX: Final = 10**15 - 1


class Parameter(NamedTuple):
    """One parameter of a query.

    Attributes:
        name: as it is written.
        kind: text, time, number, limit or one of several words.
        help: what it does.
        words: those that may be given, for the kind `word`.
        required: whether there is no answer without it.
    """

    name: str
    kind: str
    help: str
    words: tuple[str, ...] = ()
    required: bool = False


START: Final = Parameter("start", "time", "Begin of the range [start, end).", required=True)
END: Final = Parameter("end", "time", "End of the range [start, end).", required=True)
COUNT: Final = Parameter(
    "limit", "limit", f"Rows of a page, at most {LIMIT_MAX}; {LIMIT} if absent."
)
TOKEN: Final = Parameter(
    "continuation_token", "text", "From the page before; absent for the first."
)


def read(parameters: tuple[Parameter, ...], given: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return what was asked: times in microseconds, limits as numbers, None for what is absent.

    Args:
        parameters: that a path takes, each once.
        given: names and values as they stand in the query.

    Raises:
        ConfigError: a parameter is unknown, missing, empty, said twice or wrong; names it and the
            fix.
    """
    known = {one.name: one for one in parameters}
    for name, times in Counter(name for name, _ in given).items():
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            raise ConfigError(f"{name[:60]}: no such parameter; there are: {names}")
        if times > 1:
            raise ConfigError(f"{name}: given {times} times; give it once")
    values = dict(given)
    return {name: _value(one, values.get(name)) for name, one in known.items()}


def _value(one: Parameter, text: str | None) -> Any:
    if text == "" and one is not TOKEN and not one.required:
        raise ConfigError(f"{one.name}: it is empty; say what it is, or leave it out")
    if not text:
        if one.required:
            raise ConfigError(f"{one.name}: missing")
        return LIMIT if one.kind == "limit" else None
    if one.kind == "time":
        return time_us(text, one.name)
    if one.kind in ("number", "limit"):
        least, most = (1, LIMIT_MAX) if one.kind == "limit" else (0, NUMBER_MAX)
        is_number = text.isascii() and text.isdigit() and len(text) <= len(str(NUMBER_MAX))
        if not is_number or not least <= int(text) <= most:
            words = f"is not a whole number from {least} to {most}"
            raise ConfigError(f"{one.name}: {text[:40]!r} {words}")
        return int(text)
    if one.kind == "word" and text not in one.words:
        raise ConfigError(f"{one.name}: one of {', '.join(one.words)}")
    if len(text) > TEXT_CHARS_MAX and one is not TOKEN:
        raise ConfigError(f"{one.name}: at most {TEXT_CHARS_MAX} characters")
    return text


def described(one: Parameter) -> dict[str, Any]:
    """Return a parameter as OpenAPI has it."""
    schemas: dict[str, dict[str, Any]] = {
        "text": {"type": "string", "maxLength": TEXT_CHARS_MAX},
        "time": {"type": "string", "format": "date-time"},
        "number": {"type": "integer", "minimum": 0, "maximum": NUMBER_MAX},
        "limit": {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT},
        "word": {"type": "string", "enum": list(one.words)},
    }
    schema = {"type": "string"} if one is TOKEN else schemas[one.kind]
    return {
        "name": one.name,
        "in": "query",
        "required": one.required,
        "description": one.help,
        "schema": schema,
    }
