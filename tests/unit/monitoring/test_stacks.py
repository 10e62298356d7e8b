"""What a process says of where its threads and coroutines stand."""

import asyncio
import threading

from streams.monitoring import stacks


def test_a_thread_is_named_with_the_line_where_it_waits() -> None:
    """The innermost frame comes last."""
    over = threading.Event()

    def waits_here() -> None:
        over.wait(30)

    thread = threading.Thread(target=waits_here, name="one-that-waits")
    thread.start()
    try:
        [lines] = [v for k, v in stacks.of_threads().items() if k.startswith("one-that-waits")]
    finally:
        over.set()
        thread.join()
    assert any("test_stacks.py" in line and "waits_here" in line for line in lines)
    assert len(lines) <= stacks.FRAMES_MAX


def test_a_coroutine_is_followed_to_what_it_awaits() -> None:
    """A task's own stack would show its outermost frame alone."""

    async def inner() -> None:
        await asyncio.Event().wait()

    async def outer() -> None:
        await inner()

    async def main() -> dict[str, list[str]]:
        task = asyncio.create_task(outer(), name="one")
        await asyncio.sleep(0)
        found = stacks.of_coroutines()
        task.cancel()
        return found

    found = asyncio.run(main())
    [lines] = [v for k, v in found.items() if k.startswith("one ")]
    assert [line.rpartition(".")[2] for line in lines[:2]] == ["outer", "inner"]
    assert lines[-1].endswith("Event.wait")


def test_outside_of_a_loop_there_are_no_coroutines() -> None:
    """It is not an error: a monitor is asked in tests, too."""
    assert stacks.of_coroutines() == {}
