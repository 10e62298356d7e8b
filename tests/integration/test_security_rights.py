"""The least rights of every process: with them all works, without any one the process says which.

On a real broker with TLS, SCRAM and ACLs.
"""

import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

from streams.codec.records import encode
from streams.errors import BrokerError
from streams.runtime.build import load_pipeline
from streams.runtime.link import Link
from streams.runtime.rights import Right
from streams.runtime.task import changelog_topic
from streams.runtime.worker import Worker
from streams.settings import load_link, load_settings
from tests.fault.console import ConsoleAt
from tests.fault.harness import TRACES, WorkerProcess, assert_spans_are_whole, wait_for
from tests.integration.secured import (
    DERIVED_WRITTEN,
    SecuredBroker,
    SecuredDeployment,
    admin_link,
    user_link,
    worker_rights,
)
from tests.integration.traces import trace_of
from tests.notify_events import incident

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

OTHER = "telemetry.other.v1"
START_US = 1_700_000_000_000_000
PASSWORD = "a-" + uuid.uuid4().hex
GROUP = "least"
WORKER = worker_rights(GROUP)
CREATE = Right("topic", f"spanloom.{GROUP}.", "Create", is_prefix=True)
REPLAY = (Right("topic", OTHER, "Write"),)
CONSOLE = tuple(
    Right("topic", name, "Read")
    for name in (
        TRACES, "fidelity.stats.v1", "alerts.raised.v1", "incidents.events.v1",
        "incidents.audit.v1", "telemetry.rejected.v1", OTHER,
    )
)  # fmt: skip
NOTIFY = (
    Right("topic", "incidents.events.v1", "Read"),
    Right("topic", "incidents.bus", "Write"),
    Right("group", "told.", "Read", is_prefix=True),
)
STATS = (
    *(
        Right("topic", name, "Describe")
        for name in (*DERIVED_WRITTEN, "alerts.external.v1", "incidents.commands.v1", OTHER)
        if name != "telemetry.rejected.v1"
    ),
    Right("topic", "telemetry.rejected.v1", "Read"),
    Right("topic", changelog_topic(GROUP, "join"), "Read"),
    Right("group", GROUP, "Describe"),
)


@pytest.fixture(scope="module")
def place(
    own_secured: SecuredBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SecuredDeployment]:
    """Yield a deployment whose topics the administrator made, and its users with their rights."""
    folder = tmp_path_factory.mktemp("least")
    made = SecuredDeployment(own_secured.address, folder, GROUP)
    for user, rights in {
        "worker": (*WORKER, CREATE), "replay": REPLAY, "stats": STATS, "notify": NOTIFY,
        "console": CONSOLE,
        "tail": (Right("topic", TRACES, "Read"),),
    }.items():  # fmt: skip
        own_secured.add_user(user, PASSWORD)
        own_secured.grant(user, rights)
    made.broker, made.link = own_secured.tls_address, admin_link(own_secured)
    made.create_topics()
    bus = own_secured.admin.create_topics([NewTopic("incidents.bus", 1, 1)])
    bus["incidents.bus"].result(30)
    made.broker, made.link = own_secured.address, {}
    try:
        yield made
    finally:
        made.end()


def as_user(own_secured: SecuredBroker, place: SecuredDeployment, name: str) -> SecuredDeployment:
    """Return the deployment as a user sees it."""
    return place.with_link(**user_link(own_secured, name, PASSWORD))


class Joined(NamedTuple):
    """What was sent, and the worker that has joined it and ended."""

    events: list[dict[str, Any]]
    worker: WorkerProcess


@pytest.fixture(scope="module")
def joined(own_secured: SecuredBroker, place: SecuredDeployment) -> Joined:
    """Send and join traces, each process with its least rights: there is something to be read."""
    events = [e for n in range(1, 41) for e in trace_of(n, spans=3, start_us=START_US + n * 10_000)]
    sender = as_user(own_secured, place, "replay")
    sent = sender.replay(events)
    assert sent.returncode == 0, sent.stderr
    settings = load_link(own_secured.address, **sender.link)
    producer = Producer(Link(own_secured.address, settings).librdkafka())
    producer.produce(OTHER, b"{garbage}", b"key")  # or no reader would look at what was rejected
    assert producer.flush(30) == 0
    worker = as_user(own_secured, place, "worker").worker(
        "--exit-after", len(events) + 1, "--drain-seconds", 240, "--fixed-waits", 1,
        "--log-level", "DEBUG",
    )  # fmt: skip
    assert worker.wait(240) == 0, worker.tail()
    return Joined(events, worker)


