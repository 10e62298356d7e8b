"""An emitter has one thread, whatever comes in between its start and its first step."""

import threading

import pytest

from tests.unit.sdk.senders import kept, made


def test_a_second_thread_ends_at_once() -> None:
    """An interrupt may leave one that runs though it was taken for one that would not."""
    t = made()
    with t.span("alpha.parse"):
        pass
    second = threading.Thread(target=t.emitter._run, daemon=True)
    second.start()
    second.join(10)
    assert not second.is_alive()
    assert [event["name"] for event in kept(t)] == ["alpha.parse"]
    t.close()


def test_an_interrupt_amid_the_first_event_leaves_no_thread_that_never_ran(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The interrupt goes on its way, and the next event starts the thread."""

    def interrupted(_: threading.Thread) -> None:
        raise KeyboardInterrupt

    t = made()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            t.span("alpha.parse").end()
    t.span("alpha.parse").end()
    assert len(kept(t)) == 1
    t.close()
