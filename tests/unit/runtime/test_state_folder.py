"""The state folder belongs to one process at a time."""

import os
from pathlib import Path

import pytest

from streams.errors import StateError
from streams.runtime.state_folder import lock_state_folder


def test_the_second_holder_is_refused(tmp_path: Path) -> None:
    """A folder that is held is refused with the setting to change, and free again afterwards."""
    folder = tmp_path / "deep" / "state"
    lock = lock_state_folder(folder)
    with pytest.raises(StateError, match=r"Operator action: .*--state-dir"):
        lock_state_folder(folder)
    os.close(lock)
    os.close(lock_state_folder(folder))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A path through a file is refused with its name."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"file/state cannot be written"):
        lock_state_folder(tmp_path / "file" / "state")
