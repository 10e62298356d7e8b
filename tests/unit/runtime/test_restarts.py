"""Restarts are remembered for a while."""

from streams.runtime.restarts import Restarts


def test_restarts_are_forgotten_after_the_window() -> None:
    """What is as old as the window still counts; what is older does not."""
    restarts = Restarts(30.0)
    assert restarts.recent(0.0) == 0
    assert [restarts.note(at) for at in (0.0, 10.0, 10.0)] == [1, 2, 3]
    assert [restarts.recent(at) for at in (30.0, 30.5, 40.0, 40.5)] == [3, 2, 2, 0]
    assert restarts.note(41.0) == 1
