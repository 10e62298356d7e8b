"""The link as both clients are told of it, and what it says of a broker that does not answer."""

import asyncio
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from faust import auth

from streams.errors import BrokerError, ConfigError
from streams.runtime import link as module
from streams.runtime.link import MAKES_NO_TOPICS, Link, open_client
from streams.runtime.task import Connection
from streams.sdk.options import Options
from streams.sdk.sender import KafkaSender
from streams.settings import KafkaLink, load_link

FAR = "kafka.example.org:9093"
USER = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "SCRAM-SHA-256",
    "username": "u",
    "password": "pw-4711",
}
SCRIPT = Path(__file__).resolve().parents[3] / "deploy" / "kafka" / "certificates.sh"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an authority and the certificates of two names."""
    folder = tmp_path_factory.mktemp("certificates")
    subprocess.run([SCRIPT, folder, "one", "two"], check=True, timeout=240)
    return folder


def test_a_plain_link_says_nothing_of_security() -> None:
    """Whatever the environment says, as for the demonstration's own broker."""
    link = Link.plain("127.0.0.1:1")
    assert link.librdkafka() == {"bootstrap.servers": "127.0.0.1:1"}
    assert link.faust() is None


def test_librdkafka_is_told_user_and_tls(made: Path) -> None:
    """Certificates are checked, the host too, and the key's password goes along."""
    link = Link(
        FAR,
        load_link(
            FAR,
            **USER,
            ca_file=made / "ca.pem",
            certificate_file=made / "one.pem",
            key_file=made / "one.key",
            key_password="kp",
        ),
    )
    assert link.librdkafka() == {
        "bootstrap.servers": FAR,
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-256",
        "sasl.username": "u",
        "sasl.password": "pw-4711",
        "enable.ssl.certificate.verification": True,
        "ssl.endpoint.identification.algorithm": "https",
        "ssl.ca.location": str(made / "ca.pem"),
        "ssl.certificate.location": str(made / "one.pem"),
        "ssl.key.location": str(made / "one.key"),
        "ssl.key.password": "kp",
    }


def test_librdkafka_asks_the_endpoint_itself() -> None:
    """It does so in a thread of its own, with the endpoint's own authority."""
    settings = KafkaLink(
        security_protocol="SASL_SSL",
        sasl_mechanism="OAUTHBEARER",
        token_url="https://id.example.org/token",
        client_id="c",
        client_secret="cs",  # type: ignore[arg-type]
        scope="s",
        extensions="logicalCluster=lkc-1,",
        token_ca_file=Path("/ca.pem"),
    )
    base = Link(FAR, settings).librdkafka()
    found = {name: value for name, value in base.items() if "oauth" in name or "https" in name}
    assert found == {
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.token.endpoint.url": "https://id.example.org/token",
        "sasl.oauthbearer.client.id": "c",
        "sasl.oauthbearer.client.secret": "cs",
        "sasl.oauthbearer.scope": "s",
        "sasl.oauthbearer.extensions": "logicalCluster=lkc-1",
        "https.ca.location": "/ca.pem",
    }


def test_faust_is_told_user_and_tls(made: Path) -> None:
    """The same proof as the other client's, and TLS that checks."""
    credentials = Link(FAR, load_link(FAR, **USER, ca_file=made / "ca.pem")).faust()
    assert isinstance(credentials, auth.SASLCredentials)
    assert credentials.protocol.value == "SASL_SSL"
    assert (credentials.mechanism.value, credentials.username, credentials.password) == (
        "SCRAM-SHA-256", "u", "pw-4711",
    )  # fmt: skip
    context = credentials.ssl_context
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_turning_the_host_off_turns_only_that_off() -> None:
    """The certificate is still checked, by both clients."""
    link = Link(FAR, load_link(FAR, security_protocol="SSL", verify_hostname=False))
    context = link.faust().context
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, False)
    base = link.librdkafka()
    assert base["enable.ssl.certificate.verification"] is True
    assert base["ssl.endpoint.identification.algorithm"] == "none"


def test_no_secret_is_in_the_repr_of_a_link() -> None:
    """A link is shown in tracebacks and assertion messages."""
    link = Link(FAR, load_link(FAR, **USER))
    assert "4711" not in repr(link)
    assert "4711" not in repr(Connection(link.librdkafka(), "g", Path()))
    assert "4711" not in repr(link.faust())


