"""The rights that the worker needs at the broker, and the check of them before it starts.

Owns the least-privilege matrix (docs/security.md shows it). Without this check a missing right
comes out one by one, some of them hours later, and as other things: a topic that may not be seen
looks like one that is not there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer, TopicCollection
from confluent_kafka.admin import AdminClient

from streams.errors import RightError
from streams.runtime import topics
from streams.runtime.build import Pipeline
from streams.runtime.link import open_client
from streams.runtime.refusals import GRANT, is_of_right

_SECONDS: Final = 15.0
_SILENT: Final = logging.getLogger("spanloom.rights")
"""librdkafka writes what is fatal to standard error, unless it is given a logger."""
_WIRE_NAME: Final = {
    "READ": "Read",
    "WRITE": "Write",
    "DESCRIBE": "Describe",
    "DESCRIBE_CONFIGS": "DescribeConfigs",
}
"""Operations by the client's name and by the name that ACL tools take."""


class Right(NamedTuple):
    """One row of the matrix: an ACL that somebody has to grant.

    Attributes:
        kind: "topic", "group" or "transactional id".
        name: of the resource; of a prefixed one the prefix.
        operation: as ACL tools name it.
        is_prefix: whether the ACL is for all names that begin so.
    """

    kind: str
    name: str
    operation: str
    is_prefix: bool = False

    def __str__(self) -> str:
        """Say it as a sentence's end."""
        return f"{self.operation} {self.kind} {self.name}" + ("*" if self.is_prefix else "")


def of_worker(pipeline: Pipeline, changelogs: Iterable[str]) -> list[Right]:
    """Return what a worker needs, `Create` of its own topics aside, and nothing that it does not.

    Read and Write hold Describe within them.
    """
    settings = pipeline.settings
    read = {*pipeline.telemetry, pipeline.derived(topics.TRACES), *changelogs}
    if not pipeline.is_foreign:
        stages = (
            topics.FRAGMENTS,
            topics.PARTIALS,
            topics.SIGNALS,
            topics.CAUSE_INPUTS,
            topics.EVIDENCE,
            topics.EXTERNAL,
            topics.ALERTS,
            topics.COMMANDS,
        )
        read |= {pipeline.derived(name) for name in stages}
    written = [name for name in topics.DERIVED if name not in (topics.COMMANDS, topics.EXTERNAL)]
    write = {*(pipeline.derived(name) for name in written), *changelogs}
    if pipeline.rekeyed:
        read.add(pipeline.internal)
        write.add(pipeline.internal)
    write |= {settings.summary_topic} - {""}
    rights = [Right("topic", name, "Read") for name in sorted(read)]
    rights += [Right("topic", name, "Write") for name in sorted(write)]
    return [
        *rights,
        Right("topic", pipeline.derived(topics.TRACES), "DescribeConfigs"),
        Right("group", settings.group, "Read"),
        Right("transactional id", f"{settings.group}-", "Write", is_prefix=True),
    ]


def of_notify(topic: str, groups: Iterable[str], sent_to: Iterable[str]) -> list[Right]:
    """Return what the process that hands incidents on needs.

    Args:
        topic: the incident topic.
        groups: one for each target.
        sent_to: topics that targets are.
    """
    rights = [Right("topic", topic, "Read")]
    rights += [Right("group", group, "Read") for group in sorted(groups)]
    return rights + [Right("topic", name, "Write") for name in sorted(set(sent_to))]


def check(base: Mapping[str, object], needed: Iterable[Right], who: str) -> None:
    """Pass when the broker grants everything that it can be asked about; blocking.

    What is not there yet cannot be asked about: it speaks for itself when it is made.

    Raises:
        RightError: rights are missing; names all of them.
    """
    wanted = list(needed)
    client = open_client(AdminClient, {**base, "log_level": 0})
    granted = {
        "topic": _of_topics(client, sorted({r.name for r in wanted if r.kind == "topic"})),
        "group": _of_groups(client, sorted({r.name for r in wanted if r.kind == "group"})),
    }
    if "security.protocol" in base:  # elsewhere nobody has ever been refused one
        ids = sorted({r.name for r in wanted if r.kind == "transactional id"})
        granted["transactional id"] = _of_ids(base, ids)
    missing = [
        str(right)
        for right in wanted
        if (there := granted.get(right.kind, {}).get(right.name)) is not None
        and right.operation not in there
    ]
    if missing:
        raise RightError(f"{who} may not: {'; '.join(missing)}. {GRANT}")


def _of_ids(base: Mapping[str, object], prefixes: list[str]) -> Mapping[str, set[str]]:
    """Try an id that no task has: the broker tells only who uses one."""
    found: dict[str, set[str]] = {}
    for prefix in prefixes:
        settings = {
            **base,
            "transactional.id": f"{prefix}rights",
            "logger": _SILENT,
        }
        producer = open_client(Producer, settings)
        try:
            producer.init_transactions(_SECONDS)
        except KafkaException as error:
            if is_of_right(error.args[0]):
                found[prefix] = set()
    return found


def _of_topics(client: AdminClient, names: list[str]) -> Mapping[str, set[str]]:
    asked = client.describe_topics(
        TopicCollection(names), include_authorized_operations=True, request_timeout=_SECONDS
    )
    return _granted(asked)


def _of_groups(client: AdminClient, names: list[str]) -> Mapping[str, set[str]]:
    asked = client.describe_consumer_groups(
        names, include_authorized_operations=True, request_timeout=_SECONDS
    )
    return _granted(asked)


def _granted(asked: Mapping[str, object]) -> Mapping[str, set[str]]:
    """Return the operations that are granted, of resources whose answer can be relied on."""
    found: dict[str, set[str]] = {}
    for name, future in asked.items():
        try:
            operations = future.result().authorized_operations  # type: ignore[attr-defined]
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            if is_of_right(reason):
                found[name] = set()
            continue  # not there, or not to be had: whoever uses it says so
        if operations:  # some brokers leave them out
            found[name] = {_WIRE_NAME.get(one.name, one.name) for one in operations}
    return found
