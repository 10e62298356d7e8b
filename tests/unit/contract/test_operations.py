"""Operation rules as a contract holds them: strict, whole through YAML, refused when ambiguous."""

import pytest
import yaml
from pydantic import ValidationError

from streams.contract.learner import LearnerSettings, learn_rules
from streams.contract.operations import OperationRules, When, compile_rules
from streams.core.columns import Operation, Operations
from streams.errors import ConfigError
from tests.rule_cases import batch_of, name_of


def rules_of_a_shop() -> OperationRules:
    """Learn rules of every kind."""
    operations = Operations()
    traces = [
        "1/0:in 2/1:GET 3/2:a.x 4/3:SQL",
        "1/0:in 2/1:GET 3/2:b.y 4/3:SQL 5/4:row",
    ] * 30
    return learn_rules(batch_of(traces, operations), operations, LearnerSettings(support_min=10))


def test_rules_survive_yaml() -> None:
    """What a contract file holds is what was learned."""
    rules = rules_of_a_shop()
    text = yaml.safe_dump(rules.model_dump(mode="json", exclude_defaults=True))
    assert OperationRules.model_validate(yaml.safe_load(text)) == rules


def test_a_key_that_nobody_knows_is_refused() -> None:
    """A typing error in a condition must not make a rule unconditional."""
    with pytest.raises(ValidationError):
        When.model_validate({"udner": [name_of("a")]})


def test_contexts_are_sorted_and_own_their_rules() -> None:
    """The tables keep what the look-up leans on."""
    table = compile_rules(rules_of_a_shop())
    assert (table.context_hash[1:] > table.context_hash[:-1]).all()
    assert table.child_start[-1] == len(table.child_code)
    assert table.labels[table.code_of[Operation("M", "service", "in")] + 1] == "M:in"
    assert table.is_root.sum() == 1


def test_the_same_rule_twice_is_refused() -> None:
    """Two counts for one child would leave open which one holds."""
    plain = rules_of_a_shop().model_dump()
    parent = next(p for p in plain["parents"] if p["children"])
    parent["children"] = [*parent["children"], {**parent["children"][0], "count": 2}]
    with pytest.raises(ConfigError, match="same rule twice"):
        compile_rules(OperationRules.model_validate(plain))


def test_a_group_beside_a_sibling_is_refused() -> None:
    """A parent with exactly one child has no other child to depend on."""
    plain = rules_of_a_shop().model_dump()
    parent = next(p for p in plain["parents"] if p["one_of"])
    parent["one_of"][0]["when"] = {"seen": name_of("x")}
    with pytest.raises(ConfigError, match="no `seen`"):
        compile_rules(OperationRules.model_validate(plain))
