"""A start with a name that is not meant: what the broker knows of the group tells before it joins.

Owns the refusal of a group under another prefix of derived topics, whose state would go on in the
topics of another deployment, and the word on a new group that publishes what is published already.
"""

from collections.abc import Iterable
from typing import Any, Final

import structlog
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from streams.errors import ConfigError
from streams.runtime.topics import LINKS

log = structlog.get_logger()
_SECONDS: Final = 15.0


def check_prefix(group: str, prefix: str, read: Iterable[str]) -> None:
    """Pass when a group has not worked under another prefix of derived topics.

    Each commit of a join has an offset of the topic of links, which is a derived one.

    Args:
        group: of the worker.
        prefix: of its derived topics.
        read: the topics of which the group has committed offsets.

    Raises:
        ConfigError: it has, and never under this one.
    """
    was = sorted(topic.removesuffix(LINKS) for topic in read if topic.endswith(LINKS))
    if was and prefix not in was:
        had, now = (repr(name) if name else "none" for name in (was[0], prefix))
        raise ConfigError(
            f"derived_prefix (SPANLOOM_DERIVED_PREFIX): group {group} has worked with {had}, now "
            f"it is {now}: its state would go on in the topics of another "
            "deployment. Nothing was read or written. Give --derived-prefix as it was, or another "
            "--group"
        )


def tell_if_written(client: Any, group: str, traces: str, partitions: int) -> None:
    """Say so when a group that is new will publish into a topic that holds traces already.

    Args:
        client: an admin client.
        group: whose state was made just now.
        traces: the topic of traces.
        partitions: of that topic.
    """
    places = [TopicPartition(traces, number) for number in range(partitions)]
    asked = client.list_offsets(
        {place: OffsetSpec.latest() for place in places}, request_timeout=_SECONDS
    )
    try:
        records = sum(answer.result().offset for answer in asked.values())
    except KafkaException as error:  # a word less: whether the broker answers is judged elsewhere
        log.info("traces_not_looked_at", topic=traces, error=error.args[0].str())
        return
    if records > 0:
        log.warning(
            "new_group_on_written_topic",
            group=group,
            topic=traces,
            offsets=records,
            action="this group has no state yet, and publishes every trace that the telemetry "
            "topics still hold once more, from revision 1; stop it at once if --group is "
            "mistyped, else give it a --derived-prefix of its own",
        )
