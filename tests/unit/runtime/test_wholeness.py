"""An assignment that tears traces, or that has partitions nobody knew of, is refused."""

import pytest

from streams.errors import StateError
from streams.runtime.task import TaskId
from streams.runtime.wholeness import assert_whole

KINDS = {"join": ("a", "b"), "fidelity": ("p",)}
COUNTS = {"join": 4, "fidelity": 1}


def test_all_sources_of_a_task_with_one_worker_fit() -> None:
    """Whatever tasks those are; none is an assignment, too."""
    assert_whole({}, KINDS, COUNTS)
    assert_whole({TaskId("join", 3): {"a", "b"}, TaskId("fidelity", 0): {"p"}}, KINDS, COUNTS)


def test_a_torn_partition_is_refused() -> None:
    """It names the sources that are elsewhere."""
    with pytest.raises(StateError, match=r"partition 2 of \['b'\].*torn.*Operator action"):
        assert_whole({TaskId("join", 2): {"a"}}, KINDS, COUNTS)


def test_a_partition_that_was_added_is_refused() -> None:
    """Keys have moved; where the broker makes topics as it likes, nothing is counted."""
    wanted = {TaskId("join", 4): {"a", "b"}}
    with pytest.raises(StateError, match=r"it knows 4, and keys move.*Operator action"):
        assert_whole(wanted, KINDS, COUNTS)
    assert_whole(wanted, KINDS, COUNTS, is_counted=False)


def test_a_topic_that_has_grown_alone_is_told_from_one_that_is_elsewhere() -> None:
    """Its new partition has no others beside it: that tears nothing by another worker."""
    wanted = {TaskId("join", 0): {"a"}, TaskId("join", 4): {"b"}}
    with pytest.raises(StateError, match=r"partition 4 of \['b'\] was added.*--rekey b "):
        assert_whole(wanted, KINDS, COUNTS)
