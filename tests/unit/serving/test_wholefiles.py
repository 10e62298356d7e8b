"""Files that are whole or not there: what is left when they are written, and when they are not."""

import os
from pathlib import Path

import pytest

from streams.serving.wholefiles import PRIVATE, UNFINISHED, make_file, replace_file


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """The new content and mode are there, and nothing beside it, whatever a kill had left."""
    path = tmp_path / "keys.json"
    path.write_bytes(b"old")
    path.with_name(path.name + UNFINISHED).write_bytes(b"ha")
    replace_file(path, b"new", PRIVATE)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == PRIVATE
    assert os.listdir(tmp_path) == ["keys.json"]


def test_a_file_that_cannot_be_written_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk takes no more, the old content is there, and nothing beside it."""
    path = tmp_path / "keys.json"
    path.write_bytes(b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["keys.json"]


def test_a_file_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    """Who came first keeps theirs."""
    path = tmp_path / "made.pseudonym-keys"
    make_file(path, b"first", PRIVATE)
    with pytest.raises(FileExistsError):
        make_file(path, b"second", PRIVATE)
    assert path.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["made.pseudonym-keys"]
