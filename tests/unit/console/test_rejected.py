"""Rejected records over the interface: found, shown, and driven again once."""

import base64
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.codec.records import encode
from streams.console.paths.rejected import HEADER, Redrive, Whole, redrive
from streams.console.redriven import FILE, Origin, Redriven
from streams.console.times import iso
from streams.errors import BrokerError, RightError, StateError
from streams.runtime import topics
from streams.runtime.reading import Message
from tests.unit.console.asking import Asked, asked
from tests.unit.console.at_hand import SECOND, T0_US

DAY = "start=2025-10-09T00:00:00Z&end=2025-10-10T00:00:00Z"
TOPIC = "telemetry.beta.v1"
ORIGIN = Origin(TOPIC, 2, 7)


def rejected(**fields: Any) -> dict[str, Any]:
    """Return a rejected record."""
    value = fields.pop("value", b"\xff\x00bytes")
    return {
        "reason": "bad_time", "detail": "in the future", "topic": TOPIC, "partition": 2,
        "offset": 7, "timestamp": T0_US, "key": b"key", "value": value,
        "value_bytes": len(value),
    } | fields  # fmt: skip


def message(offset: int, record: dict[str, Any]) -> Message:
    value = encode("rejected_event", record)
    return Message(topics.REJECTED, 0, offset, T0_US // 1000, None, value)


@pytest.fixture
def console(tmp_path: Path) -> Iterator[tuple[Asked, list[dict[str, Any]]]]:
    """Yield a console that archived rejected records, and those records."""
    chance = random.Random(4)
    records = [
        rejected(
            reason=chance.choice(("bad_time", "not_avro", "too_large")),
            topic=chance.choice((TOPIC, "telemetry.alpha.v1")),
            offset=n,
            timestamp=T0_US + chance.randrange(20) * SECOND,
        )
        for n in range(50)
    ]
    with asked(tmp_path) as one:
        archive = one.interface.queries._archive
        for offset, record in enumerate(records):
            archive.take(message(offset, record))
        yield one, records


@pytest.mark.parametrize("query", ["", "&reason=not_avro", "&topic=telemetry.beta.v1"])
def test_pages_are_what_a_search_finds(
    console: tuple[Asked, list[dict[str, Any]]], query: str
) -> None:
    """Each once, the newest first; the counts are of all pages."""
    one, records = console
    name, _, value = query.removeprefix("&").partition("=")
    wanted = [r for r in records if not name or r[name] == value]
    found, token = [], ""
    while True:
        path = f"/api/v1/rejected?{DAY}&limit=7{query}&continuation_token={token}"
        answer = one.ask(path, key="viewer").json()
        assert answer["by_reason"] == Counter(r["reason"] for r in wanted)
        found += answer["rejected"]
        token = answer["continuation_token"]
        if not token:
            break
    wanted.sort(key=lambda r: (r["timestamp"], r["offset"]), reverse=True)
    shown = ("reason", "topic", "partition", "offset")
    assert [{n: f[n] for n in shown} for f in found] == [{n: r[n] for n in shown} for r in wanted]
    assert [f["timestamp"] for f in found] == [iso(r["timestamp"]) for r in wanted]


def test_one_is_shown_with_its_bytes_to_operators(
    console: tuple[Asked, list[dict[str, Any]]],
) -> None:
    """They are whatever somebody sent."""
    one, records = console
    wanted = records[3]
    path = f"/api/v1/rejected/{wanted['topic']}/2/3"
    answer = one.ask(path, key="operator").json()
    assert base64.b64decode(answer["value_base64"]) == wanted["value"]
    assert base64.b64decode(answer["key_base64"]) == b"key"
    assert (answer["detail"], answer["is_whole"], answer["redriven"]) == ("in the future", True, "")
    assert one.ask(path, key="viewer").status_code == 403
    assert one.ask(f"/api/v1/rejected/{wanted['topic']}/2/999", key="operator").status_code == 404
    for wrong in ("x/3", "2/-1", "2/99999999999999999999", "²/3"):
        answer = one.ask(f"/api/v1/rejected/{wanted['topic']}/{wrong}", key="operator")
        assert answer.status_code == 400


def test_one_is_driven_again_once(console: tuple[Asked, list[dict[str, Any]]]) -> None:
    """Its bytes, to its place, with a header that says so; the second time is refused."""
    one, records = console
    body = {"topic": records[3]["topic"], "partition": 2, "offset": 3}
    path = "/api/v1/rejected/redrive"
    assert one.ask(path, "POST", "viewer", json=body).status_code == 403
    answer = one.ask(path, "POST", "operator", json=body)
    assert (answer.status_code, answer.json()) == (202, body | {"redriven_offset": 71})
    (sent,) = one.sent
    assert (sent.topic, sent.partition, sent.key) == (body["topic"], 2, b"key")
    assert sent.value == records[3]["value"]
    assert sent.headers == [(HEADER, f"{body['topic']}/2/3".encode())]
    again = one.ask(path, "POST", "operator", json=body | {"again": True})
    assert again.status_code == 409
    assert len(one.sent) == 1
    shown = one.ask(f"/api/v1/rejected/{body['topic']}/2/3", key="operator").json()
    assert shown["redriven"] == "done"
    assert one.ask(path, "POST", "operator", json=body | {"offset": 999}).status_code == 404
    told = [line["outcome"] for line in one.written() if line["event"] == "order"]
    assert told == ["asked", "taken", "asked", "refused", "asked", "absent"]


def drive(book: Redriven, send: Any, record: dict[str, Any], **fields: Any) -> dict[str, Any]:
    order = Redrive(topic=TOPIC, partition=2, offset=7, **fields)
    return redrive(order, "alice", record, book, fields.pop("fetch", lambda _: None), send)


def test_a_crash_in_between_is_not_driven_again_by_chance(tmp_path: Path) -> None:
    """Whoever wants it says so; what surely was not sent needs no word."""
    sent: list[Any] = []

    def unknown(record: Any) -> int:
        sent.append(record)
        raise BrokerError("no answer")

    with pytest.raises(BrokerError):
        drive(Redriven(tmp_path), unknown, rejected())
    book = Redriven(tmp_path)  # after a restart
    assert book.state(ORIGIN) == "begun"
    with pytest.raises(Exception, match="may have been driven again"):
        drive(book, lambda _: 1, rejected())
    assert drive(book, lambda _: 9, rejected(), again=True)["redriven_offset"] == 9
    assert Redriven(tmp_path).state(ORIGIN) == "done"


def test_what_may_not_be_written_can_be_tried_again(tmp_path: Path) -> None:
    """A missing right is a clear no."""

    def forbidden(_: Any) -> int:
        raise RightError("no Write")

    book = Redriven(tmp_path)
    with pytest.raises(RightError):
        drive(book, forbidden, rejected())
    assert drive(book, lambda _: 3, rejected())["redriven_offset"] == 3


def test_what_the_archive_cut_is_read_from_its_topic(tmp_path: Path) -> None:
    """All of it, or nothing is sent."""
    cut = rejected(value=b"x" * 10, value_bytes=12)
    order = Redrive(topic=TOPIC, partition=2, offset=7)
    book, sent = Redriven(tmp_path), []

    def send(record: Any) -> int:
        sent.append(record.value)
        return 1

    for gone in (None, b"x" * 11):
        with pytest.raises(Exception, match="does not hold it any more"):
            redrive(order, "a", cut, book, lambda _, gone=gone: gone and Whole(None, gone), send)
    assert sent == []
    assert book.state(ORIGIN) == ""
    redrive(order, "a", cut, book, lambda _: Whole(None, b"x" * 12), send)
    assert sent == [b"x" * 12]


def test_the_book_survives_a_line_that_was_cut_short(tmp_path: Path) -> None:
    """The line is taken out before the next one; a wrong line in the middle is no book of ours."""
    book = Redriven(tmp_path)
    book.note(ORIGIN, "begun")
    book.note(ORIGIN, "done")
    with (tmp_path / FILE).open("a") as file:
        file.write('{"topic": "tele')
    book = Redriven(tmp_path)
    assert book.state(ORIGIN) == "done"
    book.note(ORIGIN._replace(offset=8), "begun")
    again = Redriven(tmp_path)
    assert [again.state(ORIGIN._replace(offset=n)) for n in (7, 8, 9)] == ["done", "begun", ""]
    (tmp_path / FILE).write_text("nonsense\n" + (tmp_path / FILE).read_text())
    with pytest.raises(StateError, match="line 1"):
        Redriven(tmp_path)
    with pytest.raises(StateError, match="SPANLOOM_CONSOLE_ACCESS_LOG_DIR"):
        Redriven(None).note(ORIGIN, "begun")
