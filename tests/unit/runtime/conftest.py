"""The embedded broker, shared by the tests of the shell: it starts at once and forgets all."""

from collections.abc import Iterator

import pytest

from streams.runtime.embedded import EmbeddedBroker


@pytest.fixture(scope="module")
def embedded() -> Iterator[str]:
    """Yield the address of an embedded broker."""
    with EmbeddedBroker() as broker:
        yield broker.address
