"""Codes of series: same names, same code; nothing for spans; bounded."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.codec.events import EventDecoder
from streams.codec.records import encode
from streams.codec.schemas import default_schemas
from streams.core.columns import Operations
from streams.core.signals.series import (
    NO_SIGNAL,
    OVER_BOUND,
    TEXT_MAX,
    VALUE_MAX,
    Series,
    SeriesBook,
)
from tests.signal_cases import columns, log, metric
from tests.unit.codec.codec_cases import event

NAMES = st.sampled_from(["a", "b"])
SOME = st.dictionaries(st.sampled_from(["queue", "tier", "job"]), st.sampled_from(["1", "2", ""]))


def test_spans_and_audit_entries_are_no_signals() -> None:
    """They have no code, and their values are there all the same."""
    rows = [event(), event(event_type="AUDIT", span_id="", parent_span_id=""), metric(2.5)]
    found = columns(rows, SeriesBook())
    assert found.series.tolist() == [NO_SIGNAL, NO_SIGNAL, 0]
    assert found.value.tolist() == [0.5, 0.5, 2.5]


@given(st.lists(st.tuples(NAMES, NAMES, NAMES, SOME), min_size=1, max_size=12))
def test_codes_are_equal_exactly_when_the_series_are(
    rows: list[tuple[str, str, str, dict[str, str]]],
) -> None:
    """Component, name, unit and chosen dimensions tell apart; order and others do not."""
    book = SeriesBook()
    events = [
        metric(1.0, component=c, name=n, unit=u, dimensions=dict(reversed(d.items())))
        for c, n, u, d in rows
    ]
    codes = columns(events, book, ("tier", "queue")).series
    for code, (c, n, u, d) in zip(codes.tolist(), rows, strict=True):
        kept = tuple((key, d[key]) for key in ("queue", "tier") if d.get(key))
        assert book[code] == Series("METRIC", "ALPHA", c, n, u, "", kept)


def test_lines_are_told_apart_by_template_severity_and_dimension() -> None:
    """Their messages are not dimensions: two lines of one template are one series."""
    lines = [
        log("took 1 s"), log("took 2 s"), log("took 2 s", severity="WARN"),
        log("", dimensions={"message": "took 3 s", "queue": "q"}),
    ]  # fmt: skip
    book = SeriesBook()
    assert columns(lines, book).series.tolist() == [0, 0, 1, 2]
    assert book[2] == Series("LOG", "ALPHA", "parser", "took <*> s", "", "ERROR", (("queue", "q"),))


def test_a_book_that_is_full_gives_no_code() -> None:
    """The first series keep theirs; later ones are beyond the bound."""
    book = SeriesBook(limit=1)
    events = [metric(1.0), metric(1.0, name="b"), metric(1.0)]
    assert columns(events, book).series.tolist() == [0, OVER_BOUND, 0]


def test_long_texts_are_cut() -> None:
    """A name of 10,000 characters makes no series of such a size."""
    book = SeriesBook()
    columns([metric(1.0, name="n" * 10_000, dimensions={"queue": "v" * 10_000})], book)
    assert len(book[0].name) == TEXT_MAX
    assert book[0].dimensions == (("queue", "v" * VALUE_MAX),)


def test_old_metric_names_count_for_the_new_one() -> None:
    """As the contract's table says; the event itself is left as it came."""
    book, operations = SeriesBook(), Operations()
    decoder = EventDecoder(
        default_schemas(), operations, series=book, metric_names={"old_total": "new_total"}
    )
    values = [encode("telemetry_event", metric(1.0, name=n)) for n in ("old_total", "new_total")]
    events, _ = decoder.decode(0, [None, None], values, np.zeros(2, np.int64))
    assert events.series.tolist() == [0, 0]
    assert book[0].name == "new_total"
    assert operations[int(events.operation[0])].name == "old_total"


def test_a_metric_in_a_trace_is_a_signal_too() -> None:
    """An annotation counts for its series beside being part of its trace."""
    traced = event(event_type="METRIC", span_id="", parent_span_id="")
    assert columns([traced], SeriesBook()).series.tolist() == [0]
