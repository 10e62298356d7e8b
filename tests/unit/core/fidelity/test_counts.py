"""What counts where, which samples prove it, and when a window is taken."""

from typing import Any

import fastavro
import numpy as np
import pytest

from streams.core.bodies import Bodies
from streams.core.columns import LOG, STATUS_ERROR, TRACE, EventColumns, Operation, Operations
from streams.core.fidelity import missing
from streams.core.fidelity.counts import WindowCounts
from streams.core.fidelity.judge import TRUNCATED, Judgement, judge, with_causes
from streams.core.fidelity.plan import Plan
from streams.core.fidelity.tally import TIME_LIMIT_US
from tests.judge_cases import batch_of, plan_of, span
from tests.oracle_judge import OracleSpan

PLAN = plan_of("ab", "ab")
WINDOW_US = 100
Counters = dict[tuple[str, str, str], dict[str, int]]


def new(**bounds: int) -> WindowCounts:
    return WindowCounts(WINDOW_US, "1", **bounds)


def add(
    counts: WindowCounts,
    *traces: list[OracleSpan],
    plan: Plan = PLAN,
    ids: range | None = None,
    judged: Judgement | None = None,
    **options: Any,
) -> list[int]:
    """Add the traces; return the batch rows that were described."""
    operations, described = Operations(), []

    def describe(row: int) -> tuple[str, str]:
        described.append(row)
        return f"record-{row}", "batch"

    batch = batch_of(traces, plan, operations)
    counts.add_traces(
        batch,
        judged or judge(batch, plan, operations),
        plan,
        operations,
        [n.to_bytes(16, "big") for n in ids or range(len(traces))],
        describe,
        **options,
    )
    return described


def counters(part: dict[str, Any]) -> Counters:
    return {
        (scope["kind"], scope["from_stage"], scope["to_stage"] or scope["module"]): scope[
            "counters"
        ]
        for scope in part["scopes"]
    }


def only(counts: WindowCounts) -> Counters:
    (part,) = counts.take_changed(0)
    return counters(part)


def events(operations: Operations, *rows: tuple[str, int, int, int]) -> EventColumns:
    """Return events given as (module, time, event type, status)."""
    n = len(rows)
    u64, i64, u8 = (np.zeros(n, dtype) for dtype in (np.uint64, np.int64, np.uint8))
    codes = [operations.code(Operation(module, "main", "x")) for module, *_ in rows]
    return EventColumns(
        row=np.arange(n),
        topic=u8,
        trace_id=np.zeros((n, 2), np.uint64),
        event_key=np.zeros((n, 2), np.uint64),
        span_id=u64,
        parent_span_id=u64,
        timestamp_us=np.array([time_us for _, time_us, _, _ in rows], np.int64),
        duration_us=i64,
        kafka_us=i64,
        operation=np.array(codes, np.int32),
        event_type=np.array([event_type for *_, event_type, _ in rows], np.uint8),
        severity=u8,
        status=np.array([status for *_, status in rows], np.uint8),
        trace_flags=u8,
        value=np.full(n, np.nan),
        series=np.full(n, -1, np.int32),
        body=Bodies.of([b""] * n),
    )


WHOLE = [span("a", 1), span("b", 2, 1, duration_us=4)]
HALF = [span("a", 1)]


def test_a_window_counts_traces_flow_edge_and_stages() -> None:
    """One whole trace and one that lost b, counted by hand."""
    counts = new()
    add(counts, WHOLE, HALF)
    found = only(counts)
    assert found["total", "", ""] == {"traces": 2, "complete": 1, "incomplete": 1}
    assert found["flow", "", ""] == {"expected": 2, "observed": 1}
    assert found["edge", "a", "b"] == {
        "expected": 2,
        "observed": 1,
        "missing.NEVER_ARRIVED": 1,
        "gap_count": 1,
        "gap_sum_us": 10,
    }
    assert found["stage", "", "a"] == {"spans": 2, "duration_sum_us": 2}
    assert found["stage", "", "b"] == {"spans": 1, "duration_sum_us": 4}


