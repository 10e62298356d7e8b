"""What placing topics anew asks of a broker that allows nothing: its rows, and none besides.

On a real broker with TLS, SCRAM and ACLs.
"""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from streams.codec.records import encode
from streams.core.traces.partitioners import fnv1a_partition
from streams.errors import BrokerError
from streams.runtime.build import load_pipeline
from streams.runtime.link import Link
from streams.runtime.rights import Right
from streams.runtime.worker import Worker
from streams.settings import load_link, load_settings
from tests.fault.harness import TRACES, assert_spans_are_whole, wait_for
from tests.integration.secured import (
    OTHER,
    SecuredBroker,
    SecuredDeployment,
    admin_link,
    user_link,
    worker_rights,
)
from tests.integration.traces import event_of
from tests.otlp_cases import START_NS, span_id, span_of, trace_id, traces

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

GROUP = "placing"
USER = "placer"
PASSWORD = "a-" + uuid.uuid4().hex
SPANS_TOPIC = "otlp_spans"
INTERNAL = "spanloom.rekeyed.v1"
CHANGELOG = f"spanloom.{GROUP}.rekey.{SPANS_TOPIC}.state.v1"
REKEY = ("--otlp-topics", SPANS_TOPIC, "--rekey", SPANS_TOPIC)
ROWS = (
    Right("topic", SPANS_TOPIC, "Read"),
    *(Right("topic", name, one) for name in (INTERNAL, CHANGELOG) for one in ("Read", "Write")),
)
"""What comes on top of a worker's: docs/security.md has the same rows."""
OF_OTLP = 3
"""Spans of a trace that lie wrongly; one lies where it should."""


@pytest.fixture(scope="module")
def place(
    own_secured: SecuredBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SecuredDeployment]:
    """Yield a deployment as its worker sees it, which has its rows and nothing besides."""
    folder = tmp_path_factory.mktemp("placing")
    admin = SecuredDeployment(own_secured.tls_address, folder, GROUP).with_link(
        **admin_link(own_secured)
    )
    made = admin.cli("topics", "create", "--partitions", admin.partitions, *REKEY)
    assert made.returncode == 0, made.stderr
    own_secured.add_user(USER, PASSWORD)
    create = Right("topic", f"spanloom.{GROUP}.", "Create", is_prefix=True)
    own_secured.grant(USER, (*worker_rights(GROUP), *ROWS, create))
    mine = admin.with_link(**user_link(own_secured, USER, PASSWORD))
    mine.broker = own_secured.address
    try:
        yield mine
    finally:
        mine.end()


