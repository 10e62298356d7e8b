"""The merge of partials against a slow oracle: order, repetition and cuts change no final row."""

import json
import math
from collections import defaultdict
from itertools import pairwise
from random import Random
from typing import Any

from hypothesis import strategies as st

from streams.core.fidelity.merge import MergeSettings
from streams.core.incidents.topology import Edge, Topology
from streams.engine.fidelity import FidelitySettings, FidelityTask
from tests.tiers import tried

SECOND = 1_000_000
PARTITIONS = 3
MERGE = MergeSettings(
    window_us=SECOND,
    rollup_us=5 * SECOND,
    short_us=2 * SECOND,
    long_us=6 * SECOND,
    amend_us=60 * SECOND,
    wall_limit_us=10 * SECOND,
)
SCOPES = (
    ("total", "", "", "", ""),
    ("flow", "record", "", "", ""),
    ("edge", "record", "a", "b", "M"),
    ("edge", "record", "b", "c", "N"),
    ("stage", "record", "", "b", "M"),
    ("module", "", "", "", "M"),
)
COUNTERS = ("expected", "observed", "missing.NEVER_ARRIVED", "events", "late", "traces")
WITH_FLOWS = Topology(edges=(Edge("record", "a", "b"), Edge("record", "b", "c")))
Row = dict[str, Any]

counters = st.dictionaries(st.sampled_from(COUNTERS), st.integers(0, 9), max_size=4)
scopes = st.dictionaries(st.sampled_from(SCOPES), counters, min_size=1, max_size=4)


@st.composite
def histories(draw: st.DrawFn) -> list[Row]:
    """Every partition's partials, sequence by sequence; windows are corrected by later ones."""
    partials: list[Row] = []
    for partition in (*range(PARTITIONS), 100_001):
        contents = draw(
            st.lists(
                st.tuples(st.integers(0, 11), st.sampled_from("xy"), scopes), min_size=1, max_size=8
            )
        )
        watermark = 0
        for sequence, (window, contract, content) in enumerate(contents):
            watermark += draw(st.integers(0, 3)) * SECOND
            partials.append(partial(partition, sequence, window, watermark, content, contract))
        last = partial(partition, len(contents), 0, draw(st.integers(0, 14)) * SECOND, {})
        partials.append(last)
    return partials


def partial(
    partition: int,
    sequence: int,
    window: int,
    watermark: int,
    content: dict[tuple[str, ...], dict[str, int]],
    contract: str = "x",
) -> Row:
    names = ("kind", "flow", "from_stage", "to_stage", "module")
    return {
        "window_start": window * SECOND,
        "window_us": SECOND,
        "partition": partition,
        "partitions_total": PARTITIONS,
        "sequence": sequence,
        "watermark": watermark,
        "contract_version": contract,
        "scopes": [
            {**dict(zip(names, scope, strict=True)), "counters": counts, "samples": []}
            for scope, counts in content.items()
        ],
    }


def run(
    chunks: list[list[Row]], topology: Topology = WITH_FLOWS, restart: bool = False
) -> dict[tuple[Any, ...], Row]:
    """Return the highest revision of every row, by its identity."""
    task = FidelityTask(FidelitySettings(MERGE), topology)
    final: dict[tuple[Any, ...], Row] = {}
    for chunk in chunks:
        for kind, _, row, _ in task.step(chunk, now_us=0, caught_up=False):
            if kind == "stats":
                key = tuple(row[n] for n in ("window_start", "window_us", "kind", "from_stage"))
                known = final.get(key)
                assert row["revision"] == (known["revision"] + 1 if known else 1)
                assert known is None or without_revision(known) != without_revision(row)
                final[key] = row
        if restart:
            saved = json.loads(json.dumps(task.snapshot()))
            task = FidelityTask.restore(FidelitySettings(MERGE), topology, saved)
    return final


def without_revision(row: Row) -> str:
    return repr({name: value for name, value in row.items() if name != "revision"})


def contents(rows: dict[tuple[Any, ...], Row]) -> dict[tuple[Any, ...], str]:
    """Return what is said in the end; a row of zeros says the same as no row."""
    return {
        key: without_revision(row)
        for key, row in rows.items()
        if any((row["expected"], row["observed"], row["late"], row["missing"], row["counters"]))
    }


