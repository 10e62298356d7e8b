"""Rules and dashboards name metrics that there are, with the labels that they have."""

import json
import re
from collections.abc import Iterator

import pytest
import yaml

from streams.console.metrics import CONSOLE_CATALOGUE
from streams.monitoring.collector_metrics import COLLECTOR_CATALOGUE
from streams.monitoring.metrics import CATALOGUE, Entry
from streams.monitoring.notify_metrics import NOTIFY_CATALOGUE
from tests.tidy.repository import ROOT

ENTRIES: dict[str, Entry] = {
    **CATALOGUE,
    **NOTIFY_CATALOGUE,
    **CONSOLE_CATALOGUE,
    **COLLECTOR_CATALOGUE,
}
SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "summary": ("_count", "_sum"),
    "histogram": ("_bucket", "_count", "_sum"),
}
SAMPLES = {
    name + suffix: (entry, suffix)
    for name, entry in ENTRIES.items()
    for suffix in SUFFIXES[entry.kind]
}
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
BOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))
OF_THE_SCRAPER = {"instance", "job"}


def expressions() -> Iterator[tuple[str, str]]:
    """Yield (where, expression) of all rules and panels."""
    for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    for board in BOARDS:
        for panel in json.loads(board.read_text("utf-8"))["panels"]:
            for target in panel["targets"]:
                yield f"{board.stem}: {panel['title']}", target["expr"]


@pytest.mark.parametrize(("where", "expression"), list(expressions()), ids=lambda v: v[:40])
def test_an_expression_names_what_there_is(where: str, expression: str) -> None:
    """Each metric by the name of its samples, and each label that it is asked for."""
    names = re.findall(r"\bspanloom_[a-z_]+", expression)
    assert names or re.search(r"\bprocess_|\bup\{", expression), where
    assert [name for name in names if name not in SAMPLES] == []
    for name, selector in re.findall(r"\b(spanloom_[a-z_]+)\{([^}]*)\}", expression):
        entry, _ = SAMPLES[name]
        labels = set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", selector))
        assert labels <= {*entry.labels, *OF_THE_SCRAPER}, where


def test_a_rule_says_what_is_so_and_what_to_do() -> None:
    """Each has a name of its own, a severity, a summary and an action."""
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical"), rule["alert"]
        assert set(rule["annotations"]) == {"summary", "action"}, rule["alert"]


@pytest.mark.parametrize("board", BOARDS, ids=lambda p: p.stem)
def test_a_dashboard_is_whole(board: object) -> None:
    """Panels have ids, titles, words and a data source that whoever imports it chooses."""
    found = json.loads(board.read_text("utf-8"))  # type: ignore[attr-defined]
    panels = found["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["title"] and panel["description"] for panel in panels)
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}
    assert [one["name"] for one in found["templating"]["list"]] == ["datasource", "instance"]
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
