"""A client that breaks says why in its callback, or out of whichever call turns it: both count."""

from confluent_kafka import KafkaError, KafkaException

from streams.runtime.refusals import is_of_right
from streams.runtime.sending import hear_why, turned

FORBIDDEN = KafkaError(KafkaError.CLUSTER_AUTHORIZATION_FAILED, "no producer id", fatal=True)
BROKEN = KafkaError(KafkaError._FATAL, "Fatal error")


class Broken:
    """A client that raises, once, what it has against us, and says nothing else."""

    def __init__(self, silent_polls: int) -> None:
        self.left = silent_polls

    def poll(self, _seconds: float) -> int:
        self.left -= 1
        if self.left == -1:
            raise KafkaException(FORBIDDEN)
        return 0


def test_what_a_call_raises_is_heard() -> None:
    """And a call that raises nothing gives what it gives."""
    heard: list[KafkaError] = []
    client = Broken(silent_polls=1)
    assert turned(lambda: client.poll(0) + 7, heard.append) == 7
    assert turned(lambda: client.poll(0) + 7, heard.append) == 0
    assert [error.code() for error in heard] == [KafkaError.CLUSTER_AUTHORIZATION_FAILED]


def test_the_reason_is_waited_for_and_taken_from_where_it_comes() -> None:
    """A broken client is turned until the reason is there; of a sound one nothing is waited for."""
    heard: list[KafkaError] = []
    client = Broken(silent_polls=3)
    hear_why(client, BROKEN, heard.append, lambda: bool(heard))  # type: ignore[arg-type]
    assert is_of_right(heard[0])
    assert client.left == -1
    untouched = Broken(silent_polls=0)
    hear_why(untouched, None, heard.append, lambda: False)  # type: ignore[arg-type]
    assert untouched.left == 0
