"""What is learned from traces: required children, conditions, groups, sequences, with support."""

from streams.contract.learner import LearnerSettings, learn_rules
from streams.contract.operations import ChildRule, OperationRules, ParentRule, When
from streams.core.columns import Operations
from tests.rule_cases import batch_of, name_of

SETTINGS = LearnerSettings(ratio_min=0.9, support_min=10, chained_support_min=10)


def learned(*traces: str, settings: LearnerSettings = SETTINGS) -> OperationRules:
    """Learn from the given traces."""
    operations = Operations()
    return learn_rules(batch_of(traces, operations), operations, settings)


def parent(rules: OperationRules, text: str) -> ParentRule:
    """Return the rules of one operation."""
    return next(p for p in rules.parents if (p.module, p.component, p.name) == name_of(text))


def child(text: str, support: int, ratio: float, count: int = 1, **when: object) -> ChildRule:
    """Return the expected rule."""
    module, component, name = name_of(text)
    condition = When.model_validate(when) if when else None
    return ChildRule(
        module=module,
        component=component,
        name=name,
        count=count,
        support=support,
        ratio=ratio,
        when=condition,
    )


def test_a_child_that_nearly_all_parents_have_is_required() -> None:
    """19 of 20 parents have it twice: the rule says two, with its support and ratio."""
    rules = learned(*["1/0:a 2/1:b 3/1:b"] * 19, "1/0:a 2/1:b")
    assert parent(rules, "a").children == (child("b", 20, 0.95, count=2),)
    assert rules.traces == 20
    assert rules.roots == (name_of("a"),)
    assert rules.nesting[0].support == 39


def test_too_few_parents_make_no_rule() -> None:
    """Nine agreeing parents prove nothing where ten are asked for."""
    assert learned(*["1/0:a 2/1:b"] * 9).parents == ()
    assert len(learned(*["1/0:a 2/1:b"] * 10).parents) == 1


def test_a_child_that_depends_on_the_caller_is_required_below_that_caller() -> None:
    """The condition is the shortest chain that decides, and is said once."""
    save = "1/0:root 2/1:save 3/2:commit 4/3:INSERT"
    find = "1/0:root 2/1:find 3/2:commit"
    rules = learned(*[save, find] * 10)
    assert parent(rules, "commit").children == (child("INSERT", 10, 1.0, under=(name_of("save"),)),)


def test_a_child_that_goes_with_another_is_required_beside_it() -> None:
    """Lock and unlock come together or not at all."""
    rules = learned(*["1/0:a 2/1:lock 3/1:unlock", "1/0:a"] * 10)
    assert set(parent(rules, "a").children) == {
        child("unlock", 10, 1.0, seen=name_of("lock")),
        child("lock", 10, 1.0, seen=name_of("unlock")),
    }


def test_an_error_handler_is_required_where_the_calls_broke_off() -> None:
    """Beside a handler that called less than usual there was an error, and a span of it."""
    whole = "1/0:in 2/1:do 3/2:read 4/2:send"
    broken = "1/0:in 2/1:do 3/2:read 4/1:error"
    rules = learned(*[whole] * 20, *[broken] * 10)
    rule = child("error", 10, 1.0, seen=name_of("do"), calling=(name_of("read"),))
    assert rule in parent(rules, "in").children


def test_one_child_out_of_several_is_a_group_and_the_order_of_calls_is_kept() -> None:
    """A client span calls one of two services; which one when is learned as sequences."""
    one = "1/0:a 2/1:GET 3/2:x 4/1:GET 5/4:y"
    two = "1/0:a 2/1:GET 3/2:y 4/1:GET 5/4:y"
    rules = learned(*[one] * 8, *[two] * 4)
    (group,) = parent(rules, "GET").one_of
    assert group.members == (name_of("y"), name_of("x"))
    assert (group.support, group.ratio, group.when) == (24, 1.0, None)
    made = [[callee[2] for _, callee in s.calls] for s in parent(rules, "a").sequences]
    assert (made, [s.support for s in parent(rules, "a").sequences]) == (
        [["x", "y"], ["y", "y"]],
        [8, 4],
    )


def test_the_wait_is_a_high_quantile_of_durations_and_not_below_the_floor() -> None:
    """A trace of two spans lasts 20 us here: the quantile says so, the floor wins."""
    quick = LearnerSettings(support_min=1, chained_support_min=1, wait_floor_us=1)
    assert learned("1/0:a 2/1:b", settings=quick).wait_us == 20
    assert learned("1/0:a 2/1:b").wait_us == 1_000_000


def test_nothing_is_learned_from_nothing() -> None:
    """No traces, no rules."""
    assert learned() == OperationRules()
