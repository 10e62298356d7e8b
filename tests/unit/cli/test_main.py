"""The command line as a whole: every command that is written can be reached."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest
import typer
from polars.exceptions import PanicException
from typer.core import TyperGroup
from typer.testing import CliRunner

from streams import __version__
from streams.cli.commands import app
from streams.errors import BrokerError, ConfigError, SpanloomError, StateError
from tests.docs.pages import command_fault
from tests.unit.cli.shell import Shell


def test_every_command_says_what_it_does() -> None:
    """All commands answer --help with an example; groups, and what is in them, too."""
    commands = list(_all_commands(typer.main.get_command(app), ()))
    assert {("worker",), ("replay",), ("replay", "otlp"), ("incident", "ack")} <= set(commands)
    for command in commands:
        answer = CliRunner().invoke(app, [*command, "--help"])
        assert (command, answer.exit_code) == (command, 0)
        _, _, example = " ".join(answer.output.split()).partition("Example: ")
        assert " ".join(("spanloom", *command)) in example, command
        words = shlex.split(answer.output.partition("Example: ")[2].partition("\n\n")[0])
        at = words.index("spanloom")  # variables may stand before it
        assert command_fault(words[at + 1 :]) == "", command


def _all_commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command below one, and of itself."""
    yield path
    if isinstance(command, TyperGroup):
        context = typer.Context(command)
        for name in command.list_commands(context):
            yield from _all_commands(command.get_command(context, name), (*path, name))


def test_no_arguments_show_the_help(shell: Shell) -> None:
    """A bare command lists all commands and is a usage error for scripts."""
    answer = shell()
    assert answer.code == 2
    for command in ("contract", "topics", "replay", "worker", "tail", "fidelity", "stats", "demo"):
        assert command in answer.out + answer.err


def test_the_version_is_the_packages(shell: Shell) -> None:
    """--version answers on stdout with 0."""
    answer = shell("--version")
    assert (answer.code, answer.out, answer.err) == (0, f"spanloom {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments", [["weave"], ["worker", "--brokr", "x"], ["worker", "--exit-after", "many"]]
)
def test_wrong_usage_ends_with_2(shell: Shell, arguments: list[str]) -> None:
    """An unknown command, option or number is told on stderr."""
    answer = shell(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert arguments[-1] in answer.err or arguments[-2] in answer.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("set it so"), 2),
        (StateError("it is damaged"), 3),
        (BrokerError("it is away"), 3),
        (SpanloomError("something"), 1),
    ],
)
def test_our_errors_are_one_line_and_a_code(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, error: SpanloomError, code: int
) -> None:
    """Whatever was raised on purpose is one message on stderr, and no traceback."""

    def load(_settings: object) -> None:
        raise error

    monkeypatch.setattr("streams.cli.worker.load_pipeline", load)
    answer = shell("worker")
    assert answer == (code, "", f"spanloom: {error}\n")


@pytest.mark.parametrize(
    ("error", "library", "said"),
    [
        (PanicException("no time: 'Jane Roe'\nat 7"), "polars", "PanicException at streams/"),
        (duckdb.ConversionException("'Jane Roe'"), "duckdb", "ConversionException at streams/"),
        (duckdb.IOException("disk full"), "duckdb", "IOException: disk full at streams/"),
    ],
)
def test_a_library_that_fails_in_itself_is_named(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, error: BaseException, library: str, said: str
) -> None:
    """One line with what can be done, in place of a traceback; no word that may quote the data."""

    def load(_settings: object) -> None:
        raise error

    monkeypatch.setattr("streams.cli.worker.load_pipeline", load)
    answer = shell("worker")
    assert (answer.code, answer.out) == (3, "")
    (line,) = answer.err.splitlines()
    assert line.startswith(f"spanloom: {library} failed amid its work: {said}")
    assert ". Operator action: " in line
    assert "Jane" not in line


def test_a_bug_is_not_dressed_up(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw keeps its traceback."""

    def load(_settings: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("streams.cli.worker.load_pipeline", load)
    with pytest.raises(ZeroDivisionError):
        shell("worker")


def test_a_command_imports_no_other() -> None:
    """A worker that starts anew after a crash should not pay for the simulator."""
    program = (
        "import sys; from typer.testing import CliRunner; from streams.cli.commands import app; "
        "code = CliRunner().invoke(app, ['worker', '--help']).exit_code; "
        "sys.exit(code or 'streams.demo.run' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("given", "wanted"), [({}, 1), ({"OPENBLAS_NUM_THREADS": "2"}, min(2, os.cpu_count() or 1))]
)
def test_a_command_has_no_threads_for_matrices(given: dict[str, str], wanted: int) -> None:
    """Numpy comes up without them, unless the environment asks for some."""
    program = (
        "import os, sys; from typer.testing import CliRunner; "
        "from streams.cli.commands import app; "
        "assert 'numpy' not in sys.modules; "
        "assert CliRunner().invoke(app, ['fidelity', '--help']).exit_code == 0; "
        "import numpy; tasks = '/proc/self/task'; "
        "names = [open(f'{tasks}/{t}/comm').read() for t in os.listdir(tasks)]; "
        "print(names.count(open('/proc/self/comm').read()))"
    )
    left = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=left | given,
        check=True,
    )
    assert int(run.stdout) == wanted
