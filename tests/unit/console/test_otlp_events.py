"""An archive of a Collector's topics: each event of a message is a row, once, with its place."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Gauge, Metric, NumberDataPoint

from streams.codec.otlp.requests import LOGS, METRICS, SPANS
from streams.codec.otlp.services import Place, Services
from streams.codec.records import decode, encode
from streams.console.archive import decoding
from streams.console.archive.archive import Archive
from streams.console.archive.decoding import Decoding
from streams.console.archive.kinds import KIND
from streams.console.archive.otlpcolumns import NOWHERE, OtlpEvents, OtlpSource
from streams.console.archive.store import Store
from streams.console.archive.tail import Limits
from streams.core.privacy.records import Privacy
from streams.runtime.reading import Message
from tests.otlp_cases import START_NS, as_json, attribute, logs, metrics, trace_id
from tests.unit.console.at_hand import T0_US, TELEMETRY, event, message
from tests.unit.console.canaries import PRIVACY, TEXTS, VALUE

SERVICES = Services({"checkout": Place("SHOP", "cart")})
SOURCE = OtlpSource({"lines": LOGS, "points": METRICS}, SERVICES)
EVENTS = KIND["events"]


def archive_in(folder: Path, privacy: Privacy | None = None, **limits: Any) -> Archive:
    """Return an archive of our own topic and of two of a Collector."""
    limited = Limits(**limits)
    return Archive(Store(str(folder)), limited, "", (TELEMETRY,), privacy=privacy, otlp=SOURCE)


def sent(topic: str, offset: int, value: bytes | None, partition: int = 0) -> Message:
    """Return a message as it is read from a topic."""
    return Message(topic, partition, offset, T0_US // 1000 + offset, None, value)


def gauge(name: str = "depth", values: Sequence[float] = (1.0,), **given: Any) -> Metric:
    """Return a gauge with a point for each value."""
    shared = {"time_unix_nano": START_NS} | given
    return Metric(
        name=name, gauge=Gauge(data_points=[NumberDataPoint(as_double=v, **shared) for v in values])
    )


def points(*found: Metric) -> bytes:
    """Return a request of metrics."""
    return metrics("checkout", found or (gauge(),)).SerializeToString()


def line(text: str = "refused", trace: int = 0, attributes: Sequence[KeyValue] = ()) -> LogRecord:
    """Return a log record; without a trace for 0."""
    found = LogRecord(time_unix_nano=START_NS, attributes=attributes)
    found.body.string_value = text
    if trace:
        found.trace_id = trace_id(trace)
    return found


def rows(archive: Archive) -> list[dict[str, Any]]:
    """Return all events, by place."""
    look = archive.look("events")
    found: list[dict[str, Any]] = look.tail.to_pylist()
    found += archive.store.read(EVENTS, look.files).to_pylist()
    return sorted(found, key=lambda row: (row["partition"], row["offset"]))


def test_each_event_of_a_message_is_a_row_of_its_own(tmp_path: Path) -> None:
    """Several have one offset; equal ones of one message are told apart, as a worker does."""
    archive = archive_in(tmp_path)
    request = logs("checkout", [line(), line(), line("up"), line("refused", trace=3)])
    archive.take(
        sent("lines", 4, request.SerializeToString()),
        sent("points", 4, points(gauge(values=(1.0, 1.0, 2.0)))),
        sent("lines", 5, as_json(request)),
    )
    found = rows(archive)
    assert len(found) == 11
    assert {(row["module"], row["component"]) for row in found} == {("SHOP", "cart")}
    first = [row for row in found if row["offset"] == 4]
    assert len({row["event_id"] for row in first}) == 7
    said = [row["event_id"] for row in found if row["event_type"] == "LOG"]
    assert said[:4] == said[4:], "a message that was sent again holds the same events"
    numbers = [row["value_number"] for row in found if row["event_type"] == "METRIC"]
    assert numbers == [1.0, 1.0, 2.0]
    for row in found:
        event_ = decode(row["value"])
        assert [event_[n] for n in ("event_id", "timestamp", "name", "trace_id")] == [
            row[n] for n in ("event_id", "timestamp", "name", "trace_id")
        ]
        assert row["appended_us"] == T0_US + 1_000 * row["offset"]
    assert {row["trace_id"] for row in found} == {"", trace_id(3).hex()}


def test_what_a_worker_rejects_is_no_row(tmp_path: Path) -> None:
    """It is kept as rejected; its neighbours in the message are rows."""
    archive = archive_in(tmp_path)
    bad = [gauge("late", time_unix_nano=0), gauge(""), gauge("far", time_unix_nano=2**63)]
    archive.take(sent("points", 0, points(gauge("a"), *bad, gauge("b"))))
    archive.take(sent("points", 1, points(*bad)))
    assert [row["name"] for row in rows(archive)] == ["a", "b"]
    assert not archive.unreadable, "each of the messages could be read"
    assert archive.next_offsets["points", 0] == 2


def test_an_event_that_is_too_large_is_no_row() -> None:
    """By the bound of the workers, whatever that is."""
    request = logs("checkout", [line(), line("x" * 300)]).SerializeToString()

    def values(most: int) -> list[bytes]:
        source = SOURCE._replace(event_bytes_max=most)
        decoded = Decoding(None, source).rows([EVENTS], [sent("lines", 0, request)])
        found: list[bytes] = decoded.rows["events"].table["value"].to_pylist()
        return found

    small, large = values(10_000)
    assert values(len(large)) == [small, large]
    assert values(len(large) - 1) == values(len(small)) == [small]
    assert values(len(small) - 1) == []


def test_what_is_no_request_is_counted_and_passed_over(tmp_path: Path) -> None:
    """Garbage, a torn request, a tombstone; one of no events is none of these."""
    archive = archive_in(tmp_path)
    torn = points(gauge("a"), gauge("b"))[:-3]
    for value in (b"{garbage}", torn, b"", None):
        archive.take(sent("points", 7, value))
        assert archive.unreadable["points"] == 1, value
        archive = archive_in(tmp_path)
    empty = metrics("checkout", []).SerializeToString()
    archive.take(sent("points", 7, empty), sent("points", 8, points()))
    assert not archive.unreadable
    assert [row["offset"] for row in rows(archive)] == [8]


def test_an_event_that_was_driven_again_is_one_of_ours(tmp_path: Path) -> None:
    """So it lies among requests, and is read as native events are."""
    archive = archive_in(tmp_path)
    own = event("log", name="again")
    garbage = encode("telemetry_event", own)[:-2]
    archive.take(
        sent("points", 0, points(gauge("a"))),
        sent("points", 1, encode("telemetry_event", own)),
        sent("points", 2, garbage),
        sent("points", 3, points(gauge("b"))),
        message(TELEMETRY, 0, event("log", name="native")),
    )
    found = [(row["offset"], row["name"]) for row in rows(archive)]
    assert sorted(found) == [(0, "a"), (0, "native"), (1, "again"), (3, "b")]
    assert archive.unreadable == {"points": 1}


def test_personal_attributes_become_pseudonyms(tmp_path: Path) -> None:
    """In columns and bytes, as those of native events; a personal value is no number."""
    archive = archive_in(tmp_path, PRIVACY)
    said = [attribute("spanloom.actor", TEXTS["actor"]), attribute("user", TEXTS["actor"])]
    archive.take(
        sent("points", 0, points(gauge(values=(VALUE,), attributes=said))),
        sent("lines", 0, logs("checkout", [line(attributes=said)]).SerializeToString()),
    )
    pseudonym = PRIVACY.pseudonyms.of(TEXTS["actor"])
    found = rows(archive)
    assert [row["actor"] for row in found] == [pseudonym, pseudonym]
    assert {dict(row["dimensions"])["user"] for row in found} == {pseudonym}
    assert all(TEXTS["actor"].encode() not in row["value"] for row in found)
    assert all(row["value_number"] != VALUE for row in found)
    assert [decode(row["value"])["actor"] for row in found] == [pseudonym, pseudonym]


@pytest.mark.parametrize("kept", range(5))
def test_it_goes_on_after_the_last_message_of_a_file(tmp_path: Path, kept: int) -> None:
    """What a kill left is whole messages; read again they are passed over, and none is lost."""
    read = [
        sent("points", n, points(gauge(f"m{n}", (1.0, 2.0, 3.0))), partition=n % 2)
        for n in range(10)
    ]
    first = archive_in(tmp_path, rows=3)
    for one in read[: 2 * kept]:
        first.take(one)
    first.settle()
    killed = archive_in(tmp_path, rows=3)
    starts = killed.starts({("points", p): (0, 10) for p in (0, 1)})
    # A file is written when the next message of its partition comes, and holds whole ones.
    last = 2 * (kept - 2)
    wanted = {("points", p): last + p + 1 if last >= 0 else 0 for p in (0, 1)}
    assert starts == wanted
    killed.take(*read)
    found = [(row["offset"], row["value_number"]) for row in rows(killed)]
    assert sorted(found) == [(n, v) for n in range(10) for v in (1.0, 2.0, 3.0)]


def test_large_requests_are_decoded_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll may bring thousands of them, and their events take a multiple; nothing is lost."""
    monkeypatch.setattr(decoding, "REQUEST_BYTES_MAX", 1_000)
    read = [sent("points", n, points(gauge("m" * 300, (float(n),)))) for n in range(9)]
    own = [message(TELEMETRY, n, event("log")) for n in range(40)]
    mixed = [*read[:1], *own, *read[1:]]
    parts = list(Decoding(None, SOURCE).portions(mixed))
    assert [m for part in parts for m in part] == mixed
    assert all(part for part in parts)
    held = [sum(len(m.value or b"") for m in part if m.topic == "points") for part in parts]
    assert len(parts) > 2
    assert max(held) <= 1_000
    assert list(Decoding(None, NOWHERE).portions(mixed)) == [mixed]
    assert list(Decoding(None, SOURCE).portions([])) == []
    huge = [sent("points", n, points(gauge("m", [1.0] * 200))) for n in range(2)]
    assert list(Decoding(None, SOURCE).portions(huge)) == [huge[:1], huge[1:]]
    archive = archive_in(tmp_path)
    archive.take(*mixed)
    assert [r["value_number"] for r in rows(archive) if r["event_type"] == "METRIC"] == [
        float(n) for n in range(9)
    ]


def test_topics_of_spans_are_no_source() -> None:
    """Their traces are archived as workers publish them."""
    with pytest.raises(AssertionError, match="with their traces"):
        OtlpEvents(OtlpSource({"otlp_spans": SPANS}), None)


def test_a_disk_that_is_full_between_portions_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader gives all records again: those before are passed over, garbage counts once."""
    monkeypatch.setattr(decoding, "REQUEST_BYTES_MAX", 1)
    archive = archive_in(tmp_path)
    read = [sent("points", n, points(gauge(values=(float(n), float(n))))) for n in range(4)]
    read[1] = sent("points", 1, b"{garbage}")
    taken: list[Message] = []
    take = Archive._take_alike

    def full(self: Archive, places: Sequence[Sequence[Message]]) -> None:
        if len(taken) == 2:
            raise OSError("no room")
        taken.extend(places[0])
        take(self, places)

    with monkeypatch.context() as patch:
        patch.setattr(Archive, "_take_alike", full)
        with pytest.raises(OSError, match="no room"):
            archive.take(*read)
    archive.take(*read)
    assert [row["value_number"] for row in rows(archive)] == [0.0, 0.0, 2.0, 2.0, 3.0, 3.0]
    assert archive.unreadable == {"points": 1}