def oracle(partials: list[Row], topology: Topology) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Return (expected, observed, missing, late, others, burns) of each row by a naive count."""
    latest: dict[tuple[Any, ...], Row] = {}
    watermark = dict.fromkeys(range(PARTITIONS), 0)
    for p in partials:
        if p["partition"] < PARTITIONS:
            watermark[p["partition"]] = max(watermark[p["partition"]], p["watermark"])
        key = (p["partition"], p["window_start"], p["contract_version"])
        if p["scopes"] and (key not in latest or p["sequence"] > latest[key]["sequence"]):
            latest[key] = p
    low = min(watermark.values())
    sums: dict[tuple[int, tuple[str, str]], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for p in latest.values():
        for scope in p["scopes"]:
            identity = (scope["kind"], scope["from_stage"])
            for name, n in scope["counters"].items():
                sums[p["window_start"], identity][name] += n

    def counted(identity: tuple[str, str], begin: int, end: int) -> dict[str, int]:
        total: dict[str, int] = defaultdict(int)
        for (start, other), of_window in sums.items():
            if other == identity and begin <= start < end:
                for name, n in of_window.items():
                    total[name] += n
        return total

    def crossing(identity: tuple[str, str], begin: int, end: int) -> tuple[int, int]:
        if identity[0] == "total":
            flow = counted(("flow", ""), begin, end)
            own = counted(identity, begin, end)
            by_flow = (flow["expected"], flow["observed"])
            return by_flow if topology.edges else (own["traces"], 0)
        own = counted(identity, begin, end)
        rated = identity[0] in ("edge", "flow")
        return (own["expected"], own["observed"]) if rated else (0, 0)

    rows: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for width in (SECOND, MERGE.rollup_us):
        for start, identity in [*sums, *((start, ("total", "")) for start, _ in list(sums))]:
            begin = start - start % width
            if begin + width <= low:
                own = counted(identity, begin, begin + width)
                row = crossing(identity, begin, begin + width)
                rows[begin, width, *identity] = (*row, own["missing.NEVER_ARRIVED"], own["late"])
    return {key: row for key, row in rows.items() if any(row)}


@tried(
    histories(), st.integers(0, 2**32), st.lists(st.integers(0, 40), max_size=5), few=15, many=60
)
def test_order_repetition_and_cuts_change_no_final_row(
    partials: list[Row], seed: int, cuts: list[int]
) -> None:
    """Shuffled, repeated, cut and restarted anywhere, the same rows stand in the end."""
    straight = run([partials])
    shuffled = partials + partials[::2]
    Random(seed).shuffle(shuffled)
    bounds = [0, *sorted(min(cut, len(shuffled)) for cut in cuts), len(shuffled)]
    chunks = [list(shuffled[a:b]) for a, b in pairwise(bounds)]
    assert contents(run(chunks, restart=True)) == contents(straight)


@tried(histories(), st.sampled_from([WITH_FLOWS, Topology()]), few=15, many=60)
def test_final_rows_are_the_naive_count(partials: list[Row], topology: Topology) -> None:
    """The highest revision of every row is the sum over the latest partial of each partition."""
    final = {
        key: (row["expected"], row["observed"], row["missing"].get("NEVER_ARRIVED", 0), row["late"])
        for key, row in run([[p] for p in partials], topology).items()
    }
    assert {key: row for key, row in final.items() if any(row)} == oracle(partials, topology)


@tried(histories(), few=10, many=40)
def test_burn_rates_are_the_naive_ratio(partials: list[Row]) -> None:
    """A row's burn rates follow from the final rows of the windows that they look back on."""
    final = run([partials])
    for (start, width, kind, stage), row in final.items():
        for burn, back in (("burn_rate_short", MERGE.short_us), ("burn_rate_long", MERGE.long_us)):
            if kind not in ("edge", "total"):
                continue
            end = start + width
            seen = [
                other
                for (s, w, k, f), other in final.items()
                if (w, k, f) == (SECOND, kind, stage) and end - back <= s < end
            ]
            expected = sum(r["expected"] for r in seen)
            lost = expected - sum(r["observed"] for r in seen)
            if expected:
                assert math.isclose(row[burn], lost / expected / (1 - MERGE.slo_ratio))
            else:
                assert math.isnan(row[burn])
