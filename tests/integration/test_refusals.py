"""A worker that cannot do its work says why and what to do, with an exit code that scripts can use.

Exit codes: 2 for configuration, 3 for a broker or a state that cannot be used.
"""

import os
import socket
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AdminClient,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)
from confluent_kafka.admin import AlterConfigOpType as Op

from streams.state.local import LocalState
from tests.fault.collector import CollectorAt
from tests.fault.console import ConsoleAt
from tests.fault.harness import TRACES, Deployment, delete_topics, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

REFUSAL_SECONDS = 60.0


def refusal(deployment: Deployment, *arguments: object, state: str = "state") -> tuple[int, str]:
    """Start a worker that must end by itself; return its exit code and its last word."""
    worker = deployment.worker(*arguments, state=state)
    code = worker.wait(REFUSAL_SECONDS)
    lines = [line for line in worker.tail().splitlines() if line.startswith("spanloom: ")]
    assert lines, worker.tail()
    assert "Traceback" not in worker.tail(), worker.tail()
    return code, lines[-1]


def test_missing_topics_are_named_with_the_command_that_makes_them(
    deployment: Deployment,
) -> None:
    """Without topics the worker ends with 3 and names the topics and `topics create`."""
    code, said = refusal(deployment)
    assert code == 3
    assert "telemetry.other.v1" in said
    assert "spanloom topics create" in said


def test_unequal_partition_counts_are_refused(deployment: Deployment) -> None:
    """Telemetry topics that would tear traces apart end the worker with 3, with their counts."""
    deployment.create_topics()
    delete_topics(deployment.broker, lambda name: name == "telemetry.other.v1")
    admin = AdminClient({"bootstrap.servers": deployment.broker})
    for made in admin.create_topics([NewTopic("telemetry.other.v1", 3, 1)]).values():
        made.result(30)
    code, said = refusal(deployment)
    assert code == 3
    assert "partition counts differ" in said
    assert "telemetry.other.v1 has 3" in said


def grow(deployment: Deployment, partitions: int, *names: str) -> None:
    """Give topics more partitions."""
    admin = AdminClient({"bootstrap.servers": deployment.broker})
    wanted = [NewPartitions(name, partitions) for name in names]
    for grown in admin.create_partitions(wanted).values():
        grown.result(30)


def test_a_topic_that_grows_ends_the_worker_and_can_be_rekeyed(deployment: Deployment) -> None:
    """No key moves in silence: the worker ends within a minute, and the group goes on rekeyed."""
    deployment.create_topics()
    many = len(deployment.partitions_of("telemetry.other.v1"))
    worker = deployment.worker()
    worker.wait_until_restored(many)
    grow(deployment, many + 1, "telemetry.other.v1")
    assert worker.wait(120) == 3, worker.tail()
    assert f"partition {many} of ['telemetry.other.v1'] was added" in worker.tail()
    code, said = refusal(deployment)
    assert (code, f"telemetry.other.v1 has {many + 1}, the" in said, "--rekey" in said) == (
        3,
        True,
        True,
    )
    again = deployment.worker("--rekey", "telemetry.other.v1")
    again.wait_until_restored(many)
    again.terminate()
    assert again.wait(60) == 0, again.tail()


def test_topics_that_are_deleted_under_a_worker_end_it(deployment: Deployment) -> None:
    """It would look like a spare worker: no task, no lag, nothing to do."""
    deployment.create_topics()
    worker = deployment.worker()
    worker.wait_until_restored(len(deployment.partitions_of("telemetry.other.v1")))
    deployment.delete_topics()
    assert worker.wait(120) == 3, worker.tail()
    assert "telemetry.other.v1" in worker.tail()
    assert "spanloom topics create" in worker.tail()


def test_a_state_of_fewer_partitions_is_refused(deployment: Deployment) -> None:
    """All topics have grown, so that they fit together, and not with what the group knows."""
    deployment.create_topics()
    many = len(deployment.partitions_of("telemetry.other.v1"))
    worker = deployment.worker()
    worker.wait_until_restored(many)
    worker.terminate()
    assert worker.wait(60) == 0, worker.tail()
    there = AdminClient({"bootstrap.servers": deployment.broker}).list_topics(timeout=30).topics
    own = [n for n, t in there.items() if len(t.partitions) == many and ".state." not in n]
    grow(deployment, many + 1, *(name for name in own if not name.startswith("__")))
    code, said = refusal(deployment)
    assert (code, "keys have moved" in said, "new group (--group)" in said) == (3, True, True)


