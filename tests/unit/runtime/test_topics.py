"""The topics: made as the catalogue says, and refused as a whole where they would tear traces."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.errors import BrokerError
from streams.runtime import topics

TELEMETRY = ("telemetry.alpha.v1", "telemetry.other.v1", "spanloom.links.v1")


class FakeAdmin:
    """An admin client of a broker with these topics; refuses to make those in `refused`.

    The embedded broker can neither create topics nor describe them.
    """

    def __init__(
        self,
        there: Mapping[str, int],
        config: Mapping[str, str] | None = None,
        refused: Mapping[str, int] | None = None,
    ) -> None:
        self.there = dict(there)
        self._config = {
            "max.message.bytes": str(8 << 20),
            "message.timestamp.type": "CreateTime",
            **(config or {}),
        }
        self._refused = refused or {}

    def list_topics(self, timeout: float) -> Any:
        named = {
            name: SimpleNamespace(partitions=dict.fromkeys(range(n)))
            for name, n in self.there.items()
        }
        return SimpleNamespace(topics=named)

    def create_topics(self, new: Sequence[Any], request_timeout: float) -> dict[str, Future[None]]:
        out = {}
        for topic in new:
            out[topic.topic] = done = Future[None]()
            code = self._refused.get(topic.topic)
            if code is None:
                self.there[topic.topic] = topic.num_partitions
                done.set_result(None)
            else:
                done.set_exception(KafkaException(KafkaError(code)))
        return out

    def describe_configs(self, resources: Sequence[Any], request_timeout: float) -> Any:
        (resource,) = resources
        done = Future[Any]()
        assert resource.name.endswith(topics.TRACES)
        done.set_result({k: SimpleNamespace(value=v) for k, v in self._config.items()})
        return {resource: done}


def a_deployment(**changes: int) -> dict[str, int]:
    """Return a whole deployment of 4 partitions, some counts changed: `a_b_v1=3` for a.b.v1."""
    counts = dict.fromkeys((*TELEMETRY, *topics.DERIVED), 4)
    single = (topics.PARTIALS, topics.STATS, topics.ALERTS, topics.INCIDENTS, topics.COMMANDS)
    counts |= dict.fromkeys(
        (
            *single,
            topics.SIGNALS,
            topics.EXTERNAL,
            topics.AUDIT,
            topics.LEDGER,
            topics.CAUSE_INPUTS,
            topics.EVIDENCE,
        ),
        1,
    )
    return counts | {name.replace("_", "."): count for name, count in changes.items()}


def check(client: Any, prefix: str = "", **options: bool) -> int:
    """Check a deployment."""
    return topics.check(client, TELEMETRY, lambda name: prefix + name, **options)


def test_topics_that_are_rekeyed_may_have_any_count() -> None:
    """The topic that their events go to may not; without it nothing starts."""
    rekeyed = ("telemetry.alpha.v1",)
    there = a_deployment(telemetry_alpha_v1=3)
    with pytest.raises(BrokerError, match=f"missing: {topics.REKEYED}"):
        topics.check(FakeAdmin(there), TELEMETRY, str, rekeyed=rekeyed)  # type: ignore[arg-type]
    client: Any = FakeAdmin(there | {topics.REKEYED: 2})
    with pytest.raises(BrokerError, match=rf"{topics.REKEYED} has 2.*--rekey NAME"):
        topics.check(client, TELEMETRY, str, rekeyed=rekeyed)
    made: Any = FakeAdmin(there)
    topics.make_internal(made, str, "ann")
    assert topics.check(made, TELEMETRY, str, rekeyed=rekeyed) == 4
    with pytest.raises(BrokerError, match=r"telemetry\.alpha\.v1 has 3"):
        check(made)


def test_a_changelog_of_a_topic_that_grew_is_refused() -> None:
    """A task without a partition of its changelog could keep no state."""
    client: Any = FakeAdmin({"log": 3})
    topics.check_grown(client, {"log": 3, "not.there": 9})
    with pytest.raises(BrokerError, match=r"log has 3 partitions, 4 are needed.*add partitions"):
        topics.check_grown(client, {"log": 4})


def test_a_changelog_of_other_partitions_than_its_topics_is_refused() -> None:
    """Keys have moved since: open traces would be torn, closed ones would come out again."""
    client: Any = FakeAdmin({"log": 3})
    topics.check_kept(client, {"log": 3, "not.there": 9})
    for count in (2, 4):
        with pytest.raises(BrokerError, match=rf"log has 3 .* have {count}.*new group \(--group\)"):
            topics.check_kept(client, {"log": count})


def test_telemetry_topics_follow_one_entry() -> None:
    """Any module's topic is made as the catalogue says of telemetry.<module>.v1."""
    made = topics.spec("telemetry.alpha.v1", 6)
    assert (made.name, made.partitions) == ("telemetry.alpha.v1", 6)
    assert made.config == {
        "cleanup.policy": "delete",
        "max.message.bytes": "1048576",
        "message.timestamp.type": "CreateTime",
        "retention.ms": str(7 * 86_400_000),
    }


def test_single_partition_topics_stay_single() -> None:
    """Where order over all partitions matters, N does not apply; traces may be large."""
    assert topics.spec(topics.PARTIALS, 6).partitions == 1
    assert topics.spec(topics.ALERTS, 6).partitions == 1
    assert topics.spec(topics.TRACES, 6).partitions == 6
    assert topics.spec(topics.TRACES, 6).config["max.message.bytes"] == str(8 << 20)


def test_a_prefixed_topic_is_made_like_its_original() -> None:
    """The catalogue's name decides how a topic is made, the deployment's how it is called."""
    prefixed = topics.spec("bench." + topics.PARTIALS, 6, topics.PARTIALS)
    original = topics.spec(topics.PARTIALS, 6)
    assert prefixed.name == "bench.fidelity.partials.v1"
    assert (prefixed.partitions, prefixed.config) == (1, original.config)


