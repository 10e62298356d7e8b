"""Settings of the worker: defaults, then environment `SPANLOOM_*`, then flags.

Every bound of the engine is named here, with its unit last. Secrets come by environment or from
files and are never printed.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from streams.errors import ConfigError


class WorkerSettings(BaseSettings):
    """Everything a worker can be told.

    Attributes:
        broker: bootstrap address, HOST:PORT.
        group: consumer group; names the transactions and the changelogs too.
        state_dir: folder of the local state; one worker each.
        disk_free_min_bytes: while the disk of the local state has less room, nothing is taken in.
        contract: path of the contract, or "seed"; empty to join by structure alone.
        instance: static member id; each worker of a group needs its own.
        input_topics: telemetry topics instead of the contract's, for foreign span topics.
        profile: file that maps a foreign span schema to columns.
        derived_prefix: put in front of the names of all derived topics.
        summary_topic: JSON summary of each trace's first revision; empty for none.
        fixed_wait_seconds: close every trace so long after its first event; 0 to learn.
        exit_after: end after so many telemetry records; 0 to run on.
        drain_seconds: with `exit_after`, how long open traces may take to close.
        metrics_port: serve Prometheus metrics here; 0 serves none.
        metrics_address: address of the metrics; anything but the loopback is yours to guard.
        embedded: the broker is the embedded one, which keeps no promise.
    """

    model_config = SettingsConfigDict(
        env_prefix="SPANLOOM_", frozen=True, extra="forbid", hide_input_in_errors=True
    )

    broker: str = "127.0.0.1:9092"
    group: str = Field(default="spanloom", pattern=r"^[A-Za-z0-9._-]{1,100}$")
    state_dir: Path = Path(".spanloom-state")
    contract: str = ""
    instance: str = ""
    input_topics: tuple[str, ...] = ()
    profile: Path | None = None
    derived_prefix: str = ""
    summary_topic: str = ""
    fixed_wait_seconds: float = Field(default=0, ge=0)
    exit_after: int = Field(default=0, ge=0)
    drain_seconds: float = Field(default=60, ge=0)
    embedded: bool = False
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")

    metrics_port: int = Field(default=0, ge=0, le=65_535)
    metrics_address: str = "127.0.0.1"

    disk_free_min_bytes: int = Field(default=64 << 20, ge=0)

    session_timeout_seconds: float = Field(default=10, ge=6)
    broker_timeout_seconds: float = Field(default=120, gt=0)
    # A backlog is joined in steps this large: at 5,000 rows a step each costs 43 % more.
    poll_records: int = Field(default=20_000, ge=100, le=50_000)
    fetch_bytes: int = Field(default=4 << 20, ge=1 << 16)
    coalesce_seconds: float = Field(default=0.05, ge=0, le=5)
    cut_interval_seconds: float = Field(default=0.3, gt=0, le=60)
    cut_cpu_share: float = Field(default=0.1, gt=0, le=1)
    cuts_at_once: int = Field(default=4, ge=1, le=64)
    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"
    step_rows_max: int = Field(default=20_000, ge=100)
    inbox_rows_max: int = Field(default=60_000, ge=1_000)
    inbox_bytes_max: int = Field(default=64 << 20, ge=1 << 20)

    max_event_bytes: int = Field(default=512 << 10, ge=1_024, le=512 << 10)
    trace_events_max: int = Field(default=20_000, ge=1, le=50_000)
    trace_bytes_max: int = Field(default=4 << 20, ge=1 << 10, le=4 << 20)
    open_traces_max: int = Field(default=1_000_000, ge=1)
    open_bytes_max: int = Field(default=512 << 20, ge=1 << 20)
    closed_traces_max: int = Field(default=2_000_000, ge=1)
    closed_retention_seconds: float = Field(default=600, gt=0)
    operations_max: int = Field(default=100_000, ge=1)
    wait_initial_seconds: float = Field(default=30, gt=0)
    wait_floor_seconds: float = Field(default=5, gt=0)
    wait_ceiling_seconds: float = Field(default=300, gt=0)
    disorder_max_seconds: float = Field(default=5, ge=0)
    delay_max_seconds: float = Field(default=10, ge=0)
    hold_ahead_seconds: float = Field(default=0, ge=0)

    window_seconds: float = Field(default=10, gt=0)
    burn_short_seconds: float = Field(default=0, ge=0)
    burn_long_seconds: float = Field(default=0, ge=0)
    quiet_seconds: float = Field(default=120, gt=0)
    warm_up_seconds: float = Field(default=60, ge=0)


def load_settings(**given: Any) -> WorkerSettings:
    """Return the settings; values that are None fall through to environment and default.

    Raises:
        ConfigError: a value does not fit; names the setting, its environment variable and the fix.
    """
    try:
        return WorkerSettings(**{k: v for k, v in given.items() if v is not None})
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            name = ".".join(str(part) for part in problem["loc"])
            lines.append(f"{name} (SPANLOOM_{name.upper()}): {problem['msg']}")
        raise ConfigError("settings are wrong: " + "; ".join(lines)) from error
    except SettingsError as error:  # only a list is parsed before it is checked: there is one
        raise ConfigError(
            "settings are wrong: input_topics (SPANLOOM_INPUT_TOPICS): give a JSON list, such as "
            '["a.v1", "b.v1"]'
        ) from error
