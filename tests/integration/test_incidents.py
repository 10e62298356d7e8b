"""Incidents on a real broker: orders are answered, and kills lose nothing and repeat nothing."""

import json
import time
import uuid
from typing import Any

import pytest

from streams.codec.records import decode, encode
from tests.fault.checks import ALERTS, INCIDENTS, Verdict, check_incidents
from tests.fault.harness import Deployment, Feeder, wait_for
from tests.unit.core.incidents.alerts import alert

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

AUDIT, COMMANDS = "incidents.audit.v1", "incidents.commands.v1"
SETTINGS = {"quiet_seconds": 2, "incident_update_seconds": 1}


def states(module: str, count: int, began: float) -> list[dict[str, Any]]:
    """Return so many states of one alert, which goes on."""
    return [
        alert("odd_kind", module, began, last=began + n, version=n + 1, count=n + 1)
        for n in range(count)
    ]


def read(deployment: Deployment, topic: str) -> list[dict[str, Any]]:
    return [decode(message.value) for message in deployment.read(topic)]


def send(deployment: Deployment, found: list[dict[str, Any]]) -> None:
    with Feeder(deployment.broker) as feeder:
        for one in found:
            feeder.send_bytes(ALERTS, one["fingerprint"].encode(), encode("alert", one), 0)


def order(deployment: Deployment, *words: object) -> tuple[int, dict[str, Any]]:
    """Run `spanloom incident ... --wait --json` and return its exit code and what it said."""
    done = deployment.cli("incident", *words, "--reason", "test", "--wait", "--json")
    return done.returncode, json.loads(done.stdout) if done.stdout else {"said": done.stderr}


def test_orders_are_carried_out_and_answered(deployment: Deployment) -> None:
    """List, take, refuse, explain, silence, end: through the shipped command and a real worker."""
    deployment.create_topics()
    worker = deployment.worker(settings=SETTINGS)
    worker.wait_until_restored(1, "incidents", 120)
    began = time.time()
    send(deployment, [alert("odd_kind", "ALPHA", began)])
    wait_for(lambda: bool(read(deployment, INCIDENTS)), 60, worker.tail, worker)
    shown = json.loads(deployment.cli("incident", "list", "--json").stdout)["incidents"]
    (id_,) = (event["incident_id"] for event in shown)
    code, told = order(deployment, "ack", id_, "--actor", "kim", "--id", "mine")
    assert (code, told["outcome"], told["version"]) == (0, "accepted", 2), told
    code, told = order(deployment, "ack", id_, "--actor", "kim", "--id", "mine")
    assert (code, told["outcome"], told["version"]) == (0, "accepted", 2), "answered once more"
    code, told = order(deployment, "ack", id_, "--actor", "lee", "--id", "mine")
    assert (code, told["refused"].split(":")[0]) == (
        1, "its command_id was used before by kim's ack",
    )  # fmt: skip
    with Feeder(deployment.broker) as feeder:  # what cannot be written stops nothing
        bad = {"command": "ack", "incident_id": id_, "actor": "\ud800", "reason": "r"}
        feeder.send_bytes(COMMANDS, b"c", json.dumps(bad | {"command_id": "bad"}).encode(), 0)
    code, told = order(deployment, "ack", id_)
    assert (code, told["outcome"]) == (1, "refused")
    assert "kim has acknowledged it already" in told["refused"]
    explained = deployment.cli("explain", id_)
    assert explained.returncode == 0, explained.stderr
    assert "kim ordered ack: test" in explained.stdout
    unknown = deployment.cli("explain", "0" * 32)
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "there is no incident 000" in unknown.stderr
    code, told = order(deployment, "ack", "0" * 32)
    assert (code, told["refused"]) == (1, "there is no such incident"), "as of explain"
    code, told = order(deployment, "silence", "--match", "module=BETA", "--for", "1h")
    assert code == 0, told
    told_before = deployment.cli(
        "incident", "silence", "--match", "module=NOBODY", "--for", "1s", "--reason", "r", "--wait"
    )
    assert "of the alerts that fire it hides 0" in told_before.stdout
    shown = json.loads(deployment.cli("incident", "silences", "--json").stdout)["silences"]
    assert [one["matcher"] for one in shown] == [{"module": "BETA"}]
    send(deployment, [alert("odd_kind", "BETA", began)])
    code, told = order(deployment, "resolve", id_)
    assert (code, told["version"]) == (0, 3), told
    assert [e["event"] for e in read(deployment, INCIDENTS)] == [
        "OPENED",
        "ACKNOWLEDGED",
        "RESOLVED",
    ]
    assert deployment.cli("incident", "ack", id_, "--reason", "").returncode == 2
    report = deployment.cli("noise", "report", "--json")
    assert report.returncode == 0, report.stderr


def test_kills_lose_no_alert_and_tell_nothing_twice(deployment: Deployment) -> None:
    """Alerts, orders and kill -9 in turn: each version once, each order carried out once."""
    deployment.create_topics()
    sent: list[dict[str, Any]] = []
    orders: list[str] = []
    for round_ in range(4):
        worker = deployment.worker(settings=SETTINGS)
        worker.wait_until_restored(1, "incidents", 120)
        began = time.time()
        found = [s for n in range(20) for s in states(f"R{round_}M{n}", 5, began)]
        flips = [
            alert("odd_kind", "FLAPS", began + n, version=20 * round_ + n + 1, last=began + n)
            | {"state": "RESOLVED" if n % 2 else "FIRING"}
            for n in range(20)
        ]
        send(deployment, [*found, *flips])
        sent += [*found, *flips]
        known = {event["incident_id"] for event in read(deployment, INCIDENTS)}
        with Feeder(deployment.broker) as feeder:
            for id_ in [*sorted(known)[:5], "unknown"]:
                orders.append(uuid.uuid4().hex)
                command = {
                    "command": "ack", "incident_id": id_, "actor": "kim", "reason": "test",
                    "command_id": orders[-1],
                }  # fmt: skip
                for _ in range(2):  # who sends may not know whether it arrived
                    feeder.send_bytes(COMMANDS, b"c", json.dumps(command).encode(), 0)
        time.sleep(0.7 * round_)
        worker.kill()
        if round_ == 2:
            deployment.lose_state()
    worker = deployment.worker(settings=SETTINGS)
    worker.wait_until_restored(1, "incidents", 120)
    prints = {one["fingerprint"] for one in sent}

    def is_told() -> bool:
        told = {a["fingerprint"] for e in read(deployment, INCIDENTS) for a in e["alerts"]}
        return prints <= told

    wait_for(is_told, 120, worker.tail, worker)
    wait_for(lambda: len(read(deployment, AUDIT)) >= 2 * len(orders), 60, worker.tail, worker)
    worker.terminate()
    assert worker.wait(60) == 0
    verdict = Verdict()
    check_incidents(verdict, read(deployment, ALERTS), read(deployment, INCIDENTS))
    assert verdict.is_good, verdict.problems
    answers: dict[bool, list[str]] = {False: [], True: []}
    for event in read(deployment, AUDIT):
        answers["first_answered_at_us" in event["dimensions"]].append(event["correlation_id"])
    assert sorted(answers[False]) == sorted(orders), "each order is carried out once"
    assert sorted(answers[True]) == sorted(orders), "and answered when it is sent again"
    flapping = [e for e in read(deployment, INCIDENTS) if e["module"] == "FLAPS"]
    assert len(flapping) <= 3, [e["event"] for e in flapping]