def feed(own_secured: SecuredBroker, numbers: range, partitions: int) -> dict[str, set[str]]:
    """Send traces whose OTLP spans lie as FNV-1a places them; return their span ids by trace."""
    link = Link(
        own_secured.tls_address, load_link(own_secured.tls_address, **admin_link(own_secured))
    )
    producer = Producer(link.librdkafka() | {"partitioner": "murmur2_random"})
    expected: dict[str, set[str]] = {}
    for n in numbers:
        key = trace_id(n).hex()
        spans = [span_of(n, s) for s in range(1, OF_OTLP + 1)]
        value = traces("checkout", spans).SerializeToString()
        placed = fnv1a_partition(key.encode(), partitions)
        producer.produce(SPANS_TOPIC, value, key.encode(), placed)
        ids = {"trace_id": key, "span_id": span_id(n, 9).hex()}
        event = event_of(n, 9, START_NS // 1000) | ids | {"parent_span_id": span_id(n, 1).hex()}
        producer.produce(OTHER, encode("telemetry_event", event), key.encode())
        expected[key] = {span_id(n, s).hex() for s in (*range(1, OF_OTLP + 1), 9)}
    assert producer.flush(60) == 0
    return expected


def test_with_exactly_these_rights_topics_are_placed_anew(
    own_secured: SecuredBroker, place: SecuredDeployment
) -> None:
    """Traces that lie torn are whole: no partition but one has all of their spans."""
    expected = feed(own_secured, range(1, 41), place.partitions)
    rows = 40 * (OF_OTLP + 1)
    end = ("--exit-after", rows, "--drain-seconds", 60, "--fixed-waits", 1)
    worker = place.worker(*REKEY, *end)
    assert worker.wait(240) == 0, worker.tail()
    assert PASSWORD not in worker.log.read_text("utf-8")
    assert worker.accounting()["joined"] == rows
    assert_spans_are_whole(place.tail(TRACES), expected)


def prepare(own_secured: SecuredBroker, folder: Path) -> None:
    """Do what a worker does before its first record."""
    given = {"otlp_topics": SPANS_TOPIC, "rekey": SPANS_TOPIC}
    settings = load_settings(broker=own_secured.address, group=GROUP, state_dir=folder, **given)
    link = load_link(own_secured.address, **user_link(own_secured, USER, PASSWORD))
    Worker(load_pipeline(settings), Link(own_secured.address, link)).prepare()


@pytest.mark.parametrize("right", ROWS, ids=str)
def test_without_one_of_them_it_is_named(
    own_secured: SecuredBroker, place: SecuredDeployment, right: Right, tmp_path: Path
) -> None:
    """Before anything is read, and it alone; the changelog is there since the test above."""
    assert place.link
    own_secured.revoke(USER, [right])
    try:
        with pytest.raises(BrokerError) as caught:
            prepare(own_secured, tmp_path)
    finally:
        own_secured.grant(USER, [right])
    assert str(caught.value) == (
        f"user {USER} (SCRAM-SHA-512) may not: {right}. Operator action: grant the rights as "
        "docs/security.md lists them, and start again."
    )


def test_without_create_the_changelog_is_named(
    own_secured: SecuredBroker, place: SecuredDeployment, tmp_path: Path
) -> None:
    """A rekey task that is new to a group has to make its changelog, or somebody else does."""
    other = SecuredDeployment(own_secured.address, tmp_path, "unplaced")
    other = other.with_link(**place.link)
    rights = [Right("topic", "spanloom.unplaced.", one, True) for one in ("Read", "Write")]
    rights += [Right("group", "unplaced", "Read")]
    rights += [Right("transactional id", "unplaced-", "Write", is_prefix=True)]
    own_secured.grant(USER, rights)
    worker = other.worker(*REKEY)
    try:
        assert worker.wait(240) == 3, worker.tail()
    finally:
        other.end()
    assert "may not Create topic spanloom.unplaced." in worker.log.read_text("utf-8")


def test_a_right_that_goes_while_topics_are_placed_ends_the_worker(
    own_secured: SecuredBroker, place: SecuredDeployment
) -> None:
    """It stops with 3 and the right; back again, it goes on from its last commit."""
    worker = place.worker(*REKEY, "--fixed-waits", 1)
    worker.wait_until_restored(place.partitions, "rekey", 240)
    right = Right("topic", INTERNAL, "Write")
    own_secured.revoke(USER, [right])
    try:
        expected = feed(own_secured, range(100, 120), place.partitions)
        wait_for(lambda: not worker.is_alive, 240, worker.tail)
    finally:
        own_secured.grant(USER, [right])
    assert worker.wait(1) == 3, worker.tail()
    lines = worker.log.read_text("utf-8").splitlines()
    said = [line for line in lines if line.startswith("spanloom: ")][-1]
    assert f"may not: {right}. Operator action: " in said, said
    worker = place.worker(*REKEY, "--fixed-waits", 1)

    def are_whole() -> bool:
        found = {t["trace_id"]: len(t["spans"]) for t in place.tail(TRACES)}
        return all(found.get(one) == OF_OTLP + 1 for one in expected)

    wait_for(are_whole, 240, worker.tail, worker)
    worker.terminate()
    assert worker.wait(60) == 0, worker.tail()
