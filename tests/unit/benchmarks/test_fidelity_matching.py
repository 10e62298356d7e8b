"""The fidelity benchmark counts by hand, reads every layout, and fails when it should."""

import json
from pathlib import Path

import polars as pl
import pytest

from benchmarks.fidelity import main
from benchmarks.matching import score
from benchmarks.truth import read_truth, truth_frame

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
