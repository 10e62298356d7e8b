"""Reading traces back from a real topic: many cuts, open transactions, and an end in the midst."""

import subprocess
import sys
import uuid
from collections.abc import Sequence

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from streams.codec.recalled import TraceReader
from streams.errors import BrokerError
from streams.runtime.recall import Recalled, recall

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

CUT_MS = 1_700_000_000_000
OPEN_MS = 900_000
"""How long a transaction stays open whose producer says nothing: longer than any test."""


class Plain(TraceReader):
    """Takes a value for the only event of revision 1."""

    def read(self, value: bytes) -> tuple[int, list[bytes]]:
        return 1, [value]


class Cuts:
    """A topic of one partition that cuts are written to, each by a transaction of its own."""

    def __init__(self, broker: str) -> None:
        self.broker, self.topic = broker, f"recall-{uuid.uuid4().hex[:12]}"
        admin = AdminClient({"bootstrap.servers": broker})
        admin.create_topics([NewTopic(self.topic, 1, 1)])[self.topic].result(timeout=30)

    def begin(self, who: str, cut: int, traces: Sequence[int]) -> Producer:
        """Write a cut's traces and leave its transaction open."""
        settings = {
            "bootstrap.servers": self.broker,
            "transactional.id": f"{self.topic}-{who}",
            "transaction.timeout.ms": OPEN_MS,
        }
        producer = Producer(settings)
        producer.init_transactions(30)
        producer.begin_transaction()
        for trace in traces:
            value = b"value %d" % trace + bytes(1000)
            key = trace_id(trace).hex().encode()
            producer.produce(self.topic, value, key, timestamp=CUT_MS + cut)
        assert producer.flush(30) == 0
        return producer

    def write(self, cut: int, traces: Sequence[int]) -> None:
        """Write a cut's traces and commit them."""
        self.begin("whole", cut, traces).commit_transaction(30)

    def recall(self, *wanted: tuple[int, int], can_seek_time: bool = True) -> Recalled:
        """Return what a recall of (trace, cut) finds."""
        return recall(
            {"bootstrap.servers": self.broker},
            self.topic,
            0,
            [(trace_id(trace), CUT_MS + cut, 1) for trace, cut in wanted],
            Plain(),
            can_seek_time=can_seek_time,
            is_over=lambda: False,
        )


def trace_id(n: int) -> bytes:
    """Return the id of the n-th trace."""
    return n.to_bytes(16, "big")


@pytest.mark.parametrize("can_seek_time", [True, False])
def test_traces_of_several_cuts_are_read_back(broker: str, can_seek_time: bool) -> None:
    """Each from its cut; one that is in none of them is not there any more."""
    cuts = Cuts(broker)
    for cut in range(5):
        cuts.write(cut, range(cut * 500, cut * 500 + 500))
    there = {cut * 500 + n: cut for cut in (0, 1, 2, 4) for n in (0, 499)}
    gone = {9_001: 1, 9_002: 4, 9_003: 77}
    found = cuts.recall(*(there | gone).items(), can_seek_time=can_seek_time)
    heads = {trace: bodies and bodies[0][:10].rstrip(b"\0") for trace, bodies in found.items()}
    assert heads == {trace_id(n): b"value %d" % n for n in there} | {
        trace_id(n): None for n in gone
    }


def test_what_an_open_transaction_hides_is_no_answer(broker: str) -> None:
    """A dead worker's transaction stays open for a while; the traces behind it are not lost."""
    cuts = Cuts(broker)
    cuts.write(0, [1])
    dead = cuts.begin("dead", 1, [2])
    cuts.write(2, [3])
    assert {n: cuts.recall((n, cut)) for n, cut in ((1, 0), (2, 1), (3, 2))}.keys() == {1, 2, 3}
    found = cuts.recall((1, 0), (2, 1), (3, 2), (4, 3))
    assert [bodies and bodies[0][:7] for bodies in found.values()] == [b"value 1"]
    dead.abort_transaction(30)
    found = cuts.recall((1, 0), (2, 1), (3, 2), (4, 3))
    assert {id_: bodies and bodies[0][:7] for id_, bodies in found.items()} == {
        trace_id(1): b"value 1",
        trace_id(2): None,
        trace_id(3): b"value 3",
        trace_id(4): None,
    }


ENDS = """
import sys
from streams.errors import BrokerError
from tests.integration.test_recall import CUT_MS, Plain, recall, trace_id
broker, topic, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
for n in range(times):
    asked = iter([False] * (1 + n % 4))
    try:
        recall({"bootstrap.servers": broker}, topic, 0,
               [(trace_id(t), CUT_MS + cut, 1) for t, cut in ((3, 0), (503, 1), (9_000, 1))],
               Plain(), can_seek_time=True, is_over=lambda: next(asked, True))
    except BrokerError:
        pass
print("whole")
"""


def test_an_end_in_the_midst_of_several_cuts_is_survived(broker: str) -> None:
    """Librdkafka aborts a process that closes while a second assignment is under way."""
    cuts = Cuts(broker)
    for cut in range(3):
        cuts.write(cut, range(cut * 500, cut * 500 + 500))
    run = subprocess.run(
        [sys.executable, "-c", ENDS, broker, cuts.topic, "40"],
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, "whole\n"), run.stderr


def test_a_topic_that_is_not_there_is_an_error(broker: str) -> None:
    """And no answer about any trace."""
    cuts = Cuts(broker)
    cuts.topic = "nowhere"
    with pytest.raises(BrokerError):
        cuts.recall((1, 0))
