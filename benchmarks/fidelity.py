"""How many lost spans are told, and how many told spans were lost? Learned rules on a recording.

    python -m benchmarks.fidelity --learn DIR --judge DIR [--truth FILE] [--json FILE] [--seed S]

Without a truth the benchmark takes spans away itself (see `losses`). Where DIR is the same twice,
rules are learned on the first half of the traces by time and judged on the second.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from rich.console import Console
from rich.table import Table

from benchmarks import truth as truth_module
from benchmarks.arguments import report_file
from benchmarks.losses import Recording, lost_frame, patterns
from benchmarks.matching import NAMES, Score, report_frame, score
from benchmarks.truth import read_truth, truth_frame
from streams.codec.nezha import read_nezha
from streams.codec.spanframe import span_batch
from streams.contract.learner import learn_rules
from streams.contract.operations import compile_rules
from streams.core.columns import Operations, SpanBatch
from streams.core.fidelity.call_mix import count_calls
from streams.core.fidelity.rule_table import RuleTable
from streams.core.fidelity.rules import evaluate
from streams.errors import SpanloomError
from streams.units import Mask

PRECISION_MIN = 0.99
SILENT_RECALL_MIN = 0.95
RECALL_MIN = {"random 1 %": 0.99, "leaves 5 %": 0.97, "tails": 0.97}
TABLE_WIDTH = 150
UNTARGETED = ("nothing", "random 10 %")


class Result(NamedTuple):
    """The scores of one pattern: topmost lost spans told, and whole lost subtrees told.

    Where the truth gives no parents, nobody can tell which lost spans are topmost: then
    `knows_topmost` is False, and a silent service is held to all of its spans told whole.
    """

    group: str
    name: str
    topmost: Score
    whole: Score
    knows_topmost: bool = True


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; return 0 when all targets hold, 1 when not, 2 for wrong usage."""
    options = _options(arguments)
    console = Console(soft_wrap=True)
    console.width = max(console.width, TABLE_WIDTH)
    try:
        results, spans_per_second = _run(options)
    except SpanloomError as error:
        Console(stderr=True).print(f"[red]{error}[/red]", highlight=False)
        return 2
    summed = _summed(results)
    failures = _failures(results, summed)
    console.print(_table(summed))
    for result in sorted(results, key=_weakness)[:5]:
        if result.group != result.name:
            console.print(
                f"weakest: {result.name}: precision {result.topmost.precision:.4f}, "
                f"topmost recall {result.topmost.topmost_recall:.4f}",
                highlight=False,
            )
    console.print(f"judged {spans_per_second:,.0f} spans/s", highlight=False)
    for failure in failures:
        console.print(f"[red]missed: {failure}[/red]", highlight=False)
    if options.json:
        options.json.write_text(_json(results, summed, failures, spans_per_second))
    return 1 if failures else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fidelity",
        description=__doc__,
        epilog=f"TRUTH LAYOUTS\n\n{truth_module.__doc__}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--learn", type=Path, required=True, help="whole traces to learn from")
    parser.add_argument("--judge", type=Path, required=True, help="traces to judge")
    parser.add_argument("--truth", type=Path, help="the spans that --judge already lacks")
    parser.add_argument("--json", type=report_file, help="write all figures to this file")
    parser.add_argument("--seed", type=int, default=1, help="of the losses made here (default 1)")
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> tuple[list[Result], float]:
    """Learn, judge, and score."""
    learned = pl.concat(read_nezha(options.learn))
    operations = Operations()
    if options.truth is not None:
        table = _learned(learned, operations)
        return _judge_given(options, table, operations)
    judged = learned
    if options.learn.resolve() == options.judge.resolve():
        learned, judged = halves(learned)
    else:
        judged = pl.concat(read_nezha(options.judge))
    table = _learned(learned, operations)
    return _judge_made(judged, table, operations, options.seed)


def _learned(frame: pl.DataFrame, operations: Operations) -> RuleTable:
    batch, _ = span_batch(frame, operations)
    return compile_rules(learn_rules(batch, operations))


