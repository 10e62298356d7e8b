"""Orders over the interface: the shape that the worker reads, and who gives them."""

import time
from pathlib import Path
from typing import Any

import pytest

from streams.console.ordering import given
from streams.console.times import iso
from streams.core.incidents.commands import Answer, parse_command
from streams.engine.audit import audit_event
from streams.errors import BrokerError, StateError
from streams.units import HOUR_US
from tests.unit.console.asking import asked
from tests.unit.console.at_hand import TELEMETRY, message

ID = "c" * 32
TOMORROW_US = time.time_ns() // 1_000 + 24 * HOUR_US
PATH = f"/api/v1/incidents/{ID}/commands"


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"command": "ack"}, {"incident_id": ID}),
        ({"command": "resolve"}, {"incident_id": ID}),
        ({"command": "merge", "into": "d" * 32}, {"into": "d" * 32}),
        (
            {"command": "silence", "until": iso(TOMORROW_US)},
            {"until_us": TOMORROW_US},
        ),
        ({"command": "unsilence"}, {"incident_id": ID}),
        ({"command": "unsilence", "silence_id": "5d"}, {"silence_id": "5d"}),
    ],
)
def test_an_order_is_what_the_worker_reads(
    tmp_path: Path, fields: dict[str, Any], wanted: dict[str, Any]
) -> None:
    """202 with the id; who is logged in gives it, and it is written down before."""
    with asked(tmp_path) as console:
        answer = console.ask(PATH, "POST", "operator", json={"reason": "tried", **fields})
        assert answer.status_code == 202, answer.text
        (order,) = console.ordered
        assert answer.json() == {"command_id": order["command_id"]}
        assert parse_command(order, order["at_us"]).fault == ""
        assert order["actor"] == "operator@example.org"
        assert wanted.items() <= order.items()
        line, after = [one for one in console.written() if one["event"] == "order"]
        assert (line["outcome"], line["order"]["command"]) == ("asked", fields["command"])
        assert line["actor"] == after["actor"] == "operator@example.org"
        assert (after["outcome"], after["answer"]) == ("taken", answer.json())
        assert line["order_id"] == after["order_id"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"command": "explode"}, "command:"),
        ({"command": "ack", "reason": ""}, "reason:"),
        ({"command": "ack", "reason": " \n "}, "reason is missing"),
        ({"command": "silence", "until": "9999-01-01"}, "until: a silence lasts at most 90 days"),
        ({"command": "merge"}, "into is missing"),
        ({"command": "ack", "into": "d"}, "into: not of the command ack"),
        ({"command": "silence"}, "until is missing"),
        ({"command": "silence", "until": "soon"}, "until: 'soon' is no time"),
        ({"command": "ack", "actor": "mallory"}, "actor: leave it out"),
        ({"command": "ack", "more": 1}, "more:"),
    ],
)
def test_a_wrong_order_is_told_what_is_wrong(
    tmp_path: Path, fields: dict[str, Any], words: str
) -> None:
    """400, and nothing is sent."""
    with asked(tmp_path) as console:
        answer = console.ask(PATH, "POST", "operator", json={"reason": "tried", **fields})
        assert answer.status_code == 400
        assert answer.json()["error"].startswith(words)
        assert console.ordered == []


def test_while_nobody_logs_in_an_order_may_say_who(tmp_path: Path) -> None:
    """Or it is the console's."""
    with asked(tmp_path, auth="none") as console:
        for actor in ({"actor": "alice"}, {}):
            console.ask(PATH, "POST", json={"command": "ack", "reason": "r", **actor})
        assert [order["actor"] for order in console.ordered] == ["alice", "console"]


@pytest.mark.parametrize("actor", ["", "  "])
def test_nobody_is_no_actor(tmp_path: Path, actor: str) -> None:
    """400: who leaves the actor out is the console."""
    with asked(tmp_path, auth="none") as console:
        order = {"command": "ack", "reason": "r", "actor": actor}
        answer = console.ask(PATH, "POST", json=order)
        assert (answer.status_code, answer.json()["error"]) == (400, "actor is missing")
        assert console.ordered == []


