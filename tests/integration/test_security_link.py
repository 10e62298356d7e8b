"""Who we are and whom we talk to: every proof lets both clients in, every mistake is one sentence.

On a real broker with TLS, SASL and ACLs.
"""

import asyncio
import json
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from streams.errors import BrokerError, SpanloomError
from streams.runtime.build import load_pipeline
from streams.runtime.link import Link
from streams.runtime.rights import Right, of_worker
from streams.settings import load_link, load_settings
from tests.fault.harness import CALL_SECONDS
from tests.integration.issuer import Issuer, signed
from tests.integration.secured import LONG_AGO, SecuredBroker, SecuredDeployment, user_link

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

PASSWORD = "b-" + uuid.uuid4().hex
SECRET = "c-" + uuid.uuid4().hex
NAME = "linked"
KINDS = ("join", "fragments", "fidelity", "signals", "causes", "external", "incidents")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a broker on a busy machine take its time for TLS: late is not refused."""
    monkeypatch.setattr("streams.runtime.link.REACH_SECONDS", CALL_SECONDS)
    monkeypatch.setattr("streams.runtime.link._HANDSHAKE_SECONDS", CALL_SECONDS)


@pytest.fixture(scope="module")
def place(
    secured: SecuredBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SecuredDeployment]:
    """Yield a deployment with its topics, and one user who may run its worker, by any proof."""
    folder = tmp_path_factory.mktemp(NAME)
    secured.add_user(NAME, PASSWORD)
    secured.certificates(secured.secrets, NAME)
    settings = load_settings(group=NAME, derived_prefix="linked.")
    changelogs = [f"spanloom.{NAME}.{kind}.state.v1" for kind in KINDS]
    rights = of_worker(load_pipeline(settings), changelogs)
    create = Right("topic", f"spanloom.{NAME}.", "Create", is_prefix=True)
    secured.grant(NAME, [*rights, create])
    secured.grant("plain", [Right("topic", "linked.alerts.raised.v1", "Read")])
    made = SecuredDeployment(secured.tls_address, folder, NAME)
    made.link = {
        "security_protocol": "SSL",
        "ca_file": secured.secrets / "ca.pem",
        "certificate_file": secured.secrets / "admin.pem",
        "key_file": secured.secrets / "admin.key",
    }
    done = made.cli("topics", "create", "--derived-prefix", "linked.")
    assert done.returncode == 0, done.stderr
    made.broker = secured.address
    try:
        yield made
    finally:
        made.end()


Proof = dict[str, object]


@pytest.fixture
def scram(secured: SecuredBroker) -> Proof:
    """Return the link of a user with a password."""
    return user_link(secured, NAME, PASSWORD)


@pytest.fixture
def bearer(secured: SecuredBroker) -> Proof:
    """Return the link of a user with a token, but for where the token comes from."""
    return {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "OAUTHBEARER",
        "ca_file": secured.secrets / "ca.pem",
    }


@pytest.fixture
def certificate(secured: SecuredBroker) -> Proof:
    """Return the link of a user with a certificate."""
    return {
        "security_protocol": "SSL",
        "ca_file": secured.secrets / "ca.pem",
        "certificate_file": secured.secrets / f"{NAME}.pem",
        "key_file": secured.secrets / f"{NAME}.key",
    }


@pytest.fixture
def issuer(secured: SecuredBroker) -> Iterator[Issuer]:
    """Yield a token endpoint whose tokens the broker believes."""
    key, certificate = secured.secrets / "token.key", secured.secrets / "broker.both.pem"
    with Issuer(key, certificate, NAME, SECRET) as endpoint:
        yield endpoint


def link_to(address: str, proof: Proof) -> Link:
    """Return a link as a command makes it."""
    return Link(address, load_link(address, **proof))


def greet(link: Link) -> None:
    """Let aiokafka say who it is."""

    async def once() -> None:
        try:
            await link.greet()
        finally:
            await closed()

    asyncio.run(once())


async def closed() -> None:
    """Wait until the loop has closed what it opened, which takes some turns, and a word of TLS."""
    loop: Any = asyncio.get_running_loop()
    sockets: Mapping[Any, Any] = loop._selector.get_map()
    until = time.monotonic() + CALL_SECONDS
    while len(sockets) > 1:  # its own, by which it is woken, stays
        assert time.monotonic() < until, list(sockets.values())
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.01)


def meet(address: str, proof: Proof) -> None:
    """Let both clients say who they are."""
    link = link_to(address, proof)
    link.reach()
    greet(link)


def run_a_worker(place: SecuredDeployment, proof: Proof) -> str:
    """Start a worker as a user, let it restore all tasks, stop it; return its log."""
    mine = place.with_link(**proof)
    worker = mine.worker("--derived-prefix", "linked.", "--log-level", "DEBUG", state="state")
    worker.wait_until_restored(place.partitions, seconds=240)
    worker.terminate()
    assert worker.wait(240) == 0, worker.tail()
    return worker.log.read_text("utf-8")


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "SCRAM-SHA-256"])
def test_a_user_with_a_password_is_let_in(
    secured: SecuredBroker, place: SecuredDeployment, scram: Proof, mechanism: str
) -> None:
    """Both clients take part in SCRAM of both lengths."""
    meet(secured.address, scram | {"sasl_mechanism": mechanism})


def test_plain_from_a_file_is_let_in(secured: SecuredBroker, place: SecuredDeployment) -> None:
    """A password in a file counts as one in a variable, for a whole command."""
    mine = place.with_link(
        security_protocol="SASL_SSL",
        sasl_mechanism="PLAIN",
        ca_file=secured.secrets / "ca.pem",
        username="plain",
        password_file=secured.secrets / "plain.password",
    )
    assert mine.tail("linked.alerts.raised.v1") == []


def test_a_worker_runs_by_certificate(
    secured: SecuredBroker, place: SecuredDeployment, certificate: Proof
) -> None:
    """With mTLS alone the certificate's name is the user."""
    by_certificate = place.with_link()
    by_certificate.broker = secured.tls_address
    run_a_worker(by_certificate, certificate)