def test_every_derived_topic_is_in_the_catalogue() -> None:
    """None of them is made like a telemetry topic by mistake."""
    assert set(topics.DERIVED) <= set(topics._catalog())


def test_a_changelog_is_compacted_and_never_expires() -> None:
    """The newest piece of state of every key stays for ever."""
    made = topics.changelog_spec("spanloom.g.join.state.v1", 4)
    assert made.config["cleanup.policy"] == "compact"
    assert "retention.ms" not in made.config


def test_only_what_is_missing_is_made() -> None:
    """A second run makes nothing."""
    client: Any = FakeAdmin({"a": 2})
    specs = [topics.spec("a", 4), topics.spec("b", 4)]
    assert topics.create(client, specs) == ["b"]
    assert client.there == {"a": 2, "b": 4}
    assert topics.create(client, specs) == []


def test_a_topic_made_by_another_at_the_same_time_is_fine() -> None:
    """Two workers that start together do not trip each other up."""
    client: Any = FakeAdmin({}, refused={"a": KafkaError.TOPIC_ALREADY_EXISTS})
    assert topics.create(client, [topics.spec("a", 4), topics.spec("b", 4)]) == ["b"]


def test_a_refused_topic_is_named() -> None:
    """Without the right to create topics the message says which, and whom to ask."""
    client: Any = FakeAdmin({}, refused={"a": KafkaError.TOPIC_AUTHORIZATION_FAILED})
    with pytest.raises(BrokerError, match=r"may not Create topic a .*Operator action"):
        topics.create(client, [topics.spec("a", 4)])


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (KafkaError._TIMED_OUT, "away or busy, and create the topics again"),
        (KafkaError.NOT_CONTROLLER, "away or busy, and create the topics again"),
        (KafkaError.INVALID_REPLICATION_FACTOR, r"fewer replicas than 3 \(--replication\)"),
        (KafkaError.POLICY_VIOLATION, "have them made as docs/topics.md"),
    ],
)
def test_what_to_do_about_a_topic_that_was_not_made(code: int, told: str) -> None:
    """A broker that is busy is no matter of rights."""
    client: Any = FakeAdmin({}, refused={"a": code})
    with pytest.raises(BrokerError, match=f"topic a .*Operator action: .*{told}"):
        topics.create(client, [topics.spec("a", 4)], replication=3)


def test_a_whole_deployment_passes() -> None:
    """The answer is the partition count that the telemetry topics share."""
    assert check(FakeAdmin(a_deployment())) == 4


def test_all_missing_topics_are_named_at_once(embedded: str) -> None:
    """On a broker without topics the message lists every one and the command that makes them."""
    client = topics.admin({"bootstrap.servers": embedded})
    with pytest.raises(BrokerError) as caught:
        check(client)
    for name in (*TELEMETRY, *topics.DERIVED):
        assert name in str(caught.value)
    assert "spanloom topics create" in str(caught.value)
    for option in ("--contract", "--input-topic", "--otlp-topics", "--derived-prefix"):
        assert option in str(caught.value), "without it others would be made"
    assert "mistyped" in str(caught.value)


@pytest.mark.parametrize("name", ["telemetry_other_v1", "traces_assembled_v1"])
def test_unequal_counts_are_refused_with_their_numbers(name: str) -> None:
    """A topic with another count would tear traces apart: it is named first, then the others."""
    with pytest.raises(BrokerError, match="partition counts differ") as caught:
        check(FakeAdmin(a_deployment(**{name: 3})))
    assert f"{name.replace('_', '.')} has 3" in str(caught.value)
    assert "telemetry.alpha.v1, " in str(caught.value).partition(" has 3, the 5 others (")[2]
    assert ") have 4." in str(caught.value)


def test_all_problems_are_told_at_once() -> None:
    """Counts and settings that do not fit stand in one message, so that one change mends all."""
    config = {"max.message.bytes": "1048588", "message.timestamp.type": "LogAppendTime"}
    with pytest.raises(BrokerError) as caught:
        check(FakeAdmin(a_deployment(alerts_raised_v1=2), config))
    said = str(caught.value)
    assert "alerts.raised.v1 has 2 partitions, not 1" in said
    assert "max.message.bytes of at least 8388608" in said
    assert "message.timestamp.type=CreateTime" in said


def test_a_pure_join_asks_nothing_of_the_global_stage() -> None:
    """Where only traces are derived, the topics of the stage may have any count."""
    assert check(FakeAdmin(a_deployment(alerts_raised_v1=2)), only_traces=True) == 4


def test_a_prefix_is_part_of_the_name() -> None:
    """A deployment with a prefix is checked under its own names."""
    prefixed = {
        (name if name in TELEMETRY else "bench." + name): n for name, n in a_deployment().items()
    }
    prefixed["bench.spanloom.links.v1"] = 4
    assert check(FakeAdmin(prefixed), "bench.") == 4


def test_a_broker_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that answers is told from a wrong deployment."""
    monkeypatch.setattr(topics, "_SECONDS", 0.3)
    with pytest.raises(BrokerError, match=r"no broker answers.*--broker"):
        check(topics.admin({"bootstrap.servers": "127.0.0.1:9"}))


def test_the_embedded_broker_has_one_count_for_all(embedded: str) -> None:
    """Asking for topics makes them there, and `check` sees them afterwards."""
    client = topics.admin({"bootstrap.servers": embedded})
    assert topics.embedded_partitions(client, ["x.v1", "y.v1"]) == 4
    assert topics.partition_counts(client)["x.v1"] == 4
