"""Partials add up, visits equal a naive walk of the tree, and the ranking ignores order."""

import json
from collections import defaultdict

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.causes.evidence import KINDS, UNKNOWN, Evidence
from streams.core.causes.rank import rank
from streams.core.causes.trace_partials import TracePartial, from_json, merged, to_json
from streams.core.causes.visits import SPAN_COLUMNS, trace_partial
from streams.core.incidents.topology import ModuleInfo, Topology

MODULES = ("A", "B", "C")
SCHEMA = {
    **dict.fromkeys(SPAN_COLUMNS[:5], pl.String),
    "timestamp_us": pl.Int64,
    "duration_us": pl.Int64,
    "is_error": pl.Boolean,
}


@st.composite
def trace(draw: st.DrawFn, number: int) -> list[dict[str, object]]:
    """A trace of up to 8 spans; a parent is an earlier span, none, or one that is unseen."""
    spans = []
    for index in range(draw(st.integers(1, 8))):
        parent = draw(st.sampled_from([*range(index), -1, -2])) if index else -1
        start = draw(st.integers(0, 50))
        spans.append(
            {
                "trace_id": f"t{number}",
                "span_id": f"s{index}",
                "parent_span_id": {-1: "", -2: "lost"}.get(parent, f"s{parent}"),
                "module": draw(st.sampled_from(MODULES)),
                "name": draw(st.sampled_from(("x", "y"))),
                "timestamp_us": start,
                "duration_us": draw(st.integers(0, 50)),
                "is_error": draw(st.booleans()),
            }
        )
    return spans


@st.composite
def traces(draw: st.DrawFn) -> list[list[dict[str, object]]]:
    """Up to 4 traces."""
    return [draw(trace(n)) for n in range(draw(st.integers(0, 4)))]


def frame(spans: list[dict[str, object]]) -> pl.DataFrame:
    return pl.DataFrame(spans, schema=SCHEMA)


def naive(spans: list[dict[str, object]]) -> dict[tuple[str, str], dict[str, float]]:
    """Return visits, features and self time by operation, one span and microsecond at a time."""
    known = {(s["trace_id"], s["span_id"]): s for s in spans}

    def parent(span: dict[str, object]) -> dict[str, object] | None:
        return known.get((span["trace_id"], span["parent_span_id"]))

    def entry(span: dict[str, object]) -> dict[str, object]:
        above = parent(span)
        return entry(above) if above is not None and above["module"] == span["module"] else span

    features: dict[int, set[str]] = defaultdict(set)
    own: dict[int, int] = defaultdict(int)
    wrong = {id(entry(s)) for s in spans if s["is_error"]}
    passing: set[int] = set()
    for span in spans:
        top, above = entry(span), parent(span)
        if top is not span:
            features[id(top)].add(f"S:{span['name']}")
        elif above is not None:
            features[id(entry(above))].add(f"C:{span['module']}:{span['name']}")
            if id(span) in wrong:
                passing.add(id(entry(above)))
        start, end = span["timestamp_us"], span["timestamp_us"] + span["duration_us"]
        below = [s for s in spans if parent(s) is span]
        covered = {
            t for s in below for t in range(s["timestamp_us"], s["timestamp_us"] + s["duration_us"])
        }
        own[id(top)] += sum(t not in covered for t in range(start, end))
    for visit in wrong:
        features[visit].add("E:passed" if visit in passing else "E:own")
    result: dict[tuple[str, str], dict[str, float]] = {}
    for span in spans:
        if entry(span) is span:
            counts = result.setdefault((span["module"], span["name"]), {"visits": 0, "own": 0})
            counts["visits"] += 1
            counts["own"] += own[id(span)]
            for feature in features[id(span)]:
                counts[feature] = counts.get(feature, 0) + 1
    return result


def plain(partial: TracePartial) -> dict[tuple[str, str], dict[str, float]]:
    return {
        operation: {"visits": c.visits, "own": c.self_time.micros, **c.features}
        for operation, c in partial.operations.items()
    }


@given(traces())
@settings(max_examples=60, deadline=None)
def test_visits_equal_a_naive_walk(many: list[list[dict[str, object]]]) -> None:
    """Visits, features and self times are those that a walk of each tree finds."""
    spans = [span for one in many for span in one]
    assert plain(trace_partial(frame(spans))) == naive(spans)


def near(left: object, right: object) -> bool:
    """Compare nested JSON values; floats to 9 digits, since sums differ in their last bits."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(near(left[k], right[k]) for k in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(near, left, right))
    if isinstance(left, float) and isinstance(right, float):
        return left == pytest.approx(right, rel=1e-9, abs=1e-9)
    return left == right


@given(traces(), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_partials_of_parts_add_up_to_the_partial_of_all(
    many: list[list[dict[str, object]]], chance: object
) -> None:
    """However whole traces are spread over windows, in whatever order, the sum is the same."""
    whole = trace_partial(frame([span for one in many for span in one]))
    parts = [trace_partial(frame(one)) for one in many]
    chance.shuffle(parts)  # type: ignore[attr-defined]
    assert near(to_json(merged(parts)), to_json(whole))


@given(traces())
@settings(max_examples=30, deadline=None)
def test_json_holds_a_partial_whole(many: list[list[dict[str, object]]]) -> None:
    """What is written to JSON text reads back as the same partial."""
    partial = trace_partial(frame([span for one in many for span in one]))
    assert to_json(from_json(json.loads(json.dumps(to_json(partial))))) == to_json(partial)


evidence = st.builds(
    Evidence,
    kind=st.sampled_from(KINDS),
    module=st.sampled_from(MODULES),
    name=st.sampled_from(("CpuUsage", "latency p50", "/x")),
    since_us=st.integers(0, 5),
    score=st.floats(0, 300),
    weight=st.floats(0, 1),
    sentence=st.sampled_from(("one", "two")),
)
CHAIN = Topology({"A": ModuleInfo(depends_on=("B",)), "B": ModuleInfo(depends_on=("C",))})


@given(st.lists(evidence, max_size=8), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_ranking_ignores_the_order_of_evidence(items: list[Evidence], chance: object) -> None:
    """The ranking is a function of the set of evidence, and its probabilities sum to 1."""
    ranked = rank((), items, CHAIN)
    mixed = list(items)
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    assert rank((), mixed, CHAIN) == ranked
    assert sum(cause.probability for cause in ranked) == pytest.approx(1)
    assert [cause.rank for cause in ranked] == list(range(1, len(ranked) + 1))
    assert sum(cause.kind == UNKNOWN for cause in ranked) == 1
