"""docs/notify.md keeps up with the file of targets, and its examples are such files."""

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from streams.contract import notify
from streams.contract.loader import load_notify
from streams.notify.rules.outbox import Dropped
from tests.docs.pages import blocks, rows, text_of

PAGE = text_of("docs/notify.md")
PARTS: list[type[BaseModel]] = [notify.Notify, notify.Target, notify.Filters]


@pytest.mark.parametrize("part", PARTS)
def test_every_key_is_explained_with_its_default(part: type[BaseModel]) -> None:
    """A row for each key; what has a default shows it."""
    listed = {cells[0].strip("`"): cells for cells in rows("docs/notify.md")}
    for name, info in part.model_fields.items():
        assert name in listed
        default = {} if info.default_factory is dict else info.default
        if default is not PydanticUndefined and not isinstance(default, BaseModel):
            shown = f"{default:g}" if isinstance(default, int | float) else str(default)
            shown = str(default) if isinstance(default, bool) else shown
            assert listed[name][1].strip("`") == (shown or '""'), name


def test_no_key_in_a_table_is_unknown() -> None:
    """The first column names keys and reasons only."""
    known = {name for part in PARTS for name in part.model_fields}
    reasons = {*get_args(Dropped), "unreadable", "lost_to_retention"}
    named = {cells[0].strip("`") for cells in rows("docs/notify.md")}
    assert named - known == reasons


def test_the_keys_of_secrets_and_signatures_are_explained() -> None:
    """They stand in the text."""
    for part in (notify.Secret, notify.Value, notify.SigningKey):
        assert [key for key in part.model_fields if f"`{key}`" not in PAGE
                and not re.search(rf"\b{key}: ", PAGE)] == []  # fmt: skip


def test_every_example_is_a_file_of_targets(tmp_path: Path) -> None:
    """What a reader copies loads; the route is Alertmanager's own."""
    shown = [b.text for b in blocks() if b.page == "docs/notify.md" and b.language == "yaml"]
    examples = [text for text in shown if "targets:" in text]
    assert len(examples) == len(shown) - 1 == 4
    for text in examples:
        path = tmp_path / "notify.yaml"
        path.write_text(text, encoding="utf-8")
        assert load_notify(path).targets
