"""The command line as a whole: every command that is written can be reached."""

from typer.testing import CliRunner

from streams.cli.main import app


def test_every_command_says_what_it_does() -> None:
    """All commands answer --help, those of groups too."""
    commands = (
        "worker", "tail", "fidelity", "stats", "demo", "topics create", "replay nezha",
        "replay events", "contract check", "contract show", "contract learn",
    )  # fmt: skip
    for command in commands:
        answer = CliRunner().invoke(app, [*command.split(), "--help"])
        assert (command, answer.exit_code) == (command, 0)
        assert "Example: spanloom" in answer.output, command
