"""The engine's own rules by name, who answers for what they find, and how far it can be trusted.

Owns ids and versions of the rules that no contract writes down. Invariant: a rule's version rises
when what it finds changes, so that two alerts of one version mean the same.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from streams.core.alerts.finding import (
    CLOCK_SKEW,
    CONTEXT_RESTARTED,
    DEADLINE_MISSED,
    DUPLICATE_RATE,
    ERROR_SPANS,
    FIDELITY_BURN,
    MISPARTITIONED,
    MISSING_ACKNOWLEDGMENT,
    MODULE_SILENT,
    Finding,
)
from streams.core.fidelity.merge import MergedWindows
from streams.core.incidents.topology import ModuleInfo, Topology

RULE_PREFIX: Final = "engine."
"""Ids of the engine's own rules begin so; no rule of a contract may."""

VERSIONS: Final = {
    FIDELITY_BURN: "1",
    MISSING_ACKNOWLEDGMENT: "1",
    ERROR_SPANS: "1",
    DEADLINE_MISSED: "1",
    MODULE_SILENT: "1",
    DUPLICATE_RATE: "1",
    CLOCK_SKEW: "1",
    CONTEXT_RESTARTED: "1",
    MISPARTITIONED: "1",
}
"""Every kind of alert that the engine's own rules raise, and the version of its rule."""

_NOT_OF_TRACES: Final = frozenset({MODULE_SILENT, MISPARTITIONED, DUPLICATE_RATE, FIDELITY_BURN})
"""Kinds that do not lose weight where traces are broken: they count events, or the breaks."""


def with_rules(
    findings: Iterable[Finding], windows: MergedWindows, topology: Topology
) -> list[Finding]:
    """Return findings of the engine's own rules with rule, owner, playbook and weight."""
    out = []
    for finding in findings:
        module = topology.modules.get(finding.scope.module, ModuleInfo())
        is_whole = finding.kind in _NOT_OF_TRACES
        out.append(
            replace(
                finding,
                rule_id=RULE_PREFIX + finding.kind,
                rule_version=VERSIONS[finding.kind],
                owner=module.owner,
                playbook=module.playbook,
                fidelity_ratio=1.0 if is_whole else fidelity_ratio(windows, finding.scope.flow),
            )
        )
    return out


def fidelity_ratio(windows: MergedWindows, flow: str) -> float:
    """Return the share of a flow's traces that kept all required stages; 1.0 where none is known.

    It is taken over the short burn window, of the flow alone where there is one.
    """
    expected = observed = 0
    for scope, counts in windows.short.total.items():
        if scope.kind == "flow" and flow in ("", scope.flow):
            expected += counts.get("expected", 0)
            observed += counts.get("observed", 0)
    return observed / expected if expected else 1.0