def test_an_order_that_cannot_be_written_down_is_not_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: 503, and no order; nobody logs in either."""
    with asked(tmp_path) as console:

        def full(*_: Any) -> None:
            raise StateError("no room")

        monkeypatch.setattr(console.access.log, "_append", full)
        answer = console.ask(PATH, "POST", "operator", json={"command": "ack", "reason": "r"})
        assert answer.status_code == 503
        assert console.ordered == []
        form = {"key": console.tokens["viewer"]}
        entered = console.ask("/login", "POST", data=form, headers={"Sec-Fetch-Site": "none"})
        assert entered.status_code == 503
        assert "set-cookie" not in entered.headers


def test_what_became_of_an_order_is_written_down(tmp_path: Path) -> None:
    """Refused for what is wrong with it, absent of no record, failed for a broker that is away."""
    with asked(tmp_path) as console:
        order = {"command": "ack", "reason": "r", "into": "d"}
        assert console.ask(PATH, "POST", "operator", json=order).status_code == 400
        none = {"topic": "t", "partition": 0, "offset": 0, "reason": "r"}
        path = "/api/v1/rejected/redrive"
        assert console.ask(path, "POST", "operator", json=none).status_code == 404

        def away() -> None:
            raise BrokerError("nobody answers. Operator action: none.")

        with pytest.raises(BrokerError):
            given(console.access.log, away, {"command": "ack"}, actor="kim")
        told = [one for one in console.written() if one["event"] == "order"]
        ends = ["refused", "absent", "failed"]
        assert [one["outcome"] for one in told] == [one for end in ends for one in ("asked", end)]
        assert told[1]["error"] == "into: not of the command ack"
        assert told[5]["error"].startswith("nobody answers")
        assert console.access.log.events["order", "refused"] == 1


def test_an_order_that_was_given_stands_though_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """202: what became of it is missing in the book, and counted as missing."""
    with asked(tmp_path) as console:
        log, whole = console.access.log, console.access.log._append

        def full(event: Any, outcome: str, fields: dict[str, Any]) -> None:
            if outcome == "taken":
                raise StateError("no room")
            whole(event, outcome, fields)

        monkeypatch.setattr(log, "_append", full)
        answer = console.ask(PATH, "POST", "operator", json={"command": "ack", "reason": "r"})
        assert (answer.status_code, len(console.ordered)) == (202, 1)
        assert log.unwritten["disk"] == 1


def test_an_id_stands_for_one_order(tmp_path: Path) -> None:
    """Sent again it is taken again; by somebody else, or for something else, it is refused."""
    with asked(tmp_path) as console:
        admin = console.new_key("admin")
        order = {"command": "ack", "reason": "r", "command_id": "mine"}
        console.clock.now += 60  # the keys are read again
        for _ in range(2):
            assert console.ask(PATH, "POST", "operator", json=order).status_code == 202
        for who, other in (
            (admin, order),
            ("operator", order | {"command": "resolve"}),
            ("operator", order | {"reason": "another one"}),
        ):
            answer = console.ask(PATH, "POST", who, json=other)
            assert answer.status_code == 409
            words = "command_id: it stands for another order already, ack by operator@example.org"
            assert answer.json()["error"].startswith(words)
        assert {one["actor"] for one in console.ordered} == {"operator@example.org"}


def test_an_id_that_was_answered_before_the_console_began(tmp_path: Path) -> None:
    """The archive knows whose it is; who sends the same order again may."""
    with asked(tmp_path) as console:
        at_us = time.time_ns() // 1_000
        before = {"command": "ack", "command_id": "old", "actor": "kim", "reason": "r"}
        command = parse_command(before | {"incident_id": ID, "at_us": at_us}, at_us)
        entry = audit_event(Answer(command, "", ID, 2, at_us), 0)
        console.interface.queries._archive.take(message(TELEMETRY, 0, entry))
        order = {"command": "ack", "reason": "r", "command_id": "old"}
        answer = console.ask(PATH, "POST", "operator", json=order)
        assert (answer.status_code, console.ordered) == (409, [])
        assert "ack by kim" in answer.json()["error"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("the demonstration is over\n", "no orders are taken: the demonstration is over"),
        ("", "no orders are taken: whoever runs this console has closed them"),
    ],
)
def test_while_orders_are_closed_none_is_taken(tmp_path: Path, words: str, said: str) -> None:
    """503 with the reason that the file has, nothing is written down or given; then they are."""
    file = tmp_path / "closed"
    file.write_text(words)
    with asked(tmp_path, orders_closed_file=file) as console:
        order = {"command": "ack", "reason": "r"}
        answer = console.ask(PATH, "POST", "operator", json=order)
        assert (answer.status_code, answer.json()["error"]) == (503, said)
        assert console.ordered == []
        assert "order" not in [one["event"] for one in console.written()]
        assert console.meters.refused["orders_closed"] == 1
        erasure = {"pseudonym": "~ps:k1:" + "0" * 26, "reason": "r"}
        assert console.ask(
            "/api/v1/privacy/erasures", "POST", "personal", json=erasure
        ).status_code in (202, 400), "the console erases by itself"
        file.unlink()
        assert console.ask(PATH, "POST", "operator", json=order).status_code == 202
