"""The topics: which there are, how they are made, and whether they fit before the worker starts."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import yaml
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from streams.codec.schemas import schema_folder
from streams.errors import BrokerError, ConfigError
from streams.runtime import refusals
from streams.runtime.link import open_client
from streams.units import HOUR_US, length_us

TRACES: Final = "traces.assembled.v1"
FRAGMENTS: Final = "traces.fragments.v1"
PARTIALS: Final = "fidelity.partials.v1"
SIGNALS: Final = "signals.partials.v1"
CAUSE_INPUTS: Final = "causes.inputs.v1"
EVIDENCE: Final = "causes.evidence.v1"
STATS: Final = "fidelity.stats.v1"
EXTERNAL: Final = "alerts.external.v1"
ALERTS: Final = "alerts.raised.v1"
INCIDENTS: Final = "incidents.events.v1"
COMMANDS: Final = "incidents.commands.v1"
AUDIT: Final = "incidents.audit.v1"
LEDGER: Final = "incidents.ledger.v1"
REJECTED: Final = "telemetry.rejected.v1"
LINKS: Final = "spanloom.links.v1"
REKEYED: Final = "spanloom.rekeyed.v1"
"""Made where topics are rekeyed."""
OTHER: Final = "telemetry.other.v1"
DERIVED: Final = (
    TRACES, FRAGMENTS, PARTIALS, STATS, ALERTS, INCIDENTS, COMMANDS, AUDIT, LEDGER, REJECTED, LINKS,
    SIGNALS,
    EXTERNAL,
    CAUSE_INPUTS,
    EVIDENCE,
)  # fmt: skip
"""Topics that are made with the telemetry topics; all but commands and alerts from outside only the
worker writes."""
NEW_GROUP: Final = (
    "Operator action: start a new group (--group) with derived topics of its own "
    "(--derived-prefix); do not add partitions to the state's topic."
)
PARTITIONS: Final = 4
"""Of a deployment that names no number, on a broker that has none of its topics."""
_SECONDS: Final = 15.0
_UNANSWERED: Final = frozenset(
    {
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NOT_CONTROLLER,
    }
)
_MS_US: Final = 1_000


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """How a topic is made."""

    name: str
    partitions: int
    config: Mapping[str, str]


@cache
def _catalog() -> dict[str, Any]:
    text = (schema_folder() / "topics.yaml").read_text("utf-8")
    catalog: dict[str, Any] = yaml.safe_load(text)["topics"]
    return catalog


def _entry(name: str) -> dict[str, Any]:
    entry: dict[str, Any] = _catalog().get(name) or _catalog()["telemetry.<module>.v1"]
    return entry


def spec(name: str, partitions: int, catalog_name: str = "") -> TopicSpec:
    """Return how one topic is made, with N = `partitions`; a prefixed one by its catalog name."""
    entry = _entry(catalog_name or name)
    config = {
        "cleanup.policy": str(entry["cleanup_policy"]),
        "max.message.bytes": str(entry["max_message_bytes"]),
        "message.timestamp.type": "CreateTime",
    }
    retention = str(entry["retention"])
    config["retention.ms"] = "-1" if retention == "forever" else str(length_us(retention) // _MS_US)
    count = partitions if str(entry["partitions"]) == "N" else int(entry["partitions"])
    return TopicSpec(name, count, config)


def is_partitioned(name: str, catalog_name: str = "") -> bool:
    """Whether a topic has N partitions, one N for all of a deployment; others have a fixed few."""
    return str(_entry(catalog_name or name)["partitions"]) == "N"


def common_count(there: Mapping[str, int], asked: int | None) -> int:
    """Return how many partitions topics get that are made beside others of their deployment.

    Args:
        there: partition count by name of those that there are, and that need one count.
        asked: how many somebody wants; None for as many as those have.

    Raises:
        BrokerError: those that there are have several counts.
        ConfigError: they have another one than `asked`.
    """
    if not there:
        return PARTITIONS if asked is None else asked
    _refuse_several(there)
    ((name, count), *others) = there.items()
    if asked not in (None, count):
        more = f" and {len(others)} more" if others else ""
        raise ConfigError(
            f"--partitions {asked}: {name}{more} of this deployment have {count} partitions, and "
            f"spans of one trace would be read by different workers; nothing was made. Give "
            f"--partitions {count}, or leave it out"
        )
    return count


def _refuse_several(counts: Mapping[str, int]) -> None:
    """Pass when all topics have one number of partitions.

    Raises:
        BrokerError: they have several; names the odd ones.
    """
    if len(set(counts.values())) > 1:
        most, number = Counter(counts.values()).most_common(1)[0]
        odd = dict(sorted(counts.items()))
        if number > 1:
            odd = {name: count for name, count in odd.items() if count != most}
        listed = ", ".join(f"{name} has {count}" for name, count in odd.items())
        if number > 1:
            others = ", ".join(sorted(counts.keys() - odd))
            listed += f", the {number} others ({others}) have {most}"
        raise BrokerError(
            f"partition counts differ: {listed}. Spans of one trace would be read by different "
            "workers. Operator action: have all workers of the group place the events of the odd "
            "telemetry topics anew (--rekey NAME); or give all topics the same number of "
            "partitions, for a group that has read none of them yet."
        )


def changelog_spec(name: str, partitions: int) -> TopicSpec:
    """Return how a changelog is made: compacted, nothing expires."""
    config = {
        "cleanup.policy": "compact",
        "min.cleanable.dirty.ratio": "0.2",
        "segment.ms": str(HOUR_US // _MS_US),
        "max.message.bytes": str(1 << 20),
    }
    return TopicSpec(name, partitions, config)


def admin(base: Mapping[str, object]) -> AdminClient:
    """Return an admin client."""
    client: AdminClient = open_client(AdminClient, {**base, "log_level": 0})
    return client


def create(
    client: AdminClient, specs: Sequence[TopicSpec], replication: int = 1, who: str = "this user"
) -> list[str]:
    """Make the topics that are missing and return their names.

    Raises:
        BrokerError: the broker is away or refuses.
    """
    there = set(partition_counts(client))
    wanted = [s for s in specs if s.name not in there]
    new = [NewTopic(s.name, s.partitions, replication, config=dict(s.config)) for s in wanted]
    if not new:
        return []
    made = []
    for name, done in client.create_topics(new, request_timeout=_SECONDS).items():
        try:
            done.result()
            made.append(name)
        except KafkaException as error:
            if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise _not_created(name, error.args[0], replication, who) from error
    return made


def _not_created(name: str, error: KafkaError, replication: int, who: str) -> BrokerError:
    """Return what to say of a topic that the broker did not make."""
    if refusals.is_of_right(error):
        return refusals.of_right(error, "Create", f"topic {name}", who)
    if error.code() in _UNANSWERED:
        action = (
            "look at the broker, which is away or busy, and create the topics again; those that "
            "were made stay"
        )
    elif error.code() == KafkaError.INVALID_REPLICATION_FACTOR:
        action = f"start more brokers, or ask for fewer replicas than {replication} (--replication)"
    else:
        action = "let the user create topics, or have them made as docs/topics.md lists them"
    return BrokerError(f"topic {name} cannot be created: {error.str()}. Operator action: {action}.")


def partition_counts(client: AdminClient) -> dict[str, int]:
    """Return the partition count of every topic there is.

    Raises:
        BrokerError: the broker is away.
    """
    try:
        topics = client.list_topics(timeout=_SECONDS).topics
    except KafkaException as error:
        raise BrokerError(
            f"no broker answers: {error.args[0].str()}. Operator action: start Kafka, or name the "
            "right address with --broker HOST:PORT or SPANLOOM_BROKER."
        ) from error
    return {name: len(topic.partitions) for name, topic in topics.items()}


def embedded_partitions(client: AdminClient, names: Sequence[str]) -> int:
    """Make topics on the embedded broker, by asking for them, and return their partition count."""
    counts = set()
    for name in names:
        topic = client.list_topics(name, timeout=_SECONDS).topics[name]
        counts.add(len(topic.partitions))
    assert len(counts) == 1, counts
    return counts.pop()


def check(
    client: AdminClient,
    telemetry: Sequence[str],
    derived: Callable[[str], str],
    only_traces: bool = False,
    rekeyed: Sequence[str] = (),
) -> int:
    """Return the partition count of the telemetry topics when everything fits.

    Args:
        client: an admin client.
        telemetry: the topics read.
        derived: the name of a derived topic in this deployment.
        only_traces: the topics of the global stage are not used.
        rekeyed: those of `telemetry` that may have any number of partitions.

    Raises:
        BrokerError: the broker is away, topics are missing, counts differ, or a setting of the
            traces topic would refuse what is written; all problems at once.
    """
    there = partition_counts(client)
    traces, fragments, rejected = derived(TRACES), derived(FRAGMENTS), derived(REJECTED)
    names = [*DERIVED, *([REKEYED] if rekeyed else [])]
    wanted = list(dict.fromkeys([*telemetry, *(derived(name) for name in names)]))
    missing = [name for name in wanted if name not in there]
    if missing:
        raise BrokerError(
            f"topics are missing: {', '.join(missing)}. Operator action: run `spanloom topics "
            "create --broker HOST:PORT --partitions N` with the same --contract, --input-topic, "
            "--otlp-topics and --derived-prefix as the worker; where they should be there already, "
            "one of these is mistyped."
        )
    internal = [derived(REKEYED)] if rekeyed else []
    joined = [name for name in telemetry if name not in rekeyed]
    partitioned = [*joined, traces, fragments, rejected, *internal]
    counts = {name: there[name] for name in partitioned}
    _refuse_several(counts)
    stages = (PARTIALS, ALERTS, SIGNALS, EXTERNAL, COMMANDS, CAUSE_INPUTS, EVIDENCE)
    single = [] if only_traces else [derived(n) for n in stages]
    problems = [
        f"{name} has {there[name]} partitions, not 1" for name in single if there[name] != 1
    ]
    problems += _config_problems(client, traces)
    if problems:
        raise BrokerError("; ".join(problems) + ". Operator action: change the topics as said.")
    return counts[traces]


def make_internal(client: AdminClient, derived: Callable[[str], str], who: str) -> None:
    """Make the topic of rekeyed events, as the traces topic is partitioned, where it is missing.

    Raises:
        BrokerError: the broker is away or refuses.
    """
    partitions = partition_counts(client).get(derived(TRACES))
    if partitions is not None:  # else `check` says that topics are missing
        create(client, [spec(derived(REKEYED), partitions, REKEYED)], who=who)


def check_grown(client: AdminClient, changelogs: Mapping[str, int]) -> None:
    """Pass when changelogs have a partition for each partition of the topic that they are of.

    Raises:
        BrokerError: the broker is away, or a topic was given more partitions since.
    """
    if not changelogs:
        return
    there = partition_counts(client)
    short = [
        f"{name} has {there[name]} partitions, {count} are needed"
        for name, count in changelogs.items()
        if there.get(name, count) < count
    ]
    if short:
        raise BrokerError(
            f"{'; '.join(short)}: the topic that is rekeyed has grown. Operator action: add "
            "partitions (kafka-topics --alter --topic NAME --partitions N), then start again."
        )


def check_kept(client: AdminClient, changelogs: Mapping[str, int]) -> None:
    """Pass when changelogs have as many partitions as the topics of their tasks.

    Each was made with as many as those had. Where they have others now, keys have moved: a trace
    that is open in a state would never get the rest, and one that is closed would come out again.

    Raises:
        BrokerError: the broker is away, or the topics were given other partitions since.
    """
    there = partition_counts(client)
    other = [
        f"{name} has {there[name]} partitions, the topics that it is the state of have {count}"
        for name, count in changelogs.items()
        if there.get(name, count) != count
    ]
    if other:
        raise BrokerError(
            f"{'; '.join(other)}: their number was changed since this group began, and keys have "
            f"moved. {NEW_GROUP}"
        )


def _config_problems(client: AdminClient, traces: str) -> list[str]:
    resource = ConfigResource(ResourceType.TOPIC, traces)
    try:
        config = client.describe_configs([resource], request_timeout=_SECONDS)[resource].result()
    except KafkaException as error:
        return [f"settings of {traces} cannot be read: {error.args[0].str()}"]
    problems = []
    need = int(_catalog()[TRACES]["max_message_bytes"])
    if int(config["max.message.bytes"].value) < need:
        problems.append(f"{traces} needs max.message.bytes of at least {need}")
    if config["message.timestamp.type"].value != "CreateTime":
        problems.append(
            f"{traces} needs message.timestamp.type=CreateTime, by which revisions are found"
        )
    return problems
