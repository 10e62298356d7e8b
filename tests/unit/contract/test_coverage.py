"""Coverage: every gap between a contract and what is told, by kind, with its owner."""

from hypothesis import given
from hypothesis import strategies as st

from streams.contract.coverage import Coverage, Emitted, Finding, Tally, coverage
from streams.contract.loader import load_contract, parse_contract
from streams.simulate.pipeline import Simulation

SHOP = parse_contract("""
version: "1"
name: shop
modules:
  SHOP: {owner: shop-team}
  TILL: {owner: ""}
flows:
  order:
    entry: take
    stages:
      - {id: take, module: SHOP, component: web, name: shop.take}
      - {id: pay, module: TILL, name: till.pay, after: [take]}
      - {id: gift, module: SHOP, component: web, name: shop.wrap, after: [pay], required: false}
requirements: {R-1: Why.}
signals:
  - {name: pipeline.shop.web.counter.orders_total, unit: "1", description: Orders., answers: R-1}
events:
  - {name: closed, event_type: AUDIT, emitters: [SHOP.web], description: Closed., answers: R-1}
metric_names: {orders: pipeline.shop.web.counter.orders_total}
""")
TAKE = Emitted("TRACE", "SHOP", "web", "shop.take")
PAY = Emitted("TRACE", "TILL", "any", "till.pay")
ORDERS = Emitted("METRIC", "SHOP", "web", "pipeline.shop.web.counter.orders_total")
ALL = {TAKE: Tally(5), PAY: Tally(5), ORDERS: Tally(9, 9)}


def kinds(found: Coverage) -> list[tuple[str, str]]:
    return [(finding.kind, finding.what.name) for finding in found.findings]


def finding_of(found: Coverage, kind: str) -> Finding:
    (one,) = [finding for finding in found.findings if finding.kind == kind]
    return one


def test_a_module_that_is_only_named_has_to_tell_something() -> None:
    """Whatever it is: a contract of modules alone was covered by an empty stream."""
    names = 'version: "1"\nname: shop\nmodules: {SHOP: {owner: s}, TILL: {}}\n'
    found = coverage(parse_contract(names), {})
    assert [(f.kind, f.what.module, f.owner) for f in found.findings] == [
        ("never_seen", "SHOP", "s"),
        ("never_seen", "TILL", ""),
    ]
    line = Emitted("LOG", "SHOP", "any", "hello")
    found = coverage(parse_contract(names), {line: Tally(1)})
    assert [(f.kind, f.what.module) for f in found.findings] == [("never_seen", "TILL")]
    assert [(s.sort, s.seen, s.expected) for s in found.shares] == [("modules", 1, 2)]


def test_what_was_not_seen_is_named_with_its_place_and_owner() -> None:
    """A required stage and a signal; what need not be seen is no gap."""
    found = coverage(SHOP, {PAY: Tally(1)})
    assert kinds(found) == [
        ("never_seen", "pipeline.shop.web.counter.orders_total"),
        ("never_seen", "shop.take"),
        ("unowned", "till.pay"),
        ("optional_not_seen", "closed"),
        ("optional_not_seen", "shop.wrap"),
    ]
    assert found.findings[1].where == "flow order, stage take"
    assert found.findings[1].owner == "shop-team"
    assert not found.is_covered
    assert [(s.sort, s.seen, s.expected) for s in found.shares] == [
        ("stages", 1, 3),
        ("signals", 0, 1),
        ("events", 0, 1),
    ]


def test_a_stage_of_any_component_is_seen_by_any() -> None:
    """And one that names its component only by that."""
    found = coverage(SHOP, ALL | {Emitted("TRACE", "SHOP", "app", "shop.take"): Tally(1)})
    assert [name for kind, name in kinds(found) if kind == "not_in_contract"] == ["shop.take"]
    assert "never_seen" not in dict(kinds(found))


def test_what_the_contract_does_not_name_is_told() -> None:
    """A module that is not there, and a name that is nowhere; each with how often it was seen."""
    other = Emitted("LOG", "CAFE", "bar", "spilled")
    found = coverage(SHOP, ALL | {other: Tally(7)})
    gap = finding_of(found, "not_in_contract")
    assert (gap.what, gap.events, gap.detail) == (other, 7, "no such module")
    for event_type in ("TRACE", "METRIC"):
        more = Emitted(event_type, "SHOP", "web", "shop.more")
        assert finding_of(coverage(SHOP, ALL | {more: Tally(1)}), "not_in_contract").what == more


