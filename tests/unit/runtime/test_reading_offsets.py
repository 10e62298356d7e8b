"""The offsets of a group whose coordinator is another one are waited for, and end no process."""

import subprocess
import sys
from pathlib import Path

import confluent_kafka
import pytest

from streams.errors import BrokerError
from streams.runtime import reading
from streams.runtime.embedded import EmbeddedBroker
from streams.runtime.link import Link

LIBRARIES = sorted((Path(confluent_kafka.__file__).parents[1]).glob("confluent_kafka.libs/librdk*"))

# A process of its own: what is tested ended the one that asked, by a signal.
PROGRAM = """
import ctypes, sys
from confluent_kafka import TopicPartition, Consumer
from streams.runtime.link import Link
from streams.runtime.reading import committed_offsets

OFFSET_FETCH, NOT_COORDINATOR = 9, 16
kafka = ctypes.CDLL(sys.argv[1])
for name in ("rd_kafka_new", "rd_kafka_mock_cluster_new"):
    getattr(kafka, name).restype = ctypes.c_void_p
kafka.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
client = ctypes.c_void_p(kafka.rd_kafka_new(0, None, None, ctypes.c_size_t(0)))
cluster = ctypes.c_void_p(kafka.rd_kafka_mock_cluster_new(client, 1))
assert kafka.rd_kafka_mock_topic_create(cluster, b"telemetry", 2, 1) == 0
broker = kafka.rd_kafka_mock_cluster_bootstraps(cluster).decode()

settings = {"bootstrap.servers": broker, "group.id": "join", "enable.auto.commit": False}
member = Consumer(settings)
member.commit(offsets=[TopicPartition("telemetry", 1, 7)], asynchronous=False)
member.close()
errors = (ctypes.c_int * 2)(NOT_COORDINATOR, NOT_COORDINATOR)
kafka.rd_kafka_mock_push_request_errors_array(
    cluster, ctypes.c_int16(OFFSET_FETCH), ctypes.c_size_t(2), errors
)
print(committed_offsets(Link.plain(broker), "join"))
"""


@pytest.mark.skipif(not LIBRARIES, reason="confluent_kafka brings no library of its own here")
def test_a_coordinator_that_has_moved_is_waited_for() -> None:
    """A broker that says it is not the coordinator ends no process: the next answer counts."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, LIBRARIES[0]],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "{('telemetry', 1): 7}\n"), done.stderr


def test_a_group_that_never_committed_has_no_offsets() -> None:
    """A partition without a commit is left out, as none has a place to go on from."""
    with EmbeddedBroker() as broker:
        assert reading.committed_offsets(Link.plain(broker.address), "nobody") == {}


def test_a_broker_that_is_away_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be asked is an error with something to do, and no empty answer."""
    monkeypatch.setattr(reading, "CALL_SECONDS", 0.1)
    monkeypatch.setattr(reading, "OFFSETS_SECONDS", 0.1)
    with pytest.raises(BrokerError, match=r"offsets of group join cannot be read.*Operator action"):
        reading.committed_offsets(Link.plain("127.0.0.1:1"), "join")