def test_a_locked_key_is_opened_by_its_password(
    secured: SecuredBroker, certificate: Proof, tmp_path: Path
) -> None:
    """The key may be encrypted; a wrong password is refused at start, without a prompt."""
    locked, word = tmp_path / "locked.key", tmp_path / "word"
    word.write_text(PASSWORD + "\n", encoding="utf-8")
    lock_key(Path(str(certificate["key_file"])), locked, PASSWORD)
    meet(secured.tls_address, certificate | {"key_file": locked, "key_password_file": word})
    with pytest.raises(SpanloomError, match="KEY_PASSWORD_FILE if it has one") as caught:
        meet(secured.tls_address, certificate | {"key_file": locked, "key_password": "wrong"})
    assert caught.value.exit_code == 2


def lock_key(key: Path, locked: Path, password: str) -> None:
    """Encrypt a private key."""
    command = ["openssl", "pkcs8", "-topk8", "-in", key, "-out", locked, "-passout", "stdin"]
    subprocess.run(command, input=password.encode(), check=True, timeout=30)


def test_a_worker_runs_by_tokens_of_an_endpoint(
    place: SecuredDeployment, secured: SecuredBroker, bearer: Proof, issuer: Issuer
) -> None:
    """Both clients ask the endpoint, over TLS; neither secret nor token is in a DEBUG log."""
    proof = bearer | {
        "token_url": issuer.url,
        "client_id": NAME,
        "client_secret": SECRET,
        "token_ca_file": secured.secrets / "ca.pem",
        "scope": "telemetry",
    }
    log = run_a_worker(place, proof)
    assert issuer.asked >= 2
    assert SECRET not in log
    assert "eyJ" not in log


def test_a_worker_runs_by_tokens_of_a_file(
    place: SecuredDeployment, secured: SecuredBroker, bearer: Proof, tmp_path: Path
) -> None:
    """What somebody else renews is read from its file, by both clients."""
    path = tmp_path / "token"
    path.write_text(signed(secured.secrets / "token.key", sub=NAME), encoding="utf-8")
    log = run_a_worker(place, bearer | {"token_file": path})
    assert "eyJ" not in log


