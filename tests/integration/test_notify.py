"""Incidents reach their receivers through outages and kills, each at least once and in order."""

import base64
import hashlib
import hmac
import json
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.notify.target import UNCOMMITTED_MAX
from tests.fault.harness import read_committed
from tests.integration.notifying import Hook, Notifying, until
from tests.notify_events import incident
from tests.ports import free_port

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

IN_FLIGHT_MAX = 4
"""Requests at once; what a kill may repeat besides what was not committed yet."""


@pytest.fixture
def notifying(broker: str, topic_prefix: str, tmp_path: Path) -> Iterator[Notifying]:
    """Yield a topic of incidents of the test's own."""
    made = Notifying(broker, topic_prefix, tmp_path)
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def hook() -> Iterator[Hook]:
    """Yield a receiver that listens."""
    made = Hook()
    made.up()
    try:
        yield made
    finally:
        made.down()


def webhook(hook: Hook, name: str = "hook", **changed: Any) -> dict[str, Any]:
    """Return a target that is not patient."""
    given = {
        "id": name, "kind": "webhook", "url": hook.url, "allow_plain_http": True,
        "backoff_seconds": 0.1, "backoff_seconds_max": 1.0, "breaker_failures": 3,
    }  # fmt: skip
    return given | changed


def versions(number: int, count: int) -> list[dict[str, Any]]:
    """Return the versions of an incident, from its opening to its end."""
    kinds = ["OPENED", *["UPDATED"] * (count - 2), "RESOLVED"]
    id_ = f"{number:032x}"
    return [incident(id_, version, kind) for version, kind in enumerate(kinds, 1)]


def first_times(ids: list[str]) -> dict[str, list[int]]:
    """Return the versions of each incident in the order in which they first came."""
    found: dict[str, list[int]] = {}
    for one in dict.fromkeys(ids):
        name, _, version = one.rpartition("-")
        found.setdefault(name, []).append(int(version))
    return found


def test_nothing_is_lost_while_a_receiver_is_down_and_the_process_is_killed(
    notifying: Notifying, hook: Hook
) -> None:
    """Down, killed while down, killed while telling: all arrive, in order, repeats are few."""
    config = notifying.config(webhook(hook))
    process = notifying.start(config)
    notifying.write(incident("f" * 32), is_aborted=True)
    notifying.write(*versions(1, 3))
    until(lambda: len(hook.got) == 3, hook.ids)
    hook.down()
    expected = Counter[str]()
    for number in range(2, 42):
        events = versions(number, 5)
        notifying.write(*events)
        expected.update(f"{e['incident_id']}-{e['version']}" for e in events)
    until(lambda: bool(process.events("notify_target_down")), process.tail)
    process.kill()
    process = notifying.start(config)
    time.sleep(3)
    hook.up()
    until(lambda: len(hook.got) > 60, hook.ids)
    process.kill()  # in the middle of the backlog
    process = notifying.start(config)
    until(lambda: set(hook.ids()) >= set(expected), lambda: (len(hook.got), process.tail()))
    process.terminate()
    assert process.wait(30) == 0
    ids = hook.ids()
    assert set(ids) == set(expected) | {f"{1:032x}-{v}" for v in (1, 2, 3)}
    assert all(order == sorted(order) for order in first_times(ids).values())
    repeats = len(ids) - len(set(ids))
    assert repeats <= 2 * (UNCOMMITTED_MAX + IN_FLIGHT_MAX), repeats  # two kills
    notifying.write(*versions(99, 2))
    process = notifying.start(config)
    until(lambda: hook.ids()[-2:] == [f"{99:032x}-1", f"{99:032x}-2"], hook.ids)
    assert len(hook.got) == len(ids) + 2, "a planned stop repeats nothing"


