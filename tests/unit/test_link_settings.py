"""The link's settings: what contradicts itself or would leak is refused with variable and fix."""

import os
from pathlib import Path
from typing import Any

import pytest

from streams.errors import ConfigError
from streams.settings import SECRET_BYTES_MAX, KafkaLink, is_loopback, load_link

HERE = "127.0.0.1:9092"
FAR = "kafka.example.org:9092"
SASL = {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512"}
USER = {**SASL, "username": "u", "password": "pw-4711"}
BEARER = {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"}
ENDPOINT = {**BEARER, "token_url": "https://id.example.org/token", "client_id": "c"}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SPANLOOM_KAFKA_")]:
        monkeypatch.delenv(name)


def secret_file(folder: Path, content: bytes = b"from-file\n", mode: int = 0o600) -> Path:
    """Return a file of a secret."""
    path = folder / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    "broker",
    [
        "x:99999",
        "x:0",
        ":9092",
        "x:9092,y:0",
        "x:9092,",
        "x y:9092",
        "PLAINTEXT://x:1",
        "x:\u0661",
    ],
)
def test_an_address_that_is_none_is_refused(broker: str) -> None:
    """The Kafka clients would take it and wait; the flag and its variable are named."""
    with pytest.raises(ConfigError, match=r"--broker \(SPANLOOM_BROKER\) "):
        load_link(broker)


@pytest.mark.parametrize(
    "broker", [HERE, FAR, "x", "[::1]", "[::1]:9092", "a_b-c:1, [fe80::1%eth0]:65535"]
)
def test_addresses_as_they_are_written_are_taken(broker: str) -> None:
    """Names, IPv6 in brackets, several."""
    assert load_link(broker).security_protocol == "PLAINTEXT"


def test_nothing_set_is_plaintext() -> None:
    """A broker on this machine needs nothing."""
    link = load_link(HERE)
    assert (link.security_protocol, link.is_tls, link.is_sasl) == ("PLAINTEXT", False, False)
    assert list(link.warnings()) == []


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """SPANLOOM_KAFKA_ and the name in capitals is read."""
    for name, value in USER.items():
        monkeypatch.setenv(f"SPANLOOM_KAFKA_{name.upper()}", value)
    link = load_link(FAR)
    assert link.who == "user u (SCRAM-SHA-512)"
    assert link.secret("password") == "pw-4711"


def test_a_misspelt_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would leave the link open in silence; broker.sh's own variables are known."""
    monkeypatch.setenv("SPANLOOM_KAFKA_HOME", "/somewhere")
    load_link(HERE)
    monkeypatch.setenv("SPANLOOM_KAFKA_SECURITY_PROTOCL", "SASL_SSL")
    with pytest.raises(ConfigError, match="no such setting: SPANLOOM_KAFKA_SECURITY_PROTOCL"):
        load_link(HERE)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"security_protocol": "TLS"}, r"security_protocol \(SPANLOOM_KAFKA_SECURITY_PROTOCOL\)"),
        ({"sasl_mechanism": "GSSAPI"}, r"SPANLOOM_KAFKA_SASL_MECHANISM"),
        ({"security_protocol": "SASL_SSL"}, "SASL_SSL needs SPANLOOM_KAFKA_SASL_MECHANISM"),
        ({"username": "u"}, "USERNAME would be ignored: .*SECURITY_PROTOCOL is not SASL_SSL"),
        ({"password": "pw-4711"}, "PASSWORD would be ignored: .*SECURITY_PROTOCOL is not SASL_SSL"),
        ({**SASL, "password": "pw-4711"}, "SCRAM-SHA-512 needs SPANLOOM_KAFKA_USERNAME"),
        ({**SASL, "username": "u"}, "needs one of SPANLOOM_KAFKA_PASSWORD and"),
        ({**USER, "password_file": "/x"}, "needs one of SPANLOOM_KAFKA_PASSWORD and"),
        (
            {**USER, "token_file": "/x"},
            "FILE would be ignored: .*MECHANISM is not OAUTH",
        ),
        ({"ca_file": "/x"}, "CA_FILE would be ignored: .*SECURITY_PROTOCOL is not SSL or"),
        ({"security_protocol": "SSL", "key_file": "/x"}, "CERTIFICATE_FILE and .* set both"),
        ({"security_protocol": "SSL", "certificate_file": "/x"}, "KEY_FILE belong together"),
        ({"security_protocol": "SSL", "key_password": "pw-4711"}, "KEY_PASSWORD needs .*KEY_FILE"),
        (BEARER, "OAUTHBEARER needs one of SPANLOOM_KAFKA_TOKEN_FILE and"),
        ({**ENDPOINT, "token_file": "/x"}, "OAUTHBEARER needs one of"),
        (ENDPOINT, "TOKEN_URL needs SPANLOOM_KAFKA_CLIENT_ID and one of"),
        ({**ENDPOINT, "client_secret": "pw-4711", "username": "u"}, "USERNAME would be ignored by"),
        (
            {**BEARER, "token_file": "/x", "scope": "s"},
            "SCOPE would be ignored, given .*FILE",
        ),
        (
            {**ENDPOINT, "client_secret": "pw-4711", "token_url": "http://id.example.org/t"},
            "would send the client's secret in the clear: use https",
        ),
        (
            {**ENDPOINT, "client_secret": "pw-4711", "token_url": "ftp://id.example.org/t"},
            "TOKEN_URL must be https://HOST/PATH",
        ),
        ({**ENDPOINT, "client_secret": "s", "extensions": "a=b\x01c=d"}, "EXTENSIONS"),
    ],
)
def test_what_contradicts_itself_is_refused(given: dict[str, Any], said: str) -> None:
    """The message names variables and fix, and repeats no value that may be a secret."""
    with pytest.raises(ConfigError, match=said) as caught:
        load_link(FAR, **given)
    assert "pw-4711" not in str(caught.value)


