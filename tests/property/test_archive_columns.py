"""Rows that are read as columns are those that `Kind.rows` gives, whatever the bytes."""

from typing import Any

from hypothesis import strategies as st

from streams.codec import wire
from streams.codec.records import encode
from streams.console.archive.decoded import Decoded, one_by_one
from streams.console.archive.eventcolumns import are_rows, event_columns
from streams.console.archive.kinds import KINDS
from streams.console.archive.tracecolumns import trace_columns
from tests.tiers import tried
from tests.unit.console.at_hand import batch, event, incident, trace

OF = {kind.name: kind for kind in KINDS}
TRACES, EVENTS = (OF["traces"], OF["spans"]), (OF["events"],)
TEXT = st.text(max_size=70)
LONG = st.integers(-(2**63), 2**63 - 1)
MISSING = {
    "span_id": TEXT,
    "module": TEXT,
    "component": TEXT,
    "name": TEXT,
    "from_stage": TEXT,
    "to_stage": st.sampled_from(("", "b", "a", "ä")),
    "cause": st.sampled_from(("LATE", "REJECTED", "NEVER_ARRIVED")),
}
STAGE = {"stage": TEXT, "start": LONG, "duration_us": LONG, "count": LONG}
IDS = st.sampled_from(("", "r1", "r2", "ü", "r" * 200))


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """Draw an event."""
    example = draw(
        st.sampled_from(("metric_outside_traces", "log", "audit", "span", "failed_span"))
    )
    given_ = {"record_id": draw(IDS), "batch_id": draw(IDS), "name": draw(TEXT)}
    if draw(st.booleans()):
        given_["trace_id"] = draw(st.sampled_from(("", "x", "ab" * 16)))
    return event(example, timestamp=draw(LONG), duration_us=draw(LONG), **given_)


@st.composite
def traces(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a trace."""
    missing = draw(st.lists(st.fixed_dictionaries(MISSING), max_size=3))
    return trace(
        revision=draw(LONG),
        flow=draw(TEXT),
        status=draw(st.sampled_from(("COMPLETE", "TRUNCATED"))),
        missing=missing * draw(st.sampled_from((1, 1, 30))),
        stages=draw(st.lists(st.fixed_dictionaries(STAGE), max_size=3)),
        spans=draw(st.lists(events(), max_size=4)),
    )


@st.composite
def hurt(draw: st.DrawFn, whole: bytes) -> bytes | None:
    """Draw what may become of a value."""
    how = draw(st.sampled_from(("whole",) * 6 + ("bit", "cut", "more", "gone", "id", "twice")))
    at = draw(st.integers(0, len(whole) - 1))
    return {
        "whole": whole,
        "bit": whole[:at] + bytes([whole[at] ^ 1 << draw(st.integers(0, 7))]) + whole[at + 1 :],
        "cut": whole[:at],
        "more": whole + draw(st.binary(min_size=1, max_size=3)),
        "gone": None,
        "id": wire.header(draw(st.sampled_from((0, 77)))) + whole[5:],
        "twice": whole + whole[5:],
    }[how]


def values(one: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[bytes | None]]:
    """Return lists of values, some of them hurt."""
    return st.lists(one.flatmap(hurt), min_size=1, max_size=8)


TRACE_VALUES = traces().map(lambda record: encode("assembled_trace", record))
EVENT_VALUES = st.one_of(
    events().map(lambda record: encode("telemetry_event", record)),
    st.lists(events(), min_size=1, max_size=5).map(batch),
    st.just(encode("incident_event", incident())),
)


def rows(decoded: Decoded) -> dict[str, Any]:
    """Return all rows by kind, NaN made comparable."""
    return {
        name: [(int(m), repr(row)) for m, row in zip(of.message, of.table.to_pylist(), strict=True)]
        for name, of in decoded.rows.items()
    }


@tried(values(TRACE_VALUES), few=20, many=100)
def test_traces_as_columns(given_: list[bytes | None]) -> None:
    """Each trace gives its rows; a broken one costs itself alone."""
    found, true = trace_columns(TRACES, given_), one_by_one(TRACES, given_)
    assert sorted(found.unreadable) == sorted(true.unreadable)
    assert rows(found) == rows(true)


@tried(values(EVENT_VALUES), few=20, many=100)
def test_events_as_columns(given_: list[bytes | None]) -> None:
    """Each message gives its rows; a span that names a trace gives none, broken or not."""
    found, true = event_columns(EVENTS, given_), one_by_one(EVENTS, given_)
    assert set(found.unreadable) <= set(true.unreadable)
    assert rows(found) == rows(true)


@tried(values(EVENT_VALUES), few=20, many=100)
def test_what_is_passed_over_makes_no_row(given_: list[bytes | None]) -> None:
    """Who leaves it out before anything is decoded has the same rows, and as many unreadable."""
    needed = are_rows(given_)
    at = [i for i, is_needed in enumerate(needed) if is_needed]
    found, true = event_columns(EVENTS, [given_[i] for i in at]), event_columns(EVENTS, given_)
    assert sorted(at[i] for i in found.unreadable) == sorted(true.unreadable)
    assert [(at[i], row) for i, row in rows(found)["events"]] == rows(true)["events"]


def test_of_spans_that_name_a_trace_no_row_is_made() -> None:
    """They are most of what comes, whole ones at least."""
    span, lone, audit = event("span"), event("span", trace_id=""), event("audit")
    given_ = [encode("telemetry_event", one) for one in (span, lone, audit)]
    assert are_rows([*given_, None, b"", batch([span])]) == [False, *[True] * 5]
    assert are_rows([]) == []
