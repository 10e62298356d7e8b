"""Whether topics keep what the worker needs them to keep, before it starts.

A changelog that expires loses the state a week later, a telemetry topic that is compacted all spans
of a trace but the last, and neither says a word. Topics that somebody else made, or a broker on its
own, have that broker's defaults.

Asks only where it may: the right to see settings is needed of the traces topic alone.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from streams.errors import BrokerError
from streams.runtime import refusals, topics
from streams.runtime.build import Pipeline

log = structlog.get_logger()
_SECONDS: Final = 15.0
_MS: Final = 1_000
_INPUTS: Final = (
    topics.FRAGMENTS, topics.PARTIALS, topics.SIGNALS, topics.CAUSE_INPUTS, topics.EVIDENCE,
    topics.EXTERNAL, topics.ALERTS, topics.COMMANDS,
)  # fmt: skip
"""Derived topics of which every record is read once, whatever its key."""
Config = Mapping[str, str]


def check(client: AdminClient, pipeline: Pipeline, changelogs: Iterable[str]) -> None:
    """Pass when the topics that may be asked about keep what they have to.

    Args:
        client: an admin client.
        pipeline: whose topics; its settings say how long a trace can be amended.
        changelogs: the topics of the state, which are there.

    Raises:
        BrokerError: some do not; names each with its setting.
    """
    logs = sorted(changelogs)
    inputs = {*pipeline.telemetry}
    if not pipeline.is_foreign:
        inputs |= {pipeline.derived(name) for name in _INPUTS}
    traces = pipeline.derived(topics.TRACES)
    found, hidden = _settings_of(client, [*logs, *sorted(inputs), traces])
    if hidden:
        log.info("topic_settings_unseen", topics=sorted(hidden), right="DescribeConfigs")
    retention_ms = round(pipeline.settings.closed_retention_seconds * _MS)
    problems = [text for name in logs if name in found for text in of_changelog(name, found[name])]
    for name in sorted(inputs & set(found)):
        problems += of_input(name, found[name])
    if traces in found:
        problems += of_traces(traces, found[traces], retention_ms)
    if problems:
        raise BrokerError("; ".join(problems) + ". Operator action: change the topics as said.")


def of_changelog(name: str, config: Config) -> list[str]:
    """Return what would lose the state that a changelog is."""
    if _policies(config) == {"compact"}:
        return []
    return [
        f"{name} has cleanup.policy={config['cleanup.policy']} and would lose the state that it "
        "is: set cleanup.policy=compact"
    ]


def of_input(name: str, config: Config) -> list[str]:
    """Return what would lose records of one key before they are read."""
    if "compact" not in _policies(config):
        return []
    return [
        f"{name} has cleanup.policy={config['cleanup.policy']} and loses all records of a key but "
        "the last: set cleanup.policy=delete"
    ]


def of_traces(name: str, config: Config, amended_ms: int) -> list[str]:
    """Return what would lose traces that can still be amended; their last revision is read back.

    Args:
        name: the traces topic.
        config: its settings.
        amended_ms: how long a closed trace can be amended.
    """
    kept_ms = int(config["retention.ms"])
    if "delete" not in _policies(config) or kept_ms < 0 or kept_ms >= amended_ms:
        return []
    return [
        f"{name} has retention.ms={kept_ms}, and traces are read back for closed_retention_seconds "
        f"(SPANLOOM_CLOSED_RETENTION_SECONDS): set retention.ms of at least {amended_ms}, or lower "
        "that"
    ]


def _policies(config: Config) -> set[str]:
    return {policy.strip() for policy in config["cleanup.policy"].split(",")}


def _settings_of(
    client: AdminClient, names: Collection[str]
) -> tuple[dict[str, Config], list[str]]:
    """Return the settings of the topics that may be asked about, and those that may not.

    A topic that the broker does not know is one that was just made, as it should be: not all
    brokers have heard of it.
    """
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in dict.fromkeys(names)]
    found: dict[str, Config] = {}
    hidden = []
    asked: Mapping[Any, Any] = client.describe_configs(resources, request_timeout=_SECONDS)
    for resource, future in asked.items():
        try:
            entries = future.result()
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            if refusals.is_of_right(reason):
                hidden.append(resource.name)
            elif reason.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise BrokerError(
                    f"settings of {resource.name} cannot be read: {reason.str()}. Operator "
                    "action: look at the broker; a restart goes on from the last commit."
                ) from error
            continue
        found[resource.name] = {name: str(entry.value) for name, entry in entries.items()}
    return found, hidden
