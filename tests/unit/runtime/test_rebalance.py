"""The line of a rebalance says where its seconds went."""

from types import SimpleNamespace

import pytest
import structlog

from streams.runtime import rebalance as rebalance_module
from streams.runtime.rebalance import Rebalance


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the times that are read next."""
    times: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: times.pop(0))
    monkeypatch.setattr(rebalance_module, "time", clock)
    return times


def test_the_stages_add_up(clock: list[float]) -> None:
    """Cut, group and assignment, of this rebalance and not of the one before."""
    rebalance = Rebalance()
    clock[:] = [10.0, 10.5, 12.0, 12.25, 20.0, 20.125]
    rebalance.revoked()
    rebalance.cut()
    rebalance.joined()
    with structlog.testing.capture_logs() as logs:
        rebalance.assigned(4, 2, 1)
        rebalance.joined()
        rebalance.assigned(0, 6, 0)
    stages = [
        tuple(line[f"{name}seconds"] for name in ("cut_", "group_", "assign_", "")) for line in logs
    ]
    assert stages == [(0.5, 1.5, 0.25, 2.25), (0.0, 0.0, 0.125, 0.125)]
    assert [line["taken"] for line in logs] == [2, 6]
