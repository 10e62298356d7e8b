"""A real Alertmanager receives, deduplicates and resolves; a replica that was away catches up."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.alertmanager import Alertmanager, find_binary
from tests.integration.conftest import give_up
from tests.integration.notifying import Hook, Notifying, until
from tests.notify_events import incident

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

ONE, TWO = "1" * 32, "2" * 32


@pytest.fixture(scope="module")
def binary() -> Path:
    """Return Alertmanager, installed when it may be; without it skip, where CI is set fail."""
    found, why = find_binary()
    if found is None:
        give_up(f"no real Alertmanager: {why} (or set SPANLOOM_ALERTMANAGER)")
        raise AssertionError("give_up returns never")
    return found


@pytest.fixture
def hook() -> Iterator[Hook]:
    """Yield what Alertmanager tells people."""
    made = Hook()
    made.id_of = lambda body: body["groupKey"]
    made.up()
    try:
        yield made
    finally:
        made.down()


@pytest.fixture
def replicas(binary: Path, tmp_path: Path, hook: Hook) -> Iterator[list[Alertmanager]]:
    """Yield two Alertmanagers that know nothing of each other; only the first tells anybody."""
    quiet = Hook()  # listens nowhere
    made = [
        Alertmanager(binary, tmp_path / "am0", hook.url),
        Alertmanager(binary, tmp_path / "am1", quiet.url),
    ]
    try:
        for one in made:
            one.start()
        yield made
    finally:
        for one in made:
            one.stop()


@pytest.fixture
def notifying(broker: str, topic_prefix: str, tmp_path: Path) -> Iterator[Notifying]:
    """Yield a topic of incidents of the test's own."""
    folder = tmp_path / "notify"
    folder.mkdir()
    made = Notifying(broker, topic_prefix, folder)
    try:
        yield made
    finally:
        made.end()


def target(replicas: list[Alertmanager], **changed: Any) -> dict[str, Any]:
    """Return a target of all replicas that says everything again each second."""
    given = {
        "id": "am", "kind": "alertmanager", "urls": [one.url for one in replicas],
        "resend_seconds": 1.0, "active_seconds": 20.0, "resolved_seconds": 60.0,
        "backoff_seconds": 0.1, "backoff_seconds_max": 1.0,
    }  # fmt: skip
    return given | changed


def told(hook: Hook, id_: str) -> list[str]:
    """Return the states of an incident's notifications, in order."""
    groups = [body for _, _, body in hook.got if body["groupLabels"]["incident_id"] == id_]
    return [body["status"] for body in groups]


def test_alertmanager_receives_deduplicates_and_resolves(
    notifying: Notifying, replicas: list[Alertmanager], hook: Hook
) -> None:
    """One alert of an incident through all its versions, one page, one all-clear."""
    config = notifying.config(target(replicas), page_url="https://c.example.org/{incident_id}")
    process = notifying.start(config)
    notifying.write(incident(ONE), incident(TWO))
    for one in replicas:
        until(lambda one=one: set(one.active()) == {ONE, TWO}, one.alerts)
    (alert,) = [a for a in replicas[0].alerts() if a["labels"]["incident_id"] == ONE]
    assert alert["labels"]["owner"] == "team-beta"
    assert alert["annotations"]["page"] == f"https://c.example.org/{ONE}"
    for version, kind in enumerate(("UPDATED", "ACKNOWLEDGED", "UPDATED"), 2):
        notifying.write(incident(ONE, version, kind))
    until(lambda: any(a["annotations"]["version"] == "4" for a in replicas[0].alerts()),
          replicas[0].alerts)  # fmt: skip
    time.sleep(3)  # said again three times meanwhile
    assert replicas[0].active() == {ONE: ["error"], TWO: ["error"]}
    until(lambda: told(hook, ONE) == ["firing"], lambda: hook.got)
    notifying.write(incident(ONE, 5, "RESOLVED"))
    for one in replicas:
        until(lambda one=one: set(one.active()) == {TWO}, one.alerts)
    until(lambda: told(hook, ONE) == ["firing", "resolved"], lambda: told(hook, ONE))
    time.sleep(3)  # its end is said again, and does not wake it
    assert set(replicas[0].active()) == {TWO}
    assert told(hook, TWO) == ["firing"]
    process.terminate()
    assert process.wait(30) == 0


def test_a_change_of_severity_stays_one_alert(
    notifying: Notifying, replicas: list[Alertmanager], hook: Hook
) -> None:
    """The alert of the earlier severity ends as the new one begins: no false all-clear."""
    notifying.start(notifying.config(target(replicas)))
    notifying.write(incident(ONE, severity="WARN"))
    until(lambda: replicas[0].active() == {ONE: ["warn"]}, replicas[0].alerts)
    notifying.write(incident(ONE, 2, "UPDATED", severity="CRITICAL"))
    until(lambda: replicas[0].active() == {ONE: ["critical"]}, replicas[0].alerts)
    time.sleep(3)
    assert "resolved" not in told(hook, ONE)


def test_a_replica_without_memory_and_a_killed_process_change_nothing(
    notifying: Notifying, replicas: list[Alertmanager]
) -> None:
    """Both come back: what is active is active again at both, what ended in between is not."""
    config = notifying.config(target(replicas))
    process = notifying.start(config)
    notifying.write(incident(ONE), incident(TWO))
    for one in replicas:
        until(lambda one=one: set(one.active()) == {ONE, TWO}, one.alerts)
    replicas[1].stop()
    notifying.write(incident(ONE, 2, "RESOLVED"))  # one replica's yes is enough
    until(lambda: set(replicas[0].active()) == {TWO}, replicas[0].alerts)
    process.kill()
    replicas[1].start()
    assert replicas[1].alerts() == []
    process = notifying.start(config)
    until(lambda: set(replicas[1].active()) == {TWO}, replicas[1].alerts)
    time.sleep(2)
    assert set(replicas[0].active()) == {TWO}
    assert set(replicas[1].active()) == {TWO}


def test_a_test_alert_is_marked_and_ends_by_itself(
    notifying: Notifying, replicas: list[Alertmanager]
) -> None:
    """It has a name of its own, so that no route of incidents takes it."""
    config = notifying.config(target(replicas))
    run = notifying.cli("notify", "test", "--config", config, "--json")
    assert run.returncode == 0, run.stdout + run.stderr
    steps = [step["step"] for step in json.loads(run.stdout)["targets"][0]["steps"]]
    assert [s for s in steps if s.startswith("replica")] == [
        f"replica 127.0.0.1:{one.port}" for one in replicas
    ]
    (alert,) = replicas[0].alerts()
    assert alert["labels"]["alertname"] == "SpanloomTest"
