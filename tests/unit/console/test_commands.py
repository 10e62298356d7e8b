"""Orders over the interface: the shape that the worker reads, and who gives them."""

import time
from pathlib import Path
from typing import Any

import pytest

from streams.console.times import iso
from streams.core.incidents.commands import parse_command
from streams.errors import StateError
from streams.units import HOUR_US
from tests.unit.console.asking import asked

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
        (line,) = [one for one in console.written() if one["event"] == "order"]
        assert line["order"]["command"] == fields["command"]
        assert line["actor"] == "operator@example.org"


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
