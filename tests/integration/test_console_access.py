"""The console with keys on a real broker and worker: orders arrive, rejected records go again."""

import json
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Consumer, TopicPartition

from streams.console.paths.rejected import HEADER
from streams.runtime.topics import COMMANDS, INCIDENTS, OTHER, REJECTED
from tests.fault.console import ConsoleAt
from tests.fault.harness import Deployment, Feeder, wait_for
from tests.integration.test_incidents import read, send
from tests.unit.core.incidents.alerts import alert

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

DAY = "start=2000-01-01&end=2100-01-01"
SETTINGS = {"quiet_seconds": 2, "incident_update_seconds": 1}


class Keyed:
    """A console that wants keys, and a key for each role."""

    def __init__(self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = ConsoleAt(deployment)
        file = deployment.folder / "keys.json"
        monkeypatch.setenv("SPANLOOM_CONSOLE_KEYS_FILE", str(file))
        monkeypatch.setenv("SPANLOOM_CONSOLE_ARCHIVE", self.at.archive)
        self.keys = {}
        for role in ("viewer", "operator"):
            done = deployment.cli(
                "console-key", "new", "--actor", f"the {role}", "--role", role, "--json"
            )
            assert done.returncode == 0, done.stderr
            self.keys[role] = json.loads(done.stdout)["key"]
        self.process = self.at.start("--auth", "keys")
        wait_for(lambda: self.at.get("/ready") is not None, 60, self.process.tail, self.process)

    def ask(self, path: str, role: str = "", body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """Return status and JSON of an answer, or its text."""
        url = f"http://127.0.0.1:{self.at.port}{path}"
        headers = {"Authorization": f"Bearer {self.keys[role]}"} if role else {}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=240) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        return status, json.loads(text) if text.startswith("{") else text

    def written(self) -> list[dict[str, Any]]:
        """Return the access log."""
        files = sorted((Path(self.at.archive) / "access").glob("access-*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_an_ack_over_the_interface_arrives_as_an_incident_event(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may not order does not; who may is named in the incident's event."""
    deployment.create_topics()
    worker = deployment.worker(settings=SETTINGS)
    worker.wait_until_restored(1, "incidents", 120)
    console = Keyed(deployment, monkeypatch)
    send(deployment, [alert("odd_kind", "ALPHA", time.time())])

    def is_shown() -> bool:
        return bool(console.ask("/api/v1/incidents", "viewer")[1].get("incidents"))

    wait_for(is_shown, 60, console.process.tail, worker)
    (shown,) = console.ask("/api/v1/incidents", "viewer")[1]["incidents"]
    path = f"/api/v1/incidents/{shown['incident_id']}/commands"
    ack = {"command": "ack", "reason": "looking at it"}
    assert console.ask(path, "", ack)[0] == 401
    assert console.ask(path, "viewer", ack)[0] == 403
    assert read_commands(deployment) == []
    status, told = console.ask(path, "operator", ack)
    assert status == 202, told
    (order,) = read_commands(deployment)
    assert order["command_id"] == told["command_id"]

    def is_taken() -> bool:
        return "ACKNOWLEDGED" in [event["event"] for event in read(deployment, INCIDENTS)]

    took = wait_for(is_taken, 60, worker.tail, worker)
    event = next(e for e in read(deployment, INCIDENTS) if e["event"] == "ACKNOWLEDGED")
    assert event["acknowledged_by"] == "the operator"
    one = f"/api/v1/incidents/{shown['incident_id']}"
    wait_for(
        lambda: console.ask(one, "viewer")[1]["acknowledged_by"] == "the operator",
        60,
        console.process.tail,
    )
    assert took < 60
    orders = [line for line in console.written() if line["event"] == "order"]
    assert [line["outcome"] for line in orders] == ["asked", "taken"]
    assert orders[1]["answer"] == told
    used = {**ack, "command": "resolve", "command_id": told["command_id"]}
    status, refused = console.ask(path, "operator", used)
    assert (status, "ack by the operator" in refused["error"]) == (409, True)
    told_of = [(line["event"], line.get("actor")) for line in console.written()]
    assert ("order", "the operator") in told_of
    assert ("refusal", "the viewer") in told_of
    assert {event for event, _ in told_of} >= {"key_made", "start", "refusal", "order"}
    assert not any(key in str(console.written()) for key in console.keys.values())
    assert not any(key in console.process.tail() for key in console.keys.values())


def read_commands(deployment: Deployment) -> list[dict[str, Any]]:
    return [json.loads(message.value) for message in deployment.read(COMMANDS)]


def test_a_rejected_record_goes_to_its_topic_again_once(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two who ask at once: one is refused; after a kill of the console it is still refused."""
    deployment.create_topics()
    worker = deployment.worker()
    worker.wait_until_restored(1, "join", 120)
    with Feeder(deployment.broker) as feeder:
        feeder.send_bytes(OTHER, b"key", b"no event at all", 0)
        feeder.send_bytes(OTHER, None, b"\x00" * 100_000, 0)  # more than a rejected record holds
    wait_for(lambda: len(deployment.read(REJECTED)) == 2, 60, worker.tail, worker)
    console = Keyed(deployment, monkeypatch)

    def is_shown() -> bool:
        return len(console.ask(f"/api/v1/rejected?{DAY}", "viewer")[1].get("rejected", "")) == 2

    wait_for(is_shown, 60, console.process.tail, console.process)
    shown = console.ask(f"/api/v1/rejected?{DAY}", "viewer")[1]
    assert sum(shown["by_reason"].values()) == 2
    for row in shown["rejected"]:
        body = {name: row[name] for name in ("topic", "partition", "offset")}
        answers: list[int] = []

        def go(body: dict[str, Any] = body, answers: list[int] = answers) -> None:
            answers.append(console.ask("/api/v1/rejected/redrive", "operator", body)[0])

        both = [threading.Thread(target=go) for _ in range(2)]
        for one in both:
            one.start()
        for one in both:
            one.join()
        assert sorted(answers) == [202, 409]
    again = deployment.read(OTHER)
    assert sorted(m.value for m in again) == sorted([b"no event at all", b"\x00" * 100_000] * 2)
    assert sorted(headers_of(deployment, OTHER)[2:]) == [
        [(HEADER, f"{OTHER}/0/{n}".encode())] for n in (0, 1)
    ]
    wait_for(lambda: len(deployment.read(REJECTED)) == 4, 60, worker.tail, worker)
    console.process.kill()
    console.process = console.at.start("--auth", "keys")
    wait_for(lambda: console.at.get("/ready") is not None, 60, console.process.tail)
    assert console.ask("/api/v1/rejected/redrive", "operator", body)[0] == 409
    check_metrics(console)


def headers_of(deployment: Deployment, topic: str) -> list[Any]:
    """Return the headers of each record of a topic's first partition."""
    consumer = Consumer({"bootstrap.servers": deployment.broker, "group.id": "headers"})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        return [message.headers() for message in consumer.consume(4, 120)]
    finally:
        consumer.close()


def check_metrics(console: Keyed) -> None:
    """Fail unless metrics and lag tell what was archived and refused."""

    def is_read() -> bool:
        return console.ask("/api/v1/lag", "viewer")[1]["lag_records"] == 0

    wait_for(is_read, 60, console.process.tail, console.process)
    assert console.ask("/metrics")[0] == 401
    text = console.ask("/metrics", "viewer")[1]
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    assert float(lines['spanloom_console_archived_records_total{kind="rejected"}']) >= 0
    assert float(lines['spanloom_console_files{kind="rejected"}']) >= 1
    assert float(lines[f'spanloom_console_lag_records{{topic="{REJECTED}"}}']) == 0
    assert float(lines['spanloom_console_refused_requests_total{reason="conflict"}']) == 1
    assert float(lines["spanloom_console_ready"]) == 1
    assert 'spanloom_console_request_seconds_bucket{le="0.2",path="/api/v1/lag"}' in text


def test_off_the_loopback_it_speaks_tls_to_who_has_a_key(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the name that is allowed alone; a login's cookie is bound to it, and leads on."""
    certificate, key = deployment.folder / "cert.pem", deployment.folder / "key.pem"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj",
         "/CN=c.test", "-addext", "subjectAltName=DNS:c.test,IP:127.0.0.1",
         "-keyout", key, "-out", certificate],
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    monkeypatch.setenv("SPANLOOM_CONSOLE_TLS_CERTIFICATE_FILE", str(certificate))
    monkeypatch.setenv("SPANLOOM_CONSOLE_TLS_KEY_FILE", str(key))
    monkeypatch.setenv("SPANLOOM_CONSOLE_ALLOWED_HOSTS", '["c.test"]')
    file = deployment.folder / "keys.json"
    monkeypatch.setenv("SPANLOOM_CONSOLE_KEYS_FILE", str(file))
    monkeypatch.setenv("SPANLOOM_CONSOLE_ARCHIVE", str(deployment.folder / "archive"))
    done = deployment.cli("console-key", "new", "--actor", "alice", "--json")
    text = json.loads(done.stdout)["key"]
    at = ConsoleAt(deployment)
    console = at.start("--address", "0.0.0.0", "--auth", "keys")
    trust = ssl.create_default_context(cafile=str(certificate))
    base, name = f"https://127.0.0.1:{at.port}", f"c.test:{at.port}"
    with httpx.Client(base_url=base, verify=trust, headers={"Host": name}) as browser:

        def answers() -> bool:
            try:
                return browser.get("/health").status_code in (200, 503)
            except httpx.TransportError:
                return False

        wait_for(answers, 60, console.tail, console)
        assert list(browser.get("/health").json()) == ["healthy"]
        assert browser.get("/api/v1/me").status_code == 401
        assert browser.get("/api/v1/me", headers={"Host": "evil.test"}).status_code == 400
        shown = browser.get("/incidents?state=open", headers={"Accept": "text/html"})
        assert shown.headers["location"] == "/login?next=/incidents%3Fstate%3Dopen"
        form = {"key": text, "next": "/incidents?state=open"}
        entered = browser.post("/login", data=form, headers={"Origin": f"https://{name}"})
        assert (entered.status_code, entered.headers["location"]) == (303, form["next"])
        cookie = entered.headers["set-cookie"]
        assert cookie.startswith("__Host-spanloom=")
        assert "Secure" in cookie
        logged_in = {"Cookie": cookie.partition(";")[0]}
        assert browser.get("/api/v1/me", headers=logged_in).json()["actor"] == "alice"
        page = browser.get("/incidents", headers=logged_in)
        assert page.headers["content-type"].startswith("text/html")
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert "max-age" in page.headers["strict-transport-security"]


def test_off_the_loopback_nothing_starts_without_a_login(
    deployment: Deployment,
) -> None:
    """Ends with 2 and names what to set; nothing is listened on."""
    at = ConsoleAt(deployment)
    console = at.start("--address", "0.0.0.0")
    assert console.wait(60) == 2
    assert "nobody logs in" in console.tail()
    console = at.start("--address", "0.0.0.0", "--auth", "keys")
    assert console.wait(60) == 2
    for name in ("TLS_CERTIFICATE_FILE", "ALLOWED_HOSTS", "KEYS_FILE"):
        assert f"SPANLOOM_CONSOLE_{name}" in console.tail()
