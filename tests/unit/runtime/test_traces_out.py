"""Closed traces as records: they decode to what was closed, and so do their summaries."""

from pathlib import Path
from typing import Any

import pytest

from streams.runtime import topics
from tests.unit.runtime.join_cases import (
    PARTITION,
    T0_US,
    A,
    B,
    chunk,
    cut,
    decoded,
    feed,
    join_runner,
    let_time_pass,
    of_topic,
    span,
    summaries,
    whole_trace,
)

SUMMARIES = "traces.summary.v1"
EVENT_ID = "6f1c2f0e-52b7-4f0c-9d3a-0b6f9f1f7a01"


def closed(tmp_path: Path, *spans: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a trace and its summary as published after all waits are over."""
    runner = join_runner(tmp_path, summary_topic=SUMMARIES)
    feed(runner, chunk(A, *(s for s in spans if s["module"] != "B")))
    feed(runner, chunk(B, *(s for s in spans if s["module"] == "B")))
    let_time_pass(runner, 60)
    outputs = cut(runner, 60)
    (trace,), (summary,) = decoded(outputs, topics.TRACES), summaries(outputs, SUMMARIES)
    (record,) = of_topic(outputs, SUMMARIES)
    assert (record.partition, record.key) == (PARTITION, spans[0]["trace_id"].encode())
    return trace, summary


def test_a_whole_trace_decodes_to_what_was_closed(tmp_path: Path) -> None:
    """Header, stages and spans say what happened, in units of the schema."""
    spans = whole_trace()
    trace, summary = closed(tmp_path, *spans)
    stages = trace.pop("stages")
    assert trace == {
        "trace_id": spans[0]["trace_id"],
        "revision": 1,
        "flow": "f",
        "contract_version": "1.0.0",
        "status": "COMPLETE",
        "closed_by": "contract",
        "start": T0_US,
        "end": T0_US + 25,
        "duration_us": 25,
        "span_count": 3,
        "annotation_count": 0,
        "error_count": 0,
        "root_count": 1,
        "orphan_count": 0,
        "evicted_count": 0,
        "root_span_id": f"{1:016x}",
        "missing": [],
        "spans": spans,
    }
    assert stages == [
        {"stage": "go", "start": T0_US, "duration_us": 5, "count": 1},
        {"stage": "mid", "start": T0_US + 10, "duration_us": 5, "count": 1},
        {"stage": "end", "start": T0_US + 20, "duration_us": 5, "count": 1},
    ]
    assert summary == {
        "trace_id": spans[0]["trace_id"],
        "complete": True,
        "first_ts": T0_US,
        "last_ts": T0_US + 20,
        "span_count": 3,
        "missing_mask": 0,
    }


def test_a_missing_stage_is_named_and_masked(tmp_path: Path) -> None:
    """What did not come stands in the trace with its edge, and in the summary as a bit."""
    go, _, end = whole_trace()
    trace, summary = closed(tmp_path, go, end)
    assert trace["status"] == "INCOMPLETE"
    (missing,) = trace["missing"]
    named = {k: missing[k] for k in ("module", "name", "from_stage", "to_stage")}
    assert named == {"module": "A", "name": "mid", "from_stage": "go", "to_stage": "mid"}
    assert missing["cause"] == "NEVER_ARRIVED"
    assert (summary["complete"], summary["missing_mask"]) == (False, 0b010)


@pytest.mark.parametrize(
    ("came", "mask"), [(("go",), 0b110), (("go", "end"), 0b010), (("go", "mid"), 0b100)]
)
def test_the_mask_has_a_bit_for_each_missing_stage(
    tmp_path: Path, came: tuple[str, ...], mask: int
) -> None:
    """Bit i is the i-th stage of the flow."""
    spans = [s for s in whole_trace() if s["name"] in came]
    assert closed(tmp_path, *spans)[1]["missing_mask"] == mask


def test_a_trace_of_no_flow_lacks_whatever_did_not_come(tmp_path: Path) -> None:
    """Spans that enter no flow leave the flow empty; the mask is over all stages there are."""
    trace, summary = closed(tmp_path, span("stray", 1))
    assert (trace["flow"], trace["stages"]) == ("", [])
    assert summary["missing_mask"] == 0b111


def test_logs_of_a_trace_are_annotations(tmp_path: Path) -> None:
    """An event that is no span is kept among the spans in order of time and counted apart."""
    go, mid, end = whole_trace()
    log = span("line", 7, 15, event_type="LOG", event_id=EVENT_ID, span_id="", parent_span_id="")
    trace, summary = closed(tmp_path, go, log, mid, end)
    assert trace["spans"] == [go, mid, log, end]
    assert (trace["span_count"], trace["annotation_count"]) == (3, 1)
    assert summary["span_count"] == 3


def test_only_the_first_revision_is_summed_up(tmp_path: Path) -> None:
    """A late span makes another revision of the trace and no second summary."""
    runner = join_runner(tmp_path, summary_topic=SUMMARIES)
    go, mid, end = whole_trace()
    feed(runner, chunk(A, go, mid))
    let_time_pass(runner, 60)
    assert len(summaries(cut(runner, 60), SUMMARIES)) == 1
    feed(runner, chunk(B, end))
    trace_id = bytes.fromhex(go["trace_id"])
    body_of = [r.value[5:] for r in chunk(A, go, mid).records]
    runner.recalled(trace_id, body_of)
    let_time_pass(runner, 120)
    outputs = cut(runner, 120)
    assert [t["revision"] for t in decoded(outputs, topics.TRACES)] == [2]
    assert summaries(outputs, SUMMARIES) == []


def test_without_a_topic_there_are_no_summaries(tmp_path: Path) -> None:
    """Summaries are for those who ask."""
    runner = join_runner(tmp_path)
    feed(runner, chunk(A, *whole_trace()))
    let_time_pass(runner, 60)
    assert {r.topic for r in cut(runner, 60)} == {
        topics.TRACES, topics.PARTIALS, topics.SIGNALS, topics.CAUSE_INPUTS,
    }  # fmt: skip
