"""What an error says of a file: the system's words, once."""

from pathlib import Path

import pytest

from streams.codec.eventlog import read_events
from streams.errors import ConfigError, reason_of


def test_a_reason_has_neither_number_nor_path(tmp_path: Path) -> None:
    """The message that it becomes part of names the file already."""
    with pytest.raises(ConfigError) as caught:
        list(read_events(tmp_path))
    assert str(caught.value) == f"{tmp_path}: cannot be read (Is a directory)"


def test_what_has_no_words_of_the_system_says_its_own() -> None:
    """An OSError of a library may have nothing but a text."""
    assert reason_of(OSError("no such bucket")) == "no such bucket"
    assert reason_of(ValueError("byte 3 is none")) == "byte 3 is none"
