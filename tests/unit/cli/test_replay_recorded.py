"""`spanloom replay jaeger|zipkin|csv`: recordings reach the topics, refusals are told."""

import json
from pathlib import Path

import pytest
import yaml
from confluent_kafka.admin import AdminClient

from streams.runtime import topics
from streams.runtime.embedded import EmbeddedBroker
from tests.unit.cli.shell import Shell
from tests.unit.cli.test_replay import read_all
from tests.unit.codec.recorded.test_jaeger import export, span
from tests.unit.codec.recorded.test_table import HEAD, ROW, SPANS
from tests.unit.console.canaries import DIMENSIONS, KEYS_TEXT, contract

TABLES = (
    SPANS.replace("  - timestamp", "  - files: x.csv\n    timestamp")
    + """
  - files: nightly.csv
    timestamp: {column: day, format: "%Y-%m-%d", zone: UTC}
    fields: {module: PHI, name: orders, value: {column: n}}
    dimensions: {source: erp}
    count: period
    period: 1d
  - files: gauge.csv
    timestamp: {column: day, format: "%Y-%m-%d", zone: UTC}
    fields: {event_type: METRIC, module: PHI, name: depth, value: {column: n}}
"""
)


def test_spans_of_a_file_reach_the_broker(shell: Shell, tmp_path: Path) -> None:
    """Moved to the time asked for, in order of time, named as the contract spells its modules."""
    path = tmp_path / "t.json"
    content = export(span(spanID="2", startTime=5_000_000), span(spanID="1", startTime=0), 3)
    content["data"][0]["processes"]["p1"]["serviceName"] = "Beta"
    path.write_text(json.dumps(content))
    with EmbeddedBroker() as broker:
        client = AdminClient({"bootstrap.servers": broker.address, "log_level": 0})
        topics.embedded_partitions(client, ["telemetry.beta.v1"])
        answer = shell(
            *("replay", "jaeger", path, "--broker", broker.address, "--contract", "seed"),
            *("--quiet", "--json", "--shift-to", "2026-01-31T12:00Z"),
        )
        found = read_all(broker.address, "telemetry.beta.v1", 2)
    assert answer.code == 1, answer.err
    told = json.loads(answer.out)
    assert (told["rows"], told["events"], told["sent"]) == (3, 2, 2)
    assert told["refused"] == {"invalid_span": 1}
    assert told["examples"][0]["place"] == f"{path}:1"
    assert {(e["module"], e["timestamp"]) for e in found} == {
        ("BETA", 1_769_860_800_000_000),
        ("BETA", 1_769_860_805_000_000),
    }


def test_a_dry_run_says_what_a_file_holds(shell: Shell, tmp_path: Path) -> None:
    """Without a broker: shape, skew and critical path for people, the same as JSON."""
    path = tmp_path / "t.json"
    row = {"traceId": "1", "timestamp": 100, "duration": 10, "localEndpoint": {"serviceName": "a"}}
    rows = [row | {"id": "1", "name": "in"}, row | {"id": "2", "parentId": "1", "timestamp": 98}]
    path.write_text(json.dumps(rows))
    answer = shell("replay", "zipkin", path, "--dry-run")
    assert answer.code == 0
    assert "2 spans, 1 root, 1 skewed by up to 2 us, 12 us" in answer.out
    assert "8 us  [a] in;[a] unknown" in answer.out
    assert "2 rows, 2 events, 0 sent, 0 refused, 0 left out" in answer.out
    (trace,) = json.loads(shell("replay", "zipkin", path, "--dry-run", "--json").out)["traces"]
    assert [one["own_us"] for one in trace["critical_path"]] == [2, 8]


def test_a_trace_of_which_nothing_is_read_is_none(shell: Shell, tmp_path: Path) -> None:
    """Its rows are refused and told, with the unit that their times seem to have."""
    path = tmp_path / "t.json"
    path.write_text(json.dumps(export(span(startTime=1_767_607_200_000))))
    answer = shell("replay", "jaeger", path, "--dry-run")
    assert answer.code == 1
    assert answer.out == "1 row, 0 events, 0 sent, 1 refused, 0 left out\n"
    assert "as microseconds is no time of today, as milliseconds it is" in answer.err


def test_times_before_1970_are_refused_before_they_are_sent(shell: Shell, tmp_path: Path) -> None:
    """Zero is no time that a worker takes; the trace's place and the way out are named."""
    path = tmp_path / "t.json"
    path.write_text(json.dumps(export(span(startTime=0))))
    answer = shell("replay", "jaeger", path, "--quiet", "--broker", "127.0.0.1:9")
    assert answer.code == 1
    assert f"{path}:1: invalid_time: 0 us; --shift-to moves the recording" in answer.err
    answer = shell("replay", "jaeger", path, "--shift-to", "noon")
    assert (answer.code, "--shift-to noon" in answer.err) == (2, True)