def test_a_trace_counts_in_the_window_of_its_start() -> None:
    """Its later spans lie in the next window and change nothing there."""
    counts = new()
    add(counts, [span("a", 1, start_us=99), span("b", 2, 1, start_us=150)])
    assert [part["window_start"] for part in counts.take_changed(0)] == [0]


def test_windows_before_1970_are_whole_windows_too() -> None:
    """A start of -1 lies in [-100, 0)."""
    counts = new()
    add(counts, [span("a", 1, start_us=-1)])
    assert [part["window_start"] for part in counts.take_changed(0)] == [-WINDOW_US]


def test_sampled_out_traces_are_outside_both() -> None:
    """They raise neither expected nor observed nor missing, whatever of them was seen."""
    counts = new()
    unsampled = [span("a", 1, is_sampled=False), span("b", 2, 1, is_sampled=False)]
    add(counts, unsampled, unsampled[:1])
    found = only(counts)
    assert found["total", "", ""] == {"traces": 2, "sampled_out": 2}
    assert found["flow", "", ""] == {"sampled_out": 2}
    assert found["edge", "a", "b"] == {"sampled_out": 2}


def test_what_is_in_flight_is_outside_both() -> None:
    """The caller says the missing span is on its way: the edge and the flow wait for it."""
    counts, operations = new(), Operations()
    batch = batch_of([HALF], PLAN, operations)
    judged = judge(batch, PLAN, operations)
    judged = with_causes(judged, np.full(len(judged.missing), missing.IN_FLIGHT))
    add(counts, HALF, judged=judged)
    found = only(counts)
    assert found["total", "", ""] == {"traces": 1, "in_flight": 1}
    assert found["flow", "", ""] == {"in_flight": 1}
    assert found["edge", "a", "b"] == {"in_flight": 1}


def test_the_callers_status_is_counted() -> None:
    """A trace beyond its bounds is TRUNCATED, which the judge cannot know."""
    counts = new()
    add(counts, WHOLE, status=np.array([TRUNCATED], np.uint8))
    assert only(counts)["total", "", ""] == {"traces": 1, "truncated": 1}


def test_a_revision_replaces_its_predecessor() -> None:
    """The half trace is taken back, the whole one added: one trace, one revision, one late span."""
    counts = new()
    add(counts, HALF)
    late = [span("a", 1), span("b", 2, 1, is_late=True)]
    add(counts, HALF, sign=-1)
    add(counts, late, revision=np.array([2]))
    found = only(counts)
    assert found["total", "", ""] == {"traces": 1, "complete": 1, "late": 1, "revisions": 1}
    assert found["edge", "a", "b"]["late"] == 1
    assert "missing.NEVER_ARRIVED" not in found["edge", "a", "b"]
    assert found["module", "", "B"] == {"late": 1}


def test_five_samples_with_the_smallest_trace_ids_prove_a_loss() -> None:
    """Of nine losing traces the first five are named, each with its near span."""
    counts = new()
    described = add(counts, *[HALF] * 9, ids=range(9, 0, -1))
    (part,) = counts.take_changed(0)
    edge = next(scope for scope in part["scopes"] if scope["kind"] == "edge")
    assert [int(sample["trace_id"], 16) for sample in edge["samples"]] == [1, 2, 3, 4, 5]
    assert edge["samples"][0] == {
        "counter": "missing.NEVER_ARRIVED",
        "trace_id": f"{1:032x}",
        "record_id": "record-8",
        "batch_id": "batch",
        "timestamp": 10,
    }
    assert sorted(described) == [4, 5, 6, 7, 8]


def test_only_rows_that_become_samples_are_described() -> None:
    """When five smaller ids are kept, the next batch reads no body at all."""
    counts = new()
    add(counts, *[HALF] * 5, ids=range(1, 6))
    assert add(counts, *[HALF] * 5, ids=range(11, 16)) == []
    assert add(counts, HALF, ids=range(0, 1)) == [0]


