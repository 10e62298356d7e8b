"""Evidence of causes on a real broker: learned, kept over a kill, and told with the incident."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fault.harness import Deployment, wait_for
from tests.integration.test_signals import CONTRACT, TOPIC, firing, point

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

SETTINGS = {
    "window_seconds": 1,
    "rule_time_ratio": 0.1,
    "burn_short_seconds": 2,
    "burn_long_seconds": 4,
    "warm_up_seconds": 0,
    "quiet_seconds": 3,
    "incident_update_seconds": 1,
}
EVIDENCE = "causes.evidence.v1"


def second(number: int, value: float, at_us: int) -> tuple[str, Any]:
    return TOPIC, point(number, value, at_us, "crm")


def calm(first: int, seconds: int) -> Iterator[tuple[str, Any]]:
    """Yield a point a second, ending now: about five."""
    now_us = time.time_ns() // 1000
    for at in range(seconds):
        yield second(first + at, 5.0 + 0.1 * (at % 3), now_us - (seconds - at) * 1_000_000)


def deploy(number: int) -> tuple[str, Any]:
    """Return the event of a change, now."""
    event = point(number, 0.0, time.time_ns() // 1000, "crm")
    told = {"event_type": "AUDIT", "name": "change_applied", "operation": "DEPLOY"}
    return TOPIC, event | told | {"correlation_id": "deploy-17", "dimensions": {}}


def test_what_is_unusual_is_told_with_the_incident(deployment: Deployment, tmp_path: Path) -> None:
    """A queue fills after a deployment: the incident says how far from usual, and after what.

    The worker is killed between the calm and the trouble: what it learned is in the state.
    """
    contract = tmp_path / "contract.yaml"
    contract.write_text(CONTRACT, "utf-8")
    deployment.contract = str(contract)
    deployment.start_anew()
    worker = deployment.worker(settings=SETTINGS)
    worker.wait_until_restored(deployment.partitions)
    deployment.feed(calm(0, 30))
    for more in range(10):  # time goes on, so that the windows of the calm end
        deployment.feed(calm(100 + more, 1))
        time.sleep(1)
    worker.kill()
    worker = deployment.worker(settings=SETTINGS)
    deployment.feed([deploy(200)])
    for at in range(12):
        deployment.feed([second(300 + at, 500.0, time.time_ns() // 1000)])
        time.sleep(1)
    for at in range(60):
        deployment.feed([second(400 + at, 5.0, time.time_ns() // 1000)])
        time.sleep(1)
        events = firing(deployment, "incidents.events.v1")
        if any(event["event"] == "RESOLVED" for event in events):
            break
    wait_for(
        lambda: firing(deployment, "incidents.events.v1")[-1]["event"] == "RESOLVED",
        60, worker.tail, worker,
    )  # fmt: skip
    found = firing(deployment, EVIDENCE)
    assert [one["at"] for one in found] == sorted({one["at"] for one in found}), "each once"
    shifts = [i for one in found for i in one["evidence"] if i["kind"] == "METRIC_SHIFT"]
    assert any("usually 5" in item["sentence"] for item in shifts), shifts
    (cause, *_) = firing(deployment, "incidents.events.v1")[-1]["causes"]
    assert (cause["module"], cause["component"]) == ("A", "sender")
    assert any("usually 5" in sentence for sentence in cause["evidence"]), cause
    assert any("DEPLOY deploy-17 of A" in sentence for sentence in cause["evidence"]), cause
    worker.terminate()
    assert worker.wait(60) == 0, worker.tail()
