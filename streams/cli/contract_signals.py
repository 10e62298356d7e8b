"""`spanloom contract signals`: what the modules of a contract emit, as text, JSON or a page.

docs/signals.md is the page of the shipped contracts, made by `make signals`.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

import typer

from streams.contract.loader import ContractError, load_contract
from streams.contract.model import Contract
from streams.contract.signals import Signal

UNOWNED: Final = "unowned"
_HEAD: Final = """\
# Signals

What the modules of the contracts that ship with Spanloom emit beside their spans. This page is made
from the contracts: change those, then run `make signals`. The simulator emits every one of them
once a second, from one state of the modules, so that they move together as they would.

A metric's name reads `pipeline.<module>.<component>.<counter|histogram|gauge>.<metric_name>`. A
counter's value is its total since the start; a gauge's is of the moment; a histogram's event
carries the mean of what was seen since the last one.
"""

Files = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="Contract files, or seed, or inference.")
]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON object instead of text.")]
Page = Annotated[bool, typer.Option("--markdown", help="Write a page: docs/signals.md is one.")]


def signals(files: Files, as_json: Json = False, as_page: Page = False) -> None:
    """List the metrics, named events and dimensions that contracts name, with their owners.

    Example: spanloom contract signals seed
    """
    contracts = [_load(file) for file in files]
    if as_json:
        typer.echo(json.dumps([signals_view(contract) for contract in contracts]))
    elif as_page:
        typer.echo(signals_page(contracts), nl=False)
    else:
        for contract in contracts:
            for signal in contract.signals:
                varies = f" by {', '.join(signal.dimensions)}" if signal.dimensions else ""
                typer.echo(f"{signal.name} [{signal.unit}]{varies}: {signal.description}")


def _load(file: str) -> Contract:
    try:
        return load_contract(file)
    except ContractError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from error


def signals_view(contract: Contract) -> dict[str, Any]:
    """Return a contract's signals with what follows from their names: component, type, owner."""
    return {
        "name": contract.name,
        "version": contract.version,
        "dimensions": {name: list(values) for name, values in contract.dimensions.items()},
        "requirements": dict(contract.requirements),
        "signals": [
            {
                "name": signal.name,
                "module": _module(contract, signal),
                "component": signal.component,
                "type": signal.type,
                "unit": signal.unit,
                "dimensions": list(signal.dimensions),
                "description": signal.description,
                "owner": contract.modules[_module(contract, signal)].owner or None,
                "answers": signal.answers,
                "layer": signal.layer or None,
            }
            for signal in contract.signals
        ],
        "events": [event.model_dump(mode="json") for event in contract.events],
        "metric_names": dict(contract.metric_names),
    }


def _module(contract: Contract, signal: Signal) -> str:
    return next(name for name in contract.modules if name.lower() == signal.module)


def signals_page(contracts: Sequence[Contract]) -> str:
    """Return the page of some contracts' signals, in Markdown."""
    return _HEAD + "".join(line + "\n" for c in contracts for line in _contract_lines(c))


def _contract_lines(contract: Contract) -> Iterator[str]:
    view = signals_view(contract)
    yield ""
    yield f"## Contract `{contract.name}`"
    for module in contract.modules:
        mine = [signal for signal in view["signals"] if signal["module"] == module]
        if mine:
            yield from _module_lines(module, contract.modules[module].owner or UNOWNED, mine)
    if view["events"]:
        yield from _event_lines(view["events"])
    if view["dimensions"]:
        rows = [[f"`{name}`", ", ".join(v)] for name, v in view["dimensions"].items()]
        yield from _table("Dimensions, and every value they take", ("Dimension", "Values"), rows)
    if view["metric_names"]:
        rows = [[f"`{old}`", f"`{new}`"] for old, new in view["metric_names"].items()]
        yield from _table("Old names", ("Old name", "Is now"), rows)
    if view["requirements"]:
        rows = [[key, text] for key, text in view["requirements"].items()]
        yield from _table("What signals answer", ("Row", "Asks for"), rows)


def _module_lines(module: str, owner: str, signals: list[dict[str, Any]]) -> Iterator[str]:
    layered = any(signal["layer"] for signal in signals)
    head = ["Metric", "Unit", "By", "What it says", "Row"] + ["Layer"] * layered
    rows = [
        [
            f"`{signal['name']}`",
            signal["unit"],
            ", ".join(signal["dimensions"]) or "-",
            signal["description"],
            signal["answers"],
            *([signal["layer"] or "-"] if layered else []),
        ]
        for signal in signals
    ]
    yield from _table(f"{module}, owned by {owner}", head, rows)


def _event_lines(events: list[dict[str, Any]]) -> Iterator[str]:
    rows = [
        [
            f"`{event['name']}`",
            event["event_type"],
            ", ".join("any component" if e == "*" else e for e in event["emitters"]),
            ", ".join((*event["dimensions"], *event["free"])) or "-",
            event["unit"] or "-",
            event["description"],
            event["answers"],
        ]
        for event in events
    ]
    head = ("Event", "Type", "Told by", "Names", "Unit", "What it says", "Row")
    yield from _table("Named events", head, rows)


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield ""
    yield f"### {title}"
    yield ""
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(row)} |"
