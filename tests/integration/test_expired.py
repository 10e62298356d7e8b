"""Telemetry that expires before it is read: counted as lost, and the worker goes on behind it."""

import json
import time

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.fault.harness import Deployment, balance, stopped, wait_for
from tests.integration.traces import TOPIC, feed

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

LEFT = 5
"""Records of each partition that the broker keeps."""


def expire(deployment: Deployment) -> None:
    """Let all but the last few records of each partition go, as retention does."""
    base = {"bootstrap.servers": deployment.broker}
    consumer = Consumer({**base, "group.id": "ends"})
    try:
        ends = {
            p: consumer.get_watermark_offsets(TopicPartition(TOPIC, p), timeout=30)[1]
            for p in deployment.partitions_of(TOPIC)
        }
    finally:
        consumer.close()
    gone = [TopicPartition(TOPIC, p, end - LEFT) for p, end in ends.items()]
    admin = AdminClient(base)  # it ends with its last name, and no answer comes then
    for deleted in admin.delete_records(gone).values():
        deleted.result(30)


def test_what_expires_under_a_worker_is_passed_over_and_counted(deployment: Deployment) -> None:
    """A worker that falls behind its topic's retention goes on by itself, and says what it lost."""
    deployment.create_topics()
    count = feed(deployment, range(1, 41))
    worker = deployment.worker("--fixed-waits", 1)
    wait_for(lambda: deployment.committed() >= count, 60, worker.tail, worker)
    with stopped(worker.process.pid):
        count += feed(deployment, range(100, 120))
        time.sleep(1)  # the fetch that was on its way is answered with these
        count += feed(deployment, range(120, 400))
        expire(deployment)
    count += feed(deployment, range(500, 520))
    wait_for(lambda: deployment.committed() >= count, 90, worker.tail, worker)
    worker.terminate()
    assert worker.wait(30) == 0, worker.tail()
    lost = sum(event["records"] for event in worker.events("telemetry_lost_to_retention"))
    told = deployment.cli("stats", "--group", deployment.group, "--json")
    assert told.returncode == 0, told.stderr
    accounting = json.loads(told.stdout)["accounts"]
    assert lost > 100, worker.tail()
    assert accounting["accepted"] + lost == count
    assert balance(accounting) == 0
