"""The fragment task: absolute counts by window and edge, bounded memory, restarts survived."""

import json
from typing import Any

import pytest

from streams.core.fidelity.merge import RESTART_PARTITION_BASE
from streams.core.incidents.topology import Edge, Topology
from streams.engine.fragments import FragmentSettings, FragmentTask
from streams.errors import StateError

SECOND = 1_000_000
LATER = 10_000 * SECOND
SHAPE = Topology(edges=(Edge("f", "a", "b"), Edge("f", "b", "c")))
SETTINGS = FragmentSettings(
    partition=2, partitions_total=4, window_us=SECOND, retention_us=100 * SECOND
)


def half(trace: str, stages: str, start: int, **fields: Any) -> dict[str, Any]:
    return {
        "trace_id": trace,
        "revision": 1,
        "flow": "f",
        "record_id": "r1",
        "batch_id": "",
        "has_first": "a" in stages,
        "has_last": "c" in stages,
        "first_stage": stages[0],
        "last_stage": stages[-1],
        "start": start * SECOND,
        "end": start * SECOND + 1,
        "first_span_id": "",
        "last_span_id": "",
        "contract_version": "1",
        "stages": list(stages),
        "partition": 1,
    } | fields


def task(**settings: Any) -> FragmentTask:
    known = {name: getattr(SETTINGS, name) for name in FragmentSettings.__dataclass_fields__}
    return FragmentTask(FragmentSettings(**(known | settings)), SHAPE)


