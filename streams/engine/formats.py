"""What a task says of a state that it cannot read."""

from collections.abc import Mapping
from typing import Any

from streams.errors import StateError


def check_format(snapshot: Mapping[str, Any], known: int, what: str) -> None:
    """Pass a state of the format that this version reads.

    Args:
        snapshot: with its `format`.
        known: the format that is read.
        what: names the state in the message.

    Raises:
        StateError: it has another one.
    """
    if snapshot.get("format") != known:
        raise StateError(
            f"{what} has format {snapshot.get('format')}, this version reads {known}. Operator "
            "action: run the version that wrote it, or delete the state."
        )
