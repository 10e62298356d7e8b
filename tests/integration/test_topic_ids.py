"""A topic that was deleted and made again under a running group's feet is refused."""

import pytest

from tests.fault.harness import Deployment, Feeder, delete_topics
from tests.integration.traces import trace_of

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

TOPIC = "telemetry.other.v1"
START_US = 1_700_000_000_000_000


def feed(deployment: Deployment, traces: range) -> int:
    """Send traces of three spans each; return how many spans."""
    with Feeder(deployment.broker) as feeder:
        for n in traces:
            for event in trace_of(n, spans=3, start_us=START_US + n * 1_000_000):
                feeder.send(TOPIC, event)
        return feeder.count


def test_a_topic_that_was_made_again_is_refused(deployment: Deployment) -> None:
    """It holds more records than before, so that every old position is there."""
    deployment.create_topics()
    count = feed(deployment, range(1, 9))
    worker = deployment.worker("--exit-after", count, "--drain-seconds", 240, "--fixed-waits", 1)
    assert worker.wait(120) == 0, worker.tail()
    delete_topics(deployment.broker, lambda name: name == TOPIC)
    deployment.create_topics()
    feed(deployment, range(100, 140))
    worker = deployment.worker("--fixed-waits", 1)
    assert worker.wait(120) == 3, worker.tail()
    assert f"{TOPIC}: deleted and made again since task join-" in worker.tail()
    assert "Operator action: start a new group" in worker.tail()
