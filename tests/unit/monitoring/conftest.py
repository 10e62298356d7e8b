"""A port for servers under test."""

import pytest

from tests.ports import free_port


@pytest.fixture
def unused_port() -> int:
    """Return a port that nothing listens on."""
    return free_port()
