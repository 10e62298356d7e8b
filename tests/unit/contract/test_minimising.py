"""What fields are good for: what the engine reads, what the contract names, what was asked."""

import json
from pathlib import Path

import pytest

from streams.cli.contract_minimise import asked_for, view
from streams.codec.records import encode_body
from streams.codec.schemas import default_schemas
from streams.contract.loader import load_contract
from streams.contract.minimising import ENGINE, Sizes, uses
from streams.core.privacy.treatments import DIMENSION, PERSONAL_FIELDS, STRUCTURE
from streams.errors import ConfigError
from streams.runtime.field_sizes import add
from tests.unit.codec.codec_cases import event


def sizes_of(*events: dict[str, object]) -> Sizes:
    sizes = Sizes()
    for one in events:
        add(sizes, one)
    return sizes


def test_every_field_of_an_event_has_readers() -> None:
    """What the schema has is there because something reads it; dimensions are free."""
    own = {name for name in ENGINE if not name.startswith(DIMENSION)}
    assert own == {*PERSONAL_FIELDS, *STRUCTURE}


def test_what_helps_nobody_comes_first() -> None:
    """A dimension that no rule names is idle until somebody asks for it."""
    sizes = sizes_of(*[event(dimensions={"tier": "gold", "user_id": "u" * 90, "zip": "1"})] * 3)
    found = uses(load_contract("seed"), sizes, {}, ("tier",))
    assert [use.field for use in found if not use.helped] == [
        "dimensions.user_id", "dimensions.zip"
    ]  # fmt: skip
    first = found[0]
    assert (first.events, first.field_class, first.used_by) == (3, "PII", ())
    assert first.share == pytest.approx(first.size_bytes / sizes.size_bytes)
    tier = next(use for use in found if use.field == "dimensions.tier")
    assert "signals" in tier.used_by
    asked = uses(load_contract("seed"), sizes, {"dimensions.zip": 2}, ("tier",))
    assert [use.field for use in asked if not use.helped] == ["dimensions.user_id"]
    told = view(found, sizes, is_cut=False)
    idle = [one["share"] for one in told["fields"] if not one["helped"]]
    assert told["never_helped_share"] == pytest.approx(sum(idle))


def test_bytes_are_those_of_the_wire() -> None:
    """Fields that have a value take all bytes but one for each that has none."""
    one = event(dimensions={"tier": "gold"})
    sizes = sizes_of(one)
    body = encode_body(default_schemas().current("telemetry_event"), one)
    empty = sum(value in ("", [], 0) for value in one.values())
    of_the_map = 2  # its count, and its end
    assert sizes.size_bytes + empty + of_the_map == len(body)


def test_who_was_asked_for(tmp_path: Path) -> None:
    """Of the book of access, from a moment on; a folder without one is refused."""
    lines = [
        {"at": f"2026-01-0{day}T00:00:00Z", "event": event_name, "outcome": "personal", **more}
        for day, event_name, more in (
            (1, "question", {"field": "actor"}),
            (2, "question", {"field": "actor"}),
            (2, "login", {"actor": "kim"}),
        )
    ]
    file = tmp_path / "access-2026-01-01.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    assert asked_for(tmp_path, "")["actor"] == 2
    assert asked_for(tmp_path, "2026-01-02T00:00:00Z")["actor"] == 1
    with pytest.raises(ConfigError, match="ARCHIVE/access"):
        asked_for(tmp_path / "none", "")
