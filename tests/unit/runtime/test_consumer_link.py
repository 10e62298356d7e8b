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

    def fetched_at_ms(self, tp: TP) -> int | None:
        return 7 if tp == TP("a", 1) else None


def test_without_a_client_nothing_is_known() -> None:
    """Neither before there is an app nor before it has a consumer, which is not made by asking."""
    app: Any = SimpleNamespace(_consumer=None)
    for link in (ConsumerLink(lambda: None), ConsumerLink(lambda: app)):
        assert list(link.connections()) == []
        assert link.lag("a", 1, 5) is None
        assert link.fetched_at_ms("a", 1) is None
        assert not link.is_flowing()


def test_the_clients_answers_are_passed_on() -> None:
    """Topic and partition in one, as the client wants them."""
    app: Any = SimpleNamespace(_consumer=Consumer())
    link = ConsumerLink(lambda: app)
    assert link.connections() == ["connection"]
    assert link.lag("abc", 2, 10) == 15
    assert (link.fetched_at_ms("a", 1), link.fetched_at_ms("b", 1)) == (7, None)
    assert not link.is_flowing()
    app._consumer.flow_active = True
    assert link.is_flowing()
