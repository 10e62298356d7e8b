"""The plain tree of a file, read where anything may stand in the place of anything.

What has the wrong type is passed over: the model reports it, and the checks go on with the rest.
Invariant: nothing here raises.
"""

from collections.abc import Mapping
from typing import Any


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping, an empty one in the place of anything else."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """Return a list, an empty one in the place of anything else."""
    return value if isinstance(value, list) else []


def texts(value: Any) -> list[str]:
    """Return the texts of a list."""
    return [item for item in items(value) if isinstance(item, str)]


def mappings(value: Any) -> list[tuple[int, Mapping[str, Any]]]:
    """Return the mappings of a list, each behind its place in it."""
    return [(i, item) for i, item in enumerate(items(value)) if isinstance(item, dict)]
