"""Compares reported spans with lost ones: which report tells of which loss.

A report tells of a lost span when the trace is the same and either the span id is, or operation
and parent operation are; a report and a lost span are used once. Names that the truth lacks are not
compared, which makes the match weaker: the benchmark says so.
"""

from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from streams.core.columns import Operations
from streams.core.fidelity.missing import NO_OPERATION, MissingColumns

NAMES = ("far_module", "far_name", "near_module", "near_name")


@dataclass(frozen=True, slots=True)
class Score:
    """How well the reports tell the losses; ratios are 1.0 where there is nothing to divide.

    Attributes:
        lost, reported, matched: spans lost, reports, and pairs of the two.
        topmost, topmost_matched: lost spans whose parent is there (or that are roots).
        edge_right: matched reports that name operation and parent operation of the lost span.
        with_child, with_child_matched: lost spans of which a child is there, found by their id.
        by_id: reports that name a span id; by_id_right: those that name a lost span's.
    """

    lost: int
    reported: int
    matched: int
    topmost: int
    topmost_matched: int
    topmost_edge_right: int
    edge_right: int
    with_child: int
    with_child_matched: int
    by_id: int
    by_id_right: int

    @property
    def precision(self) -> float:
        """Share of the reports that tell of a lost span."""
        return _ratio(self.matched, self.reported)

    @property
    def recall(self) -> float:
        """Share of the lost spans that a report tells of."""
        return _ratio(self.matched, self.lost)

    @property
    def topmost_recall(self) -> float:
        """Share of the topmost lost spans that a report tells of with the right edge."""
        return _ratio(self.topmost_edge_right, self.topmost)

    @property
    def edge_accuracy(self) -> float:
        """Share of the matched reports with the right edge."""
        return _ratio(self.edge_right, self.matched)

    @property
    def child_recall(self) -> float:
        """Of the lost spans whose children are there, the share found."""
        return _ratio(self.with_child_matched, self.with_child)

    @property
    def child_precision(self) -> float:
        """Of the reports that name a span id, the share that is right."""
        return _ratio(self.by_id_right, self.by_id)

    def __add__(self, other: "Score") -> "Score":
        """Return the score of both sets together."""
        mine, theirs = asdict(self), asdict(other)
        return Score(**{key: mine[key] + theirs[key] for key in mine})

    def figures(self) -> dict[str, Any]:
        """Return counts and ratios by name."""
        ratios = (
            *("precision", "recall", "topmost_recall", "edge_accuracy"),
            *("child_recall", "child_precision"),
        )
        return {**asdict(self), **{name: getattr(self, name) for name in ratios}}


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def report_frame(
    missing: MissingColumns, trace_id: list[str], operations: Operations
) -> pl.DataFrame:
    """Describe the reports: trace_id, span_id (0 for unknown), far and near module and name."""
    labels = [label.partition(":")[::2] for label in missing.labels]
    far = [
        ("", "") if code == NO_OPERATION else (operations[code].module, operations[code].name)
        for code in missing.operation.tolist()
    ]
    near = [labels[index] for index in missing.from_label.tolist()]
    return pl.DataFrame(
        {
            "trace_id": [trace_id[t] for t in missing.trace.tolist()],
            "span_id": missing.span_id,
            "far_module": [module for module, _ in far],
            "far_name": [name for _, name in far],
            "near_module": [module for module, _ in near],
            "near_name": [name for _, name in near],
        },
        schema={
            "trace_id": pl.String,
            "span_id": pl.UInt64,
            **dict.fromkeys(NAMES, pl.String),
        },
    )


def score(lost: pl.DataFrame, reports: pl.DataFrame) -> Score:
    """Match reports and lost spans, by id first, then by the names that the truth knows.

    Args:
        lost: trace_id, span_id (null where unknown), is_topmost, has_child, and those of `NAMES`
            that are known.
        reports: See `report_frame`.
    """
    names = [name for name in NAMES if name in lost.columns]
    lost, reports = lost.with_row_index("lost"), reports.with_row_index("report")
    by_id = reports.filter(pl.col("span_id") != 0)
    pairs = by_id.join(lost.unique(["trace_id", "span_id"]), on=["trace_id", "span_id"])
    first = pairs.select("report", "lost").unique("lost")
    left = lost.join(first, on="lost", how="anti").sort("is_topmost", descending=True)
    rest = reports.join(first, on="report", how="anti").sort("span_id")
    key = ["trace_id", *names]
    left = left.with_columns(nth=pl.int_range(pl.len()).over(key))
    rest = rest.with_columns(nth=pl.int_range(pl.len()).over(key))
    named = rest.join(left, on=[*key, "nth"]).select("report", "lost")
    pairs = pl.concat([first, named])
    both = pairs.join(lost, on="lost").join(reports, on="report", suffix="_told")
    right = pl.all_horizontal(pl.lit(True), *(pl.col(n) == pl.col(f"{n}_told") for n in names))
    both = both.with_columns(is_right=right)
    found = both.join(first.select("lost", by_id=pl.lit(True)), on="lost", how="left")
    return Score(
        lost=len(lost),
        reported=len(reports),
        matched=len(both),
        topmost=int(lost["is_topmost"].sum()),
        topmost_matched=int(both["is_topmost"].sum()),
        topmost_edge_right=int((both["is_topmost"] & both["is_right"]).sum()),
        edge_right=int(both["is_right"].sum()),
        with_child=int(lost["has_child"].sum()),
        with_child_matched=len(found.filter(pl.col("has_child") & pl.col("by_id"))),
        by_id=len(by_id),
        by_id_right=len(first),
    )
