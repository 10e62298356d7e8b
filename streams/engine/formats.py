"""What a task says of a state that it cannot read."""

from collections.abc import Mapping
from typing import Any

from streams.errors import StateError


def check_format(snapshot: Mapping[str, Any], known: int, what: str, oldest: int = 0) -> None:
    """Pass a state of the format that this version reads.

    Args:
        snapshot: with its `format`.
        known: the format that is written, and the latest that is read.
        what: names the state in the message.
        oldest: the earliest that is read; 0 for none but `known`.

    Raises:
        StateError: it has another one.
    """
    if snapshot.get("format") not in range(oldest or known, known + 1):
        reads = f"{oldest} to {known}" if oldest else str(known)
        raise StateError(
            f"{what} has format {snapshot.get('format')}, this version reads {reads}. Operator "
            "action: run the version that wrote it, or delete the state."
        )
