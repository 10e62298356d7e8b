"""Tables by a mapping: fields, times of a zone, counts of both styles, refusals by line."""

import gzip
from pathlib import Path

import pytest
import yaml

from streams.codec.recorded.account import Account, Event, RowError
from streams.codec.recorded.mapping import Time, load_mapping
from streams.codec.recorded.table import table_events
from streams.codec.recorded.times import moment_us, period_end_us
from streams.codec.records import decode, encode
from streams.errors import ConfigError

HOUR_US = 3_600_000_000
BERLIN = "Europe/Berlin"
ORDERS = """
version: 1
tables:
  - files: "orders*.csv*"
    timestamp: {column: at, format: epoch_ms}
    fields:
      module: ALPHA
      component: intake
      name: pipeline.alpha.intake.counter.orders_total
    dimensions: {region: {column: region, values: {de: DE}}}
    count: row
  - files: "nightly*.csv"
    timestamp: {column: day, format: "%Y-%m-%d", zone: Europe/Berlin}
    fields:
      module: ALPHA
      component: intake
      name: pipeline.alpha.intake.counter.orders_total
      value: {column: n}
    dimensions: {region: {column: region}}
    count: period
    period: 1d
"""
SPANS = """
version: 1
tables:
  - timestamp: {column: ts, zone: UTC}
    delimiter: ";"
    only: {column: keep, in: ["yes"]}
    fields:
      event_type: TRACE
      module: {column: module, default: OTHER}
      name: {column: op}
      trace_id: {column: order, hash: true}
      span_id: {column: span}
      parent_span_id: {column: parent}
      status: {column: ok, values: {"0": ERROR, "1": OK}}
      duration: {column: ms, unit: ms}
      record_id: {column: order}
"""
HEAD = "keep;ts;module;op;order;span;parent;ok;ms\n"
ROW = "yes;2026-01-31T12:00:00.5;ALPHA;load;o-1;a;;1;1.5\n"


def read(tmp_path: Path, mapping: str, **files: str) -> tuple[list[Event], Account]:
    (tmp_path / "m.yaml").write_text(mapping)
    paths = []
    for name, text in files.items():
        path = tmp_path / name.replace("_", ".")
        data = text.encode("utf-8", "surrogateescape")
        path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
        paths.append(path)
    account = Account()
    found = table_events(paths, load_mapping(tmp_path / "m.yaml"), account)
    return [event for _, event in found], account


def test_a_row_becomes_a_span(tmp_path: Path) -> None:
    """Every field from its column or constant; the event encodes as it is."""
    events, account = read(tmp_path, SPANS, x_csv=HEAD + ROW + ROW.replace("yes", "no"))
    (one,) = events
    assert (one["event_type"], one["module"], one["name"]) == ("TRACE", "ALPHA", "load")
    assert (one["timestamp"], one["duration_us"]) == (1_769_860_800_500_000, 1_500)
    assert (one["status"], one["record_id"], one["span_id"]) == ("OK", "o-1", "a".rjust(16, "0"))
    assert len(one["trace_id"]) == 32
    assert (account.rows, account.left_out, account.refused) == (2, 1, {})
    assert repr(decode(encode("telemetry_event", one))) == repr(one)


def test_both_styles_of_counting_become_one_counter(tmp_path: Path) -> None:
    """A row a thing and a row a night raise the same total, in order of time, by series.

    The night of 28 March 2026 has 23 hours in Berlin: its count comes at midnight all the same.
    """
    noon_ms = 1_774_695_600_000  # 2026-03-28T11:00Z
    orders = f"at,region\n{noon_ms},de\n{noon_ms + 1},fr\n{noon_ms + 172_800_000},de\n"
    nightly = "day,region,n\n2026-03-29,DE,40\n2026-03-28,DE,7\n"
    events, account = read(tmp_path, ORDERS, nightly_csv=nightly, orders_csv_gz=orders)
    assert account.refused == {}
    told = [(e["timestamp"], e["dimensions"]["region"], e["value"]) for e in events]
    assert told == [
        (noon_ms * 1_000, "DE", 1),
        (noon_ms * 1_000 + 1_000, "fr", 1),
        (1_774_738_800_000_000, "DE", 8),  # 2026-03-28T23:00Z
        (1_774_738_800_000_000 + 23 * HOUR_US, "DE", 48),
        (noon_ms * 1_000 + 48 * HOUR_US, "DE", 49),
    ]
    styles = [event["dimensions"]["count_style"] for event in events]
    assert styles == ["row", "row", "period", "period", "row"]
    assert len({event["event_id"] for event in events}) == 5