def test_a_token_is_read_again(
    secured: SecuredBroker, place: SecuredDeployment, bearer: Proof, tmp_path: Path
) -> None:
    """A file that was renewed lets us in where the old token no longer did."""
    key, path = secured.secrets / "token.key", tmp_path / "token"
    link_proof = bearer | {"token_file": path}
    path.write_text(signed(key, sub=NAME, exp=1_600_000_000), encoding="utf-8")
    link = link_to(secured.address, link_proof)
    with pytest.raises(BrokerError, match=r"the token in .* ended .* s ago\. Operator action"):
        link.reach()
    path.write_text(signed(key, sub=NAME), encoding="utf-8")
    link.reach()
    greet(link)


# --- who is not let in


@pytest.mark.parametrize("wrong", [{"password": "wrong"}, {"username": "nobody"}])
def test_a_wrong_password_is_one_sentence(
    secured: SecuredBroker, place: SecuredDeployment, scram: Proof, wrong: Proof
) -> None:
    """Both clients are told who was refused, by which mechanism, and which variables to check."""
    proof = scram | wrong
    link = link_to(secured.address, proof)
    said = (
        rf"refuses user {proof['username']} \(SCRAM-SHA-512\): .*invalid credentials.*"
        r"Operator action: check SPANLOOM_KAFKA_USERNAME"
    )
    with pytest.raises(BrokerError, match=said):
        link.reach()
    with pytest.raises(BrokerError, match=said):
        greet(link)


def test_a_worker_with_a_wrong_password_ends_and_keeps_it_to_itself(
    place: SecuredDeployment, scram: Proof
) -> None:
    """Exit code 3 by itself, one sentence, no traceback, and no password at DEBUG."""
    wrong = "d-" + uuid.uuid4().hex
    worker = place.with_link(**scram | {"password": wrong}).worker("--log-level", "DEBUG")
    assert worker.wait(240) == 3
    said = worker.log.read_text("utf-8") + worker.out.read_text("utf-8")
    assert wrong not in said
    assert "Traceback" not in said
    assert said.count("spanloom: ") == 1, said
    assert "refuses user linked (SCRAM-SHA-512)" in said


