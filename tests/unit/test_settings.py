"""Settings: flags over environment over defaults, bounds kept, mistakes named."""

import math
import os
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from streams.collector.settings import CollectorSettings, load_collector_settings
from streams.console.settings import ConsoleSettings, load_console_settings
from streams.errors import ConfigError
from streams.notify.settings import NotifySettings, load_notify_settings
from streams.runtime.registry_settings import RegistryLink
from streams.settings import KafkaLink, WorkerSettings, are_alike, load_settings


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SPANLOOM_")]:
        monkeypatch.delenv(name)


def test_defaults_are_whole() -> None:
    """Nothing must be set to talk to a broker on this machine."""
    settings = load_settings()
    assert settings.broker == "127.0.0.1:9092"
    assert settings.group == "spanloom"
    assert settings.metrics_address == "127.0.0.1", "the loopback unless told otherwise"


def test_flags_beat_the_environment_and_it_beats_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A flag that is not given falls through; one that is given wins."""
    monkeypatch.setenv("SPANLOOM_BROKER", "kafka:1")
    monkeypatch.setenv("SPANLOOM_CUT_INTERVAL_SECONDS", "2.5")
    assert load_settings(broker=None).broker == "kafka:1"
    assert load_settings(broker="kafka:2").broker == "kafka:2"
    assert load_settings().cut_interval_seconds == 2.5


def test_every_setting_has_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """SPANLOOM_ and the name in capitals is read for each of them."""
    for name in WorkerSettings.model_fields:
        monkeypatch.setenv(f"SPANLOOM_{name.upper()}", "no such value, for a number or a list")
        if name in ("contract", "instance", "derived_prefix", "summary_topic"):
            assert getattr(load_settings(), name).startswith("no such value")
        monkeypatch.delenv(f"SPANLOOM_{name.upper()}")


def test_a_list_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Topics of one's own are given as JSON."""
    monkeypatch.setenv("SPANLOOM_INPUT_TOPICS", '["a.v1", "b.v1"]')
    assert load_settings().input_topics == ("a.v1", "b.v1")


def test_an_unknown_key_is_refused_by_name() -> None:
    """A misspelt setting is an error, never a default in silence."""
    with pytest.raises(ConfigError, match="brokr"):
        load_settings(brokr="kafka:1")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("group", "has spaces"),
        ("group", ""),
        ("group", "x" * 101),
        ("fixed_wait_seconds", -1),
        ("exit_after", -1),
        ("metrics_port", 65_536),
        ("health_port", -1),
        ("workers", 0),
        ("workers", 65),
        ("session_timeout_seconds", 5),
        ("stalled_timeout_seconds", 4),
        ("unhealthy_ratio", 0),
        ("unhealthy_ratio", 1.1),
        ("restarts_max", -1),
        ("restart_window_seconds", 0),
        ("commit_call_seconds_max", 16),
        ("stop_seconds_max", 0.5),
        ("cut_interval_seconds", 0),
        ("cut_interval_seconds", 61),
        ("inbox_rows_max", 999),
        ("max_event_bytes", (512 << 10) + 1),
        ("fold_bytes_max", (1 << 20) - 1),
        ("fold_bytes_max", (1 << 30) + 1),
        ("heap_free_bytes_max", 0),
        ("open_raw_bytes_max", 0),
        ("trace_bytes_max", (4 << 20) + 1),
        ("log_level", "LOUD"),
        ("window_seconds", "ten"),
        ("window_seconds", 1e-9),
        ("session_timeout_seconds", 1_801),
        ("broker", ""),
        ("broker", "kafka:0"),
        ("broker", "kafka:99999"),
        ("broker", "kafka:x"),
        ("broker", "kafka:9092,"),
        ("broker", "http://kafka:9092"),
        ("broker", "kafka one:9092"),
        *[
            (name, wrong)
            for name in (
                "broker_timeout_seconds",
                "drain_seconds",
                "closed_retention_seconds",
                "commit_call_seconds_max",
            )
            for wrong in (math.inf, math.nan, 1e9)
        ],
        *[(name, 1 << 64) for name in ("open_bytes_max", "closed_traces_max", "exit_after")],
    ],
)
def test_a_value_out_of_bounds_is_refused_with_its_variable(name: str, wrong: object) -> None:
    """The message names the setting and the variable that sets it."""
    with pytest.raises(ConfigError, match=rf"{name} \(SPANLOOM_{name.upper()}\): "):
        load_settings(**{name: wrong})


@pytest.mark.parametrize(
    "broker", ["kafka", "kafka:1", "a:1, b:65535", "[::1]:9092", "[::1]", "a_b-c.example.org:9092"]
)
def test_an_address_that_a_client_can_call_is_taken(broker: str) -> None:
    """A port may be left out, and there may be several."""
    assert load_settings(broker=broker).broker == broker


