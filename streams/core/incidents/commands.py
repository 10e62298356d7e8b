"""What people may order: read strictly, answered always, carried out once.

Owns the shape of a command and the words of a refusal. Invariant: every command yields exactly one
answer, whatever its bytes; a command id is carried out once, and answered whenever it comes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from streams.core.incidents.silences import matcher_fault
from streams.units import HOUR_US, is_unicode

ACK, RESOLVE, MERGE, SILENCE, UNSILENCE = "ack", "resolve", "merge", "silence", "unsilence"
COMMANDS: Final = (ACK, RESOLVE, MERGE, SILENCE, UNSILENCE)
TEXT_MAX: Final = 1_024
SILENCE_DAYS_MAX: Final = 90
"""A quarter of a year: what is silenced for longer is forgotten, and hides what comes later. A rule
that nobody wants is changed where it stands."""
CLOCKS_US: Final = HOUR_US
"""So far the clock of who orders may be from the worker's."""
_TEXTS: Final = ("command", "command_id", "actor", "reason", "incident_id", "into", "silence_id")
_FIELDS: Final = frozenset({*_TEXTS, "matcher", "until_us", "at_us"})


@dataclass(frozen=True, slots=True)
class Command:
    """One order of a person.

    Attributes:
        command: one of `COMMANDS`.
        command_id: given by who sends it; it is carried out once.
        actor, reason: who, and why.
        incident_id: the incident that it is about; of a silence, all alerts of it.
        into: the incident that a merge leads into.
        silence_id: the silence that `unsilence` ends: the id of the command that made it.
        matcher: of a silence; see `Silence`.
        until_us: when a silence ends, wall time.
        at_us: when the order was given, wall time.
        fault: why it cannot even be tried; "" when it can.
    """

    command: str
    command_id: str
    actor: str
    reason: str
    at_us: int
    incident_id: str = ""
    into: str = ""
    silence_id: str = ""
    matcher: Mapping[str, str] | None = None
    until_us: int = 0
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a command.

    Attributes:
        command: the order.
        refused: why it was not carried out; "" when it was.
        incident_id, version: the event that it caused; version 0 when it caused none.
        at_us: when it was answered, wall time.
        first_us: when its id was first answered, of one that was sent again; 0 for the first time.
        alerts_hidden: of a silence, how many alerts of open incidents that fire it hides now: none
            may be a slip of the pen.
    """

    command: Command
    refused: str
    incident_id: str
    version: int
    at_us: int
    first_us: int = 0
    alerts_hidden: int | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """What is remembered of a command by its id, so that it counts once.

    Attributes:
        at_us: when it was answered, wall time.
        order: what tells it from other commands: see `identity`; "" where an earlier version kept
            no more than the time.
        whose: its actor and command, for who uses its id again.
        refused, incident_id, version: of its answer.
    """

    at_us: int
    order: str = ""
    whose: str = ""
    refused: str = ""
    incident_id: str = ""
    version: int = 0


def identity(command: Command) -> str:
    """Return what makes a command the same order when it is sent again: who wants what.

    When it was given, and until when a silence lasts, differ: a length is counted from then.
    """
    matcher = sorted((command.matcher or {}).items())
    named = (command.command, command.actor, command.incident_id, command.into)
    text = json.dumps([*named, command.silence_id, matcher])
    return blake2b(text.encode(), digest_size=8).hexdigest()


def read_command(value: bytes | None) -> dict[str, Any]:
    """Return the JSON object of a command's record; what cannot be read says why.

    The result is what `Command` is made from by `parse_command`: a plain record, so that commands
    and alerts come to the task alike.
    """
    if value is None:
        return {"command": "", "fault": "the record has no value"}
    try:
        found = json.loads(value)
    except (ValueError, RecursionError) as error:
        return {"command": "", "fault": f"not JSON: {error}"[:200]}
    if not isinstance(found, dict):
        return {"command": "", "fault": "not a JSON object"}
    if "fault" in found:  # ours to say, of whatever length and letters
        return {"command": "", "fault": _unknown("fault")}
    return {"command": "", **found}


def parse_command(record: Mapping[str, Any], now_us: int) -> Command:
    """Return a command from its record; one that is wrong has a `fault` and whatever is readable.

    Args:
        record: what `read_command` returned.
        now_us: wall time, for a command that does not say when it was given, and for how long a
            silence lasts.
    """
    texts = {name: record.get(name, "") for name in _TEXTS}
    fault = record.get("fault", "") or _fault(record) or _endless(record, now_us)
    readable = {k: _written(v) if isinstance(v, str) else "" for k, v in texts.items()}
    matcher, until_us, at_us = (record.get(n) for n in ("matcher", "until_us", "at_us"))
    return Command(
        **readable,
        matcher=dict(matcher) if isinstance(matcher, dict) and not fault else None,
        until_us=until_us if _is_time(until_us) else 0,  # type: ignore[arg-type]
        at_us=at_us if _is_time(at_us) else now_us,  # type: ignore[arg-type]
        fault=str(fault),
    )


def _fault(record: Mapping[str, Any]) -> str:
    name = record.get("command")
    if name not in COMMANDS:
        return f"no such command: {str(name)[:64]!r}; known: {', '.join(COMMANDS)}"
    unknown = sorted(str(key)[:64] for key in record if key not in _FIELDS)
    if unknown:
        return _unknown(unknown[0])
    for key in _TEXTS:
        value = record.get(key, "")
        if not isinstance(value, str) or len(value) > TEXT_MAX:
            return f"{key} must be a text of at most {TEXT_MAX} characters"
        if not is_unicode(value):
            return f"{key} is no valid Unicode: it holds half of a surrogate pair"
    for key in ("command_id", "actor", "reason"):
        if not record.get(key, "").strip():
            return f"{key} is missing"
    for key in ("at_us", "until_us"):
        if key in record and not _is_time(record[key]):
            return f"{key} must be a whole number of microseconds since 1970"
    return _fault_of(str(name), record)


def _fault_of(name: str, record: Mapping[str, Any]) -> str:
    if name in (ACK, RESOLVE, MERGE) and not record.get("incident_id"):
        return "incident_id is missing"
    if name == MERGE and not record.get("into"):
        return "into is missing: the incident that takes the other one over"
    if name == SILENCE:
        if "until_us" not in record:
            return "until_us is missing: a silence must end"
        if not record.get("incident_id") or "matcher" in record:
            return matcher_fault(record.get("matcher"))
    if name == UNSILENCE:
        named = [key for key in ("silence_id", "incident_id", "matcher") if record.get(key)]
        if len(named) != 1:
            return "unsilence needs one of silence_id, incident_id, matcher"
        if named == ["matcher"]:
            return matcher_fault(record["matcher"])
    return ""


def _endless(record: Mapping[str, Any], now_us: int) -> str:
    longest_us = SILENCE_DAYS_MAX * 24 * HOUR_US + CLOCKS_US
    if record["command"] == SILENCE and record["until_us"] > now_us + longest_us:
        return f"until_us: a silence lasts at most {SILENCE_DAYS_MAX} days"
    return ""


def _unknown(field: str) -> str:
    return f"unknown field {field!r}; known: {', '.join(sorted(_FIELDS))}"


def _written(text: str) -> str:
    """Return what of a text can be kept: so long, and what is no character as a question mark."""
    return text[:TEXT_MAX].encode("utf-8", "replace").decode()


def _is_time(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 62
