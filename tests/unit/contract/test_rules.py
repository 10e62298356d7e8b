"""Rules in the contract: what is refused, with line and fix, and what the rest compiles into."""

from typing import Any

import pytest

from streams.contract.loader import ContractError, parse_contract
from streams.contract.rules import OVER_SECONDS_MAX, compile_signal_rule
from streams.core.signals import rule as core
from streams.core.signals.rule import Condition, Match

HEAD = """version: "1"
name: n
modules:
  A: {owner: a-team}
playbooks: {look: Look there.}
rules:
"""
GOOD = "{id: deep, kind: threshold, match: {module: A}, condition: {value: 1}}"


def rules_of(*rules: str) -> Any:
    return parse_contract(HEAD + "".join(f"  - {rule}\n" for rule in rules)).rules


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        ("{id: a, kind: threshold, match: {module: A}}", "rules[1]", "needs a `condition`"),
        ("{id: a, kind: absence, match: {module: A}, condition: {value: 1}}", "rules[1]",
         "remove `condition`"),
        ("{id: a, kind: rate, match: {}, condition: {op: '~', value: 1}}",
         "rules[1].condition.op", "input should be"),
        ("{id: a, kind: rate, match: {}, condition: {value: 1, band: [0, 1]}}",
         "rules[1].condition", "not both"),
        ("{id: a, kind: rate, match: {}, condition: {band: [2, 1]}}", "rules[1].condition",
         "swap them"),
        ("{id: a, kind: log_pattern, match: {}, condition: {value: 1}}", "rules[1]",
         "set match.type to LOG"),
        ("{id: a, kind: threshold, match: {type: LOG}, stat: mean, condition: {value: 1}}",
         "rules[1]", "use stat count, increase or rate"),
        ("{id: a, kind: anomaly, match: {}, condition: {band: [0, 1]}}", "rules[1]",
         "use op > or >="),
        ("{id: a, kind: threshold, match: {}, new: true, condition: {value: 1}}", "rules[1]",
         "remove it"),
        ("{id: a, kind: rate, match: {severity: WARN}, condition: {value: 1}}", "rules[1]",
         "only LOG has a severity"),
        ("{id: a, kind: rate, match: {modul: A}, condition: {value: 1}}", "rules[1].match.modul",
         "unknown key 'modul'; did you mean 'module'?"),
        ("{id: a, kind: rate, match: {module: B}, condition: {value: 1}}",
         "rules[1].match.module", "unknown module 'B'"),
        ("{id: deep, kind: rate, match: {}, condition: {value: 1}}", "rules[1].id",
         "rule 'deep' is there twice; rename one"),
        ("{id: a, kind: rate, match: {}, condition: {value: 1}, playbook: loook}",
         "rules[1].playbook", "did you mean 'look'?"),
        ("{id: engine.x, kind: rate, match: {}, condition: {value: 1}}", "rules[1].id",
         "string should match pattern"),
        (f"{{id: a, kind: absence, match: {{}}, over_s: {OVER_SECONDS_MAX + 1}}}",
         "rules[1].over_s", "less than or equal to"),
    ],
)  # fmt: skip
def test_a_wrong_rule_is_refused_with_line_and_fix(rule: str, path: str, text: str) -> None:
    """Each mistake names the file's line, the place and what to do."""
    with pytest.raises(ContractError) as caught:
        rules_of(GOOD, rule)
    (problem,) = caught.value.problems
    assert (problem.line, problem.path) == (8, path)
    assert text in problem.text


def test_a_rule_compiles_into_whole_windows_and_patterns() -> None:
    """25 s are three windows of 10 s, `*` is no pattern, the playbook is its text."""
    (rule,) = rules_of(
        "{id: deep, version: '2', kind: threshold, condition: {op: '>=', value: 3}, over_s: 25, "
        "match: {module: A, dimensions: {queue: 'q*'}}, playbook: look, impact: true, by: [queue]}"
    )
    made = compile_signal_rule(rule, 10_000_000, {"look": "Look there."})
    assert made.match == Match("METRIC", (("module", "A"), ("queue", "q*")))
    assert made.condition == Condition(">=", 3.0)
    assert (made.over_us, made.playbook, made.by) == (30_000_000, "Look there.", ("queue",))
    assert (made.stat, made.alert_kind, made.has_impact) == ("last", "metric_threshold", True)


@pytest.mark.parametrize(
    ("rule", "stat", "kind"),
    [
        ("kind: rate, match: {}, condition: {value: 1}", "rate", "metric_rate"),
        ("kind: absence, match: {}", "count", "signal_absent"),
        ("kind: log_pattern, match: {type: LOG}, new: true", "count", "log_pattern"),
        ("kind: threshold, match: {type: REJECTED}, condition: {value: 1}, alert: schema_drift",
         "count", "schema_drift"),
    ],
)  # fmt: skip
def test_each_kind_has_its_usual_measure(rule: str, stat: str, kind: str) -> None:
    """What is not said follows from the kind."""
    (written,) = rules_of(f"{{id: a, {rule}}}")
    made = compile_signal_rule(written, 10_000_000)
    assert (made.stat, made.alert_kind) == (stat, kind)


def test_the_vocabulary_of_the_file_is_the_engines() -> None:
    """Kinds, statistics, operators and alert kinds of the model and of the engine are the same."""
    from typing import get_args

    from streams.contract import rules

    assert get_args(rules._KINDS) == core.RULE_KINDS
    assert get_args(rules._STATS) == core.STATS
    assert set(get_args(rules._OPS)) == set(core.OPERATORS)
    assert get_args(rules._ALERTS) == core.DOMAIN_ALERTS