def test_a_table_is_read_by_its_mapping(shell: Shell, tmp_path: Path) -> None:
    """A mapping is needed, and refusals make it end with 1."""
    (tmp_path / "m.yaml").write_text(SPANS)
    (tmp_path / "x.csv").write_text(HEAD + ROW + "yes;soon\n")
    answer = shell("replay", "csv", tmp_path / "x.csv", "-m", tmp_path / "m.yaml", "--dry-run")
    assert answer.code == 1
    assert "2 rows, 1 event, 0 sent, 1 refused" in answer.out
    assert "x.csv:3: wrong_cell_count: 2 cells, 9 columns" in answer.err
    assert shell("replay", "csv", tmp_path / "x.csv").code == 2


def test_refused_rows_show_no_personal_values(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard error becomes a log somewhere: file, line and reason are enough to find the row."""
    user = DIMENSIONS["user"]
    path, place = tmp_path / "t.json", tmp_path / "contract.yaml"
    tag = {"key": "user", "type": "int64", "value": user}
    row = span(tags=[tag | {"key": 7}])
    other = span(spanID="4", references=[{"refType": user, "traceID": "a", "spanID": "b"}])
    path.write_text(json.dumps(export(row, span(logs=[user]), span(spanID="3"), other)))
    place.write_text(yaml.safe_dump(contract().plain(), allow_unicode=True), "utf-8")
    given = ("replay", "jaeger", path, "--dry-run", "--contract", place)
    plain = shell(*given)
    assert user in plain.err, "nothing to withhold"
    monkeypatch.setenv("SPANLOOM_PSEUDONYM_KEYS", KEYS_TEXT)
    answer, told = shell(*given), shell(*given, "--json")
    assert (answer.code, told.code) == (1, 1)
    assert f"{path}:1: invalid_references: withheld (personal)" in answer.err
    assert user not in answer.out + answer.err + told.out + told.err
    assert json.loads(told.out)["refused"] == {
        "invalid_logs": 1,
        "invalid_references": 1,
        "invalid_tags": 1,
    }
    (tmp_path / "m.yaml").write_text(SPANS)
    (tmp_path / "x.csv").write_text(f"{HEAD}{ROW}yes;soon\n")
    csv = shell(
        *("replay", "csv", tmp_path / "x.csv", "--mapping", tmp_path / "m.yaml", "--dry-run"),
        *("--contract", place),
    )
    assert "wrong_cell_count: 2 cells, " in csv.err


def test_a_dry_run_of_tables_says_what_they_hold(shell: Shell, tmp_path: Path) -> None:
    """Traces as of other recordings, and where each counter ends: so a mapping can be tried."""
    (tmp_path / "m.yaml").write_text(TABLES)
    second = "yes;2026-01-31T12:00:00.501;ALPHA;parse;o-1;b;a;0;0.5\n"
    (tmp_path / "x.csv").write_text(HEAD + ROW + second)
    (tmp_path / "nightly.csv").write_text("day,n\n2026-01-30,3\n2026-01-31,4\n")
    (tmp_path / "gauge.csv").write_text("day,n\n2026-01-31,\n")
    files = [tmp_path / name for name in ("nightly.csv", "x.csv", "gauge.csv")]
    words = ("replay", "csv", *files, "-m", tmp_path / "m.yaml", "--dry-run")
    answer = shell(*words)
    assert answer.code == 0, answer.err
    assert f"{tmp_path}/x.csv:2: trace " in answer.out
    assert "2 spans, 1 root" in answer.out
    assert "[ALPHA] load;[ALPHA] parse" in answer.out
    assert "PHI: orders {source=erp}: 2 points, the last 7 at 2026-02-01 00:00:00.000" in answer.out
    assert "PHI: depth {}: 1 point, the last no value at 2026-01-31 00:00:00.000" in answer.out
    told = json.loads(shell(*words, "--json").out)
    assert [trace["spans"] for trace in told["traces"]] == [2]
    assert [(one["name"], one["points"], one["last"]) for one in told["series"]] == [
        ("depth", 1, None),
        ("orders", 2, 7.0),
    ]


def test_a_row_that_cannot_be_sent_is_told_with_its_line(shell: Shell, tmp_path: Path) -> None:
    """A metric point is of no trace that would have a place."""
    (tmp_path / "m.yaml").write_text(TABLES)
    (tmp_path / "nightly.csv").write_text("day,n\n2026-01-30,3\n")
    answer = shell(
        *("replay", "csv", tmp_path / "nightly.csv", "-m", tmp_path / "m.yaml", "--quiet"),
        *("--broker", "127.0.0.1:9", "--shift-to", "1969-12-31T00:00Z"),
    )
    assert answer.code == 1
    assert f"{tmp_path}/nightly.csv:2: invalid_time: " in answer.err
