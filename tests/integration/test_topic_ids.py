"""A topic that was deleted and made again under a running group's feet is refused."""

import pytest

from tests.fault.harness import Deployment, delete_topics
from tests.integration.traces import TOPIC, feed

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]


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
