"""The embedded broker, shared by the tests of the shell: it starts at once and forgets all."""

import signal
from collections.abc import Iterator

import pytest

from streams.runtime.embedded import EmbeddedBroker


@pytest.fixture(scope="module")
def embedded() -> Iterator[str]:
    """Yield the address of an embedded broker."""
    with EmbeddedBroker() as broker:
        yield broker.address


@pytest.fixture
def hangups() -> Iterator[None]:
    """Let SIGHUP be heard, by children too: started under `nohup`, nobody would hear it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)
