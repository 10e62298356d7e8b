"""The cases' load is what it says: valid spans in order of arrival, whose truth can be computed."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cases.load import (
    STAGE_NAME,
    Load,
    bodies_of,
    encode,
    missing_stage,
    mix,
    numbers_of,
    rows,
    span_ids,
    timestamps_us,
    trace_ids,
    unmix,
)

BASE_US = 1_790_000_000_000_000
SCHEMA = fastavro.parse_schema(json.loads(Path("benchmarks/span.avsc").read_text("utf-8")))


def sent(load: Load) -> list[tuple[int, bool, dict[str, Any]]]:
    """Return (arrival, whether it comes again, span) of all that is sent, in order."""
    found = []
    for given_rows in rows(load):
        batch = encode(load, given_rows)
        for i in range(len(batch.start)):
            body = io.BytesIO(batch.buffer[batch.start[i] : batch.end[i]])
            span: Any = fastavro.schemaless_reader(body, SCHEMA, None)
            assert body.read() == b"", "bytes after the span"
            found.append((int(batch.arrival_us[i]), bool(batch.is_again[i]), span))
    return found


@given(st.lists(st.integers(0, (1 << 64) - 1), min_size=1, max_size=50))
def test_mixing_can_be_undone(numbers: list[int]) -> None:
    """No two numbers have one mix."""
    x = np.array(numbers, np.uint64)
    assert unmix(mix(x)).tolist() == numbers


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 30))
def test_a_trace_id_tells_its_number(seed: int, first: int) -> None:
    """Ids of the load give their numbers back; those of another seed are strangers."""
    load = Load(seed, BASE_US, 100, first=first)
    number = np.arange(first, first + 100, dtype=np.uint64)
    found, is_ours = numbers_of(load, trace_ids(load, number))
    assert is_ours.all()
    assert found.tolist() == number.tolist()
    other = Load(seed + 1, BASE_US, 100, first=first)
    assert not numbers_of(load, trace_ids(other, number))[1].any()


def test_spans_are_sent_by_arrival_each_as_promised() -> None:
    """Every span that is not missing comes once, or twice where it says so, in order of arrival."""
    load = Load(3, BASE_US, 4_000, miss_ratio=0.05, twice_ratio=0.02)
    found = sent(load)
    arrivals = [arrival for arrival, _, _ in found]
    assert arrivals == sorted(arrivals)
    first = [span["span_id"] for _, is_again, span in found if not is_again]
    lacks = missing_stage(load, np.arange(4_000, dtype=np.uint64))
    assert 100 < (lacks >= 0).sum() < 300
    assert len(first) == len(set(first)) == 4_000 * 8 - (lacks >= 0).sum()
    again = [span["span_id"] for _, is_again, span in found if is_again]
    assert set(again) <= set(first)
    assert 400 < len(again) < 900


def test_a_span_holds_what_the_functions_say() -> None:
    """Ids, parent, time and stage of an encoded span are those that the truth is computed from."""
    load = Load(5, BASE_US, 50)
    for _, _, span in sent(load):
        ids = np.frombuffer(bytes.fromhex(span["trace_id"]), ">u8").astype(np.uint64)
        number = numbers_of(load, ids.reshape(1, 2))[0].astype(np.uint64)
        stage = np.array([span["stage"]])
        assert span["span_id"] == f"{span_ids(load, number, stage)[0]:016x}"
        assert span["ts_us"] == timestamps_us(load, number, stage)[0]
        assert span["name"].encode() == STAGE_NAME[span["stage"]]
        if span["stage"] == 0:
            assert span["parent_span_id"] is None
        else:
            assert span["parent_span_id"] == f"{span_ids(load, number, stage - 1)[0]:016x}"


@pytest.mark.parametrize("spans", [8, 9, 32, 500])
def test_the_last_span_alone_has_the_last_stage(spans: int) -> None:
    """Of any size a trace has one root, all stages, known parents; its last span closes it."""
    load = Load(7, BASE_US, 3, spans=spans, miss_ratio=0.0, twice_ratio=0.0, disorder_us=0)
    by_trace: dict[str, list[dict[str, Any]]] = {}
    for _, _, span in sent(load):
        by_trace.setdefault(span["trace_id"], []).append(span)
    assert len(by_trace) == 3
    for trace in by_trace.values():
        stages = [span["stage"] for span in trace]
        assert stages == sorted(stages)
        assert set(stages) == set(range(8))
        assert stages.count(7) == 1
        ids = {span["span_id"] for span in trace}
        assert len(ids) == spans
        assert [s["parent_span_id"] in ids for s in trace] == [False] + [True] * (spans - 1)


def test_parts_make_the_whole() -> None:
    """The two halves of a load together are the load, byte for byte."""
    low = Load(7, BASE_US, 20, miss_ratio=0.0, twice_ratio=0.0, part=(0, 4))
    high = replace(low, part=(4, 1024))
    halves = [body for load in (low, high) for body in _all_bodies(load)]
    whole = [body for number in range(20) for body in bodies_of(low, number)]
    assert sorted(halves) == sorted(whole)
    assert len(whole) == 160


def _all_bodies(load: Load) -> list[bytes]:
    return [
        batch.buffer[p:q]
        for batch in (encode(load, given_rows) for given_rows in rows(load))
        for p, q in zip(batch.start.tolist(), batch.end.tolist(), strict=True)
    ]


def test_long_traces_stay_open_as_long_as_they_say() -> None:
    """With blocks that many traces outlive, as many are open at once as rate and life say."""
    load = Load(7, BASE_US, 30_000, traces_per_s=1_000, life_us=20_000_000)
    change: list[tuple[int, int]] = []
    seen: dict[int, list[int]] = {}
    for given_rows in rows(load):
        for number, arrival in zip(
            given_rows.number.tolist(), given_rows.arrival_us.tolist(), strict=True
        ):
            seen.setdefault(number, []).append(arrival)
    for arrivals in seen.values():
        change += [(min(arrivals), 1), (max(arrivals), -1)]
    open_at_once = np.cumsum([step for _, step in sorted(change)])
    assert 19_500 < open_at_once.max() < 20_500


def test_bad_loads_are_refused() -> None:
    """A load whose truth could not be computed is no load."""
    with pytest.raises(ValueError, match="8 to 1024 spans"):
        Load(1, BASE_US, 1, spans=7)
    with pytest.raises(ValueError, match="one span"):
        Load(1, BASE_US, 1, spans=16)
