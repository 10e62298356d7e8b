"""`spanloom worker`: what keeps it from working ends it with a word and a code for scripts."""

import errno
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from streams.cli import worker
from streams.runtime import link, rights
from streams.runtime.embedded import EmbeddedBroker
from streams.settings import load_settings
from tests.unit.cli.shell import Shell

NOWHERE = "127.0.0.1:9"


def test_a_broken_contract_ends_it_with_2(shell: Shell, tmp_path: Path) -> None:
    """The line and the misspelt key are named before any broker is asked."""
    contract = tmp_path / "contract.yaml"
    contract.write_text('version: "1.0.0"\nname: x\nmodules:\n  ALPHA:\n    ownr: a-team\n')
    answer = shell("worker", "--broker", NOWHERE, "--contract", contract)
    assert (answer.code, answer.out) == (2, "")
    assert "contract.yaml:5" in answer.err
    assert "ownr" in answer.err


def test_a_wrong_setting_ends_it_with_2(shell: Shell) -> None:
    """Flag or variable, the message names the variable."""
    answer = shell("worker", "--fixed-waits", -1)
    assert answer.code == 2
    assert "SPANLOOM_FIXED_WAIT_SECONDS" in answer.err


def test_a_broker_that_is_away_ends_it_with_3(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a broker the message says which setting to look at."""
    monkeypatch.setattr(link, "REACH_SECONDS", 0.3)
    answer = shell("worker", "--broker", NOWHERE, "--state-dir", tmp_path)
    assert (answer.code, answer.out) == (3, "")
    assert "no broker answers" in answer.err
    assert "--broker" in answer.err


def test_missing_topics_end_it_with_3(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a broker without topics the message names the command that makes them."""
    monkeypatch.setattr(rights, "_SECONDS", 1.0)  # the embedded broker does not say
    with EmbeddedBroker() as broker:
        answer = shell("worker", "--broker", broker.address, "--state-dir", tmp_path)
    assert answer.code == 3
    assert "telemetry.other.v1" in answer.err
    assert "spanloom topics create" in answer.err


def test_a_state_folder_in_use_ends_it_with_3(shell: Shell, tmp_path: Path) -> None:
    """The folder is named, and what to do about it."""
    (tmp_path / "state").write_text("a file where a folder should be")
    answer = shell("worker", "--broker", NOWHERE, "--state-dir", tmp_path / "state")
    assert answer.code == 3
    assert "--state-dir" in answer.err


def test_every_flag_reaches_its_setting(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is typed is what the worker is told, under the setting's name."""
    told: dict[str, object] = {}

    class SeenError(Exception):
        pass

    def load(**given: object) -> None:
        told.update(given)
        raise SeenError

    monkeypatch.setattr(worker, "load_settings", load)
    flags = {
        "broker": ("h:1", "broker", "h:1"),
        "group": ("g", "group", "g"),
        "state-dir": ("d", "state_dir", Path("d")),
        "contract": ("seed", "contract", "seed"),
        "fixed-waits": ("1.5", "fixed_wait_seconds", 1.5),
        "exit-after": ("7", "exit_after", 7),
        "drain-seconds": ("2.5", "drain_seconds", 2.5),
        "instance": ("i", "instance", "i"),
        "input-topic": ("t", "input_topics", ("t",)),
        "otlp-topics": ("otlp_spans,otlp_logs", "otlp_topics", "otlp_spans,otlp_logs"),
        "rekey": ("otlp_spans", "rekey", "otlp_spans"),
        "profile": ("p", "profile", Path("p")),
        "derived-prefix": ("x.", "derived_prefix", "x."),
        "summary-topic": ("s", "summary_topic", "s"),
        "closed-retention": ("9", "closed_retention_seconds", 9.0),
        "workers": ("3", "workers", 3),
        "health-port": ("8080", "health_port", 8080),
        "metrics-port": ("9100", "metrics_port", 9100),
        "log-level": ("DEBUG", "log_level", "DEBUG"),
    }
    words = [part for flag, (text, _, _) in flags.items() for part in (f"--{flag}", text)]
    with pytest.raises(SeenError):
        shell("worker", *words)
    assert told == {setting: value for _, setting, value in flags.values()}


def test_several_workers_cannot_count_records_together(shell: Shell) -> None:
    """--workers with --exit-after is refused before anything starts, with the way out."""
    answer = shell("worker", "--workers", 2, "--exit-after", 10)
    assert (answer.code, answer.out) == (2, "")
    assert "SPANLOOM_EXIT_AFTER" in answer.err
    assert "--workers 1" in answer.err


def test_a_broken_contract_is_told_once_for_all_workers(shell: Shell, tmp_path: Path) -> None:
    """The supervisor reads it itself before it starts anybody."""
    contract = tmp_path / "contract.yaml"
    contract.write_text("version: 1\n")
    answer = shell("worker", "--workers", 2, "--contract", contract)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.count("spanloom: ") == 1


def test_the_line_of_a_ready_worker_counts_its_joins() -> None:
    """Scripts wait for its beginning; people see what it runs, and where to ask."""
    tasks = ["join-1", "join-0", "fragments-0", "fidelity-0"]
    line = "ready partitions=2 tasks=fidelity-0,fragments-0,join-0,join-1"
    assert worker._ready_line(load_settings(), tasks) == line
    told = load_settings(health_port=8080)
    assert worker._ready_line(told, tasks) == f"{line} health=http://127.0.0.1:8080"
    assert worker._ready_line(load_settings(), []) == "ready partitions=0 tasks="


def test_flags_that_are_not_given_leave_the_environment_alone(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable is heard when its flag is not there."""
    monkeypatch.setenv("SPANLOOM_GROUP", "has spaces")
    answer = shell("worker")
    assert answer.code == 2
    assert "SPANLOOM_GROUP" in answer.err


def test_a_line_that_nobody_takes_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a child or of its own: a full disk under the log would stop what its lines speak of."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(worker.typer, "echo", full)
    for stream in ("stdout", "stderr"):
        worker._say(stream, "ready partitions=4")


def test_limits_that_end_a_worker_before_it_can_mend_itself_are_told() -> None:
    """A commit that hangs is given up after one limit; the other must not be over by then."""
    with capture_logs() as lines:
        worker._tell_of_limits(load_settings())
    assert lines == []
    with capture_logs() as lines:
        worker._tell_of_limits(load_settings(stalled_timeout_seconds=20))
    (line,) = lines
    assert (line["event"], line["log_level"]) == ("commit_call_outlasts_stall", "warning")
    assert "SPANLOOM_STALLED_TIMEOUT_SECONDS" in line["action"]
