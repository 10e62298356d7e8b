"""The engine's own rules have names, versions and owners."""

from streams.core.alerts import finding as kinds
from streams.core.alerts.finding import Finding
from streams.core.alerts.ownership import VERSIONS, fidelity_ratio, with_rules
from streams.core.fidelity.merge import MergedWindows, MergeSettings
from streams.core.fidelity.rolling import Scope
from streams.core.incidents.topology import ModuleInfo, Topology

TOPOLOGY = Topology({"A": ModuleInfo("a-team", "#a", "look")})


def found(kind: str) -> Finding:
    scope = Scope("stage", "f", "", "s", "A")
    return Finding(kind, scope, "WARN", 1, 2, 3, 4, 0.5, 0.1, "ratio", "why")


def with_flows(**flows: tuple[int, int]) -> MergedWindows:
    windows = MergedWindows(MergeSettings())
    for flow, (expected, observed) in flows.items():
        windows.short.total[Scope("flow", flow, "", "", "")] = {
            "expected": expected, "observed": observed,
        }  # fmt: skip
    return windows


def test_every_kind_of_the_engine_has_a_rule() -> None:
    """A kind without a version would be an alert without a rule."""
    named = {
        value for name, value in vars(kinds).items()
        if name.isupper() and isinstance(value, str) and not name.startswith("_")
    }  # fmt: skip
    assert named == VERSIONS.keys()


def test_a_finding_gets_rule_owner_playbook_and_weight() -> None:
    """The module answers; spans of broken traces weigh less, and silence does not."""
    windows = with_flows(f=(10, 8), g=(10, 10))
    errors, silent = with_rules([found("error_spans"), found("module_silent")], windows, TOPOLOGY)
    assert (errors.rule_id, errors.rule_version) == ("engine.error_spans", "1")
    assert (errors.owner, errors.playbook, errors.fidelity_ratio) == ("a-team", "look", 0.8)
    assert silent.fidelity_ratio == 1.0


def test_the_weight_is_of_the_flow_or_of_all() -> None:
    """8 of 10 in one flow, 18 of 20 in all; without a count nothing is doubted."""
    windows = with_flows(f=(10, 8), g=(10, 10))
    assert fidelity_ratio(windows, "f") == 0.8
    assert fidelity_ratio(windows, "") == 0.9
    assert fidelity_ratio(windows, "unknown") == 1.0
