"""A real Kafka broker for the tests marked `kafka`, and names that no other test uses.

SPANLOOM_TEST_BROKER names a broker that runs already; without it the session starts its own node
on a free port, with no data, and stops it at the end. Tests that need fresh telemetry topics delete
all topics first; on a named broker they run only with SPANLOOM_TEST_BROKER_WIPE=1.
"""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fault.harness import Deployment
from tests.integration.secured import SecuredBroker
from tests.ports import free_ports

BROKER_SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "kafka" / "broker.sh"
START_SECONDS_MAX = 600  # the first start downloads Kafka's jars


def give_up(reason: str) -> None:
    """Skip the broker's tests, naming what is missing; where CI is set, fail them."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def _node() -> Iterator[tuple[str, int]]:
    """Yield address and process id of a Kafka node without data, started for the block."""
    missing = [name for name in ("java", "mvn") if shutil.which(name) is None]
    if missing:
        give_up(f"no real broker: {' and '.join(missing)} missing (or set SPANLOOM_TEST_BROKER)")
    port, controller_port = free_ports(2)
    environment = {**os.environ, "PORT": str(port), "CONTROLLER_PORT": str(controller_port)}

    def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        # The node inherits these descriptors: a pipe here would stay open as long as it runs.
        return subprocess.run(
            [BROKER_SCRIPT, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            timeout=START_SECONDS_MAX,
            check=False,
        )

    if run("start", "--fresh").returncode != 0:
        give_up(f"no real broker: {BROKER_SCRIPT.name} could not start one (its words are above)")
    try:
        pid = (kafka_home() / f"node-{port}" / "pid").read_text(encoding="ascii")
        yield f"127.0.0.1:{port}", int(pid)
    finally:
        run("forget")


@contextmanager
def _secured_node(folder: Path) -> Iterator[SecuredBroker]:
    missing = [name for name in ("java", "mvn", "openssl") if shutil.which(name) is None]
    if missing:
        give_up(f"no secured broker: {' and '.join(missing)} missing")
    node = SecuredBroker(folder)
    try:
        if not node.start():
            give_up("no secured broker: broker.sh could not start one (its words are above)")
        yield node
    finally:
        node.forget()


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    """Yield a real broker that lets nobody in without TLS and a proof, and allows nothing."""
    with _secured_node(tmp_path_factory.mktemp("secured")) as node:
        yield node


@pytest.fixture(scope="module")
def own_secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    """Yield such a broker with no records in it but those of this file of tests."""
    with _secured_node(tmp_path_factory.mktemp("own-secured")) as node:
        yield node


def kafka_home() -> Path:
    """Return the folder where the broker's script keeps jars and nodes."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("SPANLOOM_KAFKA_HOME") or Path(cache) / "spanloom-kafka")


@pytest.fixture(scope="session")
def broker() -> Iterator[str]:
    """Yield the bootstrap address of a real broker, "host:port"."""
    given = os.environ.get("SPANLOOM_TEST_BROKER")
    if given:
        yield given
        return
    with _node() as (address, _):
        yield address


@pytest.fixture(scope="module")
def own_node() -> Iterator[tuple[str, int]]:
    """Yield address and process id of a node of the module's own, which it may hurt."""
    with _node() as node:
        yield node


@pytest.fixture
def unique() -> str:
    """Return a word that no other test uses, for prefixes of topics, groups and transactions."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def topic_prefix(unique: str) -> str:
    """Return a prefix, ending in a dot, that makes a test's topics its own."""
    return f"{unique}."


@pytest.fixture
def group_id(unique: str) -> str:
    """Return a consumer group that only this test joins."""
    return f"{unique}-group"


@pytest.fixture
def deployment(broker: str, unique: str, tmp_path: Path) -> Iterator[Deployment]:
    """Yield a deployment of the shipped worker on a broker without topics.

    The names of the telemetry topics are fixed, so each test begins by deleting what was there:
    on a broker that the session started itself, or one whose owner allowed it.
    """
    given = "SPANLOOM_TEST_BROKER" in os.environ
    if given and os.environ.get("SPANLOOM_TEST_BROKER_WIPE") != "1":
        pytest.skip("deletes all topics: set SPANLOOM_TEST_BROKER_WIPE=1 to allow it")
    made = Deployment(broker, tmp_path, f"{unique}-group")
    made.delete_topics()
    try:
        yield made
    finally:
        made.end()
