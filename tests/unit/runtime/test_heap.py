"""What is free in the heap goes back to the system when it is much, and only then."""

import asyncio
import platform
from collections import Counter

import pytest

from streams.runtime import heap
from streams.runtime.heap import FREE_BYTES_MAX, HeapKeeper, is_loose, keep_tight


@pytest.mark.parametrize(
    ("heap_bytes", "free_bytes", "loose"),
    [
        (1 << 30, FREE_BYTES_MAX, False),
        (FREE_BYTES_MAX + 2, FREE_BYTES_MAX + 1, True),
        (1 << 30, 105 << 20, True),
        (4 << 30, 105 << 20, False),
    ],
)
def test_much_is_an_amount_and_a_share(heap_bytes: int, free_bytes: int, loose: bool) -> None:
    """A large heap may have more free in it than a small one."""
    assert is_loose(heap_bytes, free_bytes) is loose


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has what is called")
def test_holes_in_the_heap_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks between others that are freed leave the resident memory."""
    monkeypatch.setattr(heap, "FREE_RATIO_MAX", 0.0)
    blocks = [bytearray(60_000) for _ in range(2_000)]  # below any threshold for mapping
    del blocks[::2]
    before_bytes = _resident_bytes()
    keeper = HeapKeeper(16 << 20)
    assert keeper.look()
    assert before_bytes - _resident_bytes() > 30 << 20
    assert len(blocks) == 1_000
    assert not keeper.look()  # glibc still counts them as free, and there is nothing to be had
    assert keeper.given_back == 1


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has what is called")
def test_a_bound_that_is_not_met_gives_nothing_back() -> None:
    """What may lie free is the worker's setting."""
    blocks = [bytearray(60_000) for _ in range(2_000)]
    del blocks[::2]
    keeper = HeapKeeper(1 << 40)
    assert not keeper.look()
    assert keeper.given_back == 0
    assert len(blocks) == 1_000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has what is called")
def test_how_often_it_was_given_back_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of the setting, where the monitor reads it."""
    monkeypatch.setattr(heap, "FREE_RATIO_MAX", 0.0)
    monkeypatch.setattr(heap, "LOOK_SECONDS", 0.01)
    met: Counter[str] = Counter()
    blocks = [bytearray(60_000) for _ in range(2_000)]
    del blocks[::2]

    async def story() -> None:
        keeping = asyncio.create_task(keep_tight(16 << 20, met))
        async with asyncio.timeout(60):
            while not met["heap_free_bytes_max"]:
                await asyncio.sleep(0.01)
        keeping.cancel()

    asyncio.run(story())
    assert len(blocks) == 1_000


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096
