"""The `spanloom` command: gathers the commands and turns errors into exit codes.

Exit codes: 0 well, 1 a finding, 2 wrong usage or configuration, 3 broker or state unusable.
"""

import sys

import typer

from streams import __version__
from streams.cli import (
    contract,
    contract_learn,
    contract_signals,
    demo,
    explain,
    fidelity,
    incident,
    noise,
    notify,
    replay,
    rules,
    stats,
    tail,
    topics,
    worker,
)
from streams.errors import SpanloomError

app = typer.Typer(
    name="spanloom",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Joins telemetry by trace id, says what is missing and where, and opens incidents.",
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


contract.app.command("learn")(contract_learn.learn)
contract.app.command("signals")(contract_signals.signals)
app.add_typer(contract.app, name="contract", help="Check, show and learn pipeline contracts.")
app.add_typer(rules.app, name="rules", help="Test the alert rules of a contract.")
app.add_typer(topics.app, name="topics", help="Create and check the Kafka topics.")
app.add_typer(replay.app, name="replay", help="Send recorded telemetry into the topics.")
app.add_typer(
    notify.app, name="notify", help="Tell Alertmanager, webhooks and others of incidents."
)
app.command("worker")(worker.run)
app.command("tail")(tail.run)
app.command("fidelity")(fidelity.run)
app.command("stats")(stats.run)
app.add_typer(incident.app, name="incident", help="See incidents, and order what becomes of them.")
app.command("explain")(explain.run)
app.add_typer(noise.app, name="noise", help="How much people were spared, and by which means.")
app.command("demo")(demo.run)


def main() -> None:
    """Run the command line; errors that are ours become one message and their exit code."""
    try:
        app()
    except SpanloomError as error:
        print(f"spanloom: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
