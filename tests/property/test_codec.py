"""The columnar decode equals reading one record at a time, whatever is done to the bytes."""

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.codec.records import decode, encode
from streams.core.columns import EVENT_TYPES, SEVERITIES, SPAN_KINDS, STATUSES
from tests.unit.codec.codec_cases import (
    T0_US,
    check_against_oracle,
    event,
    reason_alone,
    reasons,
    run,
    value,
    values,
)

texts = st.text(max_size=70)
trace_ids = st.integers(1, 2**128 - 1).map(lambda i: f"{i:032x}")
span_ids = st.integers(1, 2**64 - 1).map(lambda i: f"{i:016x}")
longs = st.integers(-(2**63), 2**63 - 1)
links = st.lists(st.fixed_dictionaries({"trace_id": texts, "span_id": texts}), max_size=3)


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """Draw an event; most are good, and each rule is broken now and then."""
    return event(
        event_id=draw(st.uuids().map(str) | texts),
        trace_id=draw(trace_ids | st.just("") | texts),
        span_id=draw(span_ids | texts),
        parent_span_id=draw(span_ids | st.just("") | st.just("0" * 16) | texts),
        timestamp=draw(st.integers(1, 2**52) | longs),
        module=draw(st.sampled_from(["ALPHA", "BETA", ""]) | texts),
        component=draw(texts),
        event_type=draw(st.sampled_from(EVENT_TYPES)),
        severity=draw(st.sampled_from(SEVERITIES)),
        name=draw(st.sampled_from(["ingest", "enrich"]) | texts),
        value=draw(st.floats(allow_nan=False)),
        dimensions=draw(st.dictionaries(texts, texts, max_size=4)),
        record_id=draw(texts),
        duration_us=draw(st.integers(0, 10**9) | longs),
        status=draw(st.sampled_from(STATUSES)),
        span_kind=draw(st.sampled_from(SPAN_KINDS)),
        trace_flags=draw(st.integers(0, 255) | longs),
        links=draw(links),
    )


@given(record=events())
@settings(max_examples=50)
def test_decode_undoes_encode(record: dict[str, Any]) -> None:
    """decode(encode(x)) == x for any event."""
    assert decode(encode("telemetry_event", record)) == record


@given(records=st.lists(events(), max_size=12))
@settings(max_examples=50)
def test_columns_say_what_the_records_say(records: list[dict[str, Any]]) -> None:
    """Every good event is in the columns as its record says, every other is rejected for why."""
    check_against_oracle([encode("telemetry_event", record) for record in records])


@given(
    chunk=st.lists(
        st.none() | st.binary(max_size=60) | events().map(lambda e: encode("telemetry_event", e)),
        max_size=8,
    )
)
@settings(max_examples=50)
def test_arbitrary_bytes_between_events_change_no_event(chunk: list[bytes | None]) -> None:
    """Tombstones and noise are rejected; the events around them are read as ever."""
    check_against_oracle(chunk)


mutations = st.lists(
    st.tuples(
        st.integers(0, 11),
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(["set", "insert", "delete", "cut", "flip"]),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=4,
)


def mutated(one: bytes, place: float, how: str, byte: int) -> bytes:
    """Return a value with one change at a relative place."""
    at = int(place * len(one))
    change = {
        "set": one[:at] + bytes([byte]) + one[at + 1 :],
        "insert": one[:at] + bytes([byte]) + one[at:],
        "delete": one[:at] + one[at + 1 :],
        "cut": one[:at],
        "flip": one[:at] + bytes([one[at] ^ (1 << byte % 8)]) + one[at + 1 :],
    }
    return change[how]


@given(changes=mutations)
@example(changes=[(3, 0.0, "set", 1)])
@example(changes=[(3, 0.03, "set", 0xFF), (4, 0.03, "set", 0xFF)])
@settings(max_examples=100)
def test_corrupt_bytes_change_no_other_row(changes: list[tuple[int, float, str, int]]) -> None:
    """Whatever happens to some values, all others decode to exactly what they were."""
    clean = values(12)
    chunk = list(clean)
    touched = set()
    for row, place, how, byte in changes:
        if chunk[row]:
            chunk[row] = mutated(chunk[row], place, how, byte)
            touched.add(row)
    check_against_oracle(chunk)
    columns, rejected = run(chunk)
    assert set(rejected.row) <= touched
    kept = {row: i for i, row in enumerate(columns.row.tolist())}
    for row in set(range(12)) - touched:
        assert columns.span_id[kept[row]] == row + 1
        assert columns.timestamp_us[kept[row]] == T0_US + row
        assert columns.body[kept[row]] == clean[row][5:]


def test_any_one_byte_may_be_anything() -> None:
    """For every byte of an event, several other values: the neighbours stand, nothing crashes.

    All changed values go through one chunk, each between good ones, so that a torn body meets a
    neighbour that it could swallow.
    """
    clean = value()
    changed = [
        clean[:at] + bytes([clean[at] ^ mask]) + clean[at + 1 :]
        for at in range(len(clean))
        for mask in (0x01, 0x02, 0x80, 0xFF)
    ]
    chunk = [one for bad in changed for one in (value(), bad)]
    columns, rejected = run(chunk)
    assert set(range(0, len(chunk), 2)) <= set(columns.row.tolist())
    refused = reasons(rejected)
    for row in range(1, len(chunk), 2):
        assert refused.get(row) == reason_alone(chunk[row]), row


@given(
    records=st.lists(events(), min_size=1, max_size=10),
    noise=st.lists(st.none() | st.binary(max_size=9), max_size=4),
    data=st.data(),
)
@settings(max_examples=25)
def test_where_the_stream_is_cut_changes_nothing(
    records: list[dict[str, Any]], noise: list[bytes | None], data: st.DataObject
) -> None:
    """Two chunks decode to the same events and reasons as one."""
    good = [encode("telemetry_event", record) for record in records]
    chunk = data.draw(st.permutations([*good, *noise]))
    cut = data.draw(st.integers(0, len(chunk)))
    whole, refused = run(chunk)
    (first, refused_first), (second, refused_second) = run(chunk[:cut]), run(chunk[cut:])
    assert list(whole.body) == [*first.body, *second.body]
    assert whole.trace_id.tolist() == first.trace_id.tolist() + second.trace_id.tolist()
    assert whole.event_key.tolist() == first.event_key.tolist() + second.event_key.tolist()
    assert whole.span_id.tolist() == first.span_id.tolist() + second.span_id.tolist()
    assert refused.row == refused_first.row + [cut + row for row in refused_second.row]
    assert refused.reason == refused_first.reason + refused_second.reason