def test_with_exactly_these_rights_everything_works(
    own_secured: SecuredBroker, place: SecuredDeployment, joined: Joined
) -> None:
    """Replay sends, the worker joins and commits, tail and stats read: each with its rows alone."""
    events, worker = joined
    assert PASSWORD not in worker.log.read_text("utf-8"), "at any level"
    assert worker.accounting()["joined"] == len(events)
    valid = as_user(own_secured, place, "tail").tail(TRACES)
    expected: dict[str, set[str]] = {}
    for event in events:
        expected.setdefault(event["trace_id"], set()).add(event["span_id"])
    assert_spans_are_whole(valid, expected)
    shown = as_user(own_secured, place, "stats").cli("stats", "--group", GROUP, "--json")
    assert shown.returncode == 0, shown.stderr
    assert '"joined": 120' in shown.stdout


def prepare(own_secured: SecuredBroker, place: SecuredDeployment, folder: Path) -> None:
    """Do what a worker does before its first record, as user worker."""
    settings = load_settings(broker=own_secured.address, group=GROUP, state_dir=folder)
    given = {**as_user(own_secured, place, "worker").link}
    link = Link(own_secured.address, load_link(own_secured.address, **given))
    Worker(load_pipeline(settings), link).prepare()


@pytest.fixture
def without(own_secured: SecuredBroker) -> Iterator[Callable[[str, Right], None]]:
    """Return what takes a right from a user for the time of a test."""
    taken: list[tuple[str, Right]] = []

    def take(user: str, right: Right) -> None:
        own_secured.revoke(user, [right])
        taken.append((user, right))

    yield take
    for user, right in taken:
        own_secured.grant(user, [right])


@pytest.mark.parametrize("right", WORKER, ids=str)
def test_a_worker_without_one_right_names_it(
    own_secured: SecuredBroker,
    place: SecuredDeployment,
    without: Callable[[str, Right], None],
    right: Right,
    tmp_path: Path,
) -> None:
    """Each row that is taken away ends the worker before it joins, and is all that is named."""
    without("worker", right)
    with pytest.raises(BrokerError) as caught:
        prepare(own_secured, place, tmp_path)
    assert str(caught.value) == (
        f"user worker (SCRAM-SHA-512) may not: {right}. Operator action: grant the rights as "
        "docs/security.md lists them, and start again."
    )


def test_all_missing_rights_are_named_at_once(
    own_secured: SecuredBroker,
    place: SecuredDeployment,
    without: Callable[[str, Right], None],
    tmp_path: Path,
) -> None:
    """One start is enough to see them: also those of a topic that may not even be seen."""
    for right in (Right("topic", OTHER, "Read"), *WORKER[-2:]):
        without("worker", right)
    with pytest.raises(BrokerError, match=rf"Read topic {OTHER}; Read group {GROUP}; Write tr"):
        prepare(own_secured, place, tmp_path)


def refusal(place: SecuredDeployment, *arguments: object) -> str:
    """Run a worker that must end by itself with 3; return the one sentence that it says."""
    worker = place.worker(*arguments, state=f"state-{uuid.uuid4().hex}")
    assert worker.wait(240) == 3, worker.tail()
    said = worker.log.read_text("utf-8")
    assert "Traceback" not in said, said
    (line,) = [one for one in said.splitlines() if one.startswith("spanloom: ")]
    assert "Operator action: " in line
    return line


