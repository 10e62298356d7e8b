"""Who may send to a collector that strangers reach: keys or certificates, on both ports."""

import json
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest

from streams.codec.records import decode
from streams.runtime.topics import REJECTED
from tests.fault.collector import CollectorAt
from tests.fault.harness import Deployment, wait_for
from tests.integration.test_collector import START_US, plain_json
from tests.integration.test_collector_hostile import EXPORT
from tests.integration.traces import event_of
from tests.otlp_cases import span_of, traces

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

GOOD = json.dumps(plain_json(event_of(1, 1, START_US))).encode()
SPANS = traces("shop", [span_of(1, 1)]).SerializeToString()


class Pair(NamedTuple):
    """A certificate and its key."""

    certificate: Path
    key: Path


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Authority:
    """Makes certificates that it vouches for."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir()
        self._folder = folder
        self.pair = Pair(folder / "ca.pem", folder / "ca.key")
        subject = ("-subj", f"/CN={name}", "-days", 2)
        made = ("-keyout", self.pair.key, "-out", self.pair.certificate)
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, *made)

    def issue(self, name: str) -> Pair:
        """Return a certificate for 127.0.0.1."""
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        asked = self._folder / f"{name}.csr"
        new = ("-newkey", "rsa:2048", "-nodes", "-keyout", pair.key, "-out", asked)
        openssl("req", *new, "-subj", f"/CN={name}")
        names = self._folder / "names"
        names.write_text("subjectAltName=IP:127.0.0.1\n", "ascii")
        by = ("-CA", self.pair.certificate, "-CAkey", self.pair.key, "-CAcreateserial")
        into = ("-extfile", names, "-days", 2, "-out", pair.certificate)
        openssl("x509", "-req", "-in", asked, *by, *into)
        return pair


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Return an authority; skip where there is no openssl to make it with."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing")
    return Authority(tmp_path / "authority", "spanloom tests")


def call(at: CollectorAt, ca: Path, key: str = "", client: Pair | None = None) -> grpc.StatusCode:
    """Send spans over gRPC; return the code."""
    own = (client.key.read_bytes(), client.certificate.read_bytes()) if client else (None, None)
    proof = grpc.ssl_channel_credentials(ca.read_bytes(), *own)
    metadata = [("authorization", f"Bearer {key}")] if key else []
    with grpc.secure_channel(f"127.0.0.1:{at.grpc}", proof) as channel:
        try:
            channel.unary_unary(EXPORT)(SPANS, timeout=120, metadata=metadata)
        except grpc.RpcError as error:
            return error.code()  # type: ignore[attr-defined,no-any-return]
    return grpc.StatusCode.OK


def test_with_keys_senders_alone_are_heard(deployment: Deployment, authority: Authority) -> None:
    """On all addresses, over TLS; a viewer's key and none are refused, a revoked one soon after."""
    deployment.create_topics()
    server, keys = authority.issue("server"), deployment.folder / "keys.json"

    def new(role: str) -> dict[str, str]:
        made = deployment.cli(
            "console-key", "new", "--actor", role, "--role", role, "--file", keys, "--json"
        )
        assert made.returncode == 0, made.stderr
        said: dict[str, str] = json.loads(made.stdout)
        return said

    sender, viewer = new("sender"), new("viewer")
    at = CollectorAt(
        deployment,
        address="0.0.0.0",
        auth="keys",
        keys_file=keys,
        tls_certificate_file=server.certificate,
        tls_key_file=server.key,
    )
    ca = authority.pair.certificate
    at.context = ssl.create_default_context(cafile=ca)
    process = at.serve()
    assert at.post("/v1/events", GOOD).status == 401
    assert at.post("/v1/events", GOOD, authorization=f"Bearer {viewer['key']}").status == 403
    mine = f"Bearer {sender['key']}"
    assert at.post("/v1/events", GOOD, authorization=mine).json == {"taken": 1, "rejected": 0}
    assert at.post("/v1/events", b"{", authorization=mine).status == 400
    assert call(at, ca) == grpc.StatusCode.UNAUTHENTICATED
    assert call(at, ca, viewer["key"]) == grpc.StatusCode.PERMISSION_DENIED
    assert call(at, ca, sender["key"]) == grpc.StatusCode.OK
    (kept,) = [decode(message.value) for message in deployment.read(REJECTED)]
    assert kept["key"] == b"sender"
    revoked = deployment.cli("console-key", "revoke", sender["key_id"], "--file", keys)
    assert revoked.returncode == 0, revoked.stderr
    wait_for(
        lambda: at.post("/v1/events", GOOD, authorization=mine).status == 401, 10, process.tail
    )
    assert call(at, ca, sender["key"]) == grpc.StatusCode.UNAUTHENTICATED
    assert sender["key"] not in process.log.read_text("utf-8")


