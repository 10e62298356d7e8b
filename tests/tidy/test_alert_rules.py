"""The alert rules of the workers, in the nights that they are for, as Prometheus judges them."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tidy.test_deploy import RULES, SAMPLES

PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool: it comes with Prometheus")
def test_the_rules_wake_somebody_when_they_should() -> None:
    """A worker that ends itself is told of, though nothing of it is there to be scraped."""
    assert PROMTOOL is not None
    told = subprocess.run(
        [PROMTOOL, "test", "rules", "rules-test.yaml"],
        cwd=RULES.parent,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert told.returncode == 0, told.stdout + told.stderr


BIRTH_MINUTE = 20
COUNTED = re.compile(r"increase\((spanloom_\w+)(?:\{([^}]*)\})?\[(\d+)m\]\)", re.DOTALL)


def night_of(rule: dict[str, Any]) -> dict[str, Any] | None:
    """Return a night for a rule that counts: its counter is born with 100, and grows no more.

    Counters by reason come with the first event of that reason, and what a start finds was counted
    before the first scrape: for Prometheus neither of them has increased.
    """
    found = COUNTED.search(rule["expr"])
    if found is None:
        return None
    name, selector, minutes = found[1], found[2] or "", int(found[3])
    asked = dict(re.findall(r'(\w+)=~?\s*"([^"]*)"', selector))
    labels = {one: asked.get(one, "x").split("|")[0].replace(".*", "full") for one in
              (*SAMPLES[name][0].labels, "instance")}  # fmt: skip
    series = ", ".join(f'{label}="{value}"' for label, value in labels.items())
    firing = f'count(ALERTS{{alertname="{rule["alert"]}", alertstate="firing"}})'
    return {
        "name": rule["alert"],
        "interval": "1m",
        "input_series": [
            {"series": f"{name}{{{series}}}", "values": f"_x{BIRTH_MINUTE} 100x{2 * minutes}"}
        ],
        "promql_expr_test": [
            {"expr": firing, "eval_time": f"{BIRTH_MINUTE - 1}m"},
            {
                "expr": firing,
                "eval_time": f"{BIRTH_MINUTE + 3}m",
                "exp_samples": [{"labels": "{}", "value": 1}],
            },
            {"expr": firing, "eval_time": f"{BIRTH_MINUTE + minutes + 2}m"},
        ],
    }


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool: it comes with Prometheus")
def test_what_was_counted_before_the_first_scrape_wakes_somebody(tmp_path: Path) -> None:
    """A counter that is born with a value is an increase, once, for each rule that counts."""
    assert PROMTOOL is not None
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    nights = [night_of(rule) for group in groups for rule in group["rules"]]
    tests = [night for night in nights if night is not None]
    assert len(tests) == sum("increase(" in r["expr"] for g in groups for r in g["rules"]) > 5
    path = tmp_path / "nights.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": tests}), "utf-8")
    told = subprocess.run(
        [PROMTOOL, "test", "rules", path],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert told.returncode == 0, told.stdout + told.stderr


BORN_OR_GROWN = re.compile(
    r"\(\s*\((?P<now>spanloom_\w+(?:\{[^}]*\})?)\s+"
    r"unless last_over_time\((?P<before>[^\[]+)\[1d\] offset (?P<offset>\d+m)\)\)\s+"
    r"or increase\((?P<grown>[^\[]+)\[(?P<window>\d+m)\]\)\s*\)"
)


def test_a_rule_that_counts_asks_one_counter_three_times() -> None:
    """One selector and one window; what was there before is asked past scrapes that failed."""
    rules = [
        r for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for r in group["rules"]
    ]
    counting = [rule for rule in rules if re.search(r"increase\(|\boffset\b", rule["expr"])]
    assert len(counting) > 5
    for rule in counting:
        found = BORN_OR_GROWN.search(rule["expr"])
        assert found is not None, rule["alert"]
        assert found["now"] == found["before"] == found["grown"], rule["alert"]
        assert found["offset"] == found["window"], rule["alert"]
        rest = BORN_OR_GROWN.sub("", rule["expr"])
        assert re.search(r"increase\(|\boffset\b", rest) is None, rule["alert"]