def test_one_target_that_is_down_holds_no_other_up(notifying: Notifying, hook: Hook) -> None:
    """The other is told at once; /health, /metrics and the log show the one that is away."""
    away, port = Hook(), free_port()
    config = notifying.config(webhook(hook, "well"), webhook(away, "away"))
    process = notifying.start(config, "--health-port", str(port))
    for number in range(20):
        notifying.write(*versions(number, 2))
    until(lambda: len(hook.got) == 40, hook.ids)
    assert sorted(hook.ids()) == sorted(set(hook.ids()))

    def page(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return str(answer.read().decode())

    until(lambda: json.loads(page("/health"))["degraded"] == ["away"], lambda: page("/health"))
    health = json.loads(page("/health"))
    assert health["healthy"] is True, "a restart of ours would not mend it"
    assert "cannot connect to 127.0.0.1" in health["targets"]["away"]["reason"]
    assert json.loads(page("/ready"))["ready"] is True
    assert 'spanloom_notify_target_down{target="away"} 1.0' in page("/metrics")
    # The receiver has the last one a moment before its answer is counted.
    delivered = 'spanloom_notify_events_total{result="delivered",target="well"} 40.0'
    until(lambda: delivered in page("/metrics"), lambda: page("/metrics"))
    (down,) = process.events("notify_target_down")
    assert down["target"] == "away"
    away.up()
    until(lambda: len(away.got) == 40, away.ids)
    until(lambda: bool(process.events("notify_target_up")), process.tail)
    away.down()


def test_a_signed_body_is_verified_by_who_shares_the_key(notifying: Notifying, hook: Hook) -> None:
    """The bytes on the wire, not a rendering of them, are what is signed; no secret is logged."""
    secret = "an-agreed-secret-of-32-characters"
    notifying.secret("HOOK_SECRET", secret)
    signing = [{"key_id": "k1", "secret": {"env": "HOOK_SECRET"}}]
    config = notifying.config(webhook(hook, signing=signing))
    process = notifying.start(config)
    notifying.write(incident())
    until(lambda: bool(hook.got), process.tail)
    _, headers, body = hook.got[0]
    content = b".".join(
        [headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), hook.raw[0]]
    )
    digest = hmac.new(secret.encode(), content, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    assert headers["webhook-key-id"] == "k1"
    assert headers["idempotency-key"] == body["id"] == f"{'a' * 32}-1"
    assert abs(time.time() - int(headers["webhook-timestamp"])) < 60
    process.terminate()
    assert process.wait(30) == 0
    last = [json.loads(line)["event"] for line in process.log.read_text().splitlines()[-2:]]
    assert last == ["told_to_stop", "notify_stopped"], "or an older line would seem to be why"
    assert secret not in process.log.read_text() + process.out.read_text()


def test_cloudevents_reach_a_topic(notifying: Notifying) -> None:
    """Structured mode: the content type in a header, the incident as the key."""
    bus = f"{notifying.prefix}bus"
    notifying.make_topic(bus)
    config = notifying.config({"id": "bus", "kind": "cloudevents", "topic": bus})
    notifying.start(config)
    notifying.write(*versions(7, 3))
    until(lambda: len(read_committed(notifying.broker, bus)) == 3, lambda: "three of them")
    for number, message in enumerate(read_committed(notifying.broker, bus), 1):
        event = json.loads(message.value)
        assert event["id"] == f"{7:032x}-{number}"
        assert message.key == f"{7:032x}".encode()


def test_a_second_process_takes_over(notifying: Notifying, hook: Hook) -> None:
    """Two run as one; when the one that tells dies, the other goes on where it was."""
    config = notifying.config(webhook(hook))
    one = notifying.start(config)
    two = notifying.start(config, is_ready=False)
    until(lambda: bool(two.events("notify_started")), two.tail)
    notifying.write(*versions(1, 2))
    until(lambda: len(set(hook.ids())) == 2, hook.ids)
    teller = two if two.events("notify_target_assigned") and not one.is_alive else one
    teller.kill()
    notifying.write(*versions(2, 2))
    until(lambda: len(set(hook.ids())) == 4, lambda: (hook.ids(), two.tail()))


def test_a_test_says_what_happened_step_by_step(notifying: Notifying, hook: Hook) -> None:
    """0 and the steps where it went well; 1 and the reason where it did not; 2 for a wrong name."""
    config = notifying.config(
        webhook(hook), webhook(Hook(), "away"), webhook(hook, "closed", allow_networks=[])
        | {"url": f"http://localhost:{hook.port}/x"},
    )  # fmt: skip
    well = notifying.cli("notify", "test", "--config", config, "--target", "hook", "--json")
    assert well.returncode == 0, well.stderr
    (report,) = json.loads(well.stdout)["targets"]
    assert [step["step"] for step in report["steps"]] == ["dns", "connect", "tls", "send"]
    assert all(step["ok"] for step in report["steps"])
    assert hook.got[0][2]["is_test"] is True
    ill = notifying.cli("notify", "test", "--config", config)
    assert ill.returncode == 1
    assert "away (webhook): FAILED" in ill.stdout
    assert "cannot connect" in ill.stdout
    assert "allow_networks" in ill.stdout
    assert len(hook.got) == 2, "the one that may not be called was not called"
    wrong = notifying.cli("notify", "test", "--config", config, "--target", "hok")
    assert wrong.returncode == 2
    assert "known: hook, away, closed" in wrong.stderr


def test_a_missing_secret_ends_the_start(notifying: Notifying, hook: Hook) -> None:
    """2, the target, the variable, and nothing was sent."""
    config = notifying.config(webhook(hook, url={"env": "NOT_SET_ANYWHERE"}))
    run = notifying.cli("notify", "run", "--config", config)
    assert run.returncode == 2
    assert "target hook: url: variable NOT_SET_ANYWHERE is not set" in run.stderr
