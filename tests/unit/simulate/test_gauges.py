"""What modules say of themselves."""

import re
from itertools import pairwise
from random import Random
from typing import Any

from streams.simulate.gauges import METRICS, metrics_of, render_second
from streams.simulate.layout import read_layout
from streams.simulate.walk import Unit
from tests.unit.simulate.oracle_recount import SEED_CONTRACT, START_US
from tests.unit.simulate.test_layout import small_contract

LAYOUT = read_layout(SEED_CONTRACT)
NAME = re.compile(r"pipeline\.([a-z]+)\.([a-z_]+)\.(counter|gauge|histogram)\.[a-z_]+")


def second(number: int) -> list[dict[str, Any]]:
    unit = Unit(START_US, Random(number), Random(1), Random(1))
    return [draft.event for draft in render_second(LAYOUT, unit, number)]


def test_metric_names_follow_the_convention() -> None:
    """Each name says pipeline, module, component and type, and they are the event's own."""
    for event in second(0):
        if event["event_type"] == "METRIC":
            match = NAME.fullmatch(event["name"])
            assert match is not None
            assert match.groups()[:2] == (event["module"].lower(), event["component"])


def test_every_module_reports_every_second() -> None:
    """All six modules are heard, each within its second and outside any trace."""
    for number in (0, 1):
        events = second(number)
        assert {event["module"] for event in events} == set(SEED_CONTRACT.modules) == set(METRICS)
        assert all(event["trace_id"] == "" for event in events)
        assert all(START_US <= event["timestamp"] < START_US + 1_000_000 for event in events)


def test_counters_never_go_back() -> None:
    """A counter's value does not fall from one second to the next."""
    totals = [
        {e["name"]: e["value"] for e in second(number) if ".counter." in e["name"]}
        for number in range(20)
    ]
    for before, after in pairwise(totals):
        assert all(before[name] <= after[name] for name in before)


def test_an_unknown_module_still_reports() -> None:
    """A module that the table does not know has one metric a component."""
    layout = read_layout(small_contract())
    assert [metric.component for metric in metrics_of(layout, "B")] == ["side", "second", "third"]
