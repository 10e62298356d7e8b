"""Commands are read strictly: what is wrong is said, and whatever can be read is kept for audit."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.incidents.commands import TEXT_MAX, parse_command, read_command
from streams.units import HOUR_US

DAY_US = 24 * HOUR_US
ACK = {"command": "ack", "incident_id": "i", "actor": "kim", "reason": "mine", "command_id": "c"}


def fault(**changes: Any) -> str:
    order = {k: v for k, v in (ACK | changes).items() if v is not None}
    return parse_command(read_command(json.dumps(order).encode()), 7).fault


def test_a_whole_command_is_read() -> None:
    """Every field arrives; without a time of its own it was given now."""
    command = parse_command(read_command(json.dumps(ACK).encode()), 7)
    assert (command.command, command.incident_id, command.actor) == ("ack", "i", "kim")
    assert (command.reason, command.command_id, command.at_us) == ("mine", "c", 7)
    assert command.fault == ""


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"command": "delete"}, "no such command: 'delete'"),
        ({"command": None}, "no such command"),
        ({"actor": None}, "actor is missing"),
        ({"reason": ""}, "reason is missing"),
        ({"reason": " \t\n"}, "reason is missing"),
        ({"actor": "  "}, "actor is missing"),
        ({"command_id": None}, "command_id is missing"),
        ({"incident_id": None}, "incident_id is missing"),
        ({"actor": 5}, "actor must be a text"),
        ({"reason": "x" * (TEXT_MAX + 1)}, "reason must be a text"),
        ({"at_us": True}, "at_us must be"),
        ({"at_us": -1}, "at_us must be"),
        ({"colour": "red"}, "unknown field 'colour'"),
        ({"command": "merge"}, "into is missing"),
        ({"command": "silence", "matcher": {"module": "A"}}, "until_us is missing"),
        ({"command": "silence", "until_us": 9, "matcher": {}}, "at least one field"),
        ({"command": "silence", "until_us": 9, "matcher": {"x": "y"}}, "no field 'x'"),
        ({"command": "silence", "until_us": 91 * DAY_US}, "until_us: a silence lasts at most 90"),
        ({"command": "unsilence", "incident_id": None}, "needs one of"),
        ({"command": "unsilence", "silence_id": "s"}, "needs one of"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], word: str) -> None:
    """The fault names the field and what is allowed."""
    assert word in fault(**changes)


def test_what_is_right_has_no_fault() -> None:
    """Each command in its least form."""
    assert fault() == ""
    assert fault(command="resolve") == ""
    assert fault(command="merge", into="j") == ""
    assert fault(command="silence", until_us=9) == ""
    assert fault(command="silence", until_us=90 * DAY_US + 7) == ""
    assert fault(command="silence", until_us=9, incident_id=None, matcher={"module": "A"}) == ""
    assert fault(command="unsilence") == ""
    assert fault(command="unsilence", incident_id=None, silence_id="s") == ""
    assert fault(command="unsilence", incident_id=None, matcher={"kind": "*"}) == ""


@pytest.mark.parametrize("value", [None, b"", b"\xff", b"[1]", b"{", b'"ack"', b"[" * 100_000])
def test_what_is_no_command_is_kept_as_refused(value: bytes | None) -> None:
    """No bytes raise; the fault says what they are not."""
    command = parse_command(read_command(value), 7)
    assert command.fault
    assert command.command == ""


@given(
    st.dictionaries(
        st.text(max_size=12),
        st.recursive(
            st.none() | st.integers() | st.text(),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
            ),
        ),
    )
)
def test_nothing_raises(order: dict[str, Any]) -> None:
    """Whatever a JSON object holds, it becomes a command or a fault."""
    command = parse_command(read_command(json.dumps(order).encode()), 7)
    assert command.fault or command.command