def test_all_contradictions_are_told_at_once(tmp_path: Path) -> None:
    """One run is enough to see them."""
    with pytest.raises(ConfigError, match=r"USERNAME; .*needs one of"):
        load_link(FAR, **SASL)


@pytest.mark.parametrize(
    ("broker", "is_allowed"),
    [
        (HERE, True),
        ("localhost:9092", True),
        ("[::1]:9092", True),
        ("127.0.0.1:1,127.0.0.2:1", True),
        (FAR, False),
        (f"{HERE},{FAR}", False),
        ("10.0.0.1:9092", False),
        ("localhost.example.org:9092", False),
        ("0.0.0.0:9092", False),
    ],
)
def test_a_password_leaves_this_machine_only_over_tls(broker: str, is_allowed: bool) -> None:
    """SASL_PLAINTEXT is for the loopback: every address of the list must be one."""
    clear = {**USER, "security_protocol": "SASL_PLAINTEXT"}
    if is_allowed:
        assert load_link(broker, **clear).is_sasl
        return
    with pytest.raises(ConfigError, match=r"SECURITY_PROTOCOL=SASL_PLAINTEXT .*to SASL_SSL"):
        load_link(broker, **clear)


def test_only_addresses_of_this_machine_are_loopback() -> None:
    """Names are not looked up: what they mean may change."""
    assert [h for h in ("::1", "[::1]", "127.8.8.8", "localhost") if not is_loopback(h)] == []
    assert [h for h in ("", "example.org", "::", "192.168.0.1") if is_loopback(h)] == []


def test_no_secret_is_in_a_repr(tmp_path: Path) -> None:
    """Whoever logs the settings logs no secret."""
    link = KafkaLink(**USER, client_secret="cs-4711", key_password="kp-4711")
    assert "4711" not in repr(link)
    assert "4711" not in str(link)
    assert "4711" not in link.model_dump_json()


def test_a_secret_comes_from_its_file_without_the_lines_end(tmp_path: Path) -> None:
    """Editors add one; other blanks are the secret's own."""
    path = secret_file(tmp_path, b" pass word \r\n")
    assert load_link(FAR, **SASL, username="u", password_file=path).secret("password") == (
        " pass word "
    )


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (b"", 0o600, "holds 0 bytes"),
        (b"\n", 0o600, "holds 1 bytes"),
        (b"x" * (SECRET_BYTES_MAX + 1), 0o600, "holds 65537 bytes: give a file with"),
        (b"\xff\xfe", 0o600, "is not UTF-8 text"),
        (b"pw-4711", 0o602, "can be written by everybody: chmod o-w"),
    ],
)
def test_a_file_that_holds_no_secret_is_refused(
    tmp_path: Path, content: bytes, mode: int, said: str
) -> None:
    """At start, with the variable and the path, and without what it holds."""
    path = secret_file(tmp_path, content, mode)
    with pytest.raises(ConfigError, match=f"PASSWORD_FILE={path} {said}") as caught:
        load_link(FAR, **SASL, username="u", password_file=path)
    assert "4711" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """So is a folder."""
    for path, reason in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=f"PASSWORD_FILE={path} cannot be read: {reason}"):
            load_link(FAR, **SASL, username="u", password_file=path)


def test_what_should_not_stay_is_warned_about(tmp_path: Path) -> None:
    """A secret that others can read (Kubernetes' default), and a host that is not checked."""
    path = secret_file(tmp_path, mode=0o644)
    open_one = load_link(FAR, **SASL, username="u", password_file=path, verify_hostname=False)
    warnings = "\n".join(open_one.warnings())
    assert "SPANLOOM_KAFKA_VERIFY_HOSTNAME is off" in warnings
    assert f"PASSWORD_FILE={path} can be read by everybody" in warnings
    path.chmod(0o640)
    assert list(load_link(FAR, **SASL, username="u", password_file=path).warnings()) == []