def test_a_night_that_is_told_twice_counts_once(tmp_path: Path) -> None:
    """An export that was written again would double the counter."""
    nightly = "day,region,n\n2026-03-28,DE,7\n2026-03-28,FR,7\n2026-03-28,DE,7\n"
    events, account = read(tmp_path, ORDERS, nightly_csv=nightly)
    assert [event["value"] for event in events] == [7, 7]
    assert account.refused == {"repeated_period": 1}
    assert account.examples[0].place.endswith("nightly.csv:4")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("yes;2026-01-31;ALPHA;load;o-1;a;;1\n", "wrong_cell_count"),
        ("yes;soon;ALPHA;load;o-1;a;;1;1\n", "invalid_time"),
        ("yes;1960-01-01;ALPHA;load;o-1;a;;1;1\n", "invalid_time"),
        ("yes;2026-01-31;ALPHA;;o-1;a;;1;1\n", "missing_name"),
        ("yes;2026-01-31;ALPHA;load;;a;;1;1\n", "invalid_id"),
        ("yes;2026-01-31;ALPHA;load;o-1;xyz;;1;1\n", "invalid_id"),
        ("yes;2026-01-31;ALPHA;load;o-1;a;a;1;1\n", "own_parent"),
        ("yes;2026-01-31;ALPHA;load;o-1;a;;maybe;1\n", "invalid_status"),
        ("yes;2026-01-31;ALPHA;load;o-1;a;;1;-1\n", "invalid_duration"),
        ("yes;2026-01-31;ALPHA;load;o-1;a;;1;NaN\n", "invalid_duration"),
        ("yes;2026-01-31;ALPHA;lo\udcffad;o-1;a;;1;1\n", "invalid_text"),
    ],
)
def test_a_bad_row_is_refused_alone(tmp_path: Path, row: str, reason: str) -> None:
    """With reason and line, a cell with a line's end before it counted; the others are read."""
    text = HEAD + ROW.replace("load", '"lo\nad"') + row + ROW.replace(";a;", ";b;")
    events, account = read(tmp_path, SPANS, x_csv=text)
    assert len(events) == 2
    assert account.refused == {reason: 1}
    assert account.examples[0].place == f"{tmp_path / 'x.csv'}:4"


@pytest.mark.parametrize(
    ("row", "reason"),
    [("2026-03-28,DE,-1", "negative_count"), ("2026-03-28,DE,", "invalid_value"),
     ("2026-03-28,DE,many", "invalid_value"), ("2026-03-28,DE,inf", "invalid_value")],
)  # fmt: skip
def test_a_count_is_a_number_from_0(tmp_path: Path, row: str, reason: str) -> None:
    """A counter never falls, and an empty cell is no zero."""
    events, account = read(tmp_path, ORDERS, nightly_csv=f"day,region,n\n{row}\n")
    assert (events, account.refused) == ([], {reason: 1})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "x.csv: empty"),
        ("keep;ts\n", "x.csv:1: column 'module' is missing; there are: keep, ts"),
        (HEAD.replace("keep;", "keep;keep;"), "column 'keep' is there twice"),
        (HEAD + 'yes;"a"b;\n', "x.csv:2: not a table"),
    ],
)
def test_what_is_no_table_is_refused_whole(tmp_path: Path, text: str, says: str) -> None:
    """The file and what is missing are named."""
    with pytest.raises(ConfigError) as failed:
        read(tmp_path, SPANS, x_csv=text)
    assert says in str(failed.value)


def test_a_file_that_no_table_fits_is_refused(tmp_path: Path) -> None:
    """With the names that there are."""
    with pytest.raises(ConfigError, match=r"orders\*\.csv\*, nightly\*\.csv"):
        read(tmp_path, ORDERS, other_csv="a\n")


def at(text: str, **how: str) -> int:
    return moment_us(text, Time.model_validate({"column": "c", **how}))


def test_times_are_exact() -> None:
    """Numbers keep their last digit, offsets and zones are taken off."""
    assert at("1760000000123", format="epoch_ms") == 1_760_000_000_123_000
    assert at("1760000000.123456", format="epoch_s") == 1_760_000_000_123_456
    assert at("1760000000123456789", format="epoch_ns") == 1_760_000_000_123_456
    assert at("2026-07-01T12:00:00+02:00") == at("2026-07-01 12:00", zone=BERLIN)
    assert at("01.07.2026 12:00", format="%d.%m.%Y %H:%M", zone="UTC") == at("2026-07-01T12:00Z")


def test_an_hour_that_a_clock_skips_or_repeats_is_not_guessed() -> None:
    """The mapping may say which of two moments is meant."""
    for text, reason in (("2026-03-29 02:30", "invalid_time"), ("2026-10-25 02:30", "ambiguous")):
        with pytest.raises(RowError, match=reason):
            at(text, zone=BERLIN)
    earlier = at("2026-10-25 02:30", zone=BERLIN, ambiguous="earlier")
    assert at("2026-10-25 02:30", zone=BERLIN, ambiguous="later") - earlier == HOUR_US
    with pytest.raises(RowError, match="says no zone"):
        at("2026-10-25 02:30")
    for text in ("", "1e9", "1_000", "-5", "99999999999999999999"):
        with pytest.raises(RowError, match="invalid_time"):
            at(text, format="epoch_s")


