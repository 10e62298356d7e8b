"""The check of what came out finds everything that can be wrong with it."""

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest

from benchmarks.cases.lab import PROFILE
from benchmarks.cases.load import Load, bodies_of, missing_stage, trace_ids
from benchmarks.cases.outputs import Outputs, head, varint
from streams.codec.assembled import TraceEncoder, TraceRecord
from streams.codec.profile import load_profile
from streams.codec.recalled import TraceReader

LOAD = Load(7, 1_790_000_000_000_000, 400, miss_ratio=0.05)
ENCODER = TraceEncoder()


def record(number: int, **changed: Any) -> tuple[bytes, bytes]:
    """Return (key, value) of a trace as the worker writes it, but for what is changed."""
    at = np.array([number], np.uint64)
    high, low = trace_ids(LOAD, at)[0].tolist()
    lacks = missing_stage(LOAD, at)[0] >= 0
    bodies = changed.pop("bodies", bodies_of(LOAD, number))
    fields: dict[str, Any] = {
        "trace_id": f"{high:016x}{low:016x}",
        "revision": 1,
        "flow": "trace",
        "contract_version": "1.0.0",
        "status": "INCOMPLETE" if lacks else "COMPLETE",
        "closed_by": "contract",
        "start": LOAD.base_us,
        "end": LOAD.base_us + 5,
        "duration_us": 5,
        "span_count": len(bodies),
        "annotation_count": 0,
        "error_count": 0,
        "root_count": 1,
        "orphan_count": 0,
        "evicted_count": 0,
        "root_span_id": "",
        **changed,
    }
    trace = TraceRecord(**fields)
    return trace.trace_id.encode(), ENCODER.value(trace, bodies)


def outputs_of(records: list[tuple[bytes, bytes]]) -> Outputs:
    outputs = Outputs(LOAD)
    keys, values = zip(*records, strict=True)
    outputs.add(list(keys), list(values), [1.5] * len(keys))
    return outputs


@cache
def _everything() -> tuple[tuple[bytes, bytes], ...]:
    return tuple(record(number) for number in range(LOAD.traces))


def everything() -> list[tuple[bytes, bytes]]:
    """Return the right records of all traces, to be harmed."""
    return list(_everything())


def test_a_right_output_has_no_fault(tmp_path: Path) -> None:
    """Each trace once, whole: nothing to say, also after a way through a file."""
    outputs = outputs_of(everything())
    assert outputs.decoded == 5
    assert outputs.faults() == []
    outputs.save(tmp_path / "outputs.npz")
    again = Outputs.read(tmp_path / "outputs.npz", LOAD)
    assert again.faults() == []
    assert again.traces == 400
    assert again.received_s.tolist() == [1.5] * 400


WHOLE = int(np.flatnonzero(missing_stage(LOAD, np.arange(97, dtype=np.uint64)) < 0)[1])
TORN = int(np.flatnonzero(missing_stage(LOAD, np.arange(400, dtype=np.uint64)) >= 0)[0])


def lose(all_: list[tuple[bytes, bytes]]) -> None:
    del all_[WHOLE]


def double(all_: list[tuple[bytes, bytes]]) -> None:
    all_.append(all_[WHOLE])


def shorten(all_: list[tuple[bytes, bytes]]) -> None:
    all_[WHOLE] = record(WHOLE, bodies=bodies_of(LOAD, WHOLE)[:-1])


def break_one(all_: list[tuple[bytes, bytes]]) -> None:
    all_[WHOLE] = record(WHOLE, status="BROKEN")


def complete(all_: list[tuple[bytes, bytes]]) -> None:
    all_[TORN] = record(TORN, status="COMPLETE")


def invent(all_: list[tuple[bytes, bytes]]) -> None:
    all_.append((b"0" * 32, all_[WHOLE][1]))


def swap(all_: list[tuple[bytes, bytes]]) -> None:
    all_[97] = record(97, bodies=bodies_of(LOAD, 98)[: len(bodies_of(LOAD, 97))])


def cut(all_: list[tuple[bytes, bytes]]) -> None:
    all_[97] = (all_[97][0], all_[97][1][:-3])


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lose, "1 traces never came"),
        (double, "1 traces came more than once"),
        (shorten, "1 traces have another number of spans"),
        (break_one, "1 traces are not COMPLETE"),
        (complete, "1 traces are COMPLETE without a stage"),
        (invent, "1 traces that nobody sent"),
        (swap, "not byte for byte"),
        (cut, "cannot be decoded"),
    ],
)
def test_each_harm_is_found(harm: Callable[[list[tuple[bytes, bytes]]], None], words: str) -> None:
    """One wrong record among 400 is found, and named as what it is."""
    records = everything()
    harm(records)
    found = outputs_of(records).faults()
    assert len(found) == 1, found
    assert words in found[0]


def test_the_head_of_a_trace_is_read_right() -> None:
    """Revision, state and number of spans are read where the encoder put them."""
    _, value = record(WHOLE, revision=300, status="TRUNCATED", span_count=70_000)
    assert head(value) == (300, 3, 70_000)
    _, bodies = TraceReader(span_schema=load_profile(PROFILE).schema).read(value)
    assert len(bodies) == 8


@pytest.mark.parametrize("number", [0, -1, 1, 63, 64, -65, 1 << 40, -(1 << 62)])
def test_numbers_are_read_as_avro_writes_them(number: int) -> None:
    """Our reading of a long is fastavro's writing."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", number)
    assert varint(b"x" + out.getvalue(), 1) == (number, 1 + len(out.getvalue()))
