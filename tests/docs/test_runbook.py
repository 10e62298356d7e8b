"""The runbook at 3 a.m.: what wakes somebody and what the log says is in it, and nothing waits."""

import ast
import re
from collections.abc import Iterator

import pytest
import yaml

from tests.docs.pages import ROOT, commands, text_of
from tests.tidy.test_deploy import RULES

TOLD = ("warning", "error", "exception")
OF_OTHERS = "streams/sdk/"
"""Writes sentences into the log of the program that it rides in."""
OF_TESTS = {"crash_point_armed"}


def rules() -> list[dict[str, object]]:
    """Return the alert rules."""
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def troubles() -> Iterator[str]:
    """Yield the events that a log tells as a warning or worse."""
    for path in sorted((ROOT / "streams").rglob("*.py")):
        if OF_OTHERS in path.as_posix():
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in TOLD
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id in ("log", "_log")
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                yield str(node.args[0].value)


def test_every_alert_is_in_the_runbook() -> None:
    """Whoever is woken searches for the name: there is one row for each, and none for others."""
    listed = re.findall(r"^\| `(Spanloom\w+)` \|", text_of("docs/runbook.md"), re.MULTILINE)
    assert listed == [rule["alert"] for rule in rules()]


def test_every_trouble_that_the_log_tells_is_explained() -> None:
    """Each event of a warning or worse stands in a page, the runbook first of all."""
    pages = "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "docs").glob("*.md")))
    told = set(troubles()) - OF_TESTS
    assert len(told) > 40
    assert sorted(event for event in told if f"`{event}`" not in pages) == []


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_a_rule_names_a_place_that_there_is(rule: dict[str, dict[str, str]]) -> None:
    """A page, and in it a heading or a word."""
    for page, place in re.findall(
        r"docs/([\w-]+\.md)(?:, ([^.,;]+(?:\.m\.)?))?", rule["annotations"]["action"]
    ):
        assert place in text_of(f"docs/{page}"), (page, place)


def test_a_first_look_waits_for_nothing() -> None:
    """A tail in the runbook shows what there is and ends; one that waits shows an empty screen."""
    tails = [
        words
        for page, words in commands()
        if page == "docs/runbook.md"
        if words[0] == "tail" and len(words) > 1
    ]
    assert len(tails) > 2
    assert [words for words in tails if "--no-follow" not in words] == []
