"""An answer is waited for as long as was said, with what it took to send the order."""

from collections.abc import Iterator
from typing import Any

import pytest

from streams.errors import BrokerError
from streams.runtime import commanding


class Silent:
    """A topic into which nobody writes; each look at it takes a second of the clock."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now

    def records(self, _starts: Any, *, follow: bool = False) -> Iterator[None]:
        """Yield that nothing came."""
        assert follow
        while True:
            self.now += 1
            yield None


@pytest.mark.parametrize(("spent", "waits"), [(0.0, 11), (4.5, 6), (30.0, 1)])
def test_what_was_spent_on_sending_counts(
    spent: float, waits: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With none left, it is looked once."""
    silent = Silent()
    monkeypatch.setattr(commanding.time, "monotonic", silent.monotonic)
    with pytest.raises(BrokerError, match="not answered within 10 s"):
        commanding.answer(silent, {}, "c", 10.0, spent)  # type: ignore[arg-type]
    assert silent.now - 100 == waits