def test_errors_missed_deadlines_and_negative_gaps_are_proved() -> None:
    """Each counter has its own samples."""
    counts = new()
    slow = span("b", 2, 1, start_us=5, duration_us=50, is_error=True)
    plan = plan_of("ab", "ab", deadline_us={"b": 20})
    add(counts, [span("a", 1, start_us=9), slow], plan=plan)
    (part,) = counts.take_changed(0)
    proved = {
        (scope["kind"], sample["counter"], sample["timestamp"])
        for scope in part["scopes"]
        for sample in scope["samples"]
    }
    assert proved == {
        ("edge", "gap_negative", 9),
        ("stage", "errors", 5),
        ("stage", "deadline_missed", 5),
    }


def test_a_clock_that_is_years_off_cannot_overflow_a_sum() -> None:
    """The gap is counted, its size is cut at the limit."""
    counts = new()
    add(counts, [span("a", 1, start_us=0), span("b", 2, 1, start_us=2**61)])
    edge = only(counts)["edge", "a", "b"]
    assert edge["gap_sum_us"] == TIME_LIMIT_US


def test_events_count_by_module_in_the_window_of_their_own_time() -> None:
    """Spans, their errors and untraced events, by hand."""
    counts, operations = new(), Operations()
    chunk = events(
        operations,
        ("A", 10, TRACE, STATUS_ERROR),
        ("A", 20, TRACE, 0),
        ("A", 120, LOG, STATUS_ERROR),
        ("B", 99, LOG, 0),
    )
    counts.add_events(chunk, np.array([True, True, True, False]), operations)
    first, second = (counters(part) for part in counts.take_changed(0))
    assert first["module", "", "A"] == {"events": 2, "spans": 2, "errors": 1}
    assert first["module", "", "B"] == {"events": 1, "untraced": 1}
    assert first["total", "", ""] == {"events": 3, "untraced": 1}
    assert second["module", "", "A"] == {"events": 1}


def test_duplicates_late_and_rejected_records_are_counted() -> None:
    """Each by its own time; duplicates with samples."""
    counts, operations = new(), Operations()
    chunk = events(operations, ("A", 10, TRACE, 0), ("A", 11, TRACE, 0), ("B", 12, TRACE, 0))
    counts.add_duplicates(
        chunk.operation[:2],
        chunk.timestamp_us[:2],
        operations,
        trace_ids=[b"\0" * 16, b"\1" * 16],
        describe=lambda row: (f"r{row}", ""),
    )
    counts.add_late(chunk, 2, operations)
    counts.add_rejected(3, timestamp_us=50)
    counts.add_rejected(4)
    (part,) = counts.take_changed(0)
    found = counters(part)
    assert found["module", "", "A"] == {"duplicate": 2}
    assert found["module", "", "B"] == {"late": 1}
    assert found["total", "", ""] == {"duplicate": 2, "late": 1, "rejected": 7}
    module = next(scope for scope in part["scopes"] if scope["module"] == "A")
    assert [sample["record_id"] for sample in module["samples"]] == ["r0", "r1"]


def test_a_window_is_taken_when_it_changed_and_once_when_the_watermark_passes() -> None:
    """Its reader learns that it is whole, and is not told twice."""
    counts = new()
    add(counts, WHOLE)
    assert len(counts.take_changed(50)) == 1
    assert counts.take_changed(99) == []
    (part,) = counts.take_changed(100)
    assert part["watermark"] == 100
    assert counts.take_changed(101) == []
    add(counts, HALF)
    assert len(counts.take_changed(101)) == 1


def test_a_watermark_that_steps_back_repeats_nothing() -> None:
    """A restart may bring an older watermark; windows already called whole stay so."""
    counts = new()
    add(counts, WHOLE)
    counts.take_changed(100)
    assert counts.take_changed(40) == []
    assert counts.take_changed(100) == []


def test_a_window_at_the_edge_of_what_was_given_up_still_counts() -> None:
    """Windows are [start, end): the one that starts where the given-up one ends is open."""
    counts = new()
    counts.expire(100)
    add(counts, [span("a", 1, start_us=100)])
    assert [part["window_start"] for part in counts.take_changed(0)] == [100]
    assert counts.discarded == {}


