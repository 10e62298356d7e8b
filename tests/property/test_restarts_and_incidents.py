"""Order changes nothing: neither of fragments, nor of the alerts of one step."""

import json
from itertools import pairwise
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.incidents.topology import Edge, Place, Topology
from streams.engine.fragments import FragmentSettings, FragmentTask
from streams.engine.incidents import IncidentTask
from tests.synthetic_pipeline import INCIDENTS, ORDER, SECOND, STAGES, TOPOLOGY
from tests.unit.core.incidents.alerts import alert

STAGE_NAMES = "abcde"
SHAPE = Topology(
    edges=tuple(Edge("f", near, far) for near, far in pairwise(STAGE_NAMES)),
    required=frozenset(Place("f", stage) for stage in STAGE_NAMES),
)
FRAGMENTS = FragmentSettings(window_us=SECOND, retention_us=1000 * SECOND)
LATER = 10_000 * SECOND


@st.composite
def fragments(draw: st.DrawFn) -> dict[str, Any]:
    first = draw(st.integers(0, 4))
    last = draw(st.integers(first, 4))
    start = draw(st.integers(1, 6)) * SECOND // 2
    return {
        "trace_id": draw(st.sampled_from("stuvwxyz")),
        "revision": draw(st.integers(1, 3)),
        "flow": "f",
        "record_id": draw(st.sampled_from(["r1", "r2"])),
        "batch_id": "",
        "has_first": first == 0,
        "has_last": last == 4,
        "first_stage": STAGE_NAMES[first],
        "last_stage": STAGE_NAMES[last],
        "start": start,
        "end": start + SECOND,
        "first_span_id": "",
        "last_span_id": "",
        "contract_version": "1",
        "stages": list(STAGE_NAMES[first : last + 1]),
        "partition": 0,
    }


def final_counts(rows: list[dict[str, Any]], cuts: list[int]) -> dict[tuple[Any, ...], int]:
    """Return restarts by (window, edge) of the highest sequence, restarting at every cut."""
    task = FragmentTask(FRAGMENTS, SHAPE)
    latest: dict[int, dict[tuple[Any, ...], int]] = {}
    sequence = 0
    bounds = sorted({0, len(rows), *(cut % (len(rows) + 1) for cut in cuts)})
    for begin, end in pairwise(bounds):
        for kind, _, record, _ in task.step(rows[begin:end], LATER, True):
            if kind != "restarts":
                continue
            assert record["sequence"] > sequence
            sequence = record["sequence"]
            start = record["window_start"]
            latest[start] = {
                (start, scope["from_stage"], scope["to_stage"]): n
                for scope in record["scopes"]
                for n in scope["counters"].values()
                if n
            }
        saved = json.loads(json.dumps(task.snapshot()))
        task = FragmentTask.restore(FRAGMENTS, SHAPE, saved)
    return {key: n for counts in latest.values() for key, n in counts.items()}


@given(
    st.lists(fragments(), max_size=12, unique_by=lambda f: (f["trace_id"], f["revision"])),
    st.integers(0, 2**32),
    st.lists(st.integers(0, 30), max_size=4),
)
@settings(max_examples=100)
def test_the_order_of_fragments_changes_no_final_count(
    rows: list[dict[str, Any]], seed: int, cuts: list[int]
) -> None:
    """Shuffled, repeated, cut and restarted anywhere, the same restarts stand in the end."""
    # A trace belongs to one record, whatever its revision.
    rows = [row | {"record_id": f"r{ord(row['trace_id']) % 2}"} for row in rows]
    shuffled = rows + rows[::2]
    Random(seed).shuffle(shuffled)
    assert final_counts(shuffled, cuts) == final_counts(rows, [])


EDGES = [f"{near}>{far}" for near, far in pairwise(ORDER)]
KINDS = {
    "fidelity_burn": EDGES,
    "context_restarted": EDGES,
    "clock_skew": EDGES,
    "deadline_missed": [f">{stage}" for stage in ORDER],
    "error_spans": [f">{stage}" for stage in ORDER],
    "module_silent": [*dict.fromkeys(STAGES.values())],
    "duplicate_rate": [*dict.fromkeys(STAGES.values())],
}


@st.composite
def alerts(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(sorted(KINDS)))
    since = draw(st.integers(10, 20))
    ids = draw(st.lists(st.integers(0, 12), max_size=8, unique=True))
    return alert(
        kind,
        draw(st.sampled_from(KINDS[kind])),
        since,
        last=since + draw(st.integers(1, 5)),
        state=draw(st.sampled_from(["FIRING", "FIRING", "RESOLVED"])),
        version=draw(st.integers(1, 4)),
        severity=draw(st.sampled_from(["WARN", "ERROR", "CRITICAL"])),
        trace_ids=[f"{i:032x}" for i in ids],
    )


@given(
    st.lists(
        st.lists(alerts(), max_size=6, unique_by=lambda a: (a["fingerprint"], a["version"])),
        max_size=3,
    ),
    st.integers(0, 2**32),
)
@settings(max_examples=80)
def test_the_order_of_alerts_within_a_step_changes_nothing(
    batches: list[list[dict[str, Any]]], seed: int
) -> None:
    """Shuffled alerts give the same events, also with a restart in between."""
    random = Random(seed)
    straight = IncidentTask(INCIDENTS, TOPOLOGY)
    other = IncidentTask(INCIDENTS, TOPOLOGY)
    versions: dict[str, int] = {}
    for tick, batch in enumerate(batches):
        shuffled = [dict(row) for row in batch]
        random.shuffle(shuffled)
        told = straight.step(batch, tick * SECOND, True)
        assert other.step(shuffled, tick * SECOND, True) == told
        saved = json.loads(json.dumps(other.snapshot()))
        other = IncidentTask.restore(INCIDENTS, TOPOLOGY, saved)
        for kind, id_, event, _ in told:
            if kind != "incidents":
                continue
            assert event["version"] == versions.get(id_, 0) + 1
            versions[id_] = event["version"]
            assert 0 <= event["alerts_suppressed"] <= event["alerts_in"]
            assert len({a["fingerprint"] for a in event["alerts"]}) == len(event["alerts"])
