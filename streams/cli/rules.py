"""`spanloom rules test`: a contract's rules, run over series that a file writes down.

Owns words and layout. Ends with 0 when every test raised what it expected, with 1 when one did
not, with 2 when the file or its contract is wrong.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from streams.cli.lines import clean
from streams.cli.tables import columns_of, print_table, terminal
from streams.contract.loader import SHIPPED, load_contract
from streams.contract.rule_tests import FILE_BYTES_MAX, ExpectedAlert, parse_rule_tests
from streams.engine.rule_tests import NEVER, Difference, Raised, Result, run_test
from streams.errors import ConfigError, reason_of
from streams.runtime.global_stage import topology_of
from streams.runtime.signal_stage import graph_of, signal_settings
from streams.settings import load_settings
from streams.units import counted

app = typer.Typer(
    name="rules",
    no_args_is_help=True,
    help="Test the alert rules of a contract.\n\nExample: spanloom rules test rule-tests.yaml",
)


@app.callback()
def rules() -> None:
    """Test the alert rules of a contract."""


@app.command("test")
def run_tests(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of rule tests.")],
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False,
) -> None:
    """Run rule tests and show expected and raised alerts; no broker is needed.

    Example: spanloom rules test rule-tests.yaml
    """
    results = run_file(file)
    if as_json:
        typer.echo(json.dumps(_answer(file, results)))
    else:
        _show(results)
    if not all(result.passed for result in results):
        raise typer.Exit(1)


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        why = reason_of(error)
        raise ConfigError(f"{file}: cannot be read ({why}); give a file of rule tests") from error


def run_file(file: Path) -> list[Result]:
    """Run all tests of a file.

    Raises:
        ConfigError: the file or its contract is wrong, or a test names a rule that is not there.
    """
    tests = parse_rule_tests(_read(file), file.name)
    place = tests.contract if tests.contract in SHIPPED else file.parent / tests.contract
    contract = load_contract(place)
    settings = signal_settings(
        load_settings(
            window_seconds=tests.window_s,
            quiet_seconds=tests.quiet_s,
            warm_up_seconds=tests.warm_up_s,
        ),
        contract,
    )
    known = {rule.id for rule in settings.rules}
    for one in tests.tests:
        named = {*(one.rules or ()), *(alert.rule for alert in one.alerts)}
        if missing := sorted(named - known):
            raise ConfigError(
                f"{file.name}: test '{one.name}' names rules that {place} has not: "
                f"{', '.join(missing)}; known: {', '.join(sorted(known)) or 'none'}"
            )
    graph = graph_of(contract, topology_of(contract))
    return [run_test(one, settings, graph, tests.start_us) for one in tests.tests]


def _answer(file: Path, results: list[Result]) -> dict[str, Any]:
    return {
        "file": str(file),
        "ok": all(result.passed for result in results),
        "tests": [
            {
                "name": result.name,
                "ok": result.passed,
                "unseen": result.unseen,
                "raised": [_raised(one) for one in result.raised],
                "differences": [_difference(one) for one in result.differences],
            }
            for result in results
        ],
    }


def _raised(one: Raised) -> dict[str, Any]:
    return {"fires_s": one.fires_s, "resolves_s": one.resolves_s, "alert": dict(one.alert)}


def _difference(one: Difference) -> dict[str, Any]:
    return {
        "expected": one.expected.model_dump(exclude_none=True) if one.expected else None,
        "raised": _raised(one.raised) if one.raised else None,
        "fields": list(one.fields),
    }


def _show(results: list[Result]) -> None:
    shown: list[list[str]] = []
    for result in results:
        rows = [
            (d.expected.rule if d.expected else d.raised.rule if d.raised else "",
             _expected_text(d.expected), _raised_text(d.raised), _verdict(d))
            for d in result.differences
        ]  # fmt: skip
        if not rows:
            text = counted(len(result.raised), "alert") if result.raised else "no alert"
            rows = [("", text, text, "ok")]
        for rule, expected, raised, verdict in rows:
            shown.append([*map(clean, (result.name, rule, expected, raised, verdict))])
    prose = ["test", "expected", "raised"]
    columns = columns_of("test", "rule", "expected", "raised", "verdict", prose=prose)
    print_table(terminal(), "", columns, shown)
    for result in results:
        for series in result.unseen:
            typer.echo(clean(f"note: {result.name}: no rule that is tested looks at {series}"))
    failed = sum(not result.passed for result in results)
    typer.echo(f"{len(results) - failed} of {len(results)} tests passed")


def _verdict(one: Difference) -> str:
    if one.expected is None:
        return "NOT EXPECTED"
    return "NOT RAISED" if one.raised is None else f"OTHERWISE: {', '.join(one.fields)}"


def _expected_text(one: ExpectedAlert | None) -> str:
    if one is None:
        return "-"
    given = one.model_dump(exclude_none=True, exclude={"rule"}, exclude_defaults=True)
    return " ".join(f"{name}={value}" for name, value in {"fires_s": one.fires_s, **given}.items())


def _raised_text(one: Raised | None) -> str:
    if one is None:
        return "-"
    alert = one.alert
    ends = "never ends" if one.resolves_s == NEVER else f"ends at {one.resolves_s:g} s"
    place = f"{alert['module']}:{alert['component']}".strip(":")
    return (
        f"{alert['severity']} {alert['kind']} at {one.fires_s:g} s, {ends}; {place} "
        f"{alert['name']}: {alert['value']:.6g}"
    )