@pytest.mark.parametrize(
    "words",
    [
        ("tail", "linked.alerts.raised.v1"), ("stats",), ("fidelity",), ("topics", "create"),
        ("replay", "events", "nothing.jsonl"),
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_every_command_says_who_was_refused(
    place: SecuredDeployment, scram: Proof, words: tuple[str, ...]
) -> None:
    """Not only the worker: each ends with 3 and the same sentence."""
    event = {"event_id": "e", "timestamp": 1, "module": "m", "event_type": "LOG", "name": "n"}
    (place.folder / "nothing.jsonl").write_text(json.dumps(event) + "\n", encoding="utf-8")
    code, said = place.with_link(**scram | {"password": "wrong"}).said(*words)
    assert code == 3
    assert "refuses user linked (SCRAM-SHA-512): " in said


def test_a_broker_of_an_unknown_authority_is_refused(
    secured: SecuredBroker, place: SecuredDeployment, scram: Proof, tmp_path: Path
) -> None:
    """Whoever poses as the broker with another authority's certificate gets no password."""
    other = secured.certificates(tmp_path, "other") / "ca.pem"
    with pytest.raises(BrokerError, match=r"is not trusted: .*SPANLOOM_KAFKA_CA_FILE"):
        meet(secured.address, scram | {"ca_file": other})
    with pytest.raises(BrokerError, match=r"is not trusted: .*SPANLOOM_KAFKA_CA_FILE"):
        meet(secured.address, {k: v for k, v in scram.items() if k != "ca_file"})


def wrong_ca(secured: SecuredBroker) -> Proof:
    """Return how to trust the authority of the broker's wrong listeners, and nothing else."""
    return {"security_protocol": "SSL", "ca_file": secured.folder / "wrong" / "ca.pem"}


def test_a_certificate_that_has_ended_is_named(secured: SecuredBroker) -> None:
    """Renewing it is the broker's business, and the message says so."""
    with pytest.raises(BrokerError, match=r"out of its time: certificate has expired\. .*renew"):
        meet(f"localhost:{secured.expired}", wrong_ca(secured))


def test_a_certificate_of_another_host_is_named(secured: SecuredBroker) -> None:
    """With checking off it is taken, and that is warned about."""
    address = f"localhost:{secured.elsewhere}"
    with pytest.raises(BrokerError, match=r"is of another host: .*SPANLOOM_BROKER"):
        meet(address, wrong_ca(secured))
    unchecked = load_link(address, **wrong_ca(secured), verify_hostname=False)
    assert [w for w in unchecked.warnings() if "VERIFY_HOSTNAME is off" in w]
    Link(address, unchecked).reach()
    greet(Link(address, unchecked))


def test_a_listener_that_wants_tls_is_named(secured: SecuredBroker) -> None:
    """A link without TLS is not left with "no broker answers"."""
    with pytest.raises(BrokerError, match=r"speaks TLS, and this link is PLAINTEXT"):
        Link.plain(secured.address).reach()
    proof: Proof = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "SCRAM-SHA-512"}
    with pytest.raises(BrokerError, match=r"speaks TLS, and this link is SASL_PLAINTEXT"):
        meet(secured.address, proof | {"username": NAME, "password": PASSWORD})


@pytest.mark.parametrize("whose", ["none", "another authority's", "ended"])
def test_a_certificate_of_ours_that_is_not_accepted_is_named(
    secured: SecuredBroker, place: SecuredDeployment, certificate: Proof, whose: str, tmp_path: Path
) -> None:
    """The broker's alert becomes a sentence that names our certificate's variables."""
    proof = dict(certificate)
    if whose == "none":
        del proof["certificate_file"], proof["key_file"]
    else:
        foreign = whose != "ended"
        dates = {} if foreign else {"NOT_BEFORE": LONG_AGO[0], "NOT_AFTER": LONG_AGO[1]}
        folder = secured.certificates(tmp_path if foreign else secured.secrets, "mine", **dates)
        proof |= {"certificate_file": folder / "mine.pem", "key_file": folder / "mine.key"}
    with pytest.raises(BrokerError, match=r"does not accept .*SPANLOOM_KAFKA_CERTIFICATE_FILE"):
        meet(secured.tls_address, proof)


def test_a_refused_client_secret_is_named(
    secured: SecuredBroker, bearer: Proof, issuer: Issuer
) -> None:
    """Both clients say that the endpoint refused, and neither says the secret."""
    proof = bearer | {"token_url": issuer.url, "client_id": NAME, "client_secret": "wrong-secret"}
    link = link_to(secured.address, proof | {"token_ca_file": secured.secrets / "ca.pem"})
    for call in (link.reach, lambda: greet(link)):
        with pytest.raises(BrokerError, match=r"(?s)401.*Operator action: check ") as caught:
            call()
        assert "wrong-secret" not in str(caught.value)
    assert issuer.refused >= 2


@pytest.mark.parametrize(
    "make",
    [
        lambda secured: signed(secured.secrets / "token.key", aud="another"),
        lambda secured: signed(secured.secrets / "admin.key"),
    ],
    ids=["of another audience", "signed by another"],
)
def test_a_token_that_is_not_believed_is_named(
    secured: SecuredBroker, bearer: Proof, make: Callable[[SecuredBroker], str], tmp_path: Path
) -> None:
    """A token that the broker does not believe is refused with where it came from."""
    path = tmp_path / "token"
    path.write_text(make(secured), encoding="utf-8")
    link = link_to(secured.address, bearer | {"token_file": path})
    said = r"refuses user the token in .*OAUTHBEARER.*which issuer and audience"
    with pytest.raises(BrokerError, match=said):
        link.reach()
    with pytest.raises(BrokerError, match=said):
        greet(link)


def test_a_password_in_the_clear_is_refused_before_it_is_sent(
    place: SecuredDeployment, scram: Proof
) -> None:
    """SASL without TLS off the loopback ends every command with 2, key and fix."""
    clear = {k: v for k, v in scram.items() if k != "ca_file"}
    mine = place.with_link(**clear | {"security_protocol": "SASL_PLAINTEXT"})
    code, said = mine.said("stats", "--broker", "kafka.example.org:9092")
    assert code == 2
    assert "SPANLOOM_KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT would send" in said
    assert "set it to SASL_SSL" in said
