"""`spanloom contract check` and `show`: a contract seen by a person, or by a script with --json.

Owns words and layout only; what is wrong with a contract is the loader's to say. Invariant: both
commands end with 0 for a valid contract and with 2, all problems listed, for any other.
"""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from streams.cli.contract_learn import learn
from streams.cli.contract_minimise import minimise
from streams.cli.contract_signals import signals
from streams.contract.compile import ordered_stages
from streams.contract.loader import ContractError, contract_path, load_contract
from streams.contract.model import Contract, Flow, Stage
from streams.units import counted

UNOWNED = "unowned"

app = typer.Typer(
    name="contract",
    no_args_is_help=True,
    help="Check and show a pipeline contract.\n\nExample: spanloom contract check pipeline.yaml",
)
app.command("learn")(learn)
app.command("minimise")(minimise)
app.command("signals")(signals)

File = Annotated[str, typer.Argument(metavar="FILE", help="A contract file, or seed for ours.")]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON object instead of text.")]


@app.command()
def check(file: File, as_json: Json = False) -> None:
    """Say whether a contract is valid; list every problem with its line and fix.

    Ends with 0 when it is, with 2 when it is not.

    Example: spanloom contract check pipeline.yaml
    """
    contract = _load(file, as_json)
    stages = sum(len(flow.stages) for flow in contract.flows.values())
    if as_json:
        answer = {"ok": True, "name": contract.name, "version": contract.version, "problems": []}
        typer.echo(json.dumps({"file": str(contract_path(file)), **answer}))
        return
    typer.echo(
        f"{contract_path(file).name}: contract {contract.name} {contract.version} is valid: "
        f"{counted(len(contract.modules), 'module')}, {counted(len(contract.flows), 'flow')}, "
        f"{counted(stages, 'stage')}"
    )


@app.command()
def show(file: File, as_json: Json = False) -> None:
    """Show a contract: modules and owners, flows, stages, deadlines, edges, objectives.

    What nobody owns is shown as unowned.

    Example: spanloom contract show seed
    """
    view = contract_view(_load(file, as_json))
    if as_json:
        typer.echo(json.dumps(view))
    else:
        Console(highlight=False).print(_tree(view))


def contract_view(contract: Contract) -> dict[str, Any]:
    """Return a contract with what follows from it filled in: topics, owners, order, objectives.

    An owner is None where nobody answers; `unowned` lists those modules and stages.
    """
    modules = {
        name: {
            "owner": module.owner or None,
            "channel": module.channel or None,
            "tier": module.tier,
            "topic": contract.topic(name),
            "depends_on": list(module.depends_on),
        }
        for name, module in contract.modules.items()
    }
    flows = {name: _flow_view(contract, name, flow) for name, flow in contract.flows.items()}
    unowned = [name for name, module in modules.items() if module["owner"] is None]
    unowned += [
        f"{flow}.{stage['id']}"
        for flow, parts in flows.items()
        for stage in parts["stages"]
        if stage["owner"] is None
    ]
    rules = contract.operations
    return {
        "name": contract.name,
        "version": contract.version,
        "modules": modules,
        "flows": flows,
        "operations": None if rules is None else len(rules.parents),
        "slos": contract.slos.model_dump(mode="json"),
        "thresholds": contract.thresholds.model_dump(mode="json"),
        "unowned": unowned,
    }


def _flow_view(contract: Contract, name: str, flow: Flow) -> dict[str, Any]:
    return {
        "entry": flow.entry,
        "wait_ms": flow.wait_ms,
        "settle_ms": flow.settle_ms,
        "slo": contract.objective(name),
        "stages": [
            {
                "id": stage.id,
                "module": stage.module,
                "component": stage.component,
                "name": stage.name,
                "need": _need(stage),
                "min_count": stage.min_count,
                "deadline_ms": stage.deadline_ms,
                "acknowledges": stage.acknowledges,
                "owner": contract.owner(name, stage.id) or None,
                "playbook": contract.playbook(name, stage.id),
            }
            for stage in ordered_stages(flow)
        ],
        "edges": [
            {"from_stage": near, "to_stage": far, "slo": contract.objective(name, near, far)}
            for near, far in flow.edges
        ],
    }


def _need(stage: Stage) -> str:
    if stage.when is not None:
        values = ", ".join(stage.when.values)
        return f"required when {stage.when.stage}.{stage.when.dimension} in [{values}]"
    return "required" if stage.required else "optional"


def _load(file: str, as_json: bool) -> Contract:
    try:
        return load_contract(file)
    except ContractError as error:
        if as_json:
            problems = [{"line": p.line, "path": p.path, "text": p.text} for p in error.problems]
            answer = {"file": str(contract_path(file)), "ok": False, "problems": problems}
            typer.echo(json.dumps(answer))
        else:
            typer.echo(f"{error}\n{_count(len(error.problems), 'problem')} in {file}", err=True)
        raise typer.Exit(error.exit_code) from error


def _tree(view: dict[str, Any]) -> Tree:
    tree = Tree(f"[bold]{escape(view['name'])}[/] {escape(view['version'])}")
    modules = tree.add("modules")
    for name, module in view["modules"].items():
        needs = f", depends on {', '.join(module['depends_on'])}" if module["depends_on"] else ""
        line = f"tier {module['tier']}, {module['topic']}{needs}"
        modules.add(f"[bold]{escape(name)}[/] {_owner(module['owner'])} {escape(line)}")
    for name, flow in view["flows"].items():
        _add_flow(tree, name, flow)
    if view["operations"] is not None:
        tree.add(f"operations: learned rules of {_count(view['operations'], 'parent')}")
    slos = view["slos"]
    tree.add(
        f"SLO {_percent(slos['fidelity'])}, burn rate {slos['burn_rate']:g} / "
        f"{slos['burn_rate_slow']:g} over {slos['short_s']:g} s and {slos['long_s']:g} s"
    )
    if view["unowned"]:
        names = escape(", ".join(view["unowned"]))
        tree.add(f"[yellow]nobody answers for {_count(len(view['unowned']), 'part')}: {names}[/]")
    return tree


def _add_flow(tree: Tree, name: str, flow: dict[str, Any]) -> None:
    head = f"wait {flow['wait_ms']} ms, settle {flow['settle_ms']} ms, SLO {_percent(flow['slo'])}"
    branch = tree.add(f"flow [bold]{escape(name)}[/] from {escape(flow['entry'])}: {head}")
    stages = branch.add("stages")
    for stage in flow["stages"]:
        operation = f"{stage['module']}:{stage['component'] or '*'}:{stage['name']}"
        facts = [stage["need"]]
        if stage["min_count"] > 1:
            facts.append(f"at least {stage['min_count']} spans")
        if stage["deadline_ms"] is not None:
            facts.append(f"deadline {stage['deadline_ms']} ms")
        if stage["acknowledges"]:
            facts.append("acknowledges")
        line = f"{operation} {', '.join(facts)}"
        stages.add(f"[bold]{escape(stage['id'])}[/] {escape(line)} {_owner(stage['owner'])}")
    edges = branch.add("edges")
    for edge in flow["edges"]:
        own = "" if edge["slo"] == flow["slo"] else f" SLO {_percent(edge['slo'])}"
        edges.add(escape(f"{edge['from_stage']} -> {edge['to_stage']}") + own)


def _owner(owner: str | None) -> str:
    return f"[yellow]{UNOWNED}[/]" if owner is None else f"[cyan]{escape(owner)}[/]"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _percent(ratio: float) -> str:
    return f"{ratio * 100:.6g} %"
