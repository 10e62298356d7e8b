"""How a task comes back: whoever held it is fenced, then its state is read into an empty memory.

Owns the order of these steps. Invariant: nothing of a state is read before its earlier holders are
fenced, or they could commit after it was read.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from streams.errors import StateError
from streams.runtime.changelog import Changelog, Restored
from streams.runtime.crashpoints import reached
from streams.runtime.delivery import Publisher, publisher_for
from streams.runtime.restore_reading import beginnings, stood_at
from streams.runtime.runner import Runner
from streams.runtime.task import JOIN, Connection, TaskId, changelog_topic
from streams.runtime.topic_ids import check_same

log = structlog.get_logger()
UNFENCED_SECONDS: Final = 60.0
"""Where nobody is fenced, a holder that lost its task has heard of it long before."""


@dataclass(frozen=True)
class Recovered:
    """A task as it was last committed.

    Attributes:
        runner: the memory.
        changelog: where it goes on.
        restored: how the reading went.
        load_seconds: what it took to make memory of what was read.
        lost_records: of its sources, deleted before they were joined.
    """

    runner: Runner
    changelog: Changelog
    restored: Restored
    load_seconds: float
    lost_records: int


def fence(task_id: TaskId, connection: Connection) -> Publisher:
    """Take a task over: after this no earlier holder can commit; blocking.

    Raises:
        BrokerError: the broker does not answer, or refuses.
    """
    publisher = publisher_for(
        connection.delivery,
        connection.base,
        f"{connection.group}-{task_id}",
        connection.patience_seconds,
    )
    publisher.start()
    reached("after_init_transactions")
    return publisher


def check_unread(
    task_id: TaskId, topics: tuple[str, ...], connection: Connection, log_topic: str
) -> None:
    """Pass when a join without any state is of a group that has read nothing, as far as is known.

    Each cut commits state and offsets of all topics together. Where the offsets alone are left, the
    changelog was deleted: a join that began anew would publish every trace once more.

    Raises:
        BrokerError: the broker does not answer.
        StateError: the state is gone.
    """
    stood = stood_at(connection.base, connection.group, topics, task_id.partition)
    if len(stood) == len(topics) and any(stood.values()):
        raise StateError(
            f"{log_topic} holds nothing of task {task_id}, and group {connection.group} has read "
            "its topics before: the state was deleted, and every trace would be published again. "
            "Operator action: restore the changelog topic, or start a new group (--group) with "
            "derived topics of its own (--derived-prefix)."
        )


def recover(
    task_id: TaskId,
    topics: tuple[str, ...],
    make: Callable[[], Runner],
    connection: Connection,
    rebuilds: Counter[str],
) -> Recovered:
    """Read the state of a task that was fenced into a new memory; blocking.

    Args:
        task_id: whose.
        topics: its sources.
        make: makes an empty memory.
        connection: how to reach broker and disk.
        rebuilds: counts by reason how often the local copy was made anew.

    Raises:
        BrokerError: changelog or sources cannot be read.
        StateError: the state is incomplete or damaged, or made from other topics.
    """
    log_topic = changelog_topic(connection.group, task_id.kind)
    ids = connection.topic_ids([log_topic, *topics])
    changelog = Changelog(
        connection.base,
        log_topic,
        task_id.partition,
        connection.state_dir / connection.group / str(task_id),
        connection.disk_free_min_bytes,
        rebuilds,
        0.0 if connection.delivery == "exactly_once" else UNFENCED_SECONDS,
        ids.get(log_topic, ""),
        connection.fold_bytes_max,
        connection.bounds_met[str(task_id)],
    )

    def check_new() -> None:
        if task_id.kind == JOIN:
            check_unread(task_id, topics, connection, log_topic)

    restored = changelog.restore(check_new)
    runner = make()
    began = time.monotonic()
    runner.load(restored.segments)
    load_seconds = time.monotonic() - began
    check_same(str(task_id), runner.topic_ids, ids)
    runner.topic_ids |= {topic: ids[topic] for topic in topics if topic in ids}
    new = [topic for topic in topics if topic not in runner.positions]
    if new and (task_id.is_rekey or restored.segments):
        # Another task of the group may have read them before: where `rekey` is set anew or taken
        # back, their events are neither left out nor joined twice.
        stood = stood_at(connection.base, connection.group, new, task_id.partition)
        runner.positions |= stood
    lost_records = 0
    for topic, low in beginnings(connection.base, topics, task_id.partition).items():
        position = runner.positions.setdefault(topic, low)
        if position < low:
            lost = low - position
            log.error("telemetry_lost_to_retention", task=str(task_id), topic=topic, records=lost)
            lost_records += lost
            runner.positions[topic] = low
    return Recovered(runner, changelog, restored, load_seconds, lost_records)
