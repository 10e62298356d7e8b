"""Which spans learned rules tell as missing, and on which edge; every expectation is by hand."""

import pytest

from streams.contract.learner import LearnerSettings, learn_rules
from streams.contract.operations import OperationRules, compile_rules
from streams.core.columns import Operations
from streams.core.fidelity.call_mix import count_calls
from streams.core.fidelity.rule_table import RuleTable
from streams.core.fidelity.rules import evaluate
from tests.rule_cases import batch_of, told, without

# A shop: the gate calls the shop, which reads its table and calls either stock or price.
SHOP = "1/0:gate.in 2/1:gate.GET 3/2:shop.sell 4/3:shop.read 5/4:shop.SQL 6/3:shop.GET 7/6:{}"
STOCK = SHOP.format("stock.count")
PRICE = SHOP.format("price.tell")


def learned(*traces: str, times: int = 30) -> tuple[RuleTable, Operations]:
    """Learn from each trace so many times over."""
    operations = Operations()
    batch = batch_of(list(traces) * times, operations)
    settings = LearnerSettings(support_min=10, chained_support_min=10)
    return compile_rules(learn_rules(batch, operations, settings)), operations


def test_a_whole_trace_lacks_nothing() -> None:
    """What was learned from is never doubted."""
    table, operations = learned(STOCK, PRICE)
    assert told(evaluate(batch_of([STOCK, PRICE], operations), table, operations), operations) == []


def test_a_lost_leaf_is_told_with_the_edge_it_was_lost_on() -> None:
    """The near end is the parent that is there, the far end the operation that is not."""
    table, operations = learned(STOCK)
    batch = without(batch_of([STOCK], operations), 5)
    assert told(evaluate(batch, table, operations), operations) == [
        (0, 0, "shop:read", "shop:SQL", "NEVER_ARRIVED")
    ]


def test_a_lost_parent_is_told_once_by_its_id() -> None:
    """The open slot of the grandparent and the orphan's word are one loss."""
    table, operations = learned(STOCK)
    batch = without(batch_of([STOCK], operations), 4)
    assert told(evaluate(batch, table, operations), operations) == [
        (0, 4, "shop:sell", "shop:read", "ORPHANED")
    ]


def test_orphans_of_one_parent_name_one_span() -> None:
    """Two children that lost the same parent are one loss."""
    table, operations = learned(STOCK)
    batch = without(batch_of([STOCK], operations), 3)
    assert told(evaluate(batch, table, operations), operations) == [
        (0, 3, "gate:GET", "shop:sell", "ORPHANED")
    ]


def test_a_leaf_below_a_lost_parent_is_told_too() -> None:
    """A sibling names the parent; what else the parent had to call is then known to lack."""
    table, operations = learned(STOCK)
    batch = without(batch_of([STOCK], operations), 3, 4, 5)
    assert told(evaluate(batch, table, operations), operations) == [
        (0, 3, "gate:GET", "shop:sell", "ORPHANED"),
        (0, 0, "shop:sell", "shop:read", "NEVER_ARRIVED"),
    ]


def test_of_a_subtree_lost_whole_its_topmost_span_is_told() -> None:
    """Nothing is said below a span that nobody saw or named, unless all of it is asked for."""
    table, operations = learned(STOCK)
    batch = without(batch_of([STOCK], operations), 4, 5)
    assert told(evaluate(batch, table, operations), operations) == [
        (0, 0, "shop:sell", "shop:read", "NEVER_ARRIVED")
    ]
    whole = evaluate(batch, table, operations, whole_subtrees=True)
    assert told(whole, operations) == [
        (0, 0, "shop:sell", "shop:read", "NEVER_ARRIVED"),
        (0, 0, "shop:read", "shop:SQL", "NEVER_ARRIVED"),
    ]


def test_each_of_several_lacking_children_is_a_loss() -> None:
    """A child that is required three times and seen once is told twice."""
    loop = "1/0:a.loop 2/1:a.step 3/1:a.step 4/1:a.step"
    table, operations = learned(loop)
    batch = without(batch_of([loop], operations), 2, 4)
    row = (0, 0, "a:loop", "a:step", "NEVER_ARRIVED")
    assert told(evaluate(batch, table, operations), operations) == [row, row]


def test_a_condition_on_a_sibling_holds_only_beside_it() -> None:
    """Where one child is, the other is too; without the first nobody misses the second."""
    traces = ("1/0:a.x 2/1:a.lock 3/1:a.unlock", "1/0:a.x")
    table, operations = learned(*traces)
    batch = batch_of(traces, operations)
    assert told(evaluate(without(batch, 3), table, operations), operations) == [
        (0, 0, "a:x", "a:unlock", "NEVER_ARRIVED")
    ]
    assert told(evaluate(without(batch, 2, 3), table, operations), operations) == []


def test_a_condition_on_ancestors_holds_only_below_them() -> None:
    """A commit writes below a save and not below a find."""
    traces = ("1/0:a.save 2/1:a.commit 3/2:a.INSERT", "1/0:a.find 2/1:a.commit")
    table, operations = learned(*traces)
    batch = without(batch_of(traces, operations), 3)
    assert told(evaluate(batch, table, operations), operations) == [
        (0, 0, "a:commit", "a:INSERT", "NEVER_ARRIVED")
    ]


