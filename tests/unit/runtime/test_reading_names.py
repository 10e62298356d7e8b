"""What a reader says when a topic is not there."""

import pytest

from streams.errors import ConfigError
from streams.runtime.link import Link
from streams.runtime.reading import NAMES_MAX, Reading, few_of


def test_few_topics_are_all_named() -> None:
    """A broker of one deployment shows what it holds."""
    assert few_of(["a", "b"], ["c"]) == "there are: a, b"
    assert few_of([], ["c"]) == "there are: none"


def test_of_many_topics_those_are_named_that_were_meant() -> None:
    """A shared broker has thousands, and a screen some dozens of lines."""
    known = [f"team{n}.state.v1" for n in range(3_000)] + ["traces.assembled.v1"]
    said = few_of(known, ["trace.assembled.v1"])
    assert said.startswith("of 3001 topics these look most like it: traces.assembled.v1, ")
    assert said.count(",") == NAMES_MAX - 1


def test_who_reads_a_topic_that_is_not_there_is_told_what_makes_it(embedded: str) -> None:
    """The first command of a newcomer, before the topics: the message has the next one."""
    missing = pytest.raises(ConfigError, match=r"no topic traces\.assembled\.v1 on ")
    with Reading(Link.plain(embedded)) as reading, missing as told:
        reading.spans(["traces.assembled.v1"])
    assert "`spanloom topics create`" in str(told.value)
    assert "--broker" in str(told.value)