def test_a_new_group_needs_create_or_somebody_who_does_it(
    own_secured: SecuredBroker, place: SecuredDeployment
) -> None:
    """A group whose changelogs are not there yet, without Create, is told which topic it is."""
    mine = as_user(own_secured, place, "worker")
    mine.group = "other"
    rights = [Right("group", "other", "Read"), Right("topic", "spanloom.other.", "Describe", True)]
    rights += [Right("topic", "spanloom.other.", one, True) for one in ("Read", "Write")]
    rights += [Right("transactional id", "other-", "Write", True)]
    own_secured.grant("worker", rights)
    assert "may not Create topic spanloom.other." in refusal(mine)


@pytest.mark.parametrize(
    ("user", "right", "arguments"),
    [
        ("tail", Right("topic", TRACES, "Read"), ("tail", TRACES, "--no-follow")),
        *(("stats", right, ("stats", "--group", GROUP)) for right in STATS),
    ],
    ids=str,
)
def test_a_reader_without_one_right_names_it(
    own_secured: SecuredBroker,
    place: SecuredDeployment,
    joined: Joined,
    without: Callable[[str, Right], None],
    user: str,
    right: Right,
    arguments: tuple[str, ...],
) -> None:
    """Readers end with 3, name the right, and never say that a topic is missing which is not."""
    without(user, right)
    code, said = as_user(own_secured, place, user).said(*arguments)
    assert code == 3
    assert f"may not Describe {right.kind} {right.name} " in said, "Read goes, and Describe with it"


def test_a_topic_that_may_be_seen_and_not_read_is_told_apart(
    own_secured: SecuredBroker, place: SecuredDeployment
) -> None:
    """With Describe alone the topic is found, and Read is what is missing."""
    own_secured.add_user("looker", PASSWORD)
    own_secured.grant("looker", [Right("topic", TRACES, "Describe")])
    code, said = as_user(own_secured, place, "looker").said("tail", TRACES, "--no-follow")
    assert code == 3
    assert f"user looker (SCRAM-SHA-512) may not Read topic {TRACES} " in said


def test_a_sender_without_its_right_names_it(
    own_secured: SecuredBroker, place: SecuredDeployment, without: Callable[[str, Right], None]
) -> None:
    """A replay ends with 3 and names the topic that it may not write."""
    without("replay", REPLAY[0])
    sent = as_user(own_secured, place, "replay").replay(trace_of(1, spans=1, start_us=START_US))
    assert sent.returncode == 3
    assert f"may not Write topic {OTHER} " in sent.stderr


def telling(own_secured: SecuredBroker, place: SecuredDeployment) -> WorkerProcess:
    """Start to tell a topic of incidents, as user notify."""
    config = place.folder / "notify.yaml"
    config.write_text(
        "targets: [{id: bus, kind: cloudevents, topic: incidents.bus}]\n", encoding="utf-8"
    )
    mine = as_user(own_secured, place, "notify")
    command = [sys.executable, "-m", "streams.cli.main", "notify", "run"]
    command += ["--config", str(config), "--group", "told", "--broker", mine.broker]
    process = WorkerProcess(command, mine.environment, place.folder / uuid.uuid4().hex)
    place.workers.append(process)
    return process


def test_incidents_are_told_with_exactly_these_rights(
    own_secured: SecuredBroker, place: SecuredDeployment
) -> None:
    """Read the topic, read the group of each target, write the topic that is a target."""
    process = telling(own_secured, place)
    wait_for(lambda: "ready targets=bus" in process.out.read_text(), 60, process.tail, process)
    given = load_link(own_secured.tls_address, **admin_link(own_secured))
    producer = Producer(Link(own_secured.tls_address, given).librdkafka())
    producer.produce("incidents.events.v1", encode("incident_event", incident()), b"a" * 32)
    assert producer.flush(30) == 0
    process.terminate()
    assert process.wait(60) == 0, process.tail()
    process = telling(own_secured, place)  # what came while nobody told is told now
    wait_for(lambda: "ready targets=bus" in process.out.read_text(), 60, process.tail, process)
    process.terminate()
    assert process.wait(60) == 0, process.tail()
    assert PASSWORD not in process.log.read_text("utf-8")