def step(of: FragmentTask, *fragments: dict[str, Any]) -> list[tuple[int, int, str, int]]:
    """Return (window, sequence, far stage, restarts) of what is said."""
    outputs = of.step(fragments, LATER, True)
    return [
        (o.record["window_start"] // SECOND, o.record["sequence"], scope["to_stage"], n)
        for o in outputs
        if o.topic_kind == "restarts"
        for scope in o.record["scopes"]
        for n in scope["counters"].values()
    ]


def test_a_restart_is_counted_where_its_record_began() -> None:
    """The second half makes a partial in the first half's window, in a partition of its own."""
    fragments = task()
    assert step(fragments, half("x", "a", 3)) == []
    output = fragments.step([half("y", "bc", 7)], LATER, True)[0]
    assert output.topic_kind == "restarts"
    record = output.record
    assert record["window_start"] == 3 * SECOND
    assert (record["partition"], record["partitions_total"]) == (RESTART_PARTITION_BASE + 2, 4)
    (scope,) = record["scopes"]
    assert (scope["kind"], scope["from_stage"], scope["to_stage"]) == ("edge", "a", "b")
    assert scope["counters"] == {"restarted": 1}
    assert [sample["trace_id"] for sample in scope["samples"]] == ["x"]


def test_counts_are_absolute() -> None:
    """A second restart in the window says two, with a later sequence; a repeated half nothing."""
    fragments = task()
    assert step(fragments, half("x", "a", 3), half("y", "bc", 7)) == [(3, 1, "b", 1)]
    assert step(fragments, half("y", "bc", 7)) == []
    more = [half("u", "a", 3, record_id="r2"), half("v", "bc", 8, record_id="r2")]
    assert step(fragments, *more) == [(3, 2, "b", 2)]


def test_a_later_revision_replaces_the_half() -> None:
    """A half that a late span completed is no half any more: its restart is taken back."""
    fragments = task()
    step(fragments, half("x", "a", 3), half("y", "bc", 7))
    whole = half("x", "abc", 3, revision=2)
    assert step(fragments, whole) == [(3, 2, "b", 0)]


def test_without_a_record_the_batch_is_the_meeting_point() -> None:
    """Halves of one batch meet; halves without either id cannot, and are counted."""
    fragments = task()
    batch = {"record_id": "", "batch_id": "b7"}
    assert step(fragments, half("x", "a", 3, **batch), half("y", "bc", 7, **batch))
    step(fragments, half("z", "a", 3, record_id=""))
    assert fragments.counters()["fragment_without_record"] == 1


def test_expired_halves_are_gone_and_their_counts_stay() -> None:
    """After the retention no half waits any more, yet a window's count never falls for that."""
    fragments = task()
    step(fragments, half("x", "a", 103), half("y", "bc", 104))
    step(fragments, half("w", "a", 103, record_id="alone"))
    step(fragments, half("t", "a", 210, record_id="r9"))
    assert list(fragments.records) == ["record/r9"]
    assert fragments.counters()["fragment_expired"] == 2
    # Another restart of the old window, by a pair whose second half came in time.
    pair = [half("u", "a", 103, record_id="r3", end=190 * SECOND)]
    pair.append(half("v", "bc", 190, record_id="r3"))
    assert step(fragments, *pair) == [(103, 2, "b", 2)]


def test_a_future_timestamp_expires_nothing() -> None:
    """A half whose clock is far ahead does not make the others old."""
    fragments = task()
    step(fragments, half("x", "a", 3))
    fragments.step([half("f", "a", 99_999, record_id="r8")], 4 * SECOND, True)
    assert step(fragments, half("y", "bc", 7)) == [(3, 1, "b", 1)]


def test_memory_is_bounded() -> None:
    """Beyond the bound the oldest records go and are counted."""
    fragments = task(max_records=32)
    step(fragments, *(half(f"t{i}", "a", 3 + i, record_id=f"r{i}") for i in range(40)))
    assert len(fragments.records) <= 32
    assert "record/r39" in fragments.records
    assert fragments.counters()["record_over_bound"] == 8
    full = task(max_fragments=2)
    step(full, *(half(f"t{i}", "a", 3) for i in range(4)))
    assert full.counters()["fragment_over_bound"] == 2


def test_a_saved_task_goes_on_as_it_was() -> None:
    """Written as JSON and read back, the task answers alike; another format is refused."""
    fragments = task()
    step(fragments, half("x", "a", 3), half("y", "bc", 7), half("u", "a", 3, record_id="r2"))
    saved = json.loads(json.dumps(fragments.snapshot()))
    again = FragmentTask.restore(fragments.settings, SHAPE, saved)
    assert again.snapshot() == saved
    second = half("v", "bc", 8, record_id="r2")
    assert step(again, second) == step(fragments, second) == [(3, 2, "b", 2)]
    with pytest.raises(StateError, match="Operator action"):
        FragmentTask.restore(fragments.settings, SHAPE, saved | {"format": 0})


def links(of: FragmentTask, *fragments: dict[str, Any]) -> list[tuple[str, str, list[str], int]]:
    """Return (trace told, name, traces named, partition) of the synthetic spans written."""
    return [
        (
            o.key,
            o.record["name"].removeprefix("spanloom."),
            [linked["trace_id"] for linked in o.record["links"]],
            -7 if o.partition is None else o.partition,
        )
        for o in of.step(fragments, LATER, True)
        if o.topic_kind == "links"
    ]


def test_both_halves_are_told_once() -> None:
    """In the partition where each lies; neither repeats nor the next revisions tell it again."""
    fragments = task()
    first, second = half("x", "a", 3, partition=2), half("y", "bc", 7, partition=0)
    assert links(fragments, first, second, first) == [
        ("x", "context_restarted", ["y"], 2),
        ("y", "context_restarted", ["x"], 0),
    ]
    assert links(fragments, first | {"revision": 2}, second | {"revision": 2}) == []
    saved = json.loads(json.dumps(fragments.snapshot()))
    again = FragmentTask.restore(fragments.settings, SHAPE, saved)
    assert links(again, first | {"revision": 3}, second) == []


def test_another_link_follows_what_changed() -> None:
    """A part that came late takes its place in the chain; who is told the same is told nothing."""
    fragments = task()
    links(fragments, half("x", "a", 3), half("z", "c", 9))
    assert links(fragments, half("y", "b", 6)) == [
        ("x", "context_restarted", ["y", "z"], 1),
        ("y", "context_restarted", ["x"], 1),
        ("y", "context_restarted", ["z"], 1),
        ("z", "context_restarted", ["y", "x"], 1),
    ]


def test_a_link_that_no_longer_holds_is_withdrawn() -> None:
    """The first half was only late: whole now, it goes on in no other trace."""
    fragments = task()
    links(fragments, half("x", "a", 3), half("y", "bc", 7))
    assert links(fragments, half("x", "abc", 3, revision=2)) == [
        ("x", "link_withdrawn", [], 1),
        ("y", "link_withdrawn", [], 1),
    ]


def test_what_is_forgotten_in_a_step_was_told_before() -> None:
    """The bound lets the oldest records go at once, and their traces know of each other."""
    fragments = task(max_records=1)
    rows = [half("x", "a", 3), half("y", "bc", 7), half("u", "a", 90, record_id="r2")]
    told = [trace for trace, *_ in links(fragments, *rows)]
    assert told == ["x", "y"]
    assert list(fragments.records) == ["record/r2"]


def test_nobody_is_told_where_nobody_reads() -> None:
    """Without a links topic among the join's own, restarts are counted and no span is written."""
    fragments = task(tells_links=False)
    assert links(fragments, half("x", "a", 3), half("y", "bc", 7)) == []
    assert fragments.sequence == 1


def test_state_of_the_first_format_is_read() -> None:
    """Fragments without stages and partition go on waiting; the other half finds them."""
    fragments = task()
    step(fragments, half("x", "a", 3))
    saved = json.loads(json.dumps(fragments.snapshot()))
    saved["format"] = 1
    saved["records"] = [row[:12] for row in saved["records"]]
    again = FragmentTask.restore(fragments.settings, SHAPE, saved)
    assert links(again, half("y", "bc", 7)) == [
        ("x", "context_restarted", ["y"], -1),
        ("y", "context_restarted", ["x"], 1),
    ]