def test_a_silent_callee_is_named_by_the_calls_around_it() -> None:
    """The second of three equal calls is the one that recorded sequences have between them."""
    calls = "1/0:a.pay 2/1:a.GET 3/2:user.get 4/1:a.GET 5/4:bank.get 6/1:a.GET 7/6:{}"
    table, operations = learned(calls.format("card.get"), calls.format("cash.get"))
    batch = without(batch_of([calls.format("cash.get")], operations), 5)
    assert told(evaluate(batch, table, operations), operations) == [
        (0, 0, "a:GET", "bank:get", "NEVER_ARRIVED")
    ]


def test_a_silent_callee_is_named_by_what_it_called() -> None:
    """The gate's call has no callee, but the callee's own call left an orphan."""
    auth = "1/0:gate.in 2/1:gate.POST 3/2:auth.login 4/3:auth.GET 5/4:code.verify"
    shop = "1/0:gate.in 2/1:gate.POST 3/2:shop.sell 4/3:shop.PUT 5/4:stock.take"
    table, operations = learned(auth, shop, shop)
    batch = without(batch_of([auth], operations), 3, 4)
    assert told(evaluate(batch, table, operations), operations) == [
        (0, 4, "auth:login", "auth:GET", "ORPHANED"),
        (0, 0, "gate:POST", "auth:login", "NEVER_ARRIVED"),
    ]


def test_a_silent_callee_is_named_by_the_order_of_its_own_calls() -> None:
    """Two operations of one silent service make the same calls in another order."""
    head = "1/0:gate.in 2/1:gate.GET 3/2:{} 4/3:x.GET 5/4:{} 6/3:x.GET 7/6:{}"
    load = head.format("x.load", "order.read", "order.mark")
    send = head.format("x.send", "order.mark", "order.read")
    table, operations = learned(load, send, load)
    batch = without(batch_of([send], operations), 3, 4, 6)
    rows = told(evaluate(batch, table, operations), operations)
    assert (0, 0, "gate:GET", "x:send", "NEVER_ARRIVED") in rows
    assert [row[1:4] for row in rows[:2]] == [(4, "x:send", "x:GET"), (6, "x:send", "x:GET")]


def test_a_silent_callee_is_named_by_what_lacks_everywhere() -> None:
    """One trace cannot tell which of two is silent; that the rarer one lacks everywhere can."""
    table, operations = learned(STOCK, STOCK, PRICE)
    silent = without(batch_of([PRICE] * 10, operations), 7)
    others = batch_of([STOCK] * 20, operations)
    row = (0, 0, "shop:GET", "stock:count", "NEVER_ARRIVED")
    assert told(evaluate(silent, table, operations), operations)[0] == row
    lately = count_calls(silent, table, operations) + count_calls(others, table, operations)
    assert {row[3] for row in told(evaluate(silent, table, operations, lately), operations)} == {
        "price:tell"
    }


def test_a_trace_without_root_lacks_one() -> None:
    """The gate is silent: its call is named by the orphan, its root by nobody."""
    table, operations = learned(STOCK)
    batch = without(batch_of([STOCK], operations), 1, 2)
    assert told(evaluate(batch, table, operations), operations) == [
        (0, 2, "gate:in", "gate:GET", "ORPHANED"),
        (0, 0, "", "gate:in", "NEVER_ARRIVED"),
    ]


def test_a_root_that_an_orphan_names_is_told_once() -> None:
    """The lost root has an id; no second root is missed."""
    table, operations = learned(STOCK)
    batch = without(batch_of([STOCK], operations), 1)
    assert told(evaluate(batch, table, operations), operations) == [
        (0, 1, "", "gate:in", "ORPHANED")
    ]


def test_code_that_left_its_path_is_not_judged() -> None:
    """Beside an error handler that was never seen there, calls not made are not spans lost."""
    table, operations = learned(STOCK)
    failed = "1/0:gate.in 2/1:gate.GET 3/2:shop.sell 8/2:shop.error"
    assert told(evaluate(batch_of([failed], operations), table, operations), operations) == []


def test_a_parent_that_no_rule_knows_is_told_by_id_alone() -> None:
    """An orphan of an unknown operation proves the loss and cannot name it."""
    table, operations = learned(STOCK)
    batch = batch_of(["1/0:gate.in 9/8:new.thing"], operations)
    rows = told(evaluate(batch, table, operations), operations)
    assert (0, 8, "", "", "ORPHANED") in rows


@pytest.mark.parametrize("traces", [[], [STOCK], ["7/6:a.b 8/7:a.c"]])
def test_without_rules_only_orphans_speak(traces: list[str]) -> None:
    """No rules and no spans are both fine; a named parent is missing all the same."""
    operations = Operations()
    batch = batch_of(traces, operations)
    rows = told(evaluate(batch, compile_rules(OperationRules()), operations), operations)
    orphaned = [(0, 6, "", "", "ORPHANED")]
    assert rows == (orphaned if traces and "7/6:a.b" in traces[0] else [])


def test_a_span_that_is_its_own_ancestor_ends_the_search() -> None:
    """Two spans that name each other as parent, or themselves, do no harm."""
    table, operations = learned(STOCK)
    batch = batch_of(["1/2:shop.sell 2/1:shop.read 3/3:shop.GET"], operations)
    rows = told(evaluate(batch, table, operations, whole_subtrees=True), operations)
    assert all(row[4] == "NEVER_ARRIVED" for row in rows)


def test_a_missing_operation_gets_a_code_of_the_stream() -> None:
    """A service that never sent anything is named all the same."""
    table, _ = learned(STOCK)
    fresh = Operations()
    batch = batch_of([STOCK.replace("5/4:shop.SQL ", "")], fresh)
    known = len(fresh)
    missing = evaluate(batch, table, fresh)
    assert int(missing.operation[0]) == known
    assert fresh[known].name == "SQL"
