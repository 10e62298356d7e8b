"""The SDK over a secured link, with the least right that it needs, and without it."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from streams.runtime.rights import Right
from streams.runtime.topics import create, spec
from tests.fault.harness import REPOSITORY
from tests.integration.secured import SecuredBroker, SecuredDeployment

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

USER, TOPIC = "module-alpha", "telemetry.alpha.v1"
MODULE = """
import sys
from streams.sdk import Telemetry
broker, seconds = sys.argv[1], float(sys.argv[2])
t = Telemetry("ALPHA", "parser", broker, exit_seconds_max=20)
for _ in range(10):
    with t.span("alpha.parse"): pass
t.flush(seconds)
counts = t.close(5)
print(counts.sent, counts.dropped)
"""


def test_a_module_needs_the_right_to_write_and_no_other(
    secured: SecuredBroker, tmp_path: Path
) -> None:
    """With it all spans arrive; without it they are dropped, counted, and the program goes on."""
    password = uuid.uuid4().hex
    secured.add_user(USER, password)
    create(secured.admin, [spec(TOPIC, 2)])
    secret = tmp_path / "password"
    secret.write_text(password, encoding="ascii")
    secret.chmod(0o600)
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "SPANLOOM_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "SPANLOOM_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "SPANLOOM_KAFKA_USERNAME": USER,
        "SPANLOOM_KAFKA_PASSWORD_FILE": str(secret),
        "SPANLOOM_KAFKA_CA_FILE": str(secured.secrets / "ca.pem"),
    }

    def run(seconds: float) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-c", MODULE, secured.address, str(seconds)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds + 240,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip(), done.stderr

    said, warned = run(20)  # all of it: nothing is sent
    assert said == "0 {'exit': 10}"
    assert "give the right Write" in warned
    assert password not in warned
    secured.grant(USER, [Right("topic", TOPIC, "Write")])
    assert run(240)[0] == "10 {}"
    reader = SecuredDeployment(secured.tls_address, tmp_path, "reader")
    reader.link = {
        "security_protocol": "SSL",
        "ca_file": secured.secrets / "ca.pem",
        "certificate_file": secured.secrets / "admin.pem",
        "key_file": secured.secrets / "admin.key",
    }
    events = [event for batch in reader.tail(TOPIC) for event in batch["events"]]
    assert [e["name"] for e in events if e["event_type"] == "TRACE"] == ["alpha.parse"] * 10