def test_a_time_in_another_unit_than_the_mapping_says_is_refused() -> None:
    """Each for each other, with the one that it seems to be; made-up times are none of them."""
    now_ns = 1_760_000_000_123_456_789
    units = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
    words = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
    for given, per_given in units.items():
        for read in units:
            text = str(now_ns // per_given)
            if read == given:
                assert at(text, format=f"epoch_{read}") // 1_000_000 == 1_760_000_000
                continue
            with pytest.raises(RowError) as raised:
                at(text, format=f"epoch_{read}")
            assert raised.value.reason == f"time_in_{words[given]}"
    assert at("80", format="epoch_us") == 80
    assert at("1970-01-20T10:00Z") == 1_677_600_000_000  # a date has no unit


def test_periods_of_days_end_at_midnight() -> None:
    """A day of a zone has 23, 24 or 25 hours."""
    hours = {
        day: (period_end_us(at(day, zone=BERLIN), "1d", BERLIN) - at(day, zone=BERLIN)) / HOUR_US
        for day in ("2026-03-28", "2026-03-29", "2026-10-25")
    }
    assert list(hours.values()) == [24, 23, 25]
    assert period_end_us(0, "90m", "") == 1.5 * HOUR_US


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 2}, "version"),
        ({"tables": []}, "tables"),
        ({"timestamp": {"column": "a", "format": "soon"}}, "format 'soon'"),
        ({"timestamp": {"column": "a", "format": "%H"}}, "give `zone`"),
        ({"timestamp": {"column": "a", "zone": "Mars/Base"}}, "zone 'Mars/Base' is not known"),
        ({"fields": {"module": "A"}}, "tables.0.fields.name"),
        ({"fields": {"module": "A", "name": {}}}, "give `column`, or a constant"),
        ({"fields": {"module": "A", "name": "b", "colour": "c"}}, "tables.0.fields.colour"),
        (
            {"fields": {"module": "A", "name": "b", "event_type": "SPAN"}},
            "event_type is 'SPAN': give",
        ),
        ({"fields": {"module": "A", "name": True}}, "name: give a constant (text or number;"),
        ({"dimensions": {"a": None}}, "tables.0.dimensions.a: give a constant"),
        ({"dimensions": {"a": {"colunm": "x"}}}, "no such key; there are: column, constant,"),
        (
            {"dimensions": {"a": {"column": "x", "values": {1: "y"}}}},
            "values.1: give a text; quote",
        ),
        (
            {"timestamp": {"colunm": "a"}},
            "timestamp.colunm: no such key; there are: column, format",
        ),
        ({"timestamp": "a"}, "timestamp: give keys: column, format, zone, ambiguous"),
        ({"timestamp": {"column": "a", "format": "%Q", "zone": "UTC"}}, "has a code that strptime"),
        ({"only": {"column": "a", "in": "b"}}, "only.in: give a list: [a, b]"),
        ({"delimiter": '"'}, "tables.0.delimiter: "),
        (
            {"period": "1d", "colour": 1},
            "tables.0.colour: no such key; there are: files, delimiter,",
        ),
        ({"tabels": []}, "tabels: no such key; there are: version, tables"),
        ({"count": "period"}, "`period` (such as 1d)"),
        ({"count": "period", "period": "1h"}, "needs `fields.value`"),
    ],
)
def test_a_wrong_mapping_is_refused(tmp_path: Path, change: dict[str, object], says: str) -> None:
    """The key is named, with what to give."""
    table: dict[str, object] = {
        "timestamp": {"column": "a", "zone": "UTC"}, "fields": {"module": "A", "name": "b"}
    }  # fmt: skip
    tree: dict[str, object] = {"version": 1, "tables": [table]}
    (tree if set(change) & {*tree, "tabels"} else table).update(change)
    path = tmp_path / "m.yaml"
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError) as failed:
        load_mapping(path)
    assert says in str(failed.value)
    assert all(line.startswith(f"{path}: ") for line in str(failed.value).splitlines())
    assert "after validation" not in str(failed.value)
    assert "Value error" not in str(failed.value)


def test_a_mapping_that_is_no_yaml_is_refused(tmp_path: Path) -> None:
    """Nor one with aliases, which unfold without end, nor one that is not there."""
    path = tmp_path / "m.yaml"
    twice = "version: 1\ntables: []\nversion: 1\n"
    for text, says in (
        ("[", "not YAML"),
        ("a: &x 1\nb: *x\n", "aliases"),
        ("", "file: give keys: version, tables"),
        (twice, "key 'version' is there twice"),
        ("[" * 5_000, "nested too deeply"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=says):
            load_mapping(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_mapping(tmp_path / "gone.yaml")


def test_the_example_of_the_page_is_a_mapping() -> None:
    """docs/recordings.md names it."""
    path = Path(__file__).resolve().parents[4] / "docs" / "examples" / "mapping.yaml"
    mapping = load_mapping(path)
    assert [table.count for table in mapping.tables] == ["row", "period", ""]