def test_samples_of_a_trace_that_is_taken_back_go_too() -> None:
    """The loss of the second trace is still proved, by the second trace alone."""
    counts = new()
    add(counts, HALF, HALF)
    add(counts, HALF, sign=-1)
    (part,) = counts.take_changed(0)
    edge = next(scope for scope in part["scopes"] if scope["kind"] == "edge")
    assert [int(sample["trace_id"], 16) for sample in edge["samples"]] == [1]


def test_one_event_is_one_sample_however_often_it_is_added() -> None:
    """Two equal duplicates are told once, so that five samples are five events."""
    counts, operations = new(), Operations()
    chunk = events(operations, ("A", 10, TRACE, 0))
    for _ in range(2):
        counts.add_duplicates(
            chunk.operation,
            chunk.timestamp_us,
            operations,
            trace_ids=[b"\1" * 16],
            describe=lambda _: ("r", ""),
        )
    (part,) = counts.take_changed(0)
    module = next(scope for scope in part["scopes"] if scope["kind"] == "module")
    assert module["counters"] == {"duplicate": 2}
    assert len(module["samples"]) == 1


def test_a_window_that_was_given_up_is_never_begun_again() -> None:
    """Its few late counts would replace the full ones; they are discarded and counted."""
    counts = new()
    add(counts, WHOLE)
    assert counts.expire(100) == 1
    add(counts, WHOLE)
    assert counts.take_changed(0) == []
    assert counts.discarded["window_expired"] > 0


def test_what_was_told_stays_told_after_a_restart() -> None:
    """A window saved before it was taken, and untouched since, is not told again when restored."""
    counts = new()
    add(counts, [span("a", 1), span("b", 2, 1)])
    before = counts.snapshot(full=False)
    assert counts.take_changed(0)
    after = counts.snapshot(full=False)
    restored = WindowCounts.restore(before)
    restored.amend(after)
    assert not restored.has_changed()
    assert restored.take_changed(0) == []


def test_modules_beyond_the_bound_share_one_scope() -> None:
    """The total and module A fit; B and C are counted under OTHER."""
    counts, operations = new(max_scopes=1), Operations()
    chunk = events(operations, *((module, 10, LOG, 0) for module in "ABC"))
    counts.add_events(chunk, np.ones(3, np.bool_), operations)
    found = only(counts)
    assert found["module", "", "A"] == {"events": 1}
    assert found["module", "", "OTHER"] == {"events": 2}
    assert found["total", "", ""] == {"events": 3}
    assert counts.discarded["scope_limit"] == 2


def test_wild_timestamps_cannot_fill_the_memory() -> None:
    """Windows beyond the bound are not begun; what they would have held is counted."""
    counts, operations = new(max_windows=2), Operations()
    chunk = events(operations, *(("A", 1_000 * i, LOG, 0) for i in range(5)))
    counts.add_events(chunk, np.ones(5, np.bool_), operations)
    assert len(counts.take_changed(0)) == 2
    assert counts.discarded["window_limit"] > 0


def test_a_trace_without_spans_counts_only_when_its_start_is_told() -> None:
    """Logs alone: the caller knows when they were, the spans cannot say."""
    silent, told = new(), new()
    add(silent, [])
    add(told, [], start_us=np.array([250]))
    assert silent.take_changed(0) == []
    (part,) = told.take_changed(0)
    assert part["window_start"] == 200
    assert counters(part)["total", "", ""]["traces"] == 1


@pytest.mark.parametrize("window_us", [1_000_000, 10_000_000])
def test_what_is_taken_fits_the_schema(window_us: int, partial_schema: Any) -> None:
    """With the caller's fields added a part is a FidelityPartial."""
    counts = WindowCounts(window_us, "1")
    add(counts, WHOLE, HALF)
    for part in counts.take_changed(0):
        whole = {**part, "partition": 0, "partitions_total": 1, "sequence": 1}
        assert fastavro.validate(whole, partial_schema, strict=True)


@pytest.fixture
def partial_schema(request: pytest.FixtureRequest) -> Any:
    path = request.config.rootpath / "schemas" / "fidelity_partial.v1.avsc"
    return fastavro.schema.load_schema(str(path))
