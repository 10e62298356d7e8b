"""An emitter has one thread, whatever comes in between its start and its first step."""

import threading

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
