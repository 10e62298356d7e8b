"""Columns of missing spans."""

import json
from pathlib import Path

import numpy as np

from streams.core.fidelity import missing
from streams.core.fidelity.missing import CAUSES, MissingColumns, concat, empty

ROOT = Path(__file__).resolve().parents[4]


def one(trace: int, near: int, far: int, labels: tuple[str, ...]) -> MissingColumns:
    def i32(n: int) -> np.ndarray:
        return np.array([n], np.int32)

    return MissingColumns(
        i32(trace),
        np.array([9], np.uint64),
        i32(-1),
        i32(near),
        i32(far),
        np.array([missing.LATE], np.uint8),
        labels,
    )


def test_cause_codes_are_those_of_the_wire() -> None:
    """The names and their order equal the enum of the assembled trace's schema."""
    schema = json.loads((ROOT / "schemas" / "assembled_trace.v1.avsc").read_text())
    rows = next(f for f in schema["fields"] if f["name"] == "missing")["type"]["items"]["fields"]
    assert list(CAUSES) == next(f for f in rows if f["name"] == "cause")["type"]["symbols"]
    assert CAUSES[missing.NEVER_ARRIVED] == "NEVER_ARRIVED"
    assert CAUSES[missing.SAMPLED_OUT] == "SAMPLED_OUT"
    assert CAUSES[missing.REJECTED] == "REJECTED"


def test_joining_parts_keeps_what_each_row_says() -> None:
    """Labels are renumbered; the words that a row points to stay the same."""
    both = concat([one(0, 1, 2, ("", "x", "y")), empty(), one(1, 2, 1, ("", "z", "x"))])
    assert [both.labels[i] for i in both.from_label] == ["x", "x"]
    assert [both.labels[i] for i in both.to_label] == ["y", "z"]
    assert both.trace.tolist() == [0, 1]
    assert both.labels[0] == ""


def test_joining_nothing_gives_no_rows() -> None:
    """No parts are an answer too."""
    assert len(concat([])) == 0
    assert concat([]).labels == ("",)


def test_taken_rows_keep_their_labels() -> None:
    """A row taken by mask points to the same words."""
    both = concat([one(0, 1, 2, ("", "x", "y")), one(1, 2, 1, ("", "x", "y"))])
    last = both.take(np.array([False, True]))
    assert last.labels[last.from_label[0]] == "y"
    assert len(last) == 1
