"""What is wrong with a mapping file, in words of the file and not of the library that checks it."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import yaml
from pydantic import ValidationError

_TABLE: Final = "tables"
_SOURCE: Final = "a constant (text or number; quote yes, no and dates), or {column: NAME}"
_WANTED: Final[Mapping[str, str]] = {
    "string_type": "give a text; quote numbers, yes, no and dates",
    "bool_type": "give true or false",
    "tuple_type": "give a list: [a, b]",
    "too_short": "give one or more",
    "dict_type": "give keys and values",
}
"""By the library's type of an error; others have words of ours already, or plain ones."""


class UniqueKeys(yaml.SafeLoader):
    """Reads YAML in which no key comes twice: the last one would win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping.

        Raises:
            yaml.YAMLError: a key comes twice; names it and its line.
        """
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key.value!r} is there twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def lines_of(error: ValidationError, keys_at: Callable[[tuple[object, ...]], str]) -> list[str]:
    """Return a line for each thing that is wrong: which key, and what to give.

    Args:
        error: of the library.
        keys_at: what keys there may be where a key is that there is not.
    """
    found = error.errors()
    if any(one["loc"][:1] == (_TABLE,) and len(one["loc"]) > 1 for one in found):
        # A table that is wrong is none to the library, which then misses it.
        found = [one for one in found if one["loc"] != (_TABLE,)]
    return [f"{_place(one['loc'])}: {_words(one, keys_at)}" for one in found]


def _place(loc: tuple[object, ...]) -> str:
    return ".".join(str(one) for one in loc if one != "[key]") or "file"


def _words(one: Any, keys_at: Callable[[tuple[object, ...]], str]) -> str:
    kind, loc = one["type"], one["loc"]
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return f"no such key; there are: {keys_at(loc)}"
    if kind in ("model_type", "model_attributes_type"):
        is_source = "fields" in loc[:-1] or "dimensions" in loc[:-1]
        return f"give {_SOURCE}" if is_source else f"give keys: {keys_at((*loc, ''))}"
    return _WANTED.get(kind, str(one["msg"]).removeprefix("Value error, "))
