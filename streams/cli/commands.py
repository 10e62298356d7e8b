"""The commands of `spanloom`, each imported when it is asked for.

Exit codes: 0 well, 1 a finding, 2 wrong usage or configuration, 3 broker or state unusable.
"""

from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup

from streams import __version__
from streams.cli.importing import uncollected, without_blas_threads

_GROUPS: Final = {
    "contract": (
        "Check, show and learn pipeline contracts.\n\n"
        "Example: spanloom contract check pipeline.yaml"
    ),
    "rules": (
        "Test the alert rules of a contract.\n\nExample: spanloom rules test rule-tests.yaml"
    ),
    "schema": (
        "Check the Avro schemas of the topics, and register them.\n\nExample: spanloom schema check"
    ),
    "topics": (
        "Create the Kafka topics; repeatable.\n\n"
        "Example: spanloom topics create --partitions 4 --contract seed"
    ),
    "replay": (
        "Send recorded telemetry into the topics.\n\n"
        "Example: spanloom replay otlp traces.json --broker 127.0.0.1:9092"
    ),
    "export": (
        "Write what was recorded to files.\n\n"
        "Example: spanloom export events -o day.jsonl.gz --contract seed"
    ),
    "coverage": (
        "Hold the contract's stages and signals against what the telemetry topics tell.\n\n"
        "Ends with 0 when all of it is told as it should be, with 1 when there is a gap.\n\n"
        "Example: spanloom coverage --contract seed --broker 127.0.0.1:9092"
    ),
    "notify": (
        "Tell Alertmanager, webhooks and others of incidents.\n\n"
        "Example: spanloom notify test --config notify.yaml"
    ),
    "incident": (
        "See incidents, and order what becomes of them.\n\nExample: spanloom incident list --all"
    ),
    "console-key": (
        "Make, list and revoke the keys of the console.\n\n"
        "Example: spanloom console-key new --actor alice@example.org --role operator"
    ),
    "noise": (
        "How much people were spared, and by which means.\n\n"
        "Example: spanloom noise report --days 7"
    ),
    "archive": (
        "Erase somebody from the console's archive; name it in Iceberg tables.\n\n"
        "Example: spanloom archive iceberg --archive /var/lib/spanloom/archive "
        "--catalog type=sql --catalog uri=sqlite:////var/lib/spanloom/catalog.db "
        "--catalog warehouse=file:///var/lib/lake"
    ),
    "query": (
        "Ask a console: traces, records, lineage, fidelity, incidents, audit entries.\n\n"
        "Example: spanloom query record rec-000017"
    ),
}
"""Commands with commands of their own: the `app` of the module of that name."""
COMMANDS: Final = (
    *("contract", "rules", "schema", "topics", "replay", "export", "notify"),
    *(
        "worker",
        "tail",
        "fidelity",
        "stats",
        "coverage",
        "incident",
        "explain",
        "noise",
        "demo",
        "collector",
        "console",
        "console-key",
        "query",
        "archive",
    ),
)
"""The others are the function `run` of the module of that name."""


class _Commands(TyperGroup):
    """The commands, each imported when it is asked for: a worker starts without the others."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names, in the order of --help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, None when there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        without_blas_threads()
        with uncollected():
            module = import_module(f"streams.cli.{cmd_name.replace('-', '_')}")
        one = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
        if cmd_name in _GROUPS:
            one.add_typer(module.app, name=cmd_name, help=_GROUPS[cmd_name])
        else:
            one.command(cmd_name)(module.run)
        one.callback()(lambda: None)  # with one command alone there would be no group
        return typer.main.get_group(one).commands[cmd_name]


app = typer.Typer(
    name="spanloom",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help=(
        "Joins telemetry by trace id, says what is missing and where, and opens incidents.\n\n"
        "`spanloom COMMAND --help` has an example of each. Ends with 0 when all is well, 1 for a "
        "finding, 2 for wrong usage or settings, 3 when broker or state cannot be used.\n\n"
        "Example: spanloom demo"
    ),
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"spanloom {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Run `spanloom COMMAND --help` for an example of each command."""