def test_numbers_of_other_processes_are_of_this_world_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a model of its own."""
    monkeypatch.setenv("SPANLOOM_COLLECTOR_BODY_SECONDS", "inf")
    with pytest.raises(ConfigError, match="body_seconds"):
        load_collector_settings()
    monkeypatch.setenv("SPANLOOM_CONSOLE_FILE_SECONDS", "1e300")
    with pytest.raises(ConfigError, match="file_seconds"):
        load_console_settings()
    monkeypatch.setenv("SPANLOOM_REGISTRY_UNKNOWN_SECONDS", "inf")
    with pytest.raises(ValidationError, match="unknown_seconds"):
        RegistryLink()


def test_a_floor_above_its_ceiling_is_refused() -> None:
    """The learned wait would have no value to take."""
    with pytest.raises(ConfigError, match=r"SPANLOOM_WAIT_FLOOR_SECONDS\) is 400 and above .*300"):
        load_settings(wait_floor_seconds=400)


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake in the environment is told as one in a flag."""
    monkeypatch.setenv("SPANLOOM_METRICS_PORT", "ninety")
    with pytest.raises(ConfigError, match=r"metrics_port \(SPANLOOM_METRICS_PORT\): "):
        load_settings()


def test_a_wrong_list_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that is no JSON is a mistake of configuration, with its variable."""
    monkeypatch.setenv("SPANLOOM_INPUT_TOPICS", "a.v1,b.v1")
    with pytest.raises(ConfigError, match="SPANLOOM_INPUT_TOPICS"):
        load_settings()


def test_all_mistakes_are_told_at_once() -> None:
    """One run is enough to see them."""
    with pytest.raises(ConfigError, match=r"fixed_wait_seconds .*; .*log_level "):
        load_settings(fixed_wait_seconds=-1, log_level="LOUD")


def test_values_are_not_repeated_in_messages() -> None:
    """What was given may be a secret."""
    with pytest.raises(ConfigError) as caught:
        load_settings(group="hunter 2")
    assert "hunter" not in str(caught.value)


def test_settings_cannot_be_changed() -> None:
    """What the worker was started with is what it runs with."""
    settings = load_settings(state_dir=Path("here"))
    with pytest.raises(ValueError, match="frozen"):
        settings.group = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("wrong", "meant", "load"),
    [
        ("SPANLOOM_BROKR", "SPANLOOM_BROKER", load_settings),
        ("SPANLOOM_GRUOP", "SPANLOOM_GROUP", load_settings),
        ("SPANLOOM_HEALTH_PORTS", "SPANLOOM_HEALTH_PORT", load_settings),
        ("SPANLOOM_CLOSED_RETENTION", "SPANLOOM_CLOSED_RETENTION_SECONDS", load_settings),
        ("SPANLOOM_FIXED_WAITS", "SPANLOOM_FIXED_WAIT_SECONDS", load_settings),
        ("SPANLOOM_BROKER_TIMEOUT_MS", "SPANLOOM_BROKER_TIMEOUT_SECONDS", load_settings),
        ("SPANLOOM_OPEN_MB", "SPANLOOM_OPEN_BYTES_MAX", load_settings),
        ("SPANLOOM_COLLECTOR_AUHT", "SPANLOOM_COLLECTOR_AUTH", load_collector_settings),
        ("SPANLOOM_CONSOLE_KEY_FILE", "SPANLOOM_CONSOLE_KEYS_FILE", load_console_settings),
        ("SPANLOOM_NOTIFY_HOST", "SPANLOOM_NOTIFY_HOSTS", load_notify_settings),
    ],
)
def test_a_misspelt_variable_is_refused_with_what_was_meant(
    wrong: str, meant: str, load: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was ignored: a worker ran on the default broker, a console without its keys."""
    monkeypatch.setenv(wrong, "x")
    with pytest.raises(ConfigError, match=f"{wrong} is no setting; did you mean {meant}\\?"):
        load()


def test_a_variable_of_somebody_else_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not like any setting may be of a script, a test or another process of ours."""
    monkeypatch.setenv("SPANLOOM_DATA", "/data")
    monkeypatch.setenv("SPANLOOM_TEST_BROKER", "x")
    monkeypatch.setenv("BROKR", "x")
    assert load_settings() == WorkerSettings()


def test_no_two_settings_are_alike() -> None:
    """Processes share an environment: the variable of one must never look like another's."""
    models = (
        WorkerSettings, KafkaLink, RegistryLink, CollectorSettings, ConsoleSettings, NotifySettings,
    )  # fmt: skip
    names = {
        f"{model.model_config['env_prefix']}{name.upper()}"
        for model in models
        for name in model.model_fields
    }
    assert [pair for pair in combinations(sorted(names), 2) if are_alike(*pair)] == []


WORDS = st.text(alphabet="AB_", max_size=5)


@given(WORDS, WORDS)
def test_names_are_alike_by_the_fewest_steps(one: str, other: str) -> None:
    """As the definition, tried out without a table, finds."""
    assert are_alike(one, other) == (steps(one, other) <= 2)


def steps(one: str, other: str) -> int:
    """Return how many characters to leave out, put in, replace or swap, from the front."""
    if not one or not other:
        return len(one) + len(other)
    found = min(
        steps(one[1:], other) + 1,
        steps(one, other[1:]) + 1,
        steps(one[1:], other[1:]) + (one[0] != other[0]),
    )
    if len(other) > 1 and one[:2] == other[1::-1]:
        found = min(found, steps(one[2:], other[2:]) + 1)
    return found
