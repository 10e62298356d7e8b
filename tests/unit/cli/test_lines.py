"""A record on a terminal is one line; as JSON it is one object."""

import json
import math
from pathlib import Path

import pytest

from streams.cli.lines import as_json, as_line, percent
from streams.codec.plain import plain
from streams.codec.records import decode, encode
from streams.codec.schemas import default_schemas, schema_folder
from streams.core.incidents.commands import Answer, Command
from streams.engine.audit import audit_event
from streams.runtime.reading import Message
from streams.state.segment import encode_pieces, scalars_segment
from tests.schema.test_schemas import restored

EXAMPLES = sorted((schema_folder() / "examples").glob("*/*/*.json"))
ESC = "\x1b"


def message(value: bytes | None, topic: str = "some.topic.v1") -> Message:
    return Message(topic, 2, 7, 1_760_000_000_000, b"key", value)


def example(path: Path) -> bytes:
    name = path.parts[-3]
    return encode(name, restored(default_schemas().current(name), json.loads(path.read_text())))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: "-".join(path.parts[-3:]))
def test_every_record_is_one_readable_line_and_one_object(path: Path) -> None:
    """Of each schema's examples; the object names the schema and has all fields."""
    value = example(path)
    line = as_line(message(value)).plain
    assert line.strip()
    assert line.isprintable()
    found = json.loads(as_json(message(value)))
    assert (found["schema"], found["offset"], found["key"]) == (path.parts[-3], 7, "key")
    assert set(found["record"]) == set(decode(value))


def test_a_record_cannot_steer_the_terminal() -> None:
    """Control characters in a name are written out."""
    event = decode(example(next(p for p in EXAMPLES if "telemetry_event" in p.parts)))
    line = as_line(message(encode("telemetry_event", {**event, "name": f"{ESC}[2J\n\rgone"})))
    assert "\\x1b[2J\\n\\rgone" in line.plain
    assert line.plain.isprintable()


@pytest.mark.parametrize(
    ("value", "reason"),
    [(None, "empty_value"), (b"\x01junk!", "bad_magic"), (b"{not json", "invalid_json")],
)
def test_what_cannot_be_read_says_why(value: bytes | None, reason: str) -> None:
    """As a line and as an object; nothing is left out of what lies in a topic."""
    assert "unreadable" in as_line(message(value)).plain
    assert reason in as_line(message(value)).plain
    found = json.loads(as_json(message(value)))
    assert (found["schema"], found["record"]["reason"]) == ("unreadable", reason)


def test_an_order_is_shown_with_whose_it_was_and_what_became_of_it() -> None:
    """As an audit entry of the incidents task has it."""
    order = Command("ack", "c1", "kim", "on it", 7, incident_id="0f3a")
    entry = audit_event(Answer(order, "there is no such incident", "0f3a", 0, 9), 0)
    line = as_line(message(encode("telemetry_event", entry))).plain
    assert "by kim on 0f3a refused: there is no such incident, reason: on it" in line


def test_json_is_shown_as_it_is() -> None:
    """A summary topic holds JSON, not Avro."""
    assert '{"complete": true}' in as_line(message(b'{"complete": true}')).plain


def test_a_piece_of_state_says_which_it_is() -> None:
    """The changelog holds bytes of the engine's own; a person sees their place."""
    [piece] = encode_pieces(scalars_segment({"a": 1}), 3, 12)
    line = as_line(message(piece, "spanloom.g.join.state.v1")).plain
    assert "generation=3 number=12 piece=0 pieces=1" in line


def test_json_has_a_word_for_everything() -> None:
    """Bytes become base64, what is no number null."""
    assert plain({"a": [b"\x00\x01", math.nan, 1.5]}) == {"a": ["AAE=", None, 1.5]}


def test_a_loss_never_reads_as_none() -> None:
    """Percentages are cut off, not rounded: only a whole share is 100 %."""
    assert percent(0.999999) == "99.99 %"
    assert percent(1.0) == "100.00 %"
    assert percent(math.nan) == "-"
