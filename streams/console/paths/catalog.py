"""The catalog: what the contract says of modules, flows, signals and rules, and who owns them.

Owns the shape in which people and the page read a contract. What nobody owns is in the answer and
named once more under `unowned`, so that it is seen.
"""

from collections.abc import Mapping
from typing import Any, Final

from streams.console.paths.path import Path
from streams.console.questions.queries import Queries
from streams.contract.model import Contract, Flow

_EMPTY: Final[dict[str, Any]] = {
    "contract": None,
    "modules": [],
    "flows": [],
    "signals": [],
    "events": [],
    "rules": [],
    "playbooks": {},
    "requirements": {},
    "slos": {},
    "unowned": {"modules": [], "stages": [], "rules": []},
}


def catalog_of(contract: Contract | None) -> dict[str, Any]:
    """Return a contract as lists that each name their subject; empty ones where there is none."""
    if contract is None:
        return _EMPTY
    plain = contract.plain()
    modules = [_module(contract, name) for name in contract.modules]
    flows = [_flow(contract, name, flow) for name, flow in contract.flows.items()]
    by_lower = {name.lower(): name for name in contract.modules}
    signals = [
        one.model_dump(mode="json")
        | {
            "module": by_lower.get(one.module, one.module),
            "component": one.component,
            "type": one.type,
        }
        for one in contract.signals
    ]
    rules = [
        {
            "id": rule.id,
            "kind": rule.kind,
            "severity": rule.severity,
            "module": rule.match.module,
            "name": rule.match.name,
            "owner": rule.owner or _owner(contract, rule.match.module),
            "playbook": rule.playbook or "",
        }
        for rule in contract.rules
    ]
    return {
        "contract": {"name": contract.name, "version": contract.version},
        "modules": modules,
        "flows": flows,
        "signals": signals,
        "events": plain["events"],
        "rules": rules,
        "playbooks": plain["playbooks"],
        "requirements": plain["requirements"],
        "slos": plain["slos"],
        "unowned": {
            "modules": [one["name"] for one in modules if not one["owner"]],
            "stages": [
                f"{flow['id']}/{stage['id']}"
                for flow in flows
                for stage in flow["stages"]
                if not stage["owner"]
            ],
            # A rule over all modules is each one's own: it has an owner where it fires.
            "rules": [one["id"] for one in rules if not one["owner"] and "*" not in one["module"]],
        },
    }


def _owner(contract: Contract, module: str) -> str:
    return contract.modules[module].owner if module in contract.modules else ""


def _module(contract: Contract, name: str) -> dict[str, Any]:
    module = contract.modules[name]
    return {
        "name": name,
        "owner": module.owner,
        "channel": module.channel,
        "tier": module.tier,
        "depends_on": list(module.depends_on),
        "topic": contract.topic(name),
        "playbook": module.playbook or "",
        "components": [
            {"name": part, "needs": list(about.needs), "reports": about.reports}
            for part, about in module.components.items()
        ],
    }


def _flow(contract: Contract, name: str, flow: Flow) -> dict[str, Any]:
    stages = [
        {
            "id": stage.id,
            "module": stage.module,
            "component": stage.component,
            "name": stage.name,
            "after": list(stage.after),
            "required": stage.required,
            "when": None if stage.when is None else stage.when.model_dump(mode="json"),
            "deadline_ms": stage.deadline_ms,
            "acknowledges": stage.acknowledges,
            "owner": contract.owner(name, stage.id),
            "playbook": contract.playbook(name, stage.id) or "",
        }
        for stage in flow.stages
    ]
    edges = [
        {
            "from_stage": near,
            "to_stage": far,
            "slo_ratio": contract.objective(name, near, far),
        }
        for near, far in flow.edges
    ]
    return {
        "id": name,
        "entry": flow.entry,
        "wait_ms": flow.wait_ms,
        "slo_ratio": contract.objective(name),
        "stages": stages,
        "edges": edges,
    }


def catalog_paths(contract: Contract | None) -> tuple[Path, ...]:
    """Return the path that tells of a contract."""
    catalog = catalog_of(contract)

    def ask(_: Queries, __: dict[str, Any], ___: Mapping[str, str]) -> Any:
        return catalog

    about = "The contract: modules, flows with stages, signals, rules, owners, and what has none."
    return (Path("/api/v1/catalog", about, (), ask),)
