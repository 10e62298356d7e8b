"""A folder that a process writes, such as a worker's local state, belongs to one at a time."""

import fcntl
import os
from pathlib import Path
from typing import Final

from streams.errors import StateError

_LOCK: Final = "lock"


def lock_state_folder(folder: Path) -> int:
    """Make a worker's state folder ours; as `lock_folder`."""
    return lock_folder(
        folder,
        "name a folder of the worker's own with --state-dir",
        "give each worker a state directory of its own with --state-dir",
    )


def lock_folder(folder: Path, if_unwritable: str, if_held: str) -> int:
    """Make the folder ours until this process ends, however it ends; return the lock's descriptor.

    Args:
        folder: made if it is not there.
        if_unwritable: what an operator does when it cannot be written ...
        if_held: ... and when another process has it.

    Raises:
        StateError: another process has it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StateError(
            f"{folder} cannot be written ({error.strerror}). Operator action: {if_unwritable}."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise StateError(
            f"{folder} is held by another process. Operator action: {if_held}, or stop the other "
            "one."
        ) from error
    return lock
