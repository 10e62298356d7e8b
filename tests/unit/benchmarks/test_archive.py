"""The archive's benchmark makes records that are what they should be, and asks what is there."""

from pathlib import Path

import pytest

from benchmarks import archive as of_archive
from benchmarks.archive import run
from benchmarks.archive_events import ENTRIES, RATE, START_US, Source
from streams.codec.records import decode
from streams.console.archive.decoded import one_by_one
from streams.console.archive.decoding import Decoding
from streams.console.archive.kinds import KIND
from streams.runtime import topics
from streams.units import SECOND_US


def test_records_are_whole_and_differ() -> None:
    """Stamped records decode; ids and times are each trace's own, and the same seed makes them."""
    made = Source().messages(5)
    assert [m.value for m in made] == [m.value for m in Source().messages(5)]
    traces = [decode(m.value) for m in made if m.topic == topics.TRACES]
    events = [decode(m.value) for m in made if m.topic != topics.TRACES]
    assert len({t["trace_id"] for t in traces}) == 5
    for n, trace in enumerate(traces):
        assert trace["start"] == START_US + n * ENTRIES * SECOND_US // RATE
        assert {s["trace_id"] for s in trace["spans"]} == {trace["trace_id"]}
        assert {s["record_id"] for s in trace["spans"]} == {f"rec-{n:08d}"}
        assert [s["parent_span_id"] for s in trace["spans"]][1:] == [
            s["span_id"] for s in trace["spans"]
        ][:-1]
    ids = [e["event_id"] for t in traces for e in t["spans"]] + [e["event_id"] for e in events]
    assert len(set(ids)) == len(ids) == 5 * ENTRIES
    places = [(m.topic, m.partition, m.offset) for m in made]
    assert len(set(places)) == len(places)
    kinds = (KIND["traces"], KIND["spans"])
    traces = [m for m in made if m.topic == topics.TRACES]
    fast, slow = Decoding().rows(kinds, traces), one_by_one(kinds, [m.value for m in traces])
    assert fast.rows["spans"].table.num_rows == slow.rows["spans"].table.num_rows == 40


def test_telemetry_is_what_the_traces_were_made_of() -> None:
    """The same ids, each event once, by time, keyed by its trace; a point is of none."""
    told = Source(rate=1_000, start_us=START_US + 7).telemetry(5)
    events = [decode(one.value) for one in told]
    assert len({event["event_id"] for event in events}) == len(events) == 5 * ENTRIES
    assert sorted(event["timestamp"] for event in events)[0] == START_US + 7
    assert [event["timestamp"] for event in events] == sorted(e["timestamp"] for e in events)
    assert [one.at_ms for one in told] == [event["timestamp"] // 1000 for event in events]
    for one, event in zip(told, events, strict=True):
        assert one.key == (event["trace_id"].encode() or None)
    assembled = [decode(m.value) for m in Source().messages(5) if m.topic == topics.TRACES]
    spans = [event for event in events if event["event_type"] == "TRACE"]
    names = ("event_id", "trace_id", "span_id", "parent_span_id", "record_id", "dimensions")
    assert sorted(str([span[n] for n in names]) for span in spans) == sorted(
        str([span[n] for n in names]) for trace in assembled for span in trace["spans"]
    )
    kinds = [event["event_type"] for event in events]
    assert (kinds.count("AUDIT"), kinds.count("METRIC")) == (5, 5)


def test_a_small_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every entry is archived once, and every look-up and question finds something."""
    monkeypatch.setattr(of_archive, "ASKED", 5)
    monkeypatch.setattr(of_archive, "AUDITS", 1)
    report = run(1_000, tmp_path)
    assert {kind: of["rows"] for kind, of in report["disk"].items()} == {
        "traces": 100,
        "spans": 800,
        "events": 200,
    }
    assert report["disk_bytes_per_span"] > 10
    assert report["fill"]["ingest_entries_per_cpu_s"] > 0
    kinds = {"look", "query", "audit", "lineage", "history"}
    assert {name.split(" ")[0] for name in report["asked"]} == kinds
    again = run(1_000, tmp_path)
    assert "fill" not in again
    assert again["disk"] == report["disk"]
