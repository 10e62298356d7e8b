"""The oracle reads what a record is, and what a trace must be, from the input alone."""

from typing import Any

import pytest

from streams.codec.records import encode
from streams.contract.loader import load_contract
from streams.simulate import Simulation
from tests.fault.harness import Message
from tests.fault.oracle import WINDOW_US, read_event, truth_of

START_US = 1_700_000_000_000_000
DAY_US = 86_400_000_000


def emitted(seed: int = 1, seconds: float = 3) -> list[tuple[str, dict[str, Any]]]:
    simulation = Simulation(load_contract("seed"), seed, START_US, seconds, 10.0)
    return [(e.topic, e.event) for e in simulation.drain()]


def messages(events: list[tuple[str, dict[str, Any]]]) -> list[Message]:
    return [
        Message(topic, 0, n, 0, None, encode("telemetry_event", event))
        for n, (topic, event) in enumerate(events)
    ]


def test_each_event_is_in_one_account() -> None:
    """Repeats are duplicates, old ones late, bad ones rejected, the others joined or untraced."""
    events = emitted()
    traced = [(t, e) for t, e in events if e["trace_id"]]
    old = (traced[0][0], {**traced[0][1], "timestamp": START_US - 3 * DAY_US, "trace_id": "a" * 32})
    records = messages([*events, *traced[:7], old, old])
    records.append(Message("telemetry.other.v1", 0, 10_000, 0, None, b"\0"))
    truth = truth_of(records, START_US - DAY_US)
    assert dict(truth.accounting) == {
        "accepted": len(records),
        "joined": len({(e["trace_id"], e["span_id"], e["event_id"]) for _, e in traced}),
        "duplicate": truth.accounting["duplicate"],
        "untraced": len(events) - len(traced),
        "late": 2,
        "rejected": 1,
    }
    assert truth.accounting["duplicate"] >= 7
    assert truth.rejected == {("telemetry.other.v1", 0, 10_000): "empty_value"}


def test_a_lost_span_makes_its_trace_incomplete_and_its_edge_fall_short() -> None:
    """Take one required span away: its stage is missing, and one window's edge counts one less."""
    events = emitted()
    whole = truth_of(messages(events), 0)
    lost = next(e for _, e in events if e["name"] == "gamma.render" and e["event_type"] == "TRACE")
    hurt = truth_of(messages([(t, e) for t, e in events if e is not lost]), 0)
    trace_id = lost["trace_id"]
    assert whole.traces[trace_id].status == "COMPLETE"
    assert hurt.traces[trace_id].status != "COMPLETE"
    assert [row[1:4] for row in hurt.traces[trace_id].missing if row[3]] == [
        ("GAMMA", "rendering", "gamma.render")
    ]
    scope = ("edge", "record", "transfer_beta_gamma", "rendering", "GAMMA")
    changed = [
        (whole.windows[at][scope], hurt.windows[at][scope])
        for at in whole.windows
        if scope in whole.windows[at] and whole.windows[at][scope] != hurt.windows[at][scope]
    ]
    assert [(a[0] - b[0], a[1] - b[1]) for a, b in changed] == [(0, 1)]
    assert all(at % WINDOW_US == 0 for at in whole.windows)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"trace_id": "X" * 32}, "invalid_trace_id"),
        ({"trace_id": "0" * 32}, "invalid_trace_id"),
        ({"trace_id": ""}, "missing_trace_id"),
        ({"span_id": "1234"}, "invalid_span_id"),
        ({"parent_span_id": "zz"}, "invalid_parent_span_id"),
        ({"parent_span_id": "0" * 16}, ""),
        ({"event_type": "LOG", "event_id": "none"}, "invalid_event_id"),
        ({"timestamp": 0}, "invalid_timestamp"),
        ({"duration_us": -1}, "invalid_duration"),
        ({"trace_flags": 256}, "invalid_trace_flags"),
        ({"module": ""}, "missing_module"),
        ({"name": ""}, "missing_name"),
    ],
)
def test_an_event_is_refused_for_the_first_rule_it_breaks(
    change: dict[str, Any], reason: str
) -> None:
    """The rules of docs/semantics.md, by hand."""
    span = next(e for _, e in emitted() if e["event_type"] == "TRACE")
    assert read_event(encode("telemetry_event", {**span, **change}))[1] == reason
