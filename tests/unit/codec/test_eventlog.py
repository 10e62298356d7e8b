"""Recorded events survive the file, and a bad line is named."""

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.codec.eventlog import event_of, read_events, write_events
from streams.errors import ConfigError

LEAST = '{"event_id":"e","timestamp":5,"module":"M","event_type":"LOG","name":"n"}'

texts = st.text(st.characters(codec="utf-8"), max_size=8)
event_records = st.fixed_dictionaries(
    {name: texts for name in ("event_id", "trace_id", "span_id", "parent_span_id", "module")}
    | {name: texts for name in ("component", "name", "unit", "record_id", "batch_id")}
    | {name: texts for name in ("correlation_id", "operation", "actor")}
    | {
        "timestamp": st.integers(0, 4_000_000_000_000_000),
        "event_type": st.sampled_from(["METRIC", "LOG", "TRACE", "AUDIT"]),
        "severity": st.sampled_from(["DEBUG", "CRITICAL"]),
        "value": st.floats(allow_nan=False),
        "dimensions": st.dictionaries(texts, texts, max_size=2),
        "duration_us": st.integers(0, 2**62),
        "status": st.sampled_from(["UNSET", "ERROR"]),
        "span_kind": st.sampled_from(["INTERNAL", "CLIENT"]),
        "trace_flags": st.integers(0, 255),
        "links": st.lists(st.fixed_dictionaries({"trace_id": texts, "span_id": texts}), max_size=2),
    }
)


@settings(max_examples=50, deadline=None)
@given(events=st.lists(event_records, max_size=3))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, events: list[dict[str, Any]]
) -> None:
    """Reading gives back every field as it was written, plain or compressed."""
    folder = tmp_path_factory.mktemp("log")
    for name in ("a.jsonl", "a.jsonl.gz"):
        assert write_events(folder / name, events) == len(events)
        assert list(read_events(folder / name)) == events


def test_absent_fields_take_the_schemas_absent_value(tmp_path: Path) -> None:
    """A line with only the required fields is a whole event; its value is NaN."""
    (tmp_path / "a.jsonl").write_text(f"\n{LEAST}\n")
    (event,) = read_events(tmp_path / "a.jsonl")
    assert math.isnan(event.pop("value"))
    names = ("trace_id", "dimensions", "links", "timestamp", "severity", "duration_us")
    assert [event[name] for name in names] == ["", {}, [], 5, "INFO", 0]


@pytest.mark.parametrize(
    ("text", "time_us"),
    [
        ("1970-01-01T00:00:01.000002Z", 1_000_002),
        ("1970-01-01T02:00:00+02:00", 0),
        (7, 7),
    ],
)
def test_times_are_microseconds_or_iso(tmp_path: Path, text: object, time_us: int) -> None:
    """Both forms of a time mean the same instant."""
    written = f'"{text}"' if isinstance(text, str) else str(text)
    (tmp_path / "a.jsonl").write_text(LEAST.replace("5", written))
    assert next(read_events(tmp_path / "a.jsonl"))["timestamp"] == time_us


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"event_id":"e"}', "'timestamp' is missing"),
        (LEAST[:-1] + ',"colour":"red"}', "'colour'"),
        (LEAST.replace("5", '"1970-01-01T00:00:00"'), "with an offset"),
        (LEAST.replace("5", "true"), "timestamp is true or false"),
        (LEAST.replace("LOG", "SPAN"), "not one of METRIC"),
        (LEAST[:-1] + ',"duration_us":-1}', "duration_us is a number, not a whole number from 0"),
        (LEAST[:-1] + ',"value":"much"}', "value is a text, not a number"),
        (LEAST[:-1] + ',"dimensions":{"a":1}}', "dimensions"),
        (LEAST[:-1] + ',"links":[{"trace_id":"a"}]}', "links"),
        (LEAST[:-1] + ',"actor":1}', "actor is not text"),
        (LEAST[:-1] + ',"actor":"\\ud800"}', "actor holds half a character"),
        (LEAST[:-1] + ',"dimensions":{"a":"\\ud800"}}', "dimensions.a holds half a character"),
        (LEAST[:-1] + ',"dimensions":{"\\ud800":""}}', "a key of dimensions holds half"),
        (LEAST[:-1] + ',"links":[{"trace_id":"\\ud800","span_id":""}]}', "links holds half"),
        (LEAST.replace("5", "9" * 30), "timestamp is a number; write"),
        (LEAST.replace("5", "9" * 900), "timestamp is a number; write"),
        (
            LEAST[:-1] + ',"trace_flags":9223372036854775808}',
            "trace_flags is a number, not a whole",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, says: str) -> None:
    """The error names file, line and what to change."""
    (tmp_path / "a.jsonl").write_text(f"{LEAST}\n{line}\n")
    with pytest.raises(ConfigError, match=says) as raised:
        list(read_events(tmp_path / "a.jsonl"))
    assert "a.jsonl:2" in str(raised.value)


@pytest.mark.parametrize("name", ["value", "timestamp", "duration_us", "severity", "event_type"])
def test_an_error_of_a_line_quotes_no_value(name: str) -> None:
    """What a field holds may be personal, and standard error becomes a log somewhere."""
    given = {**json.loads(LEAST), name: "anna@example.org"}
    with pytest.raises(ConfigError, match=f"1: {name} is") as raised:
        event_of(given, "1")
    assert "anna" not in str(raised.value)


def test_a_torn_file_is_an_error(tmp_path: Path) -> None:
    """Half a compressed file never passes as a whole one."""
    whole = gzip.compress((LEAST + "\n").encode() * 99)
    (tmp_path / "a.jsonl.gz").write_bytes(whole[:-12])
    with pytest.raises(ConfigError, match="cannot be read"):
        list(read_events(tmp_path / "a.jsonl.gz"))
    with pytest.raises(ConfigError, match="cannot be read"):
        list(read_events(tmp_path / "absent.jsonl"))
