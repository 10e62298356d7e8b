"""A batch of traces written as columns is what each trace written alone would be."""

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.codec.assembled import TraceEncoder, TraceRecord
from streams.codec.tracebatch import StageRows, TraceBatchEncoder, TraceColumns
from streams.core.bodies import Scattered
from streams.units import span_id_text

STATUSES = ("COMPLETE", "INCOMPLETE", "BROKEN", "TRUNCATED")
CLOSED_BY = ("contract", "watermark", "clock", "bound")
FLOWS = ("record", "eine Zeile für jeden Satz", "")
STAGES = ("ingestion", "x" * 64, "q")
VERSION = "1.4.0"

times = st.one_of(st.integers(-(2**61), 2**61), st.sampled_from([-65, -64, 63, 64, 8191, 8192]))
counts = st.integers(0, 2**31)
span_ids = st.sampled_from([0, 1, 2**63, 2**64 - 1])
missing = st.tuples(*[st.text(max_size=9)] * 6, st.just("NEVER_ARRIVED"))
stages = st.tuples(st.integers(0, len(STAGES) - 1), times, times, counts)
traces = st.fixed_dictionaries(
    {
        "key": st.binary(min_size=16, max_size=16),
        "numbers": st.tuples(*[counts] * 7),
        "flow": st.integers(0, len(FLOWS) - 1),
        "status": st.integers(0, 3),
        "closed_by": st.integers(0, 3),
        "start": times,
        "end": times,
        "root": span_ids,
        "missing": st.lists(missing, max_size=2),
        "stages": st.lists(stages, max_size=3),
        "bodies": st.lists(st.binary(min_size=1, max_size=9), max_size=3),
    }
)
BARE = {
    "key": bytes(16),
    "numbers": (0,) * 7,
    "flow": 2,
    "status": 0,
    "closed_by": 0,
    "start": 0,
    "end": 0,
    "root": 0,
    "missing": [],
    "stages": [],
    "bodies": [],
}


def alone(trace: dict, encoder: TraceEncoder) -> bytes:
    """Return the value of one trace, written by itself."""
    revision, *numbers = trace["numbers"]
    record = TraceRecord(
        trace["key"].hex(),
        revision,
        FLOWS[trace["flow"]],
        VERSION,
        STATUSES[trace["status"]],
        CLOSED_BY[trace["closed_by"]],
        trace["start"],
        trace["end"],
        trace["end"] - trace["start"],
        *numbers,
        span_id_text(trace["root"]),
        trace["missing"],
        [(STAGES[name], *rest) for name, *rest in trace["stages"]],
    )
    return encoder.value(record, trace["bodies"])


def in_two_buffers(bodies: list[bytes]) -> Scattered:
    """Return bodies that lie in two buffers by turns, with something between them."""
    source = np.arange(len(bodies)) % 2
    start = np.zeros(len(bodies), np.int64)
    buffers = [b"", b""]
    for i, body in enumerate(bodies):
        start[i] = len(buffers[i % 2]) + 1
        buffers[i % 2] += b"|" + body
    return Scattered(buffers, source, start, np.array([len(b) for b in bodies], np.int64))


def columns_of(batch: list[dict]) -> TraceColumns:
    """Return the traces as columns."""
    numbers = np.array([t["numbers"] for t in batch], np.int64).reshape(-1, 7)
    rows = [(i, *stage) for i, t in enumerate(batch) for stage in t["stages"]]
    table = np.array(rows, np.int64).reshape(-1, 5)

    def column(name: str, dtype: type) -> np.ndarray:
        return np.array([t[name] for t in batch], dtype)

    return TraceColumns(
        [t["key"] for t in batch],
        numbers[:, 0],
        column("flow", np.int64),
        column("status", np.uint8),
        column("closed_by", np.uint8),
        column("start", np.int64),
        column("end", np.int64),
        *(numbers[:, i] for i in range(1, 7)),
        column("root", np.uint64),
        {i: t["missing"] for i, t in enumerate(batch) if t["missing"]},
        StageRows(*(table[:, i] for i in range(5))),
        np.cumsum([0, *(len(t["bodies"]) for t in batch)]),
        in_two_buffers([body for t in batch for body in t["bodies"]]),
    )


@given(batch=st.lists(traces, min_size=1, max_size=5))
@example(batch=[BARE])
@example(batch=[BARE, BARE | {"stages": [(1, 64, -65, 8192)], "bodies": [b"x"]}, BARE])
@settings(max_examples=100)
def test_a_batch_is_its_traces_written_one_by_one(batch: list[dict]) -> None:
    """Whatever the traces are, the columns give the bytes that each of them has alone."""
    encoder = TraceEncoder()
    together = TraceBatchEncoder(encoder, FLOWS, STAGES, VERSION)
    assert together.values(columns_of(batch)) == [alone(trace, encoder) for trace in batch]
