"""What tasks ask is asked of the client, by topic and partition; the group goes with a commit."""

import asyncio
from typing import Any

from faust.types.tuples import TP

from streams.runtime.commit import group_metadata
from streams.runtime.consumer_source import ConsumerSource


class Consumer:
    """A client that notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.member: tuple[int, str, str | None] | None = (4, "m", None)

    def read_to_end_at_us(self, tp: TP, position: int) -> int:
        return tp.partition + position

    async def again(self, tp: TP, position: int) -> None:
        self.asked.append(("again", tp, position))

    async def earliest_offsets(self, *tps: TP) -> dict[TP, int]:
        return {tp: 7 for tp in tps}

    def hold(self, tp: TP) -> None:
        self.asked.append(("hold", tp))

    def release(self, tp: TP) -> None:
        self.asked.append(("release", tp))

    def membership(self) -> tuple[int, str, str | None] | None:
        return self.member

    async def is_member(self) -> bool | None:
        return False


def test_what_tasks_ask_is_asked_of_the_client() -> None:
    """Topic and partition in one, as the client wants them."""
    client = Consumer()
    given: Any = client
    source = ConsumerSource("group", lambda: given)
    assert source.read_to_end_at_us("a", 1, 5) == 6
    asyncio.run(source.again("a", 1, 5))
    assert asyncio.run(source.beginning("a", 1)) == 7
    source.hold("a", 1)
    source.release("a", 1)
    at = TP("a", 1)
    assert client.asked == [("again", at, 5), ("hold", at), ("release", at)]
    assert source.group_metadata() == group_metadata("group", 4, "m", None)
    assert asyncio.run(source.is_member()) is False
    client.member = None
    assert source.group_metadata() is None
