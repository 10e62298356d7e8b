"""A mistyped group or prefix is refused or told of, before anything is read or written."""

from collections.abc import Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from structlog.testing import capture_logs

from streams.errors import ConfigError
from streams.runtime.misnamed import check_prefix, tell_if_written

TELEMETRY = ("telemetry.alpha.v1", "telemetry.other.v1")


@pytest.mark.parametrize(("was", "now"), [("", "x."), ("x.", ""), ("x.", "y.")])
def test_a_group_that_worked_under_another_prefix_is_refused(was: str, now: str) -> None:
    """Its state would go on in another deployment's topics; the message has both."""
    with pytest.raises(ConfigError, match="its state would go on in the topics of") as refused:
        check_prefix("g", now, [*TELEMETRY, f"{was}spanloom.links.v1"])
    assert f"worked with {was!r}" in str(refused.value).replace("none", "''")
    assert "--derived-prefix as it was" in str(refused.value)


@pytest.mark.parametrize(
    "read",
    [
        [],  # a new group
        TELEMETRY,  # one of a foreign schema, or before there were links
        [*TELEMETRY, "x.spanloom.links.v1"],
        ["spanloom.links.v1", "x.spanloom.links.v1"],  # it has gone on under both: too late to say
    ],
)
def test_a_group_that_knows_the_prefix_or_none_passes(read: list[str]) -> None:
    """Only what is known to be another one is refused."""
    check_prefix("g", "x.", read)


class Admin:
    """An admin client that knows the ends of a topic's partitions."""

    def __init__(self, ends: Mapping[int, int] | None) -> None:
        self._ends = ends

    def list_offsets(self, asked: Mapping[Any, Any], request_timeout: float) -> dict[Any, Any]:
        answers = {}
        for place in asked:
            answers[place] = answer = Future[Any]()
            if self._ends is None:
                answer.set_exception(KafkaException(KafkaError(KafkaError._TRANSPORT)))
            else:
                answer.set_result(SimpleNamespace(offset=self._ends[place.partition]))
        return answers


@pytest.mark.parametrize(
    ("ends", "events"),
    [
        ({0: 0, 1: 7}, [("new_group_on_written_topic", "warning")]),
        ({0: 0, 1: 0}, []),
        (None, [("traces_not_looked_at", "info")]),
    ],
)
def test_a_new_group_on_a_written_topic_is_told_of(
    ends: Mapping[int, int] | None, events: list[tuple[str, str]]
) -> None:
    """It may be meant: it is told, with what to do, and not refused."""
    with capture_logs() as said:
        tell_if_written(Admin(ends), "g", "traces.assembled.v1", 2)
    assert [(one["event"], one["log_level"]) for one in said] == events