def test_log_lines_are_free_and_so_is_what_a_contract_is_silent_about() -> None:
    """A contract names states, not every line; one without signals does not forbid metrics."""
    line = Emitted("LOG", "SHOP", "web", "took an order")
    assert ("not_in_contract", line.name) not in kinds(coverage(SHOP, ALL | {line: Tally(3)}))
    bare = parse_contract('{version: "1", name: bare, modules: {SHOP: {owner: s}}}')
    assert coverage(bare, {TAKE: Tally(1), ORDERS: Tally(1)}).findings == ()


def test_what_the_sdk_says_of_itself_is_no_gap() -> None:
    """It comes wherever the SDK is used, and no contract names it; nor does it excuse others."""
    own = Emitted("METRIC", "SHOP", "telemetry", "pipeline.shop.telemetry.histogram.events_sent")
    assert ("not_in_contract", own.name) not in kinds(coverage(SHOP, ALL | {own: Tally(3, 3)}))
    for more in (own._replace(component="web"), own._replace(name="pipeline.shop.web.gauge.x")):
        assert finding_of(coverage(SHOP, ALL | {more: Tally(1, 1)}), "not_in_contract").what == more


def test_log_lines_without_a_trace_are_a_gap_and_metric_points_are_not() -> None:
    """Whoever audits knows which record it was about."""
    paid = Emitted("AUDIT", "SHOP", "web", "paid")
    closed = Emitted("AUDIT", "SHOP", "web", "closed")  # a named event: a state, of no record
    gap = finding_of(
        coverage(SHOP, ALL | {paid: Tally(8, 2), closed: Tally(8, 8)}), "without_trace"
    )
    assert (gap.what, gap.events, gap.detail) == (paid, 2, "25.0% of its events")


def test_old_names_and_old_schemas_are_told() -> None:
    """With what came after them."""
    old = Emitted("METRIC", "SHOP", "web", "orders")
    take = Tally(5, last_us=77, old_schemas={"telemetry_event version 1, now 2": 3})
    found = coverage(SHOP, ALL | {old: Tally(4), TAKE: take})
    assert finding_of(found, "old_name").detail == "is now pipeline.shop.web.counter.orders_total"
    gap = finding_of(found, "old_schema")
    assert (gap.what, gap.events, gap.detail) == (TAKE, 3, "telemetry_event version 1, now 2")
    assert (gap.last_us, finding_of(found, "unowned").last_us) == (77, 0)


def test_operations_of_learned_rules_are_expected() -> None:
    """Parents and required children must be seen, members of a group need not."""
    contract = parse_contract("""
version: "1"
name: learned
modules: {A: {owner: a}}
operations:
  traces: 10
  parents:
    - module: A
      component: c
      name: top
      support: 9
      children: [{module: A, component: c, name: child, support: 9, ratio: 1.0}]
      one_of: [{members: [[A, c, left], [A, c, right]], support: 9, ratio: 1.0}]
""")
    found = coverage(contract, {Emitted("TRACE", "A", "c", "top"): Tally(1)})
    assert kinds(found) == [
        ("never_seen", "child"),
        ("optional_not_seen", "left"),
        ("optional_not_seen", "right"),
    ]


SEED = load_contract("seed")


def test_the_simulated_pipeline_covers_its_contract() -> None:
    """A little of it: every stage and signal is told, in traces, and nothing else."""
    seen: dict[Emitted, Tally] = {}
    for emission in Simulation(SEED, 1, 1_700_000_000_000_000, 20, 10).drain():
        event = emission.event
        what = Emitted(event["event_type"], event["module"], event["component"], event["name"])
        tally = seen.setdefault(what, Tally())
        tally.events += 1
        tally.without_trace += not event["trace_id"]
    found = coverage(SEED, seen)
    assert found.is_covered, found.findings
    assert [(s.sort, s.expected - s.seen) for s in found.shares][:2] == [
        ("stages", 1),  # the recovery of a job, which none needed
        ("signals", 0),
    ]


NAMES = [
    Emitted("TRACE", stage.module, stage.component, stage.name)
    for flow in SEED.flows.values()
    for stage in flow.stages
] + [Emitted("METRIC", s.module.upper(), s.component, s.name) for s in SEED.signals]


@given(st.sets(st.sampled_from(NAMES)))
def test_seen_and_never_seen_are_all_that_is_expected(seen: set[Emitted]) -> None:
    """What is told of the seed contract is never a gap, and seeing more never opens one."""
    found = coverage(SEED, {one: Tally(1) for one in seen})
    gaps = [f for f in found.findings if f.kind in ("never_seen", "optional_not_seen")]
    assert sum(s.expected - s.seen for s in found.shares) == len(gaps)
    assert not {f.what for f in gaps} & seen
    assert {f.kind for f in found.findings} <= {"never_seen", "optional_not_seen"}
    whole = coverage(SEED, {one: Tally(1) for one in NAMES})
    assert whole.is_covered
