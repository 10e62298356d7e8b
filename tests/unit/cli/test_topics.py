"""`spanloom topics create`: which topics a deployment gets, and what is said of them."""

import json
from collections.abc import Sequence

import pytest

from streams.runtime import link, topics
from streams.runtime.link import Link
from streams.runtime.topics import DERIVED, TopicSpec
from tests.unit.cli.shell import Shell

SEED_TOPICS = tuple(
    f"telemetry.{name}.v1" for name in ("alpha", "beta", "gamma", "epsilon", "phi", "integration")
)

THERE = {topics.TRACES: 6, topics.STATS: 3, "unread.v1": 9}
"""What the broker of these tests has: one that all go by, one that has no need to."""


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[TopicSpec]:
    """Return the specs that a command asks for; on this broker, THERE are there already."""
    asked: list[TopicSpec] = []

    def create(
        _client: object, specs: Sequence[TopicSpec], replication: int, _who: str
    ) -> list[str]:
        assert replication == 1
        asked.extend(specs)
        return [s.name for s in specs if s.name not in THERE]

    monkeypatch.setattr(topics, "create", create)
    monkeypatch.setattr(topics, "partition_counts", lambda _client: dict(THERE))
    monkeypatch.setattr(Link, "reach", lambda _link: None)
    return asked


def test_a_contract_gets_its_modules_and_all_derived_topics(
    shell: Shell, made: list[TopicSpec]
) -> None:
    """One topic a module, one for others, and what the engine writes, each with its count."""
    answer = shell("topics", "create", "--contract", "seed", "--partitions", 6)
    assert answer.code == 0
    counts = {s.name: s.partitions for s in made}
    assert set(counts) == {*SEED_TOPICS, topics.OTHER, *DERIVED}
    assert len(made) == len(counts), "each once"
    single = {name for name, n in counts.items() if n == 1}
    assert single == {
        topics.PARTIALS, topics.STATS, topics.ALERTS, topics.INCIDENTS, topics.COMMANDS,
        topics.AUDIT, topics.LEDGER, topics.SIGNALS, topics.EXTERNAL,
        topics.CAUSE_INPUTS, topics.EVIDENCE,
    }  # fmt: skip
    assert {n for n in counts.values() if n != 1} == {6}
    lines = answer.out.splitlines()
    assert len(lines) == len(made)
    (stats,) = [line for line in lines if line.startswith(topics.STATS)]
    assert stats.split() == [topics.STATS, "3", "partitions", "was", "there"]
    (traces,) = [line for line in lines if line.startswith(topics.TRACES)]
    assert traces.split() == [topics.TRACES, "6", "partitions", "was", "there"]


def test_json_is_one_object(shell: Shell, made: list[TopicSpec]) -> None:
    """Scripts read what was made and what there is."""
    answer = shell("topics", "create", "--json")
    said = json.loads(answer.out)
    assert said["topics"] == [s.name for s in made]
    assert said["created"] == [name for name in said["topics"] if name not in THERE]
    assert said["partitions"][topics.TRACES] == 6
    assert said["partitions"][topics.STATS] == 3
    assert said["partitions"][topics.OTHER] == 6, "as many as those that are there"
    assert said["partitions"][topics.ALERTS] == 1


def test_topics_are_never_made_with_another_count_than_those_that_are_there(
    shell: Shell, made: list[TopicSpec]
) -> None:
    """No worker would start on them, and a topic cannot be given fewer again."""
    answer = shell("topics", "create", "--contract", "seed", "--partitions", 4)
    assert answer.code == 2
    assert f"{topics.TRACES} of this deployment have 6 partitions" in answer.err
    assert "--partitions 6" in answer.err
    assert answer.out == ""
    assert made == []


def test_a_topic_that_is_rekeyed_may_have_any_count(
    shell: Shell, made: list[TopicSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its events are placed anew; without that, topics that differ are refused as by a worker."""
    monkeypatch.setitem(THERE, topics.OTHER, 2)
    answer = shell("topics", "create")
    assert answer.code == 3
    assert f"{topics.OTHER} has 2, {topics.TRACES} has 6" in answer.err
    assert made == []
    answer = shell("topics", "create", "--rekey", topics.OTHER, "--json")
    counts = json.loads(answer.out)["partitions"]
    assert (counts[topics.OTHER], counts[topics.TRACES], counts[topics.REKEYED]) == (2, 6, 6)


def test_foreign_input_is_never_made(shell: Shell, made: list[TopicSpec]) -> None:
    """Topics of one's own are there already: only derived ones are made, with the prefix."""
    answer = shell("topics", "create", "--input-topic", "spans", "--derived-prefix", "bench.")
    assert answer.code == 0
    assert {s.name for s in made} == {"bench." + name for name in DERIVED}


@pytest.mark.parametrize(("flag", "value"), [("--partitions", 0), ("--replication", 0)])
def test_numbers_out_of_bounds_are_wrong_usage(shell: Shell, flag: str, value: int) -> None:
    """Nothing is asked of a broker."""
    answer = shell("topics", "create", flag, value)
    assert answer.code == 2
    assert flag in answer.err


def test_a_broker_that_is_away_ends_it_with_3(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says which setting to look at."""
    monkeypatch.setattr(link, "REACH_SECONDS", 0.3)
    answer = shell("topics", "create", "--broker", "127.0.0.1:9")
    assert answer.code == 3
    assert "--broker" in answer.err