def test_a_traces_topic_that_refuses_large_traces_is_refused(deployment: Deployment) -> None:
    """max.message.bytes below a whole trace ends the worker with 3 and names the value needed."""
    deployment.create_topics()
    admin = AdminClient({"bootstrap.servers": deployment.broker})
    small = ConfigEntry("max.message.bytes", "1048588", incremental_operation=Op.SET)
    resource = ConfigResource(ResourceType.TOPIC, TRACES, incremental_configs=[small])
    for altered in admin.incremental_alter_configs([resource]).values():
        altered.result(30)
    code, said = refusal(deployment)
    assert code == 3
    assert f"{TRACES} needs max.message.bytes of at least {8 << 20}" in said


def test_a_wrong_contract_is_refused_with_line_and_fix(
    deployment: Deployment, tmp_path: Path
) -> None:
    """A contract with a mistake ends the worker with 2 before it touches the broker."""
    contract = tmp_path / "contract.yaml"
    contract.write_text('version: "1.0.0"\nname: x\nmodules:\n  ALPHA:\n    ownr: a-team\n')
    code, said = refusal(deployment, "--contract", contract)
    assert code == 2
    assert "contract.yaml:5" in said
    assert "ownr" in said


def test_a_wrong_setting_is_refused_with_its_name(deployment: Deployment) -> None:
    """A setting out of range ends the worker with 2 and names flag and environment variable."""
    code, said = refusal(deployment, "--fixed-waits", -1)
    assert code == 2
    assert "SPANLOOM_FIXED_WAIT_SECONDS" in said


def test_a_broker_that_is_away_is_named(deployment: Deployment) -> None:
    """Without a broker the worker ends with 3 within a minute and says which setting to look at."""
    code, said = refusal(deployment, "--broker", "127.0.0.1:9")
    assert code == 3
    assert "--broker" in said


@pytest.mark.parametrize(
    ("command", "flag", "setting"),
    [
        ("worker", "--health-port", "SPANLOOM_HEALTH_PORT"),
        ("worker", "--metrics-port", "SPANLOOM_METRICS_PORT"),
        ("collector", "--http", "SPANLOOM_COLLECTOR_HTTP_PORT"),
        ("collector", "--grpc", "SPANLOOM_COLLECTOR_GRPC_PORT"),
        ("console", "--port", "SPANLOOM_CONSOLE_PORT"),
    ],
)
def test_a_port_that_is_taken_is_named_with_flag_setting_holder_and_fix(
    deployment: Deployment, command: str, flag: str, setting: str
) -> None:
    """Ends with 2, in one line; no library says `Errno 98` besides."""
    deployment.create_topics()
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        start = {
            "worker": deployment.worker,
            "collector": CollectorAt(deployment).start,
            "console": ConsoleAt(deployment).start,
        }[command]
        process = start(flag, str(port))
        assert process.wait(REFUSAL_SECONDS) == 2, process.tail()
    said = process.tail()
    assert "Errno" not in said, said
    assert "Traceback" not in said, said
    (line,) = [line for line in said.splitlines() if line.startswith("spanloom: ")]
    assert f"({setting}, {flag}): 127.0.0.1:{port}: is taken" in line
    assert f"process {os.getpid()} listens there" in line
    assert line.endswith(f"end that, or take another port with {flag}")


def test_two_workers_with_one_state_folder_are_refused(deployment: Deployment) -> None:
    """The second worker ends with 3 and names the folder; the first one goes on."""
    deployment.create_topics()
    first = deployment.worker()
    first.wait_until_restored(deployment.partitions)
    code, said = refusal(deployment)
    assert code == 3
    assert "a state directory of its own" in said
    wait_for(lambda: first.is_alive, 1, lambda: "the first worker goes on")


def test_a_state_that_fails_at_assignment_ends_the_worker(
    deployment: Deployment, tmp_path: Path
) -> None:
    """When a task cannot be restored the worker ends with 3; it does not stay in the group idle."""
    deployment.create_topics()
    held = LocalState(tmp_path / "state" / deployment.group / "join-1", "any/1")
    held.write([], 0, replace=True)
    try:
        code, said = refusal(deployment)
    finally:
        held.close()
    assert code == 3
    assert "join-1 is held by another process" in said
