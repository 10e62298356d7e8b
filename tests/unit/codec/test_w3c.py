"""W3C Trace Context and Baggage: the recorded cases of the specification's suite, and laws."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.codec.w3c import (
    BAGGAGE_BYTES_MAX,
    STATE_CHARACTERS_MAX,
    Item,
    Received,
    TraceParent,
    format_baggage,
    format_traceparent,
    format_tracestate,
    parse_baggage,
    parse_traceparent,
    parse_tracestate,
    read_headers,
    write_headers,
)

FOLDER = "w3c-trace-context"
KEYS = st.from_regex(r"[a-z0-9][a-z0-9_\-*/@]{0,20}", fullmatch=True)
VALUES = st.from_regex(
    r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,20}[\x21-\x2b\x2d-\x3c\x3e-\x7e]", fullmatch=True
)
IDS = st.integers(1, (1 << 128) - 1), st.integers(1, (1 << 64) - 1)


def rows(data_dir: Path, name: str) -> list[dict[str, str]]:
    path = data_dir / FOLDER / name
    if not path.is_file():
        pytest.skip(f"no {path}")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def cases(data_dir: Path) -> list[dict[str, Any]]:
    path = data_dir / FOLDER / "propagation_cases.jsonl"
    if not path.is_file():
        pytest.skip(f"no {path}")
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def check(case: dict[str, Any], found: Received, sent: list[Received]) -> None:
    """Fail unless what went out is what the case expects."""
    expect = case["expect"]
    for one in sent:
        assert one.parent is not None
        if expect["trace"] == "continue":
            assert one.parent.trace_id == expect["trace_id"]
            assert one.parent.span_id != expect["parent_id_not"]
        else:
            assert one.parent.trace_id not in expect["trace_id_not"]
        state = dict(one.state)
        assert expect.get("tracestate", {}).items() <= state.items()
        for key, allowed in expect.get("tracestate_any_of", {}).items():
            assert state[key] in allowed
        assert not state.keys() & set(expect.get("tracestate_absent", ()))
        assert len(state) == expect.get("tracestate_len", len(state))
        order = expect.get("tracestate_order", [])
        assert [key for key in state if key in order] == order
        assert one.parent.flags & expect.get("flags_set", 0) == expect.get("flags_set", 0)
    assert len({one.parent.span_id for one in sent if one.parent}) == len(sent)
    traces = {one.parent.trace_id for one in sent if one.parent}
    assert len(traces) == expect.get("distinct_trace_ids", 1)
    assert (found.parent is not None) == (expect["trace"] == "continue")


def test_all_propagation_cases(data_dir: Path) -> None:
    """What goes out after each of the 83 recorded requests is what the suite allows."""
    every = cases(data_dir)
    assert len(every) == 83
    for case in every:
        found = read_headers([(name, value) for name, value in case["headers"]])
        mine = found.parent or TraceParent("c" * 32, "a" * 16, 1)
        calls = case["expect"].get("calls", 1)
        own = [mine._replace(span_id=f"{n + 1:016x}") for n in range(calls)]
        headers = [write_headers(one, found.state, found.baggage)[0] for one in own]
        check(case, found, [read_headers(one) for one in headers])


def test_all_traceparents_of_the_grammar(data_dir: Path) -> None:
    """The 20 recorded values are valid, or not, as the suite says."""
    every = rows(data_dir, "traceparent_grammar.csv")
    assert len(every) == 20
    for row in every:
        value = row["value"]
        is_read = parse_traceparent(value) is not None
        is_zero = row["note"].startswith("zero ")
        assert is_read == (row["well_formed_any_version"] == "1" and not is_zero), value
        is_valid = is_read and value.startswith("00-")
        assert is_valid == (row["valid_version_00"] == "1"), value


def test_all_tracestates_of_the_grammar(data_dir: Path) -> None:
    """The 19 recorded values are read, or not, and written as the suite says."""
    every = rows(data_dir, "tracestate_grammar.csv")
    assert len(every) == 19
    for row in every:
        state = parse_tracestate([row["value"]])
        assert (state is not None) == (row["parses"] == "1"), row["note"]
        if state is not None:
            assert format_tracestate(state) == row["canonical"], row["note"]


@given(*IDS, st.integers(0, 255))
def test_a_traceparent_comes_back(trace_id: int, span_id: int, flags: int) -> None:
    """What is written is read as the same, but for flags that nobody knows."""
    parent = TraceParent(f"{trace_id:032x}", f"{span_id:016x}", flags)
    assert parse_traceparent(format_traceparent(parent)) == parent._replace(flags=flags & 3)


@given(st.text())
def test_any_text_is_a_context_or_none(text: str) -> None:
    """No header raises, and what is passed on is valid."""
    found = read_headers([("traceparent", text), ("tracestate", text), ("baggage", text)])
    assert found.parent is None or parse_traceparent(format_traceparent(found.parent))
    assert parse_tracestate([text]) is None or found.parent is None or found.state is not None
    assert parse_baggage([format_baggage(found.baggage)[0]]) == (found.baggage, 0)


@given(st.dictionaries(KEYS, VALUES, max_size=32))
def test_a_tracestate_comes_back(members: dict[str, str]) -> None:
    """What is written is read as the same members in the same order."""
    state = tuple(members.items())
    assert parse_tracestate([format_tracestate(state)]) == state


def test_a_tracestate_of_too_many_members_is_not_read_to_its_end() -> None:
    """Whoever sends a million members costs the receiver no more than the first 33."""
    read: list[int] = []

    def values() -> Iterator[str]:
        for n in range(1_000):
            read.append(n)
            yield f"k{n}=v"

    assert parse_tracestate(values()) is None
    assert len(read) == 33


@given(st.lists(st.tuples(KEYS, st.integers(1, 250)), max_size=40, unique_by=lambda m: m[0]))
def test_a_long_tracestate_is_cut_from_its_end(members: list[tuple[str, int]]) -> None:
    """What goes out is within the bound, and is a part of what came, in its order."""
    state = tuple((key, "v" * size) for key, size in members)
    text = format_tracestate(state)
    assert len(text) <= STATE_CHARACTERS_MAX
    kept = parse_tracestate([text])
    assert kept is not None
    assert [one for one in state if one in kept] == list(kept)


@given(
    st.dictionaries(st.from_regex(r"[a-zA-Z0-9_.\-]{1,10}", fullmatch=True), st.text(max_size=20))
)
def test_a_baggage_comes_back(values: dict[str, str]) -> None:
    """Any text is a value: it is escaped and read as the same, surrogates aside."""
    sent = {k: Item(v.encode("utf-8", "replace").decode()) for k, v in values.items()}
    assert parse_baggage([format_baggage(sent)[0]]) == (sent, 0)


def test_members_of_a_baggage_keep_their_properties() -> None:
    """Properties are passed on; a member that is not valid goes alone; the last of a key counts."""
    found, _ = parse_baggage(["user=a%20b ; p1 ; p2=x , bad key=1,region=eu", "region=us,=,ü=1"])
    assert found == {"user": Item("a b", "p1;p2=x"), "region": Item("us")}
    assert format_baggage(found) == ("user=a%20b;p1;p2=x,region=us", 0)


def test_a_baggage_beyond_its_bound_is_cut() -> None:
    """Neither reading nor writing goes beyond the bound."""
    big = {f"k{n:03}": Item("v" * 100) for n in range(200)}
    text, cut = format_baggage(big)
    assert len(text) <= BAGGAGE_BYTES_MAX
    assert 100 < cut < 130
    kept, beyond = parse_baggage([text + ",x=" + "y" * 9_000])
    assert (len(kept), beyond) == (200 - cut, 1)