def test_with_certificates_strangers_do_not_get_in(
    deployment: Deployment, authority: Authority, tmp_path: Path
) -> None:
    """A certificate of the authority opens both ports; none, or another's, opens neither."""
    deployment.create_topics()
    server, client = authority.issue("server"), authority.issue("client")
    stranger = Authority(tmp_path / "other", "somebody else").issue("client")
    ca = authority.pair.certificate
    at = CollectorAt(
        deployment,
        auth="mtls",
        client_ca_file=ca,
        tls_certificate_file=server.certificate,
        tls_key_file=server.key,
    )
    at.context = ssl.create_default_context(cafile=ca)
    at.context.load_cert_chain(*client)
    at.serve()
    assert at.post("/v1/events", GOOD).status == 200
    assert call(at, ca, client=client) == grpc.StatusCode.OK
    assert call(at, ca) == grpc.StatusCode.UNAVAILABLE
    assert call(at, ca, client=stranger) == grpc.StatusCode.UNAVAILABLE
    at.context = ssl.create_default_context(cafile=ca)
    assert at.post("/v1/events", GOOD).status == 0
    at.context.load_cert_chain(*stranger)
    assert at.post("/v1/events", GOOD).status == 0


def test_wrong_starts_end_with_their_code_and_say_why(deployment: Deployment) -> None:
    """An open port without a proof: 2. Topics that are missing, or no broker: 3."""
    away = CollectorAt(Deployment("127.0.0.1:1", deployment.folder / "away", "none"))
    nobody = away.start()
    missing = CollectorAt(deployment).start()
    open_to_all = CollectorAt(deployment, address="0.0.0.0")
    open_to_all.lives = 10
    wide = open_to_all.start()
    assert wide.wait(60) == 2
    assert "choose keys or mtls" in wide.tail()
    assert missing.wait(60) == 3
    assert "run `spanloom topics create" in missing.tail()
    assert nobody.wait(60) == 3
    assert "Operator action" in nobody.tail()
    away.deployment.end()


def test_a_folder_and_a_port_have_one_collector(deployment: Deployment) -> None:
    """A second one on the folder ends with 3, on a port with 2; the first goes on."""
    deployment.create_topics()
    first = CollectorAt(deployment)
    first.serve()
    on_folder = CollectorAt(deployment)
    on_folder.lives = 10
    second = on_folder.start()
    on_port = CollectorAt(deployment)
    on_port.lives, on_port.buffer = 20, deployment.folder / "another"
    on_port.http = first.http
    third = on_port.start()
    on_grpc = CollectorAt(deployment)
    on_grpc.lives, on_grpc.buffer = 30, deployment.folder / "yet-another"
    on_grpc.grpc = first.grpc
    fourth = on_grpc.start()
    assert second.wait(60) == 3
    assert "give each collector a folder of its own" in second.tail()
    assert third.wait(60) == 2
    assert "SPANLOOM_COLLECTOR_HTTP_PORT" in third.tail()
    assert fourth.wait(60) == 2
    assert "SPANLOOM_COLLECTOR_GRPC_PORT" in fourth.tail()
    assert first.post("/v1/events", GOOD).status == 200