def halves(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Cut a recording between two traces, by first start."""
    first = frame.group_by("trace_id").agg(first=pl.col("timestamp_us").min())
    ordered = first.sort("first", "trace_id")["trace_id"]
    early = frame["trace_id"].is_in(ordered[: len(ordered) // 2].implode())
    return frame.filter(early), frame.filter(~early)


def _judge_made(
    frame: pl.DataFrame, table: RuleTable, operations: Operations, seed: int
) -> tuple[list[Result], float]:
    """Take spans away pattern by pattern and judge what is left."""
    batch, trace_id = span_batch(frame, operations)
    recording = Recording.of(batch, trace_id, operations)
    results, spans, seconds = [], 0, 0.0
    for pattern in patterns(recording, seed):
        kept = _kept(batch, ~pattern.is_lost)
        lost = lost_frame(recording, pattern.is_lost)
        started = time.perf_counter()
        topmost, whole = _reports(kept, trace_id, table, operations)
        seconds += time.perf_counter() - started
        spans += 2 * len(kept)
        result = Result(pattern.group, pattern.name, score(lost, topmost), score(lost, whole))
        results.append(result)
    return results, spans / max(seconds, 1e-9)


def _judge_given(
    options: argparse.Namespace, table: RuleTable, operations: Operations
) -> tuple[list[Result], float]:
    """Judge recordings whose losses a truth file lists; a folder per pattern, or one for all."""
    entries = read_truth(options.truth)
    results, spans, seconds = [], 0, 0.0
    for folder, names in _folders(options.judge, entries):
        chosen = [e for e in entries if names is None or str(e.get("pattern") or "all") in names]
        frame = pl.concat(read_nezha(folder)).unique(["trace_id", "span_id"], maintain_order=True)
        batch, trace_id = span_batch(frame, operations)
        started = time.perf_counter()
        topmost, whole = _reports(batch, trace_id, table, operations)
        seconds += time.perf_counter() - started
        spans += 2 * len(batch)
        lost = truth_frame(chosen, frame)
        unnamed = [name for name in NAMES if name not in lost.columns]
        if unnamed:
            note = f"note: the truth does not give {', '.join(unnamed)}: not compared"
            Console(stderr=True, soft_wrap=True).print(note, highlight=False)
        results.append(Result("all", folder.name, score(lost, topmost), score(lost, whole)))
        for (name,), part in lost.group_by("pattern", maintain_order=True):
            for result in _by_pattern(str(name), part, lost, (topmost, whole)):
                results.append(result._replace(knows_topmost="near_module" in lost.columns))
    return results, spans / max(seconds, 1e-9)


def _folders(judge: Path, entries: list[dict[str, Any]]) -> Iterator[tuple[Path, set[str] | None]]:
    """Yield the folders to judge, with the patterns that each one lacks (None for all)."""
    named = sorted({str(e.get("pattern") or "all") for e in entries})
    own = [name for name in named if "/" not in name and (judge / name).is_dir()]
    if not own:
        yield judge, None
    for name in own:
        yield judge / name, {name}


def _by_pattern(
    name: str, part: pl.DataFrame, lost: pl.DataFrame, reports: tuple[pl.DataFrame, pl.DataFrame]
) -> Iterator[Result]:
    """Yield the score of one pattern of several in one recording.

    A report counts against the pattern when the pattern took something from its trace and no
    other did; reports in traces that several patterns touched count in "all" alone.
    """
    if len(part) == len(lost):
        yield Result(group_of(name), name, score(part, reports[0]), score(part, reports[1]))
        return
    others = lost.filter(pl.col("pattern") != name)["trace_id"].unique()
    mine = [
        table.filter(pl.col("trace_id").is_in(part["trace_id"].unique().implode()))
        for table in reports
    ]
    if part["trace_id"].is_in(others.implode()).any():
        alone = ~pl.col("trace_id").is_in(others.implode())
        part, mine = part.filter(alone), [table.filter(alone) for table in mine]
    yield Result(group_of(name), name, score(part, mine[0]), score(part, mine[1]))


def group_of(name: str) -> str:
    """Return the group whose targets a truth's pattern has to meet, by the words in its name."""
    text = name.lower()
    words = {
        "silent": "silent service",
        "service": "silent service",
        "leaf": "leaves 5 %",
        "leaves": "leaves 5 %",
        "tail": "tails",
        "hop": "hop",
        "edge": "hop",
    }
    if "random" in text:
        return "random 10 %" if "10" in text else "random 1 %"
    return next((group for word, group in words.items() if word in text), name)


def _reports(
    batch: SpanBatch, trace_id: list[str], table: RuleTable, operations: Operations
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the reports of topmost lost spans, and those of whole lost subtrees."""
    lately = count_calls(batch, table, operations)
    topmost = evaluate(batch, table, operations, lately)
    whole = evaluate(batch, table, operations, lately, whole_subtrees=True)
    return (
        report_frame(topmost, trace_id, operations),
        report_frame(whole, trace_id, operations),
    )


def _kept(batch: SpanBatch, kept: Mask) -> SpanBatch:
    """Return the batch without the lost rows; traces keep their ordinals."""
    fields = [f.name for f in dataclasses.fields(batch) if f.name != "traces"]
    return dataclasses.replace(batch, **{name: getattr(batch, name)[kept] for name in fields})


def _summed(results: list[Result]) -> list[Result]:
    """Add the scores of each group."""
    out: dict[str, Result] = {}
    for result in results:
        known = out.get(result.group)
        out[result.group] = Result(
            result.group,
            result.group,
            result.topmost if known is None else known.topmost + result.topmost,
            result.whole if known is None else known.whole + result.whole,
            result.knows_topmost and (known is None or known.knows_topmost),
        )
    return list(out.values())


def _failures(results: list[Result], summed: list[Result]) -> list[str]:
    """Name every target that is missed."""
    out = []
    for result in (*summed, *(r for r in results if r.group == "silent service")):
        told, label = result.topmost, result.name
        if told.child_recall < 1.0 or told.child_precision < 1.0:
            out.append(f"{label}: losses whose children are there must be told, all and only")
        if result.group in UNTARGETED:
            continue
        if told.precision < PRECISION_MIN:
            out.append(f"{label}: precision {told.precision:.4f} < {PRECISION_MIN}")
        found = told.topmost_recall if result.knows_topmost else result.whole.recall
        if result.group == "silent service" and found < SILENT_RECALL_MIN:
            out.append(f"{label}: topmost recall {found:.4f} < {SILENT_RECALL_MIN}")
        # A tail is often a subtree: all of it counts, so the mode that tells all of it does.
        recall = (result.whole if result.group == "tails" else told).recall
        if recall < RECALL_MIN.get(result.group, 0.0):
            out.append(f"{label}: recall {recall:.4f} < {RECALL_MIN[result.group]}")
    return list(dict.fromkeys(out))


def _weakness(result: Result) -> float:
    return min(result.topmost.precision, result.topmost.topmost_recall)


def _table(summed: list[Result]) -> Table:
    table = Table(title="Lost spans told by learned rules")
    for heading in ("pattern", "lost", "topmost", "reported", "precision", "recall"):
        table.add_column(heading, justify="left" if heading == "pattern" else "right")
    for heading in ("topmost recall", "edge", "child there R/P", "whole: precision", "recall"):
        table.add_column(heading, justify="right")
    for _, name, told, whole, _ in summed:
        table.add_row(
            name,
            f"{told.lost:,}",
            f"{told.topmost:,}",
            f"{told.reported:,}",
            *(f"{value:.4f}" for value in (told.precision, told.recall, told.topmost_recall)),
            f"{told.edge_accuracy:.4f}",
            f"{told.child_recall:.4f}/{told.child_precision:.4f}",
            f"{whole.precision:.4f}",
            f"{whole.recall:.4f}",
        )
    return table


def _json(
    results: list[Result], summed: list[Result], failures: list[str], spans_per_second: float
) -> str:
    def entry(result: Result) -> dict[str, Any]:
        scores = {"topmost": result.topmost.figures(), "whole": result.whole.figures()}
        return {"group": result.group, "pattern": result.name, **scores}

    return json.dumps(
        {
            "passed": not failures,
            "failures": failures,
            "spans_per_second": round(spans_per_second),
            "groups": [entry(result) for result in summed],
            "patterns": [entry(result) for result in results],
        },
        indent=1,
    )


if __name__ == "__main__":
    sys.exit(main())
