"""The link to the Kafka client: before that has started, nothing is known and nothing asked."""

from types import SimpleNamespace
from typing import Any

from faust.types.tuples import TP

from streams.runtime.consumer_link import ConsumerLink
from streams.runtime.transport import ChunkConsumer


class Consumer(ChunkConsumer):
    """A consumer that notes what it is asked."""

    def __init__(self) -> None:
        self.flow_active = False

    def connections(self) -> list[Any]:
        return ["connection"]

    def lag(self, tp: TP, position: int) -> int | None:
        return len(tp.topic) + tp.partition + position

    def is_fetched(self, tp: TP) -> bool:
        return tp == TP("a", 1)


def test_without_a_client_nothing_is_known() -> None:
    """Neither before there is an app nor before it has a consumer, which is not made by asking."""
    app: Any = SimpleNamespace(_consumer=None)
    for link in (ConsumerLink(lambda: None), ConsumerLink(lambda: app)):
        assert list(link.connections()) == []
        assert link.lag("a", 1, 5) is None
        assert not link.is_fetched("a", 1)
        assert not link.is_flowing()


def test_the_clients_answers_are_passed_on() -> None:
    """Topic and partition in one, as the client wants them."""
    app: Any = SimpleNamespace(_consumer=Consumer())
    link = ConsumerLink(lambda: app)
    assert link.connections() == ["connection"]
    assert link.lag("abc", 2, 10) == 15
    assert (link.is_fetched("a", 1), link.is_fetched("b", 1)) == (True, False)
    assert not link.is_flowing()
    app._consumer.flow_active = True
    assert link.is_flowing()
