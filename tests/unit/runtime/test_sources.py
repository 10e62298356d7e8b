"""The sources of a join where topics are rekeyed: their indexes, when they are read, who waits."""

import numpy as np
import pytest

from streams.errors import ConfigError
from streams.runtime.build import load_pipeline, rekeyed_topics
from streams.runtime.rekey_stage import RekeyFactory
from streams.runtime.sources import Sources, sources_of
from streams.settings import load_settings

TELEMETRY = ("a.v1", "b.v1", "other.v1", "links.v1")
INTERNAL = "rekeyed.v1"


def rekeyed() -> Sources:
    """Return the sources where b.v1, of three partitions, is rekeyed."""
    return sources_of(TELEMETRY, INTERNAL, {"b.v1": 3})


def test_without_rekeyed_topics_sources_are_the_topics() -> None:
    """Nothing changes for anybody else."""
    found = sources_of(TELEMETRY, INTERNAL, {})
    assert found == Sources(TELEMETRY, TELEMETRY)
    assert (found.parts, found.placed_anew) == ({}, [])
    assert found.caught_up_us({"a.v1": 5, "links.v1": 6}, {}) == [5, 0, 0, 6]
    assert found.held([1, 3], np.ones(4, np.bool_)) == {"b.v1", "links.v1"}


def test_indexes_of_topics_stay_and_each_partition_has_its_own() -> None:
    """State that was written before names topics by index: it must mean the same topics still."""
    found = rekeyed()
    assert found.names == (*TELEMETRY, INTERNAL, "b.v1/1", "b.v1/2")
    assert found.topics == ("a.v1", "other.v1", "links.v1", INTERNAL)
    assert found.of_origin == {("b.v1", 0): 1, ("b.v1", 1): 5, ("b.v1", 2): 6}
    assert found.parts == {1: (5, 6)}
    assert sorted(found.placed_anew) == [1, 4, 5, 6]


def test_a_source_is_read_to_its_end_when_its_task_said_so_and_the_internal_topic_is() -> None:
    """What still lies in the internal topic may be the source's."""
    found = rekeyed()
    read = {"a.v1": 7, "other.v1": 7, "links.v1": 7, INTERNAL: 7}
    assert found.caught_up_us(read, {1: 5, 6: 4}) == [7, 5, 7, 7, 7, 0, 4]
    assert found.caught_up_us(read | {INTERNAL: 0}, {1: 5, 6: 4}) == [7, 0, 7, 7, 0, 0, 0]


def test_the_internal_topic_waits_only_when_all_that_came_by_it_is_ahead() -> None:
    """Else the slow partition would wait for itself."""
    found = rekeyed()
    has_events = np.array([1, 1, 1, 0, 0, 1, 0], np.bool_)
    assert found.held([0, 1], has_events) == {"a.v1"}
    assert found.held([0, 1, 5], has_events) == {"a.v1", INTERNAL}
    assert found.held([], np.zeros(7, np.bool_)) == frozenset()


def test_more_sources_than_the_engine_tells_apart_are_refused() -> None:
    """The message names the setting."""
    assert len(sources_of(TELEMETRY, INTERNAL, {"b.v1": 252}).names) == 256
    with pytest.raises(ConfigError, match=r"rekey \(SPANLOOM_REKEY\).*253 partitions.*fewer"):
        sources_of(TELEMETRY, INTERNAL, {"b.v1": 253})


def test_topics_are_named_or_all() -> None:
    """In the deployment's order, however they are written."""
    assert rekeyed_topics(" b.v1,a.v1, ", TELEMETRY) == ("a.v1", "b.v1")
    assert rekeyed_topics("all", TELEMETRY) == TELEMETRY
    assert rekeyed_topics("", TELEMETRY) == ()
    with pytest.raises(ConfigError, match=r"'c.v1' is no telemetry topic.*a.v1, b.v1"):
        rekeyed_topics("a.v1,c.v1", TELEMETRY)


def test_all_are_those_that_are_sent_to() -> None:
    """The worker's own links are placed right; topics of the setting may be OTLP's."""
    pipeline = load_pipeline(load_settings(rekey="all", otlp_topics="otlp_spans"))
    assert pipeline.rekeyed == ("telemetry.other.v1", "otlp_spans")
    assert pipeline.internal == "spanloom.rekeyed.v1"


def test_what_excludes_rekeying_is_refused() -> None:
    """Foreign topics are read as they are."""
    with pytest.raises(ConfigError, match=r"rekey \(SPANLOOM_REKEY\) and input_topics"):
        load_pipeline(load_settings(rekey="a.v1", input_topics=("a.v1",)))


def test_a_changelog_whose_name_would_be_too_long_is_refused() -> None:
    """Before anything is made."""
    topic = "t" * 180 + "spans"
    pipeline = load_pipeline(load_settings(rekey="all", otlp_topics=topic, group="g" * 60))
    with pytest.raises(ConfigError, match="give the group a shorter name"):
        RekeyFactory(pipeline, topic, 4)
