"""Values of dimensions as texts, bounded, on the caller's thread: an object may change later."""

from __future__ import annotations

from typing import Any, Final, Protocol

DIMENSIONS_MAX: Final = 64
NAME_CHARACTERS_MAX: Final = 256
TEXT_CHARACTERS_MAX: Final = 1_024
"""Of a value or an id. All bounds together keep an event below the 512 KiB that a worker takes."""


class Counting(Protocol):
    """Whoever counts the values that were cut."""

    cut: int


def take(dimensions: dict[str, Any], counting: Counting) -> tuple[dict[str, Any], int]:
    """Return dimensions whose values are texts of bounded length, and the characters of all.

    Never raises. The mapping is changed in place: it is the callee's own (keyword arguments).
    """
    characters = 0
    for name, value in dimensions.items():
        if type(value) is not str:
            return _fitted(dimensions, counting)
        characters += len(name) + len(value)
    # Where all of them together are within the least of the bounds, each is.
    if characters > NAME_CHARACTERS_MAX or len(dimensions) > DIMENSIONS_MAX:
        return _fitted(dimensions, counting)
    return dimensions, characters


def _fitted(dimensions: dict[str, Any], counting: Counting) -> tuple[dict[str, Any], int]:
    """Do what `take` says where something may be no text, too long or one too many."""
    long_names = 0
    for name, given in dimensions.items():
        value = given
        if type(value) is not str:
            dimensions[name] = value = as_text(value)
        if len(value) > TEXT_CHARACTERS_MAX:
            dimensions[name] = value[:TEXT_CHARACTERS_MAX]
            counting.cut += 1
        if len(name) > NAME_CHARACTERS_MAX:
            long_names += 1
    if long_names:
        counting.cut += long_names
        dimensions = {name[:NAME_CHARACTERS_MAX]: value for name, value in dimensions.items()}
    beyond = len(dimensions) - DIMENSIONS_MAX
    if beyond > 0:
        counting.cut += beyond
        dimensions = dict(list(dimensions.items())[:DIMENSIONS_MAX])
    return dimensions, sum([len(name) + len(value) for name, value in dimensions.items()])


def as_id(value: object, otherwise: str, counting: Counting) -> str:
    """Return an id, or another text that an event has a field for, of bounded length.

    Args:
        value: None for none.
        otherwise: what there is without one.
        counting: counts one that was cut.
    """
    text = otherwise if value is None else as_text(value)
    if len(text) > TEXT_CHARACTERS_MAX:
        counting.cut += 1
        return text[:TEXT_CHARACTERS_MAX]
    return text


def as_text(value: object) -> str:
    """Return a value as text, whatever its own conversion does."""
    try:
        if value is True or value is False:
            return "true" if value else "false"
        return str(value)
    except Exception:  # anything: it is the pipeline's object, and must not be its end
        return f"<{type(value).__name__}>"
