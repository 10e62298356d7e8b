"""The least rights: what a worker's settings ask for, and what is made of a broker's answers."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AclOperation

from streams.errors import RightError
from streams.runtime import rights, topics
from streams.runtime.build import load_pipeline
from streams.runtime.rights import Right, of_worker
from streams.settings import load_settings


def needed(**settings: Any) -> set[str]:
    """Return the rights of a worker with one changelog, as text."""
    pipeline = load_pipeline(load_settings(**settings))
    found = of_worker(pipeline, ["spanloom.g.join.state.v1"])
    assert len(found) == len(set(found)), "each once"
    return set(map(str, found))


def test_a_worker_writes_what_is_derived_and_reads_what_it_needs() -> None:
    """Nothing may be written into telemetry, and nothing created, deleted or altered."""
    found = needed(group="g", contract="seed")
    others = (topics.COMMANDS, topics.EXTERNAL)
    own = set(topics.DERIVED) - set(others)
    assert {f"Write topic {name}" for name in own} <= found
    for name in others:
        assert f"Read topic {name}" in found, "others write it"
        assert f"Write topic {name}" not in found
    assert {one for one in found if "telemetry." in one and "Write" in one} == {
        f"Write topic {topics.REJECTED}"
    }
    assert f"Read topic {topics.STATS}" not in found
    assert f"Read topic {topics.TRACES}" in found, "late spans ask for their trace"
    assert {one.split()[0] for one in found} == {"Read", "Write", "DescribeConfigs"}
    assert {"Read group g", "Write transactional id g-*"} <= found


def test_the_topic_of_rekeyed_events_is_needed_where_topics_are() -> None:
    """It is read and written, by other tasks of the same worker."""
    both = {f"{what} topic {topics.REKEYED}" for what in ("Read", "Write")}
    assert both <= needed(rekey="all")
    assert not both & needed()


def test_names_follow_the_settings() -> None:
    """Prefix and summary topic are in the rows; foreign topics are read and nothing else is."""
    found = needed(
        group="h", derived_prefix="p.", summary_topic="sums", input_topics=("foreign.v1",)
    )
    assert {"Read topic foreign.v1", "Write topic sums", "Write topic p.alerts.raised.v1"} <= found
    assert f"Read topic {topics.OTHER}" not in found
    assert not [one for one in found if f" {topics.TRACES}" in one]


class FakeAdmin:
    """An administrator's view of a broker: operations by name, or an error."""

    topics: dict[str, Any] = {}  # noqa: RUF012  # each test sets its own
    groups: dict[str, Any] = {}  # noqa: RUF012  # each test sets its own

    def __init__(self, _settings: object) -> None:
        pass

    def describe_topics(self, wanted: Any, **_: Any) -> dict[str, Any]:
        return {name: _future(self.topics[name]) for name in wanted.topic_names}

    def describe_consumer_groups(self, wanted: list[str], **_: Any) -> dict[str, Any]:
        return {name: _future(self.groups[name]) for name in wanted}


def _future(answer: Any) -> Any:
    def result() -> Any:
        if isinstance(answer, int):
            raise KafkaException(KafkaError(answer))
        return SimpleNamespace(authorized_operations=answer)

    return SimpleNamespace(result=result)


@pytest.mark.parametrize(
    ("on_topic", "on_group", "missing"),
    [
        ([AclOperation.READ, AclOperation.DESCRIBE], [AclOperation.READ], ""),
        ([AclOperation.DESCRIBE], [AclOperation.READ], "Read topic a"),
        ([AclOperation.READ], [AclOperation.DESCRIBE], "Read group g"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, [AclOperation.READ], "Read topic a"),
        ([AclOperation.READ], KafkaError.GROUP_AUTHORIZATION_FAILED, "Read group g"),
        ([AclOperation.DESCRIBE], [AclOperation.DESCRIBE], "Read topic a; Read group g"),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, [AclOperation.READ], ""),
        ([], None, ""),
    ],
)
def test_what_the_broker_denies_is_missing(
    monkeypatch: pytest.MonkeyPatch, on_topic: Any, on_group: Any, missing: str
) -> None:
    """Hidden is denied; not there, or an answer without operations, is no denial."""
    monkeypatch.setattr(rights, "AdminClient", FakeAdmin)
    monkeypatch.setattr(FakeAdmin, "topics", {"a": on_topic})
    monkeypatch.setattr(FakeAdmin, "groups", {"g": on_group})
    wanted = [Right("topic", "a", "Read"), Right("group", "g", "Read")]
    if not missing:
        rights.check({}, wanted, "user u")
        return
    with pytest.raises(RightError, match=rf"^user u may not: {missing}\. Operator action: "):
        rights.check({}, wanted, "user u")
