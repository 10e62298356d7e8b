"""Cuts are as often as asked for, unless they would take too much of the processor."""

from streams.runtime.pace import COMMIT_CPU_SECONDS, Pace


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_few_tasks_cut_as_often_as_the_setting_says() -> None:
    """Ten tasks take less than the tenth of a core they may."""
    pace = Pace(0.3, 0.1, clock=Clock())
    for task in range(10):
        pace.note_cut(f"join-{task}")
    assert pace.seconds(0.0) == 0.3


def test_many_tasks_cut_less_often() -> None:
    """64 tasks that commit every 0.3 s would take a third of a core: they wait for longer."""
    pace = Pace(0.3, 0.1, clock=Clock())
    for task in range(64):
        pace.note_cut(f"join-{task}")
        pace.note_cut(f"join-{task}")
    assert pace.seconds(0.0) == 64 * COMMIT_CPU_SECONDS / 0.1


def test_idle_tasks_do_not_count() -> None:
    """A task that has nothing to say costs nothing: it does not slow the others."""
    clock = Clock()
    pace = Pace(0.3, 0.1, clock=clock)
    for task in range(64):
        pace.note_cut(f"fragments-{task}")
    clock.now += 11
    pace.note_cut("join-0")
    assert pace.seconds(0.0) == 0.3


def test_a_state_that_is_slow_to_collect_is_cut_less_often() -> None:
    """Half a second of collecting comes every five seconds at most."""
    assert Pace(0.3, 0.1, clock=Clock()).seconds(0.5) == 5.0