@pytest.mark.parametrize("right", NOTIFY, ids=str)
def test_who_tells_incidents_without_one_right_names_it(
    own_secured: SecuredBroker,
    place: SecuredDeployment,
    without: Callable[[str, Right], None],
    right: Right,
) -> None:
    """3 before anything is told, and the one that is missing."""
    without("notify", right)
    process = telling(own_secured, place)
    assert process.wait(60) == 3, process.tail()
    name = right.name + ("bus" if right.is_prefix else "")
    said = process.log.read_text("utf-8")
    assert f"{right.operation} {right.kind} {name}" in said
    assert "Operator action: grant the rights" in said


def console_at(own_secured: SecuredBroker, place: SecuredDeployment) -> ConsoleAt:
    """Return a console with an archive of its own, as user console."""
    mine = as_user(own_secured, place, "console")
    at = ConsoleAt(mine, str(place.folder / f"archive-{uuid.uuid4().hex}"))
    at.lives = len(place.workers)  # its folder is named by that, and others came before
    return at


def test_a_console_reads_with_exactly_these_rights(
    own_secured: SecuredBroker, place: SecuredDeployment, joined: Joined
) -> None:
    """Traces and the events that they are of are archived, by Read alone."""
    at = console_at(own_secured, place)
    console = at.start()
    at.wait_until_read(console)
    (event,) = joined.events[:1]
    found = at.get(f"/api/v1/traces/{event['trace_id']}")
    assert found["span_count"] == 3, "the trace"
    series = at.get("/api/v1/volume?by=event&start=2023-11-14T00:00Z&end=2023-11-16T00:00Z")
    assert series["series"], "events of telemetry topics"
    console.terminate()
    assert console.wait(60) == 0, console.tail()


@pytest.mark.parametrize("right", CONSOLE, ids=str)
def test_a_console_without_one_right_names_it(
    own_secured: SecuredBroker,
    place: SecuredDeployment,
    joined: Joined,
    without: Callable[[str, Right], None],
    right: Right,
) -> None:
    """It ends with 3 and the topic that it may not read."""
    without("console", right)
    console = console_at(own_secured, place).start()
    assert console.wait(60) == 3, console.tail()
    assert right.name in console.log.read_text("utf-8")
    assert "Operator action: grant the rights" in console.log.read_text("utf-8")


def test_topics_are_made_only_by_who_may(
    own_secured: SecuredBroker, place: SecuredDeployment
) -> None:
    """Whoever lacks Create is told for which topic; with it, the least right, they are made."""
    own_secured.add_user("maker", PASSWORD)
    maker = as_user(own_secured, place, "maker")
    code, said = maker.said("topics", "create", "--derived-prefix", "made.", "--input-topic", "x")
    assert code == 3
    assert "user maker (SCRAM-SHA-512) may not Create topic made." in said
    own_secured.grant("maker", [Right("topic", "made.", "Create", is_prefix=True)])
    made = maker.cli("topics", "create", "--derived-prefix", "made.", "--input-topic", "x")
    assert made.returncode == 0, made.stderr
    again = maker.cli("topics", "create", "--derived-prefix", "made.", "--input-topic", "x")
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize(
    "right",
    [
        Right("topic", OTHER, "Read"),
        Right("topic", TRACES, "Write"),
        *WORKER[-2:],
    ],
    ids=str,
)
def test_a_right_that_goes_while_a_worker_runs_ends_it(
    own_secured: SecuredBroker,
    place: SecuredDeployment,
    without: Callable[[str, Right], None],
    right: Right,
) -> None:
    """It stops with 3 and the right, instead of trying again for ever."""
    worker = as_user(own_secured, place, "worker").worker("--fixed-waits", 1, state="state-of-runs")
    worker.wait_until_restored(place.partitions, seconds=240)
    without("worker", right)
    sender = as_user(own_secured, place, "replay")
    events = trace_of(uuid.uuid4().int % 10_000 + 100, spans=2, start_us=START_US + 60_000_000)

    def has_ended() -> bool:
        sender.replay(events)
        return not worker.is_alive

    wait_for(has_ended, 240, worker.tail)
    assert worker.wait(1) == 3, worker.tail()
    lines = worker.log.read_text("utf-8").splitlines()
    said = [line for line in lines if line.startswith("spanloom: ")][-1]  # clients may speak after
    assert f"may not: {right}. " in said
    assert "Operator action: " in said
