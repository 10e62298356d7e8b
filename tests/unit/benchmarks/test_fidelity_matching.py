"""The fidelity benchmark counts by hand, reads every layout, and fails when it should."""

import json
import os
from pathlib import Path

import polars as pl
import pytest

from benchmarks.fidelity import halves, main
from benchmarks.losses import Recording, lost_frame
from benchmarks.matching import report_frame, score
from benchmarks.truth import read_truth, truth_frame
from streams.codec.nezha import read_nezha
from streams.codec.spanframe import span_batch
from streams.contract.learner import learn_rules
from streams.contract.operations import compile_rules
from streams.core.columns import Operations
from streams.core.fidelity.call_mix import count_calls
from streams.core.fidelity.rules import evaluate
from tests.rule_cases import kept_of

NAMES = ["far_module", "far_name", "near_module", "near_name"]


def lost(*rows: tuple[str, int, str, str]) -> pl.DataFrame:
    """Return lost spans (trace, span, far, near) without children, all topmost."""
    table = pl.DataFrame(
        [(t, s, "m", far, "m", near) for t, s, far, near in rows],
        schema={"trace_id": pl.String, "span_id": pl.UInt64, **dict.fromkeys(NAMES, pl.String)},
        orient="row",
    )
    return table.with_columns(is_topmost=pl.lit(True), has_child=pl.col("span_id") >= 100)


def test_a_report_and_a_loss_are_used_once() -> None:
    """Two losses alike and three reports alike are two matches, not three."""
    truth = lost(("t", 1, "x", "p"), ("t", 2, "x", "p"), ("t", 3, "y", "p"))
    reports = lost(*[("t", 0, "x", "p")] * 3).drop("is_topmost", "has_child")
    found = score(truth, reports)
    assert (found.matched, found.lost, found.reported) == (2, 3, 3)
    assert (found.precision, found.recall) == (pytest.approx(2 / 3), pytest.approx(2 / 3))


def test_an_id_matches_whatever_the_names_say() -> None:
    """The id decides first; a wrong edge shows in the edge's accuracy alone."""
    truth = lost(("t", 100, "x", "p"), ("t", 1, "x", "p"))
    reports = lost(("t", 100, "x", "q"), ("t", 0, "x", "p"), ("u", 100, "x", "p"))
    found = score(truth, reports.drop("is_topmost", "has_child"))
    assert (found.matched, found.edge_right, found.by_id, found.by_id_right) == (2, 1, 2, 1)
    assert (found.child_recall, found.child_precision) == (1.0, 0.5)


LAYOUTS = {
    "list.json": '[{"trace_id": "T1", "span_id": "0A", "pattern": "leaf"}]',
    "by_pattern.json": '{"leaf": [{"TraceID": "t1", "SpanID": "0a"}]}',
    "wrapped.json": '{"seed": 1, "lost": {"leaf": [{"trace": "t1", "span": "0a"}]}}',
    "patterns.json": '{"patterns": [{"name": "leaf", "lost": [{"traceId": "t1", "id": "0a"}]}]}',
    "pairs.json": '{"leaf": [["t1", "0a"]]}',
    "lines.jsonl": '{"trace_id": "t1", "span_id": "0a", "kind": "leaf"}\n',
    "table.csv": "trace_id,span_id,pattern\nt1,0a,leaf\n",
}


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_every_layout_of_a_truth_says_the_same(tmp_path: Path, name: str) -> None:
    """Lists, objects, wrappers, pairs, lines and tables."""
    (tmp_path / name).write_text(LAYOUTS[name])
    (entry,) = read_truth(tmp_path / name)
    assert (entry["trace_id"], entry["span_id"], entry["pattern"]) == ("t1", "0a", "leaf")


def test_what_a_truth_leaves_out_is_worked_out_from_ids(tmp_path: Path) -> None:
    """The parent's name comes from the spans that are there, else from the lost ones."""
    path = tmp_path / "truth.jsonl"
    entries = [
        {"trace_id": "t", "span_id": "02", "parent_id": "01", "service": "m", "operation": "x"},
        {"trace_id": "t", "span_id": "03", "parent_id": "02", "service": "m", "operation": "y"},
    ]
    path.write_text("\n".join(map(json.dumps, entries)))
    seen = pl.DataFrame(
        {
            "trace_id": ["t", "t"],
            "span_id": ["01", "04"],
            "parent_span_id": ["", "03"],
            "module": ["m", "m"],
            "name": ["root", "leaf"],
        }
    )
    frame = truth_frame(read_truth(path), seen)
    assert frame["near_name"].to_list() == ["root", "x"]
    assert frame["is_topmost"].to_list() == [True, False]
    assert frame["has_child"].to_list() == [False, True]


def test_wrong_usage_ends_with_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A recording that is not there is said, not measured."""
    assert main(["--learn", str(tmp_path), "--judge", str(tmp_path)]) == 2
    assert "no HH_MM_trace.csv" in capsys.readouterr().err.replace("\n", "")


def test_learned_rules_hold_on_the_other_half_of_a_real_recording() -> None:
    """Unseen whole traces are not doubted; a silent service is told on the edges it was lost."""
    data = os.environ.get("SPANLOOM_DATA", str(Path(__file__).parents[4] / "shared" / "data"))
    path = Path(data) / "nezha-trainticket-0129"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    frame = pl.concat(read_nezha(path))
    early, late = halves(frame)
    operations = Operations()
    table = compile_rules(learn_rules(span_batch(early, operations)[0], operations))
    batch, trace_id = span_batch(late, operations)
    recording = Recording.of(batch, trace_id, operations)
    assert len(evaluate(batch, table, operations)) == 0
    is_lost = recording.module == "ts-order-other-service"
    kept = kept_of(batch, ~is_lost)
    rows = evaluate(kept, table, operations, count_calls(kept, table, operations))
    found = score(lost_frame(recording, is_lost), report_frame(rows, trace_id, operations))
    assert found.precision >= 0.99
    assert found.topmost_recall >= 0.95
