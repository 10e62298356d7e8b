"""The command line as a shell runs it: arguments in; exit code, stdout and stderr out."""

import os
import signal
import sys
from typing import NamedTuple

import pytest

from streams.cli import main


class Answer(NamedTuple):
    """What a command said."""

    code: int
    out: str
    err: str


class Shell:
    """Runs commands in this process, into a pipe, with no SPANLOOM_ variable set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        for name in [name for name in os.environ if name.startswith("SPANLOOM_")]:
            monkeypatch.delenv(name)
        monkeypatch.delenv("COLUMNS", raising=False)  # xdist's workers may inherit a terminal's
        # Logs stay as they are: the loggers keep the stream that they first wrote to.
        for module in ("worker", "demo"):
            monkeypatch.setattr(f"streams.cli.{module}.configure_logs", lambda _level: None)

    def __call__(self, *arguments: object) -> Answer:
        """Run `spanloom` with these arguments."""
        self._monkeypatch.setattr(sys, "argv", ["spanloom", *map(str, arguments)])
        code: object = 0
        heard = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP)}
        try:
            main.main()
        except SystemExit as end:
            code = end.code or 0
        finally:
            for one, handler in heard.items():
                signal.signal(one, handler)
        assert isinstance(code, int)
        said = self._capsys.readouterr()
        return Answer(code, said.out, said.err)


def set_width(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    """Let commands print on a terminal so wide, or into a pipe: ""."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
