"""Builds the rekey tasks: one for each partition of each topic whose events are placed anew.

A topic has a kind of task of its own, because a topic's partitions are what Kafka hands out: two
topics of different counts would tear one task between two workers.
"""

from typing import Final

from streams.codec.events import EventDecoder
from streams.codec.schemas import default_schemas
from streams.codec.treating import EventTreating
from streams.core.columns import Operations
from streams.errors import ConfigError
from streams.runtime.build import Pipeline, services_of
from streams.runtime.rekey_runner import RekeyRunner
from streams.runtime.runner import Runner
from streams.runtime.task import changelog_topic, rekey_kind

NAME_MAX: Final = 249
"""Characters of a topic's name, as Kafka allows them."""


class RekeyFactory:
    """Makes the runners that rekey one topic; a decoder is shared by them.

    Args:
        pipeline: what the worker runs.
        topic: the topic.
        partitions: of the topic that its events go to.

    Raises:
        ConfigError: the name of its changelog would be too long.
    """

    def __init__(self, pipeline: Pipeline, topic: str, partitions: int) -> None:
        settings, contract = pipeline.settings, pipeline.contract
        log_topic = changelog_topic(settings.group, rekey_kind(topic))
        if len(log_topic) > NAME_MAX:
            raise ConfigError(
                f"rekey (SPANLOOM_REKEY): the changelog {log_topic} would have {len(log_topic)} "
                f"characters, Kafka allows {NAME_MAX}: give the group a shorter name"
            )
        kind = pipeline.otlp.get(topic)
        self._topic, self._target, self._partitions = topic, pipeline.internal, partitions
        self._operations = Operations(settings.operations_max)
        self._schemas = default_schemas()
        self._decoder = EventDecoder(
            self._schemas,
            self._operations,
            max_event_bytes=settings.max_event_bytes,
            otlp_kinds={0: kind} if kind else None,
            services=services_of(contract),
            treating=EventTreating(pipeline.privacy) if pipeline.privacy else None,
        )
        self._privacy = pipeline.privacy

    def make(self, partition: int) -> Runner:
        """Make the runner of one partition, without state."""
        return RekeyRunner(
            self._decoder,
            self._operations,
            self._schemas,
            self._topic,
            partition,
            self._target,
            self._partitions,
            self._privacy,
        )