@pytest.mark.parametrize("wrong", ["another's key", "no certificate", "no authority"])
def test_files_that_do_not_fit_are_named(made: Path, tmp_path: Path, wrong: str) -> None:
    """At start, by variable, before anything is sent."""
    (tmp_path / "text").write_text("no certificate at all", encoding="utf-8")
    files = {"certificate_file": made / "one.pem", "key_file": made / "one.key"}
    if wrong == "another's key":
        files["key_file"] = made / "two.key"
    elif wrong == "no certificate":
        files["certificate_file"] = tmp_path / "text"
    else:
        files["ca_file"] = tmp_path / "text"
    link = Link("127.0.0.1:9", load_link("127.0.0.1:9", security_protocol="SSL", **files))
    variable = "CA_FILE" if wrong == "no authority" else "CERTIFICATE_FILE"
    with pytest.raises(ConfigError, match=f"SPANLOOM_KAFKA_{variable}="):
        link.reach()


def test_a_name_that_nobody_knows_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slip in the address looked like a broker that is down. Names in .invalid never resolve."""
    monkeypatch.setattr(module, "REACH_SECONDS", 0.3)
    with pytest.raises(BrokerError, match=r"Failed to resolve 'kafka\.invalid:9092'"):
        Link.plain("kafka.invalid:9092").reach()


def test_a_broker_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a bounded time, with the client's own reason."""
    monkeypatch.setattr(module, "REACH_SECONDS", 0.1)
    with pytest.raises(BrokerError, match=r"no broker answers on 127\.0\.0\.1:9: .*refused.*SPAN"):
        Link.plain("127.0.0.1:9").reach()


def test_a_broker_that_does_not_answer_is_waited_for_aloud(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once, after the first try: who, for how long still, and what the client says."""
    monkeypatch.setattr(module, "REACH_SECONDS", 0.5)
    monkeypatch.setattr(module, "_TRY_SECONDS", 0.1)
    told: list[str] = []
    link = Link("127.0.0.1:9", Link.plain("").settings, told.append)
    with pytest.raises(BrokerError):
        link.reach()
    assert len(told) == 1
    assert told[0].startswith("waiting for the broker on 127.0.0.1:9, for 0 s more: ")
    assert "refused" in told[0]


def test_nothing_is_asked_of_aiokafka_without_security() -> None:
    """The other client has reached the broker, and there is nothing to refuse."""
    asyncio.run(Link.plain("127.0.0.1:9").greet())


def test_a_client_that_needs_a_token_is_polled_once() -> None:
    """Librdkafka asks for one when it is polled; others are left alone."""
    polled: list[float] = []

    class Client:
        def __init__(self, settings: dict[str, object]) -> None:
            self.settings = settings

        def poll(self, seconds: float) -> None:
            polled.append(seconds)

    assert open_client(Client, {"a": 1}).settings["a"] == 1
    assert polled == []
    open_client(Client, {"oauth_cb": print})
    assert polled == [0]


@pytest.mark.parametrize("make", [Producer, Consumer, AdminClient])
def test_what_a_client_says_is_said_by_our_log(
    make: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its own form of a line ("%3|time|FAIL|...") is nobody's who reads the log by machine."""
    of_group = {"group.id": "g"} if make is Consumer else {}
    client = open_client(make, {"bootstrap.servers": "127.0.0.1:1", **of_group})
    deadline = time.monotonic() + 60
    while not caplog.records and time.monotonic() < deadline:
        client.poll(0.1)
    first = caplog.records[0]
    assert first.name == "librdkafka"
    assert "127.0.0.1:1" in first.getMessage()
    assert (first.pathname, first.lineno) == ("librdkafka/FAIL", 0), "its place is not our poll"
    assert capfd.readouterr().err == ""


def test_a_broker_that_is_away_is_asked_no_longer_than_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever waits for two seconds is not kept for fifteen; by a clock of its own."""
    asked: list[float] = []
    clock, mine = time.monotonic, threading.get_ident()

    def monotonic() -> float:
        if threading.get_ident() != mine:  # a thread that another test has left
            return clock()
        asked.append(len(asked))
        return asked[-1]

    monkeypatch.setattr(module.time, "monotonic", monotonic)
    with pytest.raises(BrokerError, match="no broker answers"):
        Link("127.0.0.1:1", KafkaLink.model_construct(), reach_seconds=2.0).reach()
    assert len(asked) <= 5


def test_the_sdk_makes_no_topics_either() -> None:
    """It says so in words of its own, since it must not import the link."""
    nobody: Any = None
    sender = KafkaSender({}, Options(), nobody)
    assert sender._settings.items() >= MAKES_NO_TOPICS.items()
