"""Topics that would lose state, spans or traces are refused at start, where they may be seen."""

from collections.abc import Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from structlog.testing import capture_logs

from streams.errors import BrokerError
from streams.runtime import topic_policies
from streams.runtime.build import Pipeline, load_pipeline
from streams.settings import load_settings

LOGS = ("spanloom.g.join.state.v1", "spanloom.g.fidelity.state.v1")
WEEK_MS = 7 * 86_400_000


class FakeAdmin:
    """An admin client of a broker whose topics are as they should be, but for some settings."""

    def __init__(self, changed: dict[str, dict[str, str]], hidden: dict[str, int]) -> None:
        self._changed, self._hidden = changed, hidden

    def describe_configs(self, resources: Sequence[Any], request_timeout: float) -> Any:
        assert request_timeout > 0
        answers = {}
        for resource in resources:
            answers[resource] = done = Future[Any]()
            if resource.name in self._hidden:
                done.set_exception(KafkaException(KafkaError(self._hidden[resource.name])))
                continue
            policy = "compact" if resource.name in LOGS else "delete"
            config = {"cleanup.policy": policy, "retention.ms": str(WEEK_MS)}
            config |= self._changed.get(resource.name, {})
            done.set_result({k: SimpleNamespace(value=v) for k, v in config.items()})
        return answers


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    """Return the pipeline of the contract that ships."""
    return load_pipeline(load_settings(contract="seed"))


def check(
    pipeline: Pipeline, hidden: dict[str, int] | None = None, **changed: dict[str, str]
) -> None:
    """Check topics, `a_b_v1` for a.b.v1."""
    named = {name.replace("_", "."): config for name, config in changed.items()}
    client: Any = FakeAdmin(named, hidden or {})
    topic_policies.check(client, pipeline, LOGS)


def test_a_deployment_as_the_catalogue_has_it_passes_without_a_word(pipeline: Pipeline) -> None:
    """Nor does one whose topics keep more, or compact what is only written."""
    with capture_logs() as lines:
        check(pipeline)
        check(
            pipeline,
            traces_assembled_v1={"cleanup.policy": "compact", "retention.ms": "1"},
            telemetry_alpha_v1={"retention.ms": "-1"},
            fidelity_stats_v1={"cleanup.policy": "compact"},
        )
    assert lines == []


@pytest.mark.parametrize("policy", ["delete", "compact,delete", "delete, compact"])
def test_a_changelog_that_expires_is_refused(pipeline: Pipeline, policy: str) -> None:
    """A week later its bases are gone, and the state with the next disk."""
    with pytest.raises(BrokerError, match=r"fidelity\.state\.v1 has .*set cleanup\.policy=compact"):
        check(pipeline, spanloom_g_fidelity_state_v1={"cleanup.policy": policy})


@pytest.mark.parametrize(
    "name", ["telemetry_alpha_v1", "telemetry_other_v1", "traces_fragments_v1", "spanloom_links_v1"]
)
def test_an_input_that_is_compacted_is_refused(pipeline: Pipeline, name: str) -> None:
    """All spans of a trace have one key."""
    with pytest.raises(BrokerError, match=r"loses all records of a key .* change the topics"):
        check(pipeline, **{name: {"cleanup.policy": "compact,delete"}})


def test_traces_must_be_kept_while_they_can_be_amended(pipeline: Pipeline) -> None:
    """A late span needs the spans that its trace had."""
    check(pipeline, traces_assembled_v1={"retention.ms": "600000"})
    with pytest.raises(BrokerError, match=r"retention\.ms=599999.*at least 600000"):
        check(pipeline, traces_assembled_v1={"retention.ms": "599999"})


def test_all_that_is_wrong_is_told_at_once(pipeline: Pipeline) -> None:
    """One start is enough to see it."""
    with pytest.raises(BrokerError, match=r"join\.state.*fidelity|fidelity.*join\.state"):
        check(
            pipeline,
            spanloom_g_join_state_v1={"cleanup.policy": "delete"},
            spanloom_g_fidelity_state_v1={"cleanup.policy": "delete"},
        )


def test_what_may_not_be_seen_is_said_and_passes(pipeline: Pipeline) -> None:
    """The least rights do not hold it; any other answer is told."""
    hidden = {LOGS[0]: KafkaError.TOPIC_AUTHORIZATION_FAILED}
    with capture_logs() as lines:
        check(pipeline, hidden)
    assert [(line["event"], line["topics"]) for line in lines] == [
        ("topic_settings_unseen", [LOGS[0]])
    ]
    with pytest.raises(BrokerError, match="cannot be read"):
        check(pipeline, {LOGS[0]: KafkaError.REQUEST_TIMED_OUT})


def test_a_changelog_that_was_just_made_may_be_unknown_to_a_broker(pipeline: Pipeline) -> None:
    """In a cluster the one that is asked need not have heard of it."""
    with capture_logs() as lines:
        check(pipeline, {LOGS[0]: KafkaError.UNKNOWN_TOPIC_OR_PART})
    assert lines == []
